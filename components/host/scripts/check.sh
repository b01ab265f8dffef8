#!/bin/sh
# shellcheck shell=dash
# What a host must be and have. Everything that is wrong is said at once, and nothing is changed.
set -eu

: "${STATE:?}" "${OWNER:?}" "${EXPLAINED:?}"

PROBLEMS=0

problem() {
	PROBLEMS=$((PROBLEMS + 1))
	say "error: $*"
}

stop_on_problems() {
	if test "$PROBLEMS" -gt 0; then exit "$EXPLAINED"; fi
}

os_release() {
	sed -n "s/^$1=//p" /etc/os-release 2>/dev/null | tr -d '"' | head -n 1
}

check_release() {
	local release
	release="$(os_release ID):$(os_release VERSION_ID)"
	case " ${SUPPORTED_RELEASES:?} " in
	*" $release "*) return 0 ;;
	esac
	problem "$(os_release PRETTY_NAME) ($release) is not supported; supported: $SUPPORTED_RELEASES"
	return 1
}

check_architecture() {
	local architecture
	architecture=$(dpkg --print-architecture)
	case $architecture in
	amd64 | arm64) ;;
	*) problem "architecture $architecture is not supported; Falco is packaged for amd64 and arm64" ;;
	esac
}

# kernel_number prints major * 1000 + minor of a release such as 6.8.0-45-generic.
kernel_number() {
	printf '%s\n' "$1" | awk -F '[^0-9]+' '{ print $1 * 1000 + $2 }'
}

check_kernel() {
	local release number
	release=$(uname -r)
	number=$(kernel_number "$release")
	if test "$number" -lt "$(kernel_number "${KERNEL_MIN:?}")"; then
		problem "kernel $release is too old: the probe of Falco ${FALCO_VERSION:?} needs Linux $KERNEL_MIN or newer"
	elif test -n "${KERNEL_BELOW?}" && test "$number" -ge "$(kernel_number "$KERNEL_BELOW")"; then
		problem "kernel $release is too new: the probe of Falco ${FALCO_VERSION:?} loads on Linux $KERNEL_MIN up to, not including, $KERNEL_BELOW; set a newer Falco version"
	fi
	if ! test -r /sys/kernel/btf/vmlinux; then
		problem "no BTF at /sys/kernel/btf/vmlinux: the modern probe needs a kernel built with CONFIG_DEBUG_INFO_BTF=y"
	fi
}

check_systemd() {
	if ! test -d /run/systemd/system || ! quiet command -v systemctl; then
		problem "systemd does not run here (no /run/systemd/system): Falco's package is made for it"
	fi
}

check_tools() {
	local tool
	for tool in apt-get dpkg-query flock unshare mount awk sed; do
		if ! quiet command -v "$tool"; then problem "$tool is missing"; fi
	done
	if ! test -x /usr/lib/apt/apt-helper; then problem "/usr/lib/apt/apt-helper is missing (package apt)"; fi
}

check_root() {
	local message
	if test "$(id -u)" -eq 0; then return 0; fi
	if ! quiet command -v sudo; then
		problem "user $(id -un) is not root and sudo is not installed; connect as root or install sudo"
	elif ! message=$(sudo -n -- /bin/sh -c : 2>&1); then
		problem "user $(id -un) may not become root without a password ($message); allow it in /etc/sudoers.d, for example: $(id -un) ALL=(root) NOPASSWD: /bin/sh"
	fi
}

# free_mb PATH: space left where PATH is or will be.
free_mb() {
	local path
	path=$1
	while ! test -e "$path"; do path=$(dirname "$path"); done
	df -Pm "$path" | awk 'NR == 2 { print $4 }'
}

need_space() {
	local free
	free=$(free_mb "$1")
	if test "$free" -lt "$2"; then
		problem "the disk under $1 has $free MB left; $2 MB are needed"
	fi
}

check_disk() {
	if test "$(installed falco)" = "${FALCO_VERSION:?}"; then
		need_space /var/lib 16
		need_space /etc 2
	else
		need_space /usr "${NEED_USR_MB:?}"
		need_space /var "${NEED_VAR_MB:?}"
		need_space /etc 2
	fi
}

# A Falco that others installed is used when it is the wanted version, and is never replaced.
check_falco() {
	local version
	version=$(installed falco)
	if test -z "$version" || test "$version" = "${FALCO_VERSION:?}"; then return 0; fi
	if test -f "$STATE/base/falco" && test "$(cat "$STATE/base/falco")" = absent; then return 0; fi
	problem "falco $version was installed here by someone else, and the settings ask for $FALCO_VERSION; set that version, or upgrade or remove the package yourself"
}

# apt refuses two entries for one repository with different keys, and then every apt command on the host fails.
check_repository() {
	local file
	if test -n "$(installed falco)"; then return 0; fi
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
		if test "$file" = "${SOURCES_FILE:?}" || ! test -f "$file"; then continue; fi
		if sed 's/#.*//' "$file" | grep -qF -e "${REPO_URL:?}"; then
			problem "$file lists $REPO_URL already; apt would refuse a second entry with its own key: remove it or name it $SOURCES_FILE"
		fi
	done
}

check_owner() {
	if test -f "$STATE/base/owner" && test "$(cat "$STATE/base/owner")" != "$OWNER"; then
		problem "this host is managed by $(cat "$STATE/base/owner"), not by $OWNER; destroy that first (the record is $STATE)"
	fi
}

check_host() {
	PROBLEMS=0
	doing "checking the host"
	if check_release; then
		check_architecture
		check_kernel
		check_systemd
		check_tools
		check_root
		check_disk
		check_falco
		check_repository
		check_owner
	fi
	stop_on_problems
}

# step_check runs without root.
step_check() {
	check_host
	if test -n "${AGENT_SOCKET?}" && ! test -S "$AGENT_SOCKET"; then
		say "note: no SPIRE agent's socket at $AGENT_SOCKET yet; the rules watch that path all the same"
	fi
	printf '%s %s, kernel %s, %s\n' "$(os_release ID)" "$(os_release VERSION_ID)" "$(uname -r)" "$(dpkg --print-architecture)"
}
