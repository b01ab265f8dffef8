#!/bin/sh
# Makes the stack's Minikube cluster, or brings up the one that is there, and waits until its node is ready.
# Its kubeconfig goes to $KUBECONFIG, a file of the stack's own, as a whole once the cluster runs; no other is touched.
# Standard output, which the state keeps: a line of what cannot change, and a line with the Kubernetes version, the network
# and the UID of the namespace kube-system, by which a cluster is known.
. components/scripts/minikube.sh

command -v minikube >/dev/null 2>&1 ||
  fail "minikube is not installed. See https://minikube.sigs.k8s.io/docs/start/, or use cluster.mode existing."

node="$PROFILE driver=$DRIVER cpus=$CPUS memory=$MEMORY_MIB disk=$DISK"
before=${PULUMI_COMMAND_STDOUT:-} # what the last run printed; the engine gives it to an update
made=$(printf '%s\n' "$before" | head -n 1)
version=$(printf '%s\n' "$before" | sed -n 's/^kubernetes=v\([0-9.]*\).*/\1/p')
cni=$(printf '%s\n' "$before" | sed -n 's/.* cni=\([a-z]*\) .*/\1/p')
uid=$(printf '%s\n' "$before" | sed -n 's/.* kube-system=//p')

if [ -n "$made" ] && [ "$made" != "$node" ]; then
  fail "the cluster was made as: $made" "the settings now want:   $node" \
    "A Minikube node cannot be changed so; take the stack down and bring it up again."
fi
if [ -n "$cni" ] && [ "$cni" != "$CNI" ]; then
  fail "minikube.cni: the cluster was made with $cni, and its network cannot become $CNI." \
    "Set it to $cni, or take the stack down and bring it up again."
fi

# number prints 1.34.2 as 1034002, so that versions can be compared.
number() { echo "$1" | awk -F. '{ printf "%d%03d%03d", $1, $2, $3 }'; }
if [ -n "$version" ]; then
  had=$(number "$version") want=$(number "${KUBERNETES_VERSION#v}")
  [ "$want" -ge "$had" ] || fail "minikube.kubernetesVersion: the cluster runs v$version, and Kubernetes cannot go back to $KUBERNETES_VERSION." \
    "Set it to v$version or newer, or take the stack down and bring it up again."
  [ $((want / 1000 - had / 1000)) -le 1 ] || fail "minikube.kubernetesVersion: the cluster runs v$version, and Kubernetes is upgraded one minor at a time." \
    "Go to v1.$((had / 1000 % 1000 + 1)) before $KUBERNETES_VERSION."
fi

# adopted: whether the profile is this stack's, also where its folder was moved since, or where an earlier version of the
# stack, which set no mark and noted no UID, made it.
adopted() {
  ours || { [ -n "$before" ] && if [ -f "$mark" ]; then [ ! -e "$(cat "$mark")" ]; else [ -z "$uid" ]; fi; }
}
if exists; then
  adopted || fail "Minikube has a profile $PROFILE that this stack did not make; it was left as it is." \
    "Choose another minikube.profile, or, when nobody needs it, run: minikube delete --profile $PROFILE"
elif [ -n "$before" ]; then
  fail "The Minikube cluster $PROFILE is gone, with everything that the stack had in it." \
    "Take the stack down, which clears its state, and bring it up again."
elif in_containers; then
  containers_answer "Start it and run this again."
  for kind in container volume; do
    if "$DRIVER" "$kind" inspect "$PROFILE" >/dev/null 2>&1; then
      fail "$DRIVER has a $kind named $PROFILE, and Minikube knows no such profile; Minikube would delete it, so nothing was started." \
        "Choose another minikube.profile, or, when nobody needs it, run: $DRIVER $kind rm $PROFILE"
    fi
  done
fi
umask 077
mkdir -p "$(dirname "$KUBECONFIG")"
new=$KUBECONFIG.new
trap 'rm -f "$new" "$new.lock"' EXIT
rm -f "$new"
# A first start that failed is not in the state; nothing depends on its node yet.
if [ -z "$before" ] && exists && { [ "$(has CPUs)" != "$CPUS" ] || [ "$(has Memory)" != "$MEMORY_MIB" ] || [ "$(has Driver)" != "$DRIVER" ]; }; then
  echo "A first start of other size was left ($(has Driver), $(has CPUs) CPUs, $(has Memory) MiB); it is deleted." >&2
  KUBECONFIG=$new minikube delete --profile "$PROFILE" >&2
fi
mkdir -p "$folder"
printf '%s\n' "$KUBECONFIG" >"$mark"
# undo takes away what a first start left, and ends the script.
undo() {
  [ -n "$before" ] || {
    echo "The first start of $PROFILE failed; what it left is deleted." >&2
    KUBECONFIG=$new minikube delete --profile "$PROFILE" >&2 || true
    exists || rm -rf "$folder"
  }
  fail "$1"
}
KUBECONFIG=$new minikube start \
  --profile "$PROFILE" \
  --driver "$DRIVER" \
  --container-runtime containerd \
  --cni "$CNI" \
  --kubernetes-version "$KUBERNETES_VERSION" \
  --cpus "$CPUS" \
  --memory "${MEMORY_MIB}mb" \
  --disk-size "$DISK" \
  --embed-certs \
  --wait all \
  --wait-timeout 10m \
  --interactive=false >&2 || undo "minikube start failed; its reason stands above."
kubectl() { KUBECONFIG=$new minikube kubectl --profile "$PROFILE" -- "$@"; }
kubectl wait --for=condition=Ready node --all --timeout=300s >&2 || undo "The node of $PROFILE did not become ready."
now=$(kubectl get namespace kube-system -o 'jsonpath={.metadata.uid}') || undo "The new cluster does not answer."
if [ -n "$uid" ] && [ "$uid" != "$now" ]; then
  fail "Minikube could not keep the cluster and made a new one in its place: everything that the stack had in it is gone." \
    "Take the stack down, which clears its state, and bring it up again."
fi
if [ "$(has CPUs)" != "$CPUS" ] || [ "$(has Memory)" != "$MEMORY_MIB" ]; then
  undo "The node has $(has CPUs) CPUs and $(has Memory) MiB, not the $CPUS and $MEMORY_MIB of the settings."
fi
sync "$new" 2>/dev/null || sync # before the rename, so that a crash leaves the old file or the new one
mv -f "$new" "$KUBECONFIG"
echo "$node"
echo "kubernetes=$KUBERNETES_VERSION cni=$CNI kube-system=$now"
