#!/bin/sh
# shellcheck shell=dash
# The first and the last step: write down how the host was, and make it so again.
set -eu

: "${STATE:?}" "${OWNER:?}" "${PROBLEMS:?}"

# step_base keeps the first picture of the host: a later run must not take our own work for what was there before.
step_base() {
	local new
	take_lock
	check_owner
	stop_on_problems
	if test -d "$STATE/base"; then return 0; fi
	check_host
	doing "writing down how the host was, in $STATE"
	mkdir -p "$STATE"
	new=$STATE/base.new
	rm -rf "$new"
	mkdir "$new"
	printf '%s\n' "$OWNER" >"$new/owner"
	if present falco; then
		installed falco >"$new/falco"
	else
		printf 'absent\n' >"$new/falco"
	fi
	apt-mark showhold falco >"$new/hold"
	picture_units >"$new/units"
	mv "$new" "$STATE/base"
}

# remove_packages purges what we added, and nothing that others have come to need since.
remove_packages() {
	local package extra
	repair_dpkg
	set --
	for package in $(lines_of packages); do
		if present "$package"; then set -- "$@" "$package"; fi
	done
	while test $# -gt 0; do
		extra=$(apt -s purge "$@" | awk '$1 == "Purg" || $1 == "Remv" { print $2 }' | while read -r package; do
			case " $* " in
			*" $package "*) ;;
			*) printf '%s ' "$package" ;;
			esac
		done)
		if test -z "$extra"; then
			run_apt -y --allow-change-held-packages purge "$@" || fail "apt could not remove $*"
			return 0
		fi
		if test "$*" = falco; then
			fail "removing falco would also remove $extra; remove those first"
		fi
		say "note: left installed, others need them now: $(printf '%s ' "$@" | sed 's/\bfalco \?//')"
		if present falco; then set -- falco; else set --; fi
	done
}

# remove_alerts deletes the alert files that Falco wrote because of us, with their rotated parts.
remove_alerts() {
	local file
	lines_of alerts | while IFS= read -r file; do
		rm -f "$file" "$file".[0-9]*
	done
}

give_back_files() {
	local fate path
	lines_of owned | while read -r fate path; do
		test -n "$fate" || continue
		give_back "$path"
	done
	rm -f /etc/falco/.spire-falco.tmp
}

remove_dirs() {
	local dir
	lines_of dirs | sort -r | while IFS= read -r dir; do
		rmdir "$dir" 2>/dev/null || true
	done
}

step_remove() {
	take_lock
	if ! test -d "$STATE/base"; then
		rm -rf "$STATE"
		return 0
	fi
	check_owner
	stop_on_problems
	doing "stopping Falco"
	stop_units
	doing "giving back the files that were changed"
	give_back_files
	doing "removing the packages that were added"
	if test "$(cat "$STATE/base/falco")" = absent; then
		if present falco; then quiet apt-mark unhold falco; fi
		rm -f /var/lib/apt/lists/"$(printf '%s' "${REPO_URL:?}" | sed 's|^[a-z]*://||; s|_|%5f|g; s|/|_|g')"_*
	elif test -n "$(installed falco)" && ! test -s "$STATE/base/hold"; then
		quiet apt-mark unhold falco
	fi
	remove_packages
	doing "removing alert files and folders"
	remove_alerts
	remove_dirs
	doing "giving back the services"
	if test "$(cat "$STATE/base/falco")" != absent; then
		give_back_units "$STATE/base/units"
	else
		quiet service_manager daemon-reload
	fi
	doing "removing $STATE"
	# The picture goes last: a removal that was cut off goes on from it.
	find "$STATE" -mindepth 1 -maxdepth 1 ! -name base -exec rm -rf {} +
	rm -rf "$STATE"
}
