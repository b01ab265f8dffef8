// Package detection_test holds the rules to what they must do on recorded events. What that is stands in rules/scenario/scenarios.yaml.
package detection_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco/condition"
	"spire-falco/falco/ruleset"
	"spire-falco/rules"
	"spire-falco/rules/scenario"
)

func scenarios(t *testing.T) []scenario.Scenario {
	t.Helper()
	all, err := scenario.Load()
	require.NoError(t, err)
	return all
}

// The static files, as a person copies them, and the rendered ones, as they are deployed, give exactly the alerts of the table.
func TestScenarios(t *testing.T) {
	t.Parallel()
	rendered, err := rules.Render(rules.DefaultInputs())
	require.NoError(t, err)
	for name, files := range map[string][]rules.File{"static": rules.Static(), "rendered": rendered.Files()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			results, err := scenario.Run(scenarios(t), load(t, files).fire)
			require.NoError(t, err)
			for _, r := range results {
				t.Run(string(r.Scenario.Group)+"/"+r.Scenario.Recording+" "+r.Scenario.Name, func(t *testing.T) {
					assert.Empty(t, r.Problems(), "%d events of %s", len(r.Scenario.Events), r.Scenario.Recording)
				})
			}
		})
	}
}

func TestScenarios_have_the_guides_tests_by_name(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"socket cat on the node":               "Unauthorized Access to SPIRE Socket",
		"exec of a shell":                      "Unexpected Shell Spawned in mTLS Container",
		"cat /etc/shadow inside the container": "Sensitive File Read by mTLS Process",
		"wrong port":                           "Unexpected Network Port Binding",
		"certificate write":                    "Certificate File Modification",
		"certificate delete":                   "Certificate File Modification",
		"escape through /proc":                 "Container Escape Attempt via Proc",
		"escape through core_pattern":          "Container Escape Attempt via Proc",
		"outbound connection":                  "Outbound Connection from mTLS Server",
	}
	got := map[string]string{}
	for _, s := range scenarios(t) {
		if s.Group == scenario.Guide {
			for _, a := range s.Want {
				got[s.Name] = a.Rule
			}
		}
	}
	assert.Equal(t, want, got)
}

// What the guide shows of each alert is in the alert.
func TestGuide_outputs(t *testing.T) {
	t.Parallel()
	rendered, err := rules.Render(rules.DefaultInputs())
	require.NoError(t, err)
	e := load(t, rendered.Files())
	want := map[string]string{
		"socket cat on the node":               "Unauthorized process accessing SPIRE socket (proc=cat ",
		"exec of a shell":                      "Shell spawned in mTLS server container (container=mtls-server proc=bash ",
		"cat /etc/shadow inside the container": "mTLS process reading sensitive file (proc=cat file=/etc/shadow ",
		"wrong port":                           "mTLS server binding to unexpected port (port=9000 expected=8443 ",
	}
	seen := 0
	for _, s := range scenarios(t) {
		if prefix, ok := want[s.Name]; ok && s.Group == scenario.Guide {
			assert.Contains(t, e.output(t, s.Events[0]), prefix, s.Name)
			seen++
		}
	}
	assert.Equal(t, len(want), seen)
}

// No rule fires on normal work, but for what the table explains.
func TestBenign_recordings_are_silent(t *testing.T) {
	t.Parallel()
	benign := 0
	for _, s := range scenarios(t) {
		if !s.Benign {
			continue
		}
		benign++
		if len(s.Want) > 0 {
			assert.Contains(t, []string{"D3", "N4", "B17", "B22", "B42"}, s.Recording, "alerts are expected in a recording of normal work")
			assert.NotEmpty(t, s.Note)
		}
	}
	assert.Equal(t, 25, benign)
}

func TestLint_has_nothing_to_say(t *testing.T) {
	t.Parallel()
	rendered, err := rules.Render(rules.DefaultInputs())
	require.NoError(t, err)
	for name, files := range map[string][]rules.File{"static": rules.Static(), "rendered": rendered.Files()} {
		assert.Empty(t, ruleset.Lint(load(t, files).set, ruleset.LintOptions{}), name)
	}
}

