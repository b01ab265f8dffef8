#!/bin/sh
# Loads the image of the project's programs into Minikube. It runs again only when the image's digest changes.
set -eu
[ -f "$ARCHIVE" ] || go run ./cmd/mtls-image build -archive "$ARCHIVE" -digest "$DIGEST" >&2
minikube image load --profile "$PROFILE" --overwrite=false "$ARCHIVE" >&2
# It exits with 0 for a stopped node and for an archive that it cannot read, too.
minikube image ls --profile "$PROFILE" | grep -qxF "$REFERENCE" || {
  echo "Minikube did not load $ARCHIVE: the node of $PROFILE has no image $REFERENCE. Does it run (minikube status --profile $PROFILE)?" >&2
  exit 1
}
echo "$DIGEST"
