#!/bin/sh
# Deletes the stack's Minikube cluster and its kubeconfig; that either is gone already is no error.
. components/scripts/minikube.sh

[ -e "$folder" ] || [ -e "$KUBECONFIG" ] || exit 0
if exists && ! ours; then
  # The stack's own was deleted by hand, and somebody made another since.
  echo "The Minikube profile $PROFILE is not one that this stack made, so it stays as it is." >&2
elif command -v minikube >/dev/null 2>&1; then
  ! exists || containers_answer "Minikube would forget the cluster $PROFILE, and its container would come back with $DRIVER. Start it and run this again."
  minikube delete --profile "$PROFILE" >&2
  exists || rm -rf "$folder"
  if in_containers; then
    label=name.minikube.sigs.k8s.io=$PROFILE
    left=$(
      "$DRIVER" ps --all --quiet --filter "label=$label" 2>/dev/null | sed "s/^/$DRIVER rm --force --volumes /"
      "$DRIVER" volume ls --quiet --filter "label=$label" 2>/dev/null | sed "s/^/$DRIVER volume rm /"
      "$DRIVER" network ls --quiet --filter "label=$label" 2>/dev/null | sed "s/^/$DRIVER network rm /"
    )
    [ -z "$left" ] || fail "Minikube left something of $PROFILE behind. Run these, then this again:" "$left"
  fi
elif exists || [ -e "$KUBECONFIG" ]; then
  fail "minikube is not installed; if the cluster $PROFILE still runs, nothing here can delete it."
fi
rm -f "$KUBECONFIG"
