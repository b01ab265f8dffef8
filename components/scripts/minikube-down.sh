#!/bin/sh
# Deletes the stack's Minikube cluster and its kubeconfig; that either is gone already is no error.
set -eu

# own: whether the kubeconfig knows no context but the profile's. Any other file is somebody else's.
own() {
  [ -s "$KUBECONFIG" ] || return 0
  awk -v profile="$PROFILE" '
    /^contexts:/ { found = inside = 1; next }
    /^[^ -]/ { inside = 0 }
    inside && /^  name:/ { gsub(/[ "\047]|^  name:/, ""); if ($0 != profile) other = 1 }
    END { exit !found || other }' "$KUBECONFIG"
}
own || {
  echo "$KUBECONFIG has other contexts than $PROFILE, so it is not this stack's and stays as it is; move it away and run this again." >&2
  exit 1
}

if command -v minikube >/dev/null 2>&1; then
  minikube delete --profile "$PROFILE" >&2
else
  echo "minikube is not installed; if the cluster $PROFILE still runs, nothing here can delete it." >&2
  [ ! -e "$KUBECONFIG" ] || exit 1
fi
rm -f "$KUBECONFIG"
