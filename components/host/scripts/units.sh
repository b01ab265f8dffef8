#!/bin/sh
# shellcheck shell=dash
# The systemd units of Falco's package.
set -eu

FALCO_UNIT=falco-modern-bpf.service
# It pulls whatever rules were published since.
FOLLOW_UNIT=falcoctl-artifact-follow.service
OTHER_UNITS="falco-kmod.service falco-bpf.service falco-custom.service"

# The lock is not for those who outlive this script.
service_manager() {
	systemctl --no-ask-password "$@" 9>&-
}

is_active() {
	test "$(service_manager is-active "$1" 2>/dev/null)" = active
}

enabled_state() {
	service_manager is-enabled "$1" 2>/dev/null || true
}

# unit_exists holds for a masked unit too.
unit_exists() {
	case $(enabled_state "$1") in
	'' | not-found) return 1 ;;
	esac
}

# picture_units prints one line for each unit that exists: name, enabled or not, active or not.
picture_units() {
	local unit active
	for unit in $FALCO_UNIT $OTHER_UNITS $FOLLOW_UNIT; do
		if unit_exists "$unit"; then
			active=inactive
			if is_active "$unit"; then active=active; fi
			printf '%s %s %s\n' "$unit" "$(enabled_state "$unit")" "$active"
		fi
	done
}

# give_back_units FILE: makes the units as they were when picture_units wrote the file.
give_back_units() {
	local unit enabled active now
	quiet service_manager daemon-reload
	while read -r unit enabled active; do
		now=$(enabled_state "$unit")
		if test "$now" = masked && test "$enabled" != masked; then quiet service_manager unmask "$unit"; fi
		case $enabled in
		enabled) quiet service_manager enable "$unit" ;;
		masked) quiet service_manager mask "$unit" ;;
		disabled) quiet service_manager disable "$unit" ;;
		esac
		if test "$active" = active; then
			service_manager restart "$unit" || say "error: $unit does not start with the former files either"
		else
			quiet service_manager stop "$unit" || true
			quiet service_manager reset-failed "$unit" || true
		fi
	done <"$1"
}

# stop_units is for the removal: nothing of Falco's runs afterwards.
stop_units() {
	local unit
	for unit in $FALCO_UNIT $OTHER_UNITS $FOLLOW_UNIT; do
		if unit_exists "$unit"; then
			quiet service_manager stop "$unit" || true
			quiet service_manager disable "$unit" || true
			quiet service_manager unmask "$unit" || true
		fi
	done
}

# switch_units lets the modern eBPF unit alone run, and keeps falcoctl from replacing the rules.
switch_units() {
	local unit
	quiet service_manager daemon-reload
	for unit in $OTHER_UNITS $FOLLOW_UNIT; do
		if unit_exists "$unit"; then
			quiet service_manager stop "$unit" || true
			quiet service_manager disable "$unit" || true
		fi
	done
	if unit_exists "$FOLLOW_UNIT" && test "$(enabled_state "$FOLLOW_UNIT")" != masked; then
		quiet service_manager mask "$FOLLOW_UNIT" || fail "cannot mask $FOLLOW_UNIT, which would replace the rules"
	fi
	quiet service_manager enable "$FALCO_UNIT" || fail "cannot enable $FALCO_UNIT"
	quiet service_manager restart "$FALCO_UNIT" || true
}
