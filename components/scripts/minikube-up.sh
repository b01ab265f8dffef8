#!/bin/sh
# Makes the stack's Minikube cluster, or brings up the one that is there, and waits until its node is ready.
# Its kubeconfig goes to $KUBECONFIG, a file of the stack's own, as a whole once the cluster runs; no other is touched.
set -eu

command -v minikube >/dev/null 2>&1 || {
  echo "minikube is not installed. See https://minikube.sigs.k8s.io/docs/start/, or use cluster.mode existing." >&2
  exit 1
}
# What a running node cannot change. The engine gives an update what the last run printed.
node="$PROFILE driver=$DRIVER cpus=$CPUS memory=$MEMORY_MIB disk=$DISK"
if [ -n "${PULUMI_COMMAND_STDOUT:-}" ] && [ "$PULUMI_COMMAND_STDOUT" != "$node" ]; then
  echo "the cluster was made as: $PULUMI_COMMAND_STDOUT" >&2
  echo "the settings now want:   $node" >&2
  echo "A Minikube node cannot be changed so; take the stack down and bring it up again." >&2
  exit 1
fi
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
umask 077
mkdir -p "$(dirname "$KUBECONFIG")"
new=$KUBECONFIG.new
trap 'rm -f "$new" "$new.lock"' EXIT
rm -f "$new"
KUBECONFIG=$new minikube start \
  --profile "$PROFILE" \
  --driver "$DRIVER" \
  --container-runtime containerd \
  --kubernetes-version "$KUBERNETES_VERSION" \
  --cpus "$CPUS" \
  --memory "${MEMORY_MIB}mb" \
  --disk-size "$DISK" \
  --embed-certs \
  --wait all \
  --wait-timeout 10m \
  --interactive=false >&2
KUBECONFIG=$new minikube kubectl --profile "$PROFILE" -- wait --for=condition=Ready node --all --timeout=300s >&2
sync "$new" 2>/dev/null || sync # before the rename, so that a crash leaves the old file or the new one
mv -f "$new" "$KUBECONFIG"
echo "$node"
