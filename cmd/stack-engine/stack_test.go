package main

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/events"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/cmd/internal/cli"
	"spire-falco/config"
	"spire-falco/report/reporttest"
	"spire-falco/rules"
	"spire-falco/values"
)

// run runs the command line in a folder and returns what it printed, and its error.
func run(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := newRootCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append([]string{"--dir", dir}, args...))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestAWrongSettingStopsEveryCommandBeforeAnythingIsBuilt(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.yaml"), []byte("name: spire-falco\nruntime: go\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.dev.yaml"), []byte("config:\n  spire-falco:minikube.cpus: 1\n"), 0o600))
	for _, command := range []string{"preview", "up", "down", "outputs"} {
		_, err := run(t, dir, command)
		require.ErrorContains(t, err, "Pulumi.dev.yaml:2:3: minikube.cpus", command)
	}
	_, err := run(t, t.TempDir(), "preview")
	require.ErrorContains(t, err, "there is no Pulumi.yaml")
}

// TestATeardownAndAQueryDoNotNeedTheRules runs each command without a program for the engine: one that needs the rules
// stops at the rule file that is gone, the others come as far as the engine.
func TestATeardownAndAQueryDoNotNeedTheRules(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.yaml"), []byte("name: spire-falco\nruntime: go\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.dev.yaml"), []byte(
		"config:\n  spire-falco:enableFalco: true\n  spire-falco:falco.extraRules: [gone.yaml]\n"), 0o600))
	t.Setenv("PATH", "") // no CLI, no go command to build one
	t.Setenv("PULUMI", filepath.Join(dir, "no-such-cli"))
	for command, needsRules := range map[string]bool{
		"preview": true, "up": true, "verify": true, "down": false, "outputs": false, "alerts": false,
	} {
		t.Run(command, func(t *testing.T) {
			_, err := run(t, dir, command)
			require.Error(t, err)
			if needsRules {
				assert.ErrorContains(t, err, "gone.yaml")
			} else {
				assert.NotContains(t, err.Error(), "gone.yaml")
			}
		})
	}
}

func TestEveryCommandThatTheStackHandsOverIsHere(t *testing.T) {
	root := newRootCommand()
	for _, c := range cli.EngineCommands() {
		cmd := &cobra.Command{Use: c.Use}
		found, _, err := root.Find([]string{cmd.Name()})
		require.NoError(t, err)
		assert.Equal(t, c.Use, found.Use)
		assert.Equal(t, c.Short, found.Short)
	}
	assert.Len(t, root.Commands(), len(cli.EngineCommands()))
	out, err := run(t, t.TempDir(), cobra.ShellCompRequestCmd, "verify", "--on")
	require.NoError(t, err)
	assert.Contains(t, out, "--only\t", "a shell completes it outside of a project too")
}

// machine is a machine for preflights: programs that are there, and what they answer.
type machine map[string]string

func (m machine) has(name string) bool { _, ok := m[name]; return ok }

func (m machine) run(_ context.Context, name string, args ...string) (string, error) {
	answer := m[name]
	if name == "kubectl" && strings.Contains(strings.Join(args, " "), "get nodes") {
		return m["nodes"], nil
	}
	if name == "kubectl" && strings.Contains(strings.Join(args, " "), "get crd") {
		return m["crd"], nil
	}
	if failed, ok := strings.CutPrefix(answer, "fail:"); ok {
		return failed, errors.New("exit status 1")
	}
	return answer, nil
}

