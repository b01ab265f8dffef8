// Package host_test runs the Host component on the real Pulumi engine, against machines that are real but for their
// kernel: over SSH, with apt, dpkg and sudo.
package host_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"spire-falco/components/host"
	"spire-falco/engine"
	"spire-falco/falco"
	"spire-falco/rules"
	"spire-falco/tests/host/commandprovider"
	"spire-falco/tests/host/machine"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optdestroy"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optpreview"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optrefresh"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optup"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	goodRules    = "- rule: Socket opened\n  desc: d\n  condition: evt.type = open\n  output: o\n  priority: CRITICAL\n"
	changedRules = "- rule: Socket opened\n  desc: d\n  condition: evt.type = openat\n  output: o\n  priority: CRITICAL\n"
	refusedRules = "- rule: Socket opened\n  desc: d\n  condition: no_such_macro\n  output: o\n  priority: CRITICAL\n"
)

// pluginVariable names a folder with the real provider's plugin, pulumi-resource-command, for a second run with it.
const pluginVariable = "COMMAND_PROVIDER_DIR"

// bench is one stack of hosts and the machine behind it.
type bench struct {
	*machine.Machine
	ssh      *machine.SSHServer
	repo     *machine.Repository
	provider *commandprovider.Server // nil with the real plugin
	args     *host.Args
	stack    auto.Stack
	cli      auto.PulumiCommand
	backend  string
	said     bytes.Buffer // all progress of all runs
}

var webserverPort atomic.Int32

func newBench(t *testing.T, plugin string) *bench {
	t.Helper()
	m := machine.New(t, machine.Options{})
	b := &bench{Machine: m, ssh: m.SSH(t), repo: machine.NewRepository(t), backend: t.TempDir()}
	b.repo.Attach(t, m)
	b.args = &host.Args{
		Hosts: []host.Host{{
			Name: "web-1", Address: b.ssh.Address, Port: b.ssh.Port, User: "deploy",
			PrivateKey: pulumi.String(b.ssh.PrivateKey), HostKey: b.ssh.HostKey,
		}},
		FalcoVersion:     "0.40.0",
		Rules:            map[string]string{"10-socket.yaml": goodRules},
		RulesBeforeStock: []string{"10-socket.yaml"},
		RulesHash:        "hash-1", AgentSocketPath: "/tmp/spire-agent/public/api.sock",
		Output:        host.Output{Syslog: true},
		WebserverPort: 18800 + int(webserverPort.Add(1)), StartTimeout: 20,
		Repository: &host.Repository{URL: b.repo.URL, Suite: "stable", Component: "main", KeyURL: b.repo.KeyURL, KeyFingerprint: b.repo.Fingerprint},
	}
	b.cli = pulumiCLI(t)
	b.open(t, plugin)
	return b
}

// open makes the stack, or opens it again with a provider that was started anew.
func (b *bench) open(t *testing.T, plugin string) {
	t.Helper()
	env := map[string]string{
		"PULUMI_BACKEND_URL": "file://" + b.backend, "PULUMI_CONFIG_PASSPHRASE": "test", "PULUMI_HOME": filepath.Join(b.backend, "home"),
		"PULUMI_SKIP_UPDATE_CHECK": "true", "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
		"SSH_AUTH_SOCK": "", // the provider would offer an agent's keys too
	}
	if plugin == "" {
		var err error
		b.provider, err = commandprovider.Start()
		require.NoError(t, err)
		t.Cleanup(b.provider.Close)
		env["PULUMI_DEBUG_PROVIDERS"] = b.provider.Attach()
	} else {
		env["PATH"] = plugin + ":" + os.Getenv("PATH")
	}
	program := func(ctx *pulumi.Context) error {
		fleet, err := host.New(ctx, "hosts", b.args)
		if err != nil {
			return err
		}
		ctx.Export("status", fleet.Status)
		return nil
	}
	var err error
	b.stack, err = auto.UpsertStackInlineSource(context.Background(), "test", "hosts", program,
		auto.Pulumi(b.cli), auto.WorkDir(t.TempDir()), auto.EnvVars(env))
	require.NoError(t, err, "open the stack")
}

func (b *bench) up(t *testing.T) (auto.UpResult, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var progress bytes.Buffer
	r, err := b.stack.Up(ctx, optup.ProgressStreams(&progress), optup.ErrorProgressStreams(io.Discard), optup.Color("never"))
	b.said.Write(progress.Bytes())
	return r, err
}

func (b *bench) mustUp(t *testing.T) auto.UpResult {
	t.Helper()
	r, err := b.up(t)
	require.NoError(t, err)
	return r
}

func (b *bench) destroy(t *testing.T) {
	t.Helper()
	_, err := b.stack.Destroy(context.Background(), optdestroy.ProgressStreams(&b.said), optdestroy.Color("never"))
	require.NoError(t, err)
}

