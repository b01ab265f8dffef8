#!/bin/sh
# shellcheck shell=dash
# What every step shares. A step is sent as one script on standard input: settings, these files, the files to write,
# and a last line that calls main. A connection that breaks while it is sent therefore runs nothing.
set -eu
umask 022
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

: "${HOST_NAME:?}" "${OWNER:?}"

# The ledger of what was there before and what was added since. The removal works from it alone.
STATE=/var/lib/spire-falco
# Root's own folder: in /run/lock, which every user may write to, any of them could hold up every step for ever.
LOCK_DIR=/run/spire-falco
LOCK=$LOCK_DIR/lock
DOING=starting
SWITCHING=
# A failure that has been explained.
EXPLAINED=97

say() {
	printf '%s: %s\n' "$HOST_NAME" "$*" >&2
}

fail() {
	say "error: $*"
	exit "$EXPLAINED"
}

# switching yes|'': whether a switch is under way, to be undone when this script ends now.
switching() {
	SWITCHING=$1
}

# doing names the work under way, for the one line that says where an unforeseen failure was.
doing() {
	DOING=$1
}

# at_exit explains what nothing else has explained, and undoes a switch that did not come to its end.
at_exit() {
	status=$?
	trap - EXIT
	if test "$status" -eq 0; then return 0; fi
	if test "$status" -ne "$EXPLAINED"; then
		say "error: failed while $DOING (exit status $status)"
	fi
	if test -n "$SWITCHING"; then roll_back; fi
	exit 1
}

# own_lock_dir creates the folder of the lock, and takes none that anybody else can write to or put in its place.
own_lock_dir() {
	local is
	mkdir -m 0700 "$LOCK_DIR" 2>/dev/null || true # it follows no symbolic link
	is=$(stat -c '%F, owner %u, mode %a' "$LOCK_DIR" 2>/dev/null) || is=missing
	if test "$is" != "directory, owner $(id -u), mode 700"; then
		fail "$LOCK_DIR must be a directory of root's with mode 700, and is: $is; remove it and run this again"
	fi
}

# lock_holder names the process that holds the lock, and says what to do about one that will not end by itself.
lock_holder() {
	local pid since
	pid='' since=''
	read -r pid since <"$LOCK" || true
	if test -z "$pid"; then
		printf 'who it is, says: fuser -v %s\n' "$LOCK"
		return 0
	fi
	case $(awk '$1 == "State:" { print $2 }' "/proc/$pid/status" 2>/dev/null) in
	[Tt]) printf 'process %s, since %s, is stopped; continue it with: kill -CONT %s, or end it with: kill -KILL %s\n' "$pid" "$since" "$pid" "$pid" ;;
	'' | [XZ]) printf 'process %s has ended, but one that it started goes on; find it with: fuser -v %s\n' "$pid" "$LOCK" ;;
	*) printf 'process %s, since %s\n' "$pid" "$since" ;;
	esac
}

# One step at a time on a host, also when a former run of ours was cut off and still works there.
take_lock() {
	doing "taking the lock of this host"
	own_lock_dir
	exec 9>>"$LOCK"
	if ! flock -n 9; then
		doing "waiting for another run on this host to end"
		say "waiting for another run on this host to end: $(lock_holder)"
		flock -w "${LOCK_WAIT:-300}" 9 || fail "another run has held $LOCK for ${LOCK_WAIT:-300} seconds: $(lock_holder)"
	fi
	printf '%s %s\n' "$$" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" >"$LOCK"
}

quiet() {
	"$@" >/dev/null 2>&1
}

# installed prints the version of a package that is wholly installed, and nothing for any other.
installed() {
	dpkg-query -W -f '${db:Status-Abbrev} ${Version}\n' "$1" 2>/dev/null | awk '$1 == "ii" || $1 == "hi" { print $2 }'
}

# present tells whether dpkg knows the package at all: installed, half-installed or only configured.
present() {
	case $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) in
	'' | not-installed | config-files) return 1 ;;
	esac
}

apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o APT::Keep-Downloaded-Packages=false \
		-o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-confdef "$@" 9>&- </dev/null
}

# run_apt keeps apt's chatter to itself unless it fails.
run_apt() {
	local log
	log=$(mktemp)
	if ! apt "$@" >"$log" 2>&1; then
		grep -v '^$' "$log" | tail -n 12 | sed "s/^/$HOST_NAME: apt: /" >&2
		rm -f "$log"
		return 1
	fi
	rm -f "$log"
}

# fetch URL FILE: by apt's own downloader, which every supported release has and which knows the host's proxy.
# What is on this host is never asked for through a proxy.
fetch() {
	rm -f "$2"
	case $1 in
	*://127.0.0.1:*)
		env -u http_proxy -u all_proxy /usr/lib/apt/apt-helper -qq -o APT::Sandbox::User=root -o Acquire::Retries=0 \
			-o Acquire::http::Timeout=5 -o Acquire::http::Proxy::127.0.0.1=DIRECT download-file "$1" "$2"
		;;
	*)
		/usr/lib/apt/apt-helper -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download-file "$1" "$2"
		;;
	esac
}

# record LINE FILE: adds a line to a list of the ledger, once.
record() {
	if ! quiet grep -qxF -e "$1" "$STATE/$2"; then
		printf '%s\n' "$1" >>"$STATE/$2"
	fi
}

lines_of() {
	if test -f "$STATE/$1"; then cat "$STATE/$1"; fi
}

make_dirs() {
	if test -d "$1"; then return 0; fi
	make_dirs "$(dirname "$1")"
	record "$1" dirs
	mkdir -m 0755 "$1"
}

# own PATH: writes down, before the first change, whether the file was there, and keeps it when it was.
own() {
	if quiet grep -qxF -e "absent $1" -e "kept $1" "$STATE/owned"; then return 0; fi
	if test -e "$1"; then
		mkdir -p "$STATE/originals$(dirname "$1")"
		cp -pf "$1" "$STATE/originals$1"
		record "kept $1" owned
	else
		record "absent $1" owned
	fi
	make_dirs "$(dirname "$1")"
}

# scratch_for PATH: where the file is made before it is renamed into place. Falco reads every regular file of its
# two folders, so a half-written one must not lie there.
scratch_for() {
	case $1 in
	/etc/falco/*/*) printf '/etc/falco/.spire-falco.tmp\n' ;;
	*) printf '%s/.spire-falco.tmp\n' "$(dirname "$1")" ;;
	esac
}

# put FROM PATH: replaces a file whole or not at all.
put() {
	local scratch
	scratch=$(scratch_for "$2")
	if ! cp -p "$1" "$scratch"; then
		rm -f "$scratch"
		fail "cannot write $2 (is the disk full? df -h $(dirname "$2"))"
	fi
	mv -f "$scratch" "$2"
}

# give_back PATH: makes a file what it was before us.
give_back() {
	rm -f "$(scratch_for "$1")"
	if quiet grep -qxF -e "kept $1" "$STATE/owned"; then
		if test -e "$STATE/originals$1"; then put "$STATE/originals$1" "$1"; fi
	else
		rm -f "$1"
	fi
}
