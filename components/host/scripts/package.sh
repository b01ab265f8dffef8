#!/bin/sh
# shellcheck shell=dash
# Falco's package from Falco's own repository, at one version, held there.
set -eu

: "${STATE:?}"

# repair_dpkg finishes what a cut-off apt left half done: apt does nothing at all before that.
repair_dpkg() {
	local left
	left=$(find /var/lib/dpkg/updates -type f 2>/dev/null | head -n 1)
	if test -n "$left" || { present falco && test -z "$(installed falco)"; }; then
		doing "finishing an interrupted installation of packages"
		FALCO_FRONTEND=noninteractive FALCO_DRIVER_CHOICE=none DEBIAN_FRONTEND=noninteractive \
			dpkg --configure -a --force-confold >/dev/null 2>&1 9>&- </dev/null || true
	fi
}

# add_packages writes down what apt is about to add, then lets it.
add_packages() {
	local package plan
	set -- --no-install-recommends --allow-change-held-packages --allow-downgrades install "$@"
	plan=$(apt -s "$@" | awk '$1 == "Inst" { print $2 }')
	for package in $plan; do
		if ! present "$package"; then record "$package" packages; fi
	done
	FALCO_FRONTEND=noninteractive FALCO_DRIVER_CHOICE=none FALCOCTL_ENABLED=no \
		run_apt -y "$@" || fail "apt could not install what is needed (see above)"
}

# add_tools brings what the steps need and a small host may lack.
add_tools() {
	local package
	set --
	for package in ${NEEDED_PACKAGES:?}; do
		if test -z "$(installed "$package")"; then set -- "$@" "$package"; fi
	done
	if test $# -eq 0; then return 0; fi
	doing "installing $*"
	run_apt update || fail "apt could not read the package lists of this host"
	add_packages "$@"
}

# add_key puts the one pinned key into a keyring of its own, whatever else the downloaded file holds.
add_key() {
	local work
	doing "fetching the repository's key from ${KEY_URL:?}"
	work=$(mktemp -d)
	chmod 0700 "$work"
	fetch "$KEY_URL" "$work/key" || fail "cannot download the repository's key from $KEY_URL"
	mkdir -m 0700 "$work/gnupg"
	quiet gpg --homedir "$work/gnupg" --batch --import "$work/key" || true
	quiet gpg --homedir "$work/gnupg" --batch --yes --output "$work/keyring" --export "${KEY_FINGERPRINT:?}" || true
	if ! test -s "$work/keyring"; then
		rm -rf "$work"
		fail "$KEY_URL does not hold the pinned key $KEY_FINGERPRINT; nothing was installed"
	fi
	chmod 0644 "$work/keyring"
	own "${KEYRING_FILE:?}"
	put "$work/keyring" "$KEYRING_FILE"
	rm -rf "$work"
}

add_repository() {
	local list versions
	add_key
	own "${SOURCES_FILE:?}"
	list=$(mktemp)
	printf 'deb [signed-by=%s] %s %s %s\n' "$KEYRING_FILE" "${REPO_URL:?}" "${REPO_SUITE:?}" "${REPO_COMPONENT:?}" >"$list"
	chmod 0644 "$list"
	put "$list" "$SOURCES_FILE"
	rm -f "$list"
	doing "reading the package list of $REPO_URL"
	# Only this list: a fault in another repository of the host is not ours to stumble over.
	run_apt -o Dir::Etc::sourcelist="$SOURCES_FILE" -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 \
		-o APT::Update::Error-Mode=any update || fail "apt could not read the package list of $REPO_URL, or its signature is not that of the pinned key"
	versions=$(apt-cache madison falco | awk '{ print $3 }' | sort -Vu)
	if ! printf '%s\n' "$versions" | grep -qxF -e "${FALCO_VERSION:?}"; then
		fail "$REPO_URL has no falco $FALCO_VERSION for $(dpkg --print-architecture); it has: $(printf '%s' "$versions" | tr '\n' ' ')"
	fi
}

step_package() {
	take_lock
	if ! test -d "$STATE/base"; then fail "the step before this one left no record in $STATE"; fi
	check_host
	repair_dpkg
	add_tools
	if test "$(cat "$STATE/base/falco")" = absent; then
		add_repository
		if test "$(installed falco)" != "${FALCO_VERSION:?}"; then
			doing "installing falco $FALCO_VERSION"
			say "installing falco $FALCO_VERSION"
			add_packages "falco=$FALCO_VERSION"
		fi
	fi
	doing "holding the version of falco"
	quiet apt-mark hold falco
	printf 'falco %s\n' "$(installed falco)"
}