func TestEveryRule(t *testing.T) {
	t.Parallel()
	all := scenarios(t)
	caught := map[string]int{}
	for _, s := range all {
		if (s.Group == scenario.Recording || s.Group == scenario.Act) && !s.Benign {
			for _, a := range s.Want {
				caught[a.Rule]++
			}
		}
	}
	const generic = "syscall" // fchmodat2, move_mount, open_tree and truncate have no event of their own
	types := map[string][]string{
		socketRule: {"connect", "creat", "open", "open_by_handle_at", "openat", "openat2"},
		tamperRule: {
			"bind", "chmod", "chown", "creat", "fchmod", "fchmodat", "fchown", "fchownat", "lchown", "link", "linkat", "mknod", "mknodat",
			"mount", "rename", "renameat", "renameat2", "rmdir", "symlink", "symlinkat", generic, "unlink", "unlinkat",
		},
		shellRule: {"execve", "execveat"},
		childRule: {"execve", "execveat"},
		debugRule: {"pidfd_getfd", "process_vm_readv", "process_vm_writev", "ptrace"},
		certificateRule: {
			"chmod", "chown", "creat", "fchmod", "fchmodat", "fchown", "fchownat", "io_uring_setup", "lchown", "link", "linkat", "mount", "open",
			"open_by_handle_at", "openat", "openat2", "rename", "renameat", "renameat2", "symlink", "symlinkat", generic, "unlink", "unlinkat",
		},
		escapeRule: {
			"chmod", "chown", "chroot", "creat", "execve", "execveat", "fchmod", "fchmodat", "fchown", "fchownat", "io_uring_setup", "lchown", "link",
			"linkat", "mkdir", "mkdirat", "mknod", "mknodat", "mount", "open", "open_by_handle_at", "openat", "openat2", "rename", "renameat",
			"renameat2", "rmdir", "setns", "symlink", "symlinkat", "unlink", "unlinkat",
		},
		sensitiveRule: {
			"creat", "link", "linkat", "open", "open_by_handle_at", "openat", "openat2", "rename", "renameat", "renameat2", "symlink", "symlinkat",
		},
		tokenRule:   {"creat", "link", "linkat", "open", "open_by_handle_at", "openat", "openat2", "symlink", "symlinkat"},
		portRule:    {"bind", "listen"},
		egressRule:  {"connect", "sendmmsg", "sendmsg", "sendto"},
		evasionRule: {"io_uring_setup", "mkdir", "mkdirat", "mount", "open_by_handle_at", "setns", generic, "unshare"},
	}
	list := load(t, rules.Static()).rules()
	assert.Len(t, list, len(types))
	var opens atomic.Int32
	// Each costs every open of the node.
	t.Cleanup(func() { assert.EqualValues(t, 5, opens.Load(), "rules about opens") })
	for _, r := range list {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			assert.Positive(t, caught[r.Name], "no recorded attack that it must catch")
			lang := condition.For(recordedBy())
			needed, err := lang.NeededEventTypes(r.Expr)
			require.NoError(t, err)
			if slices.Contains(lang.EventNames(needed), "openat") {
				opens.Add(1)
			}
			assert.Equal(t, types[r.Name], lang.EventNames(needed), "the calls that Falco is asked to capture")
			for _, name := range lang.EventNames(needed) {
				assert.True(t, lang.Captured(name), "%s is not captured live", name)
			}
		})
	}
}

// What a rule is said to depend on is what changes it.
func TestSettingsOf(t *testing.T) {
	t.Parallel()
	got := map[string][]string{}
	for _, r := range load(t, rules.Static()).rules() {
		got[r.Name] = rules.SettingsOf(r)
	}
	pods := []string{"Workloads.Name", "Workloads.Namespace"}
	programs := []string{
		"Workloads.Children", "Workloads.Executable", "Workloads.Health", "Workloads.Image", "Workloads.Name", "Workloads.Namespace",
	}
	assert.Equal(t, map[string][]string{
		socketRule: {
			"AgentSocketPath", "AllowedSocketProcesses", "SPIRENamespaces", "Workloads.Executable", "Workloads.Image", "Workloads.Name",
			"Workloads.Namespace", "Workloads.SocketPath",
		},
		tamperRule: {"AgentSocketPath", "SPIRENamespaces"},
		shellRule:  programs,
		childRule:  programs,
		debugRule:  {"Workloads.Executable", "Workloads.Name", "Workloads.Namespace"},
		certificateRule: {
			"Workloads.CertificateDirs", "Workloads.Executable", "Workloads.Image", "Workloads.Name", "Workloads.Namespace",
		},
		escapeRule:    nil,
		sensitiveRule: pods,
		tokenRule:     pods,
		portRule: {
			"Workloads.Executable", "Workloads.Image", "Workloads.Name", "Workloads.Namespace", "Workloads.Port",
		},
		egressRule: {
			"Workloads.Children", "Workloads.Egress", "Workloads.Executable", "Workloads.Image", "Workloads.Name", "Workloads.Namespace", "Workloads.Peers",
		},
		evasionRule: {"AllowedSocketProcesses", "Workloads.Name", "Workloads.Namespace"},
	}, got)
}
