#!/bin/sh
# shellcheck shell=dash
# The rules, the configuration and the service: staged, validated by the Falco that is installed, switched, and given
# back when Falco does not serve with them.
set -eu

: "${STATE:?}" "${FALCO_UNIT:?}"

RULES_DIR=/etc/falco/rules.d
CONFIG_DIR=/etc/falco/config.d
DROP_IN=/etc/systemd/system/$FALCO_UNIT.d/spire-falco.conf

# stage PATH SHA256: takes a file from standard input. payload, which the program writes, calls it for each.
stage() {
	mkdir -p "$STATE/staged$(dirname "$1")"
	cat >"$STATE/staged$1" || fail "cannot write to $STATE (is the disk full? df -h /var/lib)"
	chmod 0644 "$STATE/staged$1"
	if test "$(sha256sum <"$STATE/staged$1" | cut -d ' ' -f 1)" != "$2"; then
		fail "$1 did not arrive as it was sent"
	fi
}

# wanted lists the files that are to be live.
wanted() {
	find "$STATE/staged" -type f | sed "s|^$STATE/staged||" | sort
}

# stale lists the files of ours that are live and no longer wanted.
stale() {
	local path
	lines_of files | while IFS= read -r path; do
		if ! test -f "$STATE/staged$path"; then printf '%s\n' "$path"; fi
	done
}

# preview_dirs builds what Falco's two folders will hold after the switch, other people's files included.
preview_dirs() {
	local path dir
	rm -rf "$STATE/preview"
	for dir in "$RULES_DIR" "$CONFIG_DIR"; do
		mkdir -p "$STATE/preview$dir"
		make_dirs "$dir"
		cp -a "$dir/." "$STATE/preview$dir"
	done
	stale | while IFS= read -r path; do
		rm -f "$STATE/preview$path"
	done
	cp -a "$STATE/staged/etc/falco/." "$STATE/preview/etc/falco"
}

# host_rules_files lists the rule files that this host's falco.yaml names, folders opened, ours left out.
host_rules_files() {
	local entry file
	awk '
		/^rules_files?:/ { on = 1; next }
		on && /^[[:space:]]*-/ {
			sub(/^[[:space:]]*-[[:space:]]*/, ""); sub(/[[:space:]]+#.*$/, ""); sub(/[[:space:]]+$/, ""); gsub(/["\047]/, "")
			print; next
		}
		on && /^[[:space:]]*(#|$)/ { next }
		on { exit }' /etc/falco/falco.yaml | while IFS= read -r entry; do
		if test "${entry%/}" = "$RULES_DIR"; then
			find -L "$STATE/preview$RULES_DIR" -maxdepth 1 -type f | sort | while IFS= read -r file; do
				if ! test -f "$STATE/staged$RULES_DIR/${file##*/}"; then printf '%s\n' "$RULES_DIR/${file##*/}"; fi
			done
		elif test -d "$entry"; then
			find -L "$entry" -maxdepth 1 -type f | sort
		elif test -f "$entry"; then
			printf '%s\n' "$entry"
		fi
	done
}

# rules_order lists all rule files in the order in which Falco must load them: the first rule that matches an event is
# the one that fires, so ours stand before the stock ones.
rules_order() {
	local name
	for name in ${RULES_FIRST?}; do printf '%s\n' "$RULES_DIR/$name"; done
	host_rules_files
	for name in ${RULES_LAST?}; do printf '%s\n' "$RULES_DIR/$name"; done
}

# stage_unit makes the drop-in that gives the unit that order. config.d cannot: what a file there says of rules_files
# is added to the list since Falco 0.41.
stage_unit() {
	local order
	order=$(rules_order)
	if printf '%s\n' "$order" | grep -q '["\\ ]'; then
		fail "a rule file's name has a space, a quote or a backslash: $(printf '%s\n' "$order" | grep '["\\ ]' | head -n 1)"
	fi
	mkdir -p "$STATE/staged$(dirname "$DROP_IN")"
	{
		printf '# Written by spire-falco: the order in which rule files load.\n[Service]\nExecStart=\n'
		# Up to 0.41 the first action on lost events is the only one, and logging is the other. A list in config.d would be
		# added to Falco's own.
		printf 'ExecStart=/usr/bin/falco -o engine.kind=modern_ebpf -o syscall_event_drops.actions[0]=alert'
		printf '%s\n' "$order" | sed 's/%/%%/g' | while IFS= read -r path; do printf ' -r %s' "$path"; done
		printf '\n'
	} >"$STATE/staged$DROP_IN"
	chmod 0644 "$STATE/staged$DROP_IN"
}

# validate has the installed Falco read everything as it will be, in a mount namespace of its own: the live folders
# are not touched, and its messages name the real paths.
validate() {
	local log path
	doing "validating the new files with the installed Falco"
	log=$STATE/validate.log
	set --
	for path in $(rules_order); do set -- "$@" -r "$path"; done
	# shellcheck disable=SC2016  # for the inner shell to expand
	if unshare --mount --propagation private /bin/sh -c '
		set -eu
		mount --bind "$1$2" "$2"
		mount --bind "$1$3" "$3"
		shift 3
		exec /usr/bin/falco --dry-run -o engine.kind=modern_ebpf -o "syscall_event_drops.actions[0]=alert" -o log_syslog=false "$@"
	' validate "$STATE/preview" "$RULES_DIR" "$CONFIG_DIR" "$@" >"$log" 2>&1 9>&- </dev/null; then
		return 0
	fi
	say "error: Falco $(installed falco) refuses the new files; the former ones stay live. It says:"
	# What comes before is the log of a usual start.
	sed -n '/^Error/,$p' "$log" | grep -v '^$' | head -n 40 | sed "s/^/$HOST_NAME:   /" >&2
	exit "$EXPLAINED"
}

# keep_former writes down what a switch replaces. While this record is there, the switch is not done.
keep_former() {
	local path new
	doing "keeping the former files in $STATE/switch"
	new=$STATE/switch.new
	rm -rf "$new"
	mkdir -p "$new/former"
	{
		wanted
		lines_of files
	} | sort -u >"$new/paths"
	while IFS= read -r path; do
		if test -e "$path"; then
			mkdir -p "$new/former$(dirname "$path")"
			cp -p "$path" "$new/former$path"
		fi
	done <"$new/paths"
	picture_units >"$new/units"
	mv "$new" "$STATE/switch"
}

# roll_back makes the live files and the service what they were before the switch.
roll_back() {
	local path
	doing "giving back the former files"
	while IFS= read -r path; do
		if test -e "$STATE/switch/former$path"; then
			put "$STATE/switch/former$path" "$path"
		else
			rm -f "$path"
		fi
	done <"$STATE/switch/paths"
	give_back_units "$STATE/switch/units"
	switching ''
	rm -rf "$STATE/switch"
}

switch_files() {
	local path
	doing "switching the files"
	wanted | while IFS= read -r path; do
		own "$path"
		put "$STATE/staged$path" "$path"
	done
	stale | while IFS= read -r path; do
		give_back "$path"
	done
}

# serving tells whether the Falco that answers has its probe in the kernel and has loaded exactly our rule files. Of
# configuration files Falco reports falco.yaml alone, not those of config.d.
serving() {
	local path metrics
	metrics=$STATE/metrics
	is_active "$FALCO_UNIT" || return 1
	quiet fetch "http://127.0.0.1:${WEBSERVER_PORT:?}/metrics" "$metrics" || return 1
	grep -q '^falcosecurity_scap_engine_name_info{.*engine_name="modern_bpf"' "$metrics" || return 1
	wanted | while IFS= read -r path; do
		case $path in
		"$RULES_DIR"/*)
			grep '^falcosecurity_falco_sha256_rules_files_info{' "$metrics" | grep -F -e "file_name=\"${path##*/}\"" |
				grep -qF -e "sha256=\"$(sha256sum <"$STATE/staged$path" | cut -d ' ' -f 1)\"" || return 1
			;;
		esac
	done
}

