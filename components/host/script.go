package host

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"spire-falco/falco"
)

var (
	//go:embed scripts/launch.sh
	launchSh string
	//go:embed scripts/lib.sh
	libSh string
	//go:embed scripts/units.sh
	unitsSh string
	//go:embed scripts/check.sh
	checkSh string
	//go:embed scripts/package.sh
	packageSh string
	//go:embed scripts/base.sh
	baseSh string
	//go:embed scripts/falco.sh
	falcoSh string
	//go:embed scripts/main.sh
	mainSh string
)

// supportedReleases are those with BTF and ring buffers (Linux 5.8) in their kernels that still get security updates,
// as ID:VERSION_ID of /etc/os-release.
const supportedReleases = "debian:12 debian:13 ubuntu:22.04 ubuntu:24.04"

// Free space that an installation needs, in MB, with a margin: the package unpacks to less than half of the first, and
// apt keeps lists and the package itself under /var.
const (
	needUsrMB = 400
	needVarMB = 150
)

const (
	keyringFile = "/usr/share/keyrings/falco-archive-keyring.gpg"
	sourcesFile = "/etc/apt/sources.list.d/falcosecurity.list"
)

// The steps of a machine, as main.sh knows them.
const (
	stepCheck   = "check"
	stepBase    = "base"
	stepPackage = "package"
	stepFalco   = "falco"
	stepRemove  = "remove"
)

// setting is one shell variable.
type setting struct{ name, value string }

// assign returns the assignment with the value quoted for the shell.
func (s setting) assign() string {
	return s.name + "='" + strings.ReplaceAll(s.value, "'", `'\''`) + "'\n"
}

// command returns the command line of a step. The check runs without root, and reports a user without the right.
func command(step string) string {
	if step == stepCheck {
		return "/bin/sh -s -- " + step
	}
	return "/bin/sh -c '" + strings.Join(codeLines(launchSh), "; ") + "' spire-falco " + step
}

// codeLines returns the lines of a script without comments and empty lines.
func codeLines(script string) []string {
	var lines []string
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// script returns the standard input of a step: settings, functions, the files to write, and the call.
func script(settings []setting, payload string, parts ...string) string {
	var b strings.Builder
	for _, s := range settings {
		b.WriteString(s.assign())
	}
	for _, part := range append([]string{libSh, unitsSh}, parts...) {
		b.WriteString(part)
	}
	b.WriteString(payload)
	b.WriteString(mainSh)
	return b.String()
}

// identity returns the settings of every step of a machine.
func identity(owner, hostName string) []setting {
	return []setting{{"HOST_NAME", hostName}, {"OWNER", owner}}
}

// packageSettings returns the settings that check, base and package share. A change of rules or outputs does not affect
// them.
func packageSettings(a *Args) []setting {
	f, _ := falco.Lookup(a.FalcoVersion) // checked by Validate
	needed := "ca-certificates gpg"
	if a.Output.File != "" {
		needed += " logrotate"
	}
	return []setting{
		{"FALCO_VERSION", a.FalcoVersion},
		{"KERNEL_MIN", f.MinKernel},
		{"KERNEL_BELOW", f.BelowKernel},
		{"SUPPORTED_RELEASES", supportedReleases},
		{"NEED_USR_MB", strconv.Itoa(needUsrMB)},
		{"NEED_VAR_MB", strconv.Itoa(needVarMB)},
		{"AGENT_SOCKET", a.AgentSocketPath},
		{"NEEDED_PACKAGES", needed},
		{"REPO_URL", strings.TrimSuffix(a.Repository.URL, "/")},
		{"REPO_SUITE", a.Repository.Suite},
		{"REPO_COMPONENT", a.Repository.Component},
		{"KEY_URL", a.Repository.KeyURL},
		{"KEY_FINGERPRINT", a.Repository.KeyFingerprint},
		{"KEYRING_FILE", keyringFile},
		{"SOURCES_FILE", sourcesFile},
	}
}

// falcoSettings returns the settings of the last step.
func falcoSettings(a *Args) []setting {
	return []setting{
		{"FALCO_VERSION", a.FalcoVersion},
		{"RULES_FIRST", strings.Join(a.RulesBeforeStock, " ")},
		{"RULES_LAST", strings.Join(a.RulesAfterStock, " ")},
		{"RULES_HASH", a.RulesHash},
		{"ALERT_FILE", a.Output.File},
		{"WEBSERVER_PORT", strconv.Itoa(a.WebserverPort)},
		{"START_TIMEOUT", strconv.Itoa(a.StartTimeout)},
	}
}

// payload returns the shell function that stages the files, each as a here-document, which is readable in a preview.
func payload(a *Args) (string, error) {
	config, err := renderConfig(a)
	if err != nil {
		return "", err
	}
	files := map[string]string{configFile: config}
	if a.Output.File != "" {
		files[rotateFile] = renderRotate(a.Output)
	}
	for name, content := range a.Rules {
		files[path.Join(falco.RulesDir, name)] = content
	}
	var b strings.Builder
	b.WriteString("\npayload() {\n")
	for _, file := range sortedKeys(files) {
		content := files[file]
		if !strings.HasSuffix(content, "\n") {
			content += "\n" // a here-document always ends a line
		}
		sum := sha256.Sum256([]byte(content))
		digest := hex.EncodeToString(sum[:])
		// No file contains its own digest, so the end marker is unique.
		fmt.Fprintf(&b, "stage '%s' %s <<'END-%s'\n%sEND-%s\n", file, digest, digest, content, digest)
	}
	b.WriteString("}\n\n")
	return b.String(), nil
}

func sortedKeys(m map[string]string) []string {
	return slices.Sorted(maps.Keys(m))
}