// pulumiCLI skips the test, loudly, where there is none.
func pulumiCLI(t *testing.T) auto.PulumiCommand {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	path, err := engine.CLI(context.Background(), root, os.Stderr)
	if err != nil {
		if os.Getenv(machine.RequireVariable) != "" {
			t.Fatalf("no Pulumi CLI: %v", err)
		}
		t.Skipf("SKIPPED, NOT PASSED: no Pulumi CLI: %v", err)
	}
	options := &auto.PulumiCommandOptions{}
	if onPath, err := exec.LookPath("pulumi"); err != nil || onPath != path {
		options.Root = filepath.Dir(filepath.Dir(path))
	}
	cli, err := auto.NewPulumiCommand(options)
	require.NoError(t, err)
	return cli
}

// providers are those that the tests run with: the one in commandprovider, and the real plugin where there is one.
func providers() map[string]string {
	all := map[string]string{"attached_provider": ""}
	if dir := os.Getenv(pluginVariable); dir != "" {
		all["real_plugin"] = dir
	}
	return all
}

func TestLifeOfAHost(t *testing.T) {
	t.Parallel()
	for name, plugin := range providers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, plugin)
			b.args.Output.File = "/var/log/falco/events.json"
			before := b.Snapshot(t)

			_, err := b.stack.Preview(context.Background(), optpreview.Color("never"))
			require.NoError(t, err)
			assert.Zero(t, b.ssh.Logins(), "a preview asks no machine")

			r := b.mustUp(t)
			assert.Equal(t, 6, (*r.Summary.ResourceChanges)["create"], "stack, component and four steps")
			status := r.Outputs["status"].Value.(map[string]any)["web-1"]
			assert.Equal(t, "falco=0.40.0 kernel=6.8.0-45-generic engine=modern_bpf rules=hash-1", status)
			assert.Equal(t, goodRules, b.Read(t, falco.RulesDir+"/10-socket.yaml"))

			logins := b.ssh.Logins()
			r = b.mustUp(t)
			assert.Equal(t, map[string]int{"same": 6}, *r.Summary.ResourceChanges)
			assert.Equal(t, logins, b.ssh.Logins(), "nothing to do, so nobody logs in")

			b.args.Rules["10-socket.yaml"] = changedRules
			b.args.RulesHash = "hash-2"
			r = b.mustUp(t)
			assert.Equal(t, map[string]int{"same": 5, "update": 1}, *r.Summary.ResourceChanges, "a change of rules touches the last step alone")
			assert.Equal(t, changedRules, b.Read(t, falco.RulesDir+"/10-socket.yaml"))

			b.args.Rules["10-socket.yaml"] = refusedRules
			_, err = b.up(t)
			require.Error(t, err)
			assert.Contains(t, err.Error(), "web-1: error: Falco 0.40.0 refuses the new files; the former ones stay live")
			assert.Contains(t, err.Error(), "Undefined macro 'no_such_macro'")
			assert.Equal(t, changedRules, b.Read(t, falco.RulesDir+"/10-socket.yaml"))
			assert.Equal(t, "active\n", b.MustRun(t, "systemctl is-active falco-modern-bpf.service"))

			b.args.Rules["10-socket.yaml"] = goodRules
			b.mustUp(t)
			assert.Equal(t, goodRules, b.Read(t, falco.RulesDir+"/10-socket.yaml"))

			state, err := os.ReadFile(filepath.Join(b.backend, ".pulumi", "stacks", "hosts", "test.json"))
			require.NoError(t, err)
			require.Contains(t, string(state), "ciphertext")
			secret := strings.Split(b.ssh.PrivateKey, "\n")[2]
			require.Greater(t, len(secret), 40)
			assert.NotContains(t, string(state), secret, "the private key is in the state encrypted only")
			assert.NotContains(t, b.said.String(), secret)
			for _, line := range b.ssh.Commands() {
				assert.NotContains(t, line, "PRIVATE KEY")
				assert.NotContains(t, line, b.repo.Fingerprint, "settings travel on standard input")
				assert.Less(t, len(line), 250)
			}

			b.destroy(t)
			assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
		})
	}
}

func TestHostThatCannotBeReached(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(t *testing.T, h *host.Host)
		said  string
	}{
		"a_wrong_host_key": {func(t *testing.T, h *host.Host) { h.HostKey = machine.NewHostKey(t) }, "host key mismatch"},
		"a_wrong_user":     {func(_ *testing.T, h *host.Host) { h.User = "nobody-here" }, "unable to authenticate"},
	} {
		for kind, plugin := range providers() {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				b := newBench(t, plugin)
				c.spoil(t, &b.args.Hosts[0])
				before := b.Snapshot(t)
				_, err := b.up(t)
				require.Error(t, err)
				assert.Contains(t, err.Error(), c.said)
				assert.Contains(t, err.Error(), "hosts-web-1-check")
				assert.Zero(t, b.ssh.Logins(), "nothing was run")
				assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
			})
		}
	}

	t.Run("a_user_without_sudo", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, "")
		b.args.Hosts[0].User = "nosudo"
		before := b.Snapshot(t)
		_, err := b.up(t)
		require.Error(t, err)
		assert.Contains(t, err.Error(), "web-1: error: user nosudo may not become root without a password")
		assert.Len(t, b.ssh.Commands(), 1, "the other steps were not tried")
		assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
		b.destroy(t)
	})
}

func TestInterruptedUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	before := b.Snapshot(t)
	// The provider dies while apt waits for the package; what it had started on the machine goes on.
	arrived, hold := make(chan struct{}), make(chan struct{})
	b.repo.Before(func(path string) {
		if strings.Contains(path, "falco_") {
			close(arrived)
			<-hold
		}
	})
	failed := make(chan error, 1)
	go func() {
		_, err := b.up(t)
		failed <- err
	}()
	<-arrived
	b.repo.Before(nil)
	b.provider.Close()
	require.Error(t, <-failed)
	close(hold)

	b.open(t, "")
	_, err := b.stack.Refresh(context.Background(), optrefresh.ClearPendingCreates())
	require.NoError(t, err)
	r := b.mustUp(t)
	assert.Contains(t, r.Outputs["status"].Value.(map[string]any)["web-1"], "engine=modern_bpf")
	assert.Equal(t, map[string]int{"same": 6}, *b.mustUp(t).Summary.ResourceChanges)
	b.destroy(t)
	assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
}

func TestDestroyAfterAFailedUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	before := b.Snapshot(t)
	b.args.Rules["10-socket.yaml"] = refusedRules
	_, err := b.up(t)
	require.Error(t, err)
	b.destroy(t)
	assert.Empty(t, machine.Differences(before, b.Snapshot(t)), "what the steps before the failed one had added is gone too")
}

func TestHostThatHadFalcoBefore(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.repo.InstallFalco(t, b.Machine, "0.40.0", b.args.WebserverPort)
	before := b.Snapshot(t)
	b.mustUp(t)
	assert.Equal(t, goodRules, b.Read(t, falco.RulesDir+"/10-socket.yaml"))
	b.destroy(t)
	assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
}

func TestManualSteps(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/hosts.md")
	require.NoError(t, err)
	m := machine.New(t, machine.Options{})
	repo := machine.NewRepository(t)
	repo.Attach(t, m)
	_, byHand, found := strings.Cut(string(page), "\n## The same by hand\n")
	require.True(t, found)
	byHand, _, found = strings.Cut(byHand, "\n## ")
	require.True(t, found)
	var blocks []string
	for i, part := range strings.Split(byHand, "```") {
		if i%2 == 1 {
			blocks = append(blocks, strings.TrimPrefix(part, "sh\n"))
		}
	}
	require.Len(t, blocks, 2)
	m.Write(t, "/home/deploy/rules/own.yaml", goodRules)
	m.Write(t, "/usr/local/bin/curl", "#!/bin/sh\n# curl -fsSL URL -o FILE\nexec /usr/lib/apt/apt-helper -qq download-file \"$2\" \"$4\"\n")
	m.Write(t, "/etc/sudoers.d/deploy", "deploy ALL=(root) NOPASSWD: ALL\n")
	m.MustRun(t, "chmod 0755 /usr/local/bin/curl")
	for i, block := range blocks {
		if i == 1 { // all machines share one loopback device
			m.MustRun(t, fmt.Sprintf("sed -i 's/listen_port: .*/listen_port: %d/' /etc/falco/falco.yaml", 18800+int(webserverPort.Add(1))))
		}
		for _, change := range [][2]string{
			{host.FalcoRepository.KeyURL, repo.KeyURL}, {host.FalcoRepository.KeyFingerprint, repo.Fingerprint}, {host.FalcoRepository.URL, repo.URL},
		} {
			block = strings.ReplaceAll(block, change[0], change[1])
		}
		require.NotContains(t, block, "falco.org")
		r := m.Run(t, "deploy", "/bin/sh -eu", block)
		require.Zerof(t, r.Code, "%s%s", r.Stdout, r.Stderr)
	}
	assert.Equal(t, "active\n", m.MustRun(t, "systemctl is-active falco-modern-bpf.service"))
	assert.Equal(t, "falco\n", m.MustRun(t, "apt-mark showhold"))
}

func TestThisMachine(t *testing.T) {
	t.Parallel()
	b := newBench(t, "")
	b.provider.Local = func(ctx context.Context, line string) *exec.Cmd { return b.Command(ctx, "deploy", line) }
	b.args.Hosts = []host.Host{{Name: "laptop", Local: true}}
	rendered, err := rules.Render(rules.DefaultInputs())
	require.NoError(t, err)
	b.args.Rules, b.args.RulesHash = rendered.Data(), rendered.Hash
	b.args.RulesBeforeStock, b.args.RulesAfterStock = rules.Names(rendered.BeforeStock), rules.Names(rendered.AfterStock)
	before := b.Snapshot(t)
	r := b.mustUp(t)
	assert.Contains(t, r.Outputs["status"].Value, "laptop")
	assert.Zero(t, b.ssh.Logins())
	b.destroy(t)
	assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
}
