#!/bin/sh
# shellcheck shell=dash
# The last lines of every script: nothing above them does anything by itself.
set -eu

main() {
	trap at_exit EXIT
	case ${1:-} in
	check) step_check ;;
	base) step_base ;;
	package) step_package ;;
	falco) step_falco ;;
	remove) step_remove ;;
	*) fail "no such step: ${1:-}" ;;
	esac
}

main "$@" </dev/null
