# shellcheck shell=sh
# What both Minikube scripts need; Minikube's own answers are no help here: it takes over any
# profile of the name, deletes containers that it takes for its own, and exits with 0 when it could not delete a node.
set -eu

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# Minikube's folder of the profile (its package localpath), and in it the mark of the stack that made the profile: the path
# of that stack's kubeconfig. The mark dies with the profile.
home=${MINIKUBE_HOME:-$HOME}
[ "${home##*/}" = .minikube ] || home=$home/.minikube
folder=$home/profiles/$PROFILE
mark=$folder/spire-falco

exists() { [ -f "$folder/config.json" ]; }
ours() { [ -f "$mark" ] && [ "$(cat "$mark")" = "$KUBECONFIG" ]; }

# has prints what the profile's config.json, which Minikube writes a key a line, says of a key of the node.
has() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$folder/config.json" | head -n 1; }

# in_containers: whether a node is a container of this machine.
in_containers() { [ "$DRIVER" = docker ] || [ "$DRIVER" = podman ]; }
containers_answer() {
  in_containers || return 0
  "$DRIVER" info >/dev/null 2>&1 || fail "$DRIVER does not answer. $1"
}

# own: whether the kubeconfig knows no context but the profile's. Any other file is somebody else's.
own() {
  [ -s "$KUBECONFIG" ] || return 0
  awk -v profile="$PROFILE" '
    /^contexts:/ { found = inside = 1; next }
    /^[^ -]/ { inside = 0 }
    inside && /^  name:/ { gsub(/[ "\047]|^  name:/, ""); if ($0 != profile) other = 1 }
    END { exit !found || other }' "$KUBECONFIG"
}
own || fail "$KUBECONFIG has other contexts than $PROFILE, so it is not this stack's and stays as it is; move it away and run this again."

export MINIKUBE_IN_STYLE=false MINIKUBE_WANTUPDATENOTIFICATION=false