func TestUpSaysWhatIsMissingBeforeItChangesAnything(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, os.WriteFile(kubeconfig, nil, 0o600))
	existing := func(more map[string]string) map[string]string {
		m := map[string]string{"cluster.mode": "existing", "cluster.kubeconfig": kubeconfig, "cluster.context": "c", "image.repository": "r.example.org/i", "enableFalco": "true"}
		maps.Copy(m, more)
		return m
	}
	monitored := map[string]string{"falco.serviceMonitor": "true"}
	for _, tt := range []struct {
		name     string
		settings map[string]string
		machine  machine
		want     []string
	}{
		{"all there", nil, machine{"minikube": "", "docker": "6.1.0 2 4294967296"}, nil},
		{"a Minikube that knows the Kubernetes", nil, machine{"minikube": "v1.39.0\n", "docker": "28"}, nil},
		{
			"a Minikube that is too old", nil,
			machine{"minikube": "v1.38.1", "docker": "28"},
			[]string{"minikube 1.38.1 does not support Kubernetes v1.36.3; 1.39.0 is the first"},
		},
		{"an older Kubernetes", map[string]string{"minikube.kubernetesVersion": "v1.35.9"}, machine{"minikube": "v1.38.1", "docker": "28"}, nil},
		{"nothing there", nil, machine{}, []string{"minikube is not installed", "needs docker"}},
		{"Docker is not running", nil, machine{"minikube": "", "docker": "fail:Cannot connect to the Docker daemon"}, []string{"docker is not running: start it"}},
		{
			"Docker 20.10 is not running", nil,
			machine{"minikube": "", "docker": `fail:template: :1:2: executing "" at <.KernelVersion>: reflect: indirection through nil pointer`},
			[]string{"docker is not running: start it"},
		},
		{"a user outside the group", nil, machine{"minikube": "", "docker": "fail:dial unix /var/run/docker.sock: connect: permission denied"}, []string{"docker refuses this user: add it to the group docker"}},
		{"Docker is broken", nil, machine{"minikube": "", "docker": "fail:no space left"}, []string{"docker does not answer: no space left"}},
		{"too small a machine", nil, machine{"minikube": "", "docker": "6.1.0 1 2147483648"}, []string{"minikube.cpus = 2: docker has 1", "minikube.memory = 4096: docker has 2048 MiB"}},
		{"a kernel too new for Falco, before there is a node", map[string]string{"enableFalco": "true"}, machine{"minikube": "", "docker": "6.15.1 8 17179869184"}, []string{"the node's kernel:", "chart 6.4.1"}},
		{"that kernel without Falco", nil, machine{"minikube": "", "docker": "6.15.1 8 17179869184"}, nil},
		{"another system's driver", map[string]string{"minikube.driver": "hyperv"}, machine{"minikube": ""}, []string{"minikube.driver = hyperv is for windows"}},
		{
			"no root",
			map[string]string{"minikube.driver": "none", "minikube.profile": "minikube"},
			machine{"minikube": "", "id": "1000", "uname": "6.1.0"},
			[]string{"needs root"},
		},
		{"a Kubernetes that Minikube no longer has", map[string]string{"minikube.kubernetesVersion": "v1.27.9"}, machine{"minikube": "v1.38.1", "docker": "28"}, []string{"minikube.kubernetesVersion = v1.27.9", "v1.28.0"}},
		{"another driver's program", map[string]string{"minikube.driver": "kvm2"}, machine{"minikube": ""}, []string{"needs virsh"}},
		{"no kubeconfig", existing(map[string]string{"cluster.kubeconfig": "nowhere"}), machine{"kubectl": ""}, []string{"there is no such file"}},
		{"no kubectl", existing(nil), machine{}, []string{"kubectl is not installed"}},
		{"the cluster does not answer", existing(nil), machine{"kubectl": "fail:connection refused"}, []string{"does not answer: connection refused"}},
		{"a kernel that is too new", existing(nil), machine{"kubectl": "ok", "nodes": "a 6.8.0 containerd://2.2.0\nb 6.15.1 containerd://2.2.0\n"}, []string{"node b:", "chart 6.4.1"}},
		{"kernels that are right", existing(nil), machine{"kubectl": "ok", "nodes": "a 6.8.0\n"}, nil},
		{"no Prometheus Operator", existing(monitored), machine{"kubectl": "ok", "nodes": "a 6.8.0\n"}, []string{"falco.serviceMonitor = true", "Prometheus Operator"}},
		{"with its CRD", existing(monitored), machine{"kubectl": "ok", "nodes": "a 6.8.0\n", "crd": "customresourcedefinition/servicemonitors"}, nil},
		{"any kernel while Falco is off", existing(map[string]string{"enableFalco": "false"}), machine{"kubectl": "ok", "nodes": "a 6.15.1\n"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := config.Load(config.Source{Stack: "dev", Values: tt.settings})
			require.NoError(t, err)
			err = preflight(t.Context(), t.TempDir(), s, tt.machine)
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "nothing was changed")
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestTheSummaryCountsResourcesByComponent(t *testing.T) {
	seen := &planned{}
	for _, urn := range []string{
		"urn:pulumi:dev::spire-falco::spire-falco:components:Stack::stack",
		"urn:pulumi:dev::spire-falco::spire-falco:components:Stack$spire-falco:components:Workload::mtls-server",
		"urn:pulumi:dev::spire-falco::spire-falco:components:Stack$spire-falco:components:Workload::mtls-client",
		"urn:pulumi:dev::spire-falco::spire-falco:components:Stack$spire-falco:components:Workload$kubernetes:core/v1:Service::mtls-server-service",
		"urn:pulumi:dev::spire-falco::spire-falco:components:Stack$kubernetes:core/v1:Namespace::namespace-mtls",
	} {
		typ := urn[:strings.LastIndex(urn, "::")]
		seen.event(events.EngineEvent{EngineEvent: apitype.EngineEvent{ResourcePreEvent: &apitype.ResourcePreEvent{
			Metadata: apitype.StepEventMetadata{Op: apitype.OpCreate, URN: urn, Type: typ},
		}}})
	}
	counts := map[string]int{}
	for _, c := range seen.components() {
		counts[c.name] += c.resources
	}
	assert.Equal(t, 1, counts["mtls-server"])
	assert.Equal(t, 0, counts["mtls-client"])
	assert.Equal(t, 5, seen.changes())
}

func TestNothingFromOutsideReachesATerminalRaw(t *testing.T) {
	t.Parallel()
	urn := "urn:pulumi:dev::spire-falco::spire-falco:components:Stack$spire-falco:components:Workload::" + reporttest.Hostile
	seen := &planned{}
	seen.event(events.EngineEvent{EngineEvent: apitype.EngineEvent{ResourcePreEvent: &apitype.ResourcePreEvent{
		Metadata: apitype.StepEventMetadata{Op: apitype.OpCreate, URN: urn, Type: "spire-falco:components:Workload", New: &apitype.StepEventStateMetadata{
			URN: urn, Type: "kubernetes:helm.sh/v3:Release", Inputs: map[string]any{"chart": reporttest.Hostile},
		}},
	}}})
	settings, err := config.Load(config.Source{Stack: "dev"})
	require.NoError(t, err)
	settings.Warnings = []string{reporttest.Hostile}
	rendered := &rules.Rendered{Hash: strings.Repeat("0", 64)}
	rendered.Rules = append(rendered.Rules, rules.Summary{Name: reporttest.Hostile, Priority: reporttest.Hostile, File: reporttest.Hostile})
	for name, write := range map[string]func(*bytes.Buffer){
		"the summary of a preview": func(out *bytes.Buffer) {
			_ = writeSummary(out, reporttest.Hostile, &plan{loaded: &loaded{settings: settings}, rules: rendered}, seen, reporttest.Hostile, reporttest.Hostile)
		},
		"the outputs": func(out *bytes.Buffer) {
			require.NoError(t, writeOutputs(out, auto.OutputMap{reporttest.Hostile: {Value: reporttest.Hostile}}))
		},
		"what the engine prints": func(out *bytes.Buffer) {
			_, err := engineOutput(out).Write([]byte(reporttest.Hostile))
			require.NoError(t, err)
		},
		"what a preflight found": func(out *bytes.Buffer) {
			kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
			require.NoError(t, os.WriteFile(kubeconfig, nil, 0o600))
			s, err := config.Load(config.Source{Stack: "dev", Values: map[string]string{
				"cluster.mode": "existing", "cluster.kubeconfig": kubeconfig, "cluster.context": "c", "image.repository": "r.example.org/i", "enableFalco": "true",
			}})
			require.NoError(t, err)
			hostile := strings.NewReplacer("\n", "", " ", "").Replace(reporttest.Hostile)
			err = preflight(t.Context(), t.TempDir(), s, machine{"kubectl": "ok", "nodes": hostile + " 6.15.1" + hostile + "\n"})
			require.Error(t, err)
			cli.WriteError(out, err)
			assert.Equal(t, 3, strings.Count(out.String(), "\n"), "no line is added: %s", out)
		},
		"an error of any command": func(out *bytes.Buffer) { cli.WriteError(out, errors.New(reporttest.Hostile)) },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			write(&out)
			reporttest.Harmless(t, out.String())
			assert.Contains(t, out.String(), reporttest.Shown)
		})
	}
	assert.Nil(t, engineOutput(nil))
}

func TestAPreviewShowsWhatTheUsersValuesChange(t *testing.T) {
	t.Parallel()
	settings, err := config.Load(config.Source{Stack: "dev", Values: map[string]string{
		"enableFalco": "true", config.FalcoValuesKey: `{"image":{"pullPolicy":"Always"},"falco":{"log_stderr":false}}`,
	}})
	require.NoError(t, err)
	var out bytes.Buffer
	writeChanges(&out, values.Changes(settings))
	assert.Equal(t, "\nYOUR VALUES\tKEY\tVALUE\tINSTEAD OF\n"+
		"falco\tfalco.log_stderr\tfalse\ttrue\n"+
		"falco\timage.pullPolicy\t\"Always\"\tthe chart's default\n", out.String())
	out.Reset()
	writeChanges(&out, nil)
	assert.Empty(t, out.String())
}
