#!/bin/sh
# Loads the image of the project's programs into Minikube. It runs again only when the image's digest changes.
set -eu
[ -f "$ARCHIVE" ] || go run ./cmd/mtls-image build -archive "$ARCHIVE" -digest "$DIGEST" >&2
minikube image load --profile "$PROFILE" --overwrite=false "$ARCHIVE" >&2
echo "$DIGEST"
