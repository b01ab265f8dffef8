#!/bin/sh
# Makes the stack's Minikube cluster, or brings up the one that is there, and waits until its node is ready.
# Its kubeconfig goes to $KUBECONFIG, a file of the stack's own; the user's is not touched.
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
umask 077
mkdir -p "$(dirname "$KUBECONFIG")"
minikube start \
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
minikube kubectl --profile "$PROFILE" -- wait --for=condition=Ready node --all --timeout=300s >&2
echo "$node"
