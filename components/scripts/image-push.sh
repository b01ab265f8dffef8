#!/bin/sh
# Pushes the image of the project's programs to the registry, with the credentials of the user's Docker configuration.
set -eu
go run ./cmd/mtls-image push -repository "$REPOSITORY" -digest "$DIGEST" >&2
echo "$DIGEST"