# wait_until_serving gives up at once when the service has failed, and at the end of its time.
wait_until_serving() {
	local end
	doing "waiting until Falco serves"
	end=$(($(date +%s) + ${START_TIMEOUT:?}))
	while ! serving; do
		case $(service_manager show -p ActiveState -p SubState "$FALCO_UNIT" | tr '\n' ' ') in
		*=failed* | *=auto-restart*)
			WHY="$FALCO_UNIT does not start"
			return 1
			;;
		esac
		if test "$(date +%s)" -ge "$end"; then
			WHY="$FALCO_UNIT does not serve with the new rules within $START_TIMEOUT s"
			return 1
		fi
		sleep 0.5
	done
}

live_as_wanted() {
	local path
	test -z "$(stale)" || return 1
	test "$(wanted)" = "$(lines_of files)" || return 1
	wanted | while IFS= read -r path; do
		cmp -s "$STATE/staged$path" "$path" || return 1
	done
}

repair_switch() {
	if test -d "$STATE/switch"; then
		say "note: a former run was cut off while it switched files; giving back the former ones first"
		roll_back
	fi
}

step_falco() {
	local log
	take_lock
	if ! test -d "$STATE/base"; then fail "the step before this one left no record in $STATE"; fi
	if test "$(installed falco)" != "${FALCO_VERSION:?}"; then fail "falco $FALCO_VERSION is not installed here, but $(installed falco)"; fi
	repair_switch
	doing "staging the new files in $STATE"
	rm -rf "$STATE/staged"
	mkdir "$STATE/staged"
	payload
	preview_dirs
	if test -z "$(host_rules_files)"; then
		fail "/etc/falco/falco.yaml names no rule file under rules_files, as a list of one path a line"
	fi
	stage_unit
	if live_as_wanted && serving; then
		say "Falco $FALCO_VERSION serves with these files already"
	else
		validate
		keep_former
		if test -n "${ALERT_FILE?}"; then
			if ! test -e "$ALERT_FILE"; then record "$ALERT_FILE" alerts; fi
			make_dirs "$(dirname "$ALERT_FILE")"
		fi
		switching yes
		switch_files
		doing "switching the service"
		switch_units
		WHY=
		if ! wait_until_serving; then
			say "error: $WHY; giving back the former files. Its journal ends with:"
			log=$(journalctl -u "$FALCO_UNIT" -n 12 --no-pager -o cat 2>/dev/null || true)
			printf '%s\n' "$log" | sed "s/^/$HOST_NAME:   /" >&2
			exit "$EXPLAINED"
		fi
		wanted >"$STATE/files.new"
		mv "$STATE/files.new" "$STATE/files"
		switching ''
		rm -rf "$STATE/switch"
	fi
	rm -rf "$STATE/preview" "$STATE/staged" "$STATE/metrics" "$STATE/validate.log"
	printf 'falco=%s kernel=%s engine=modern_bpf rules=%s\n' "$FALCO_VERSION" "$(uname -r)" "${RULES_HASH:?}"
}
