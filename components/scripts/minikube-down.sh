#!/bin/sh
# Deletes the stack's Minikube cluster and its kubeconfig; that either is gone already is no error.
set -eu

if command -v minikube >/dev/null 2>&1; then
  minikube delete --profile "$PROFILE" >&2
else
  echo "minikube is not installed; if the cluster $PROFILE still runs, nothing here can delete it." >&2
  [ ! -e "$KUBECONFIG" ] || exit 1
fi
rm -f "$KUBECONFIG"
