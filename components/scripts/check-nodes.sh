#!/bin/sh
# Checks every node before Falco is installed: its modern eBPF probe does not load on every kernel, and its container
# plugin crashes with some releases of containerd.
set -eu

if command -v kubectl >/dev/null 2>&1; then
  kubectl() { command kubectl --kubeconfig "$KUBECONFIG" --context "$CONTEXT" "$@"; }
elif command -v minikube >/dev/null 2>&1; then
  kubectl() { minikube kubectl --profile "$CONTEXT" -- "$@"; }
else
  echo "kubectl is not installed; it is needed to ask the nodes for their kernels and container runtimes. See https://kubernetes.io/docs/tasks/tools/" >&2
  exit 1
fi

nodes=$(kubectl get nodes --request-timeout=60s \
  -o 'jsonpath={range .items[*]}{.metadata.name} {.status.nodeInfo.kernelVersion} {.status.nodeInfo.containerRuntimeVersion}{"\n"}{end}')
[ -n "$nodes" ] || { echo "the cluster has no nodes" >&2; exit 1; }

# number RELEASE: MAJOR.MINOR as one number that can be compared
number() {
  echo "$1" | awk -F. '{ sub(/[^0-9].*/, "", $2); print $1 * 1000 + $2 }'
}
lowest=$(number "$MIN_KERNEL")
limit=0
[ -z "$BELOW_KERNEL" ] || limit=$(number "$BELOW_KERNEL")

containerd_limit=0
[ -z "$BELOW_CONTAINERD" ] || containerd_limit=$(number "$BELOW_CONTAINERD")

bad=0
while read -r node kernel runtime; do
  [ -n "$node" ] || continue
  this=$(number "$kernel")
  if [ "$this" -lt "$lowest" ]; then
    echo "node $node: Linux $kernel is too old for Falco's modern eBPF probe, which needs $MIN_KERNEL or newer" >&2
    bad=1
  elif [ "$limit" -gt 0 ] && [ "$this" -ge "$limit" ]; then
    echo "node $node: the modern eBPF probe does not load on Linux $kernel (it needs a kernel below $BELOW_KERNEL); set falco.chartVersion to $NEXT_CHART_VERSION" >&2
    bad=1
  elif [ "$containerd_limit" -gt 0 ] && [ "${runtime#containerd://}" != "$runtime" ] &&
    [ "$(number "${runtime#containerd://}")" -ge "$containerd_limit" ]; then
    echo "node $node: Falco's container plugin crashes with containerd ${runtime#containerd://} (it needs one below $BELOW_CONTAINERD); set falco.chartVersion to $NEXT_CHART_VERSION" >&2
    bad=1
  else
    echo "node $node: Linux $kernel, $runtime"
  fi
done <<NODES
$nodes
NODES
exit "$bad"
