package host

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"spire-falco/falco"
	"spire-falco/tests/host/machine"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"gopkg.in/yaml.v3"
)

func validArgs(t *testing.T) *Args {
	t.Helper()
	return &Args{
		Hosts: []Host{
			{Name: "web-1", Address: "192.0.2.1", User: "deploy", PrivateKey: pulumi.String("x"), HostKey: machine.NewHostKey(t)},
			{Name: "laptop", Local: true},
		},
		FalcoVersion:     "0.40.0",
		Rules:            map[string]string{"10-a.yaml": "- list: a\n  items: []\n", "90-b.yaml": "- list: b\n  items: []"},
		RulesBeforeStock: []string{"10-a.yaml"}, RulesAfterStock: []string{"90-b.yaml"},
		RulesHash: "abc", AgentSocketPath: "/tmp/spire-agent/public/api.sock",
		Output: Output{File: "/var/log/falco/events.json", Syslog: true},
	}
}

func publicKey(t *testing.T, key any) string {
	t.Helper()
	public, err := ssh.NewPublicKey(key)
	require.NoError(t, err)
	return string(ssh.MarshalAuthorizedKey(public))
}

func TestValidate(t *testing.T) {
	t.Parallel()
	require.NoError(t, validArgs(t).Validate())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		spoil func(a *Args)
		want  string
	}{
		"no_hosts":                {func(a *Args) { a.Hosts = nil }, "hosts: at least one is needed"},
		"a_name_with_capitals":    {func(a *Args) { a.Hosts[0].Name = "Web" }, `hosts[0].name: "Web" is not allowed: a DNS label`},
		"a_name_twice":            {func(a *Args) { a.Hosts[1].Name = "web-1" }, `hosts[1].name: "web-1" is not allowed: hosts[0] has it already`},
		"a_machine_twice":         {func(a *Args) { a.Hosts = append(a.Hosts, Host{Name: "me", Local: true}) }, "hosts[2]: the same machine as hosts[1] (this machine)"},
		"no_address":              {func(a *Args) { a.Hosts[0].Address = "" }, `hosts[0].address: "" is not allowed: a DNS name or an IP address`},
		"an_address_with_a_port":  {func(a *Args) { a.Hosts[0].Address = "web:22" }, `hosts[0].address: "web:22"`},
		"a_port_too_high":         {func(a *Args) { a.Hosts[0].Port = 70000 }, `hosts[0].port: "70000" is not allowed: a whole number from 1 to 65535`},
		"no_user":                 {func(a *Args) { a.Hosts[0].User = "" }, `hosts[0].user: "" is not allowed: a Linux user name`},
		"no_private_key":          {func(a *Args) { a.Hosts[0].PrivateKey = nil }, "hosts[0]: no private key"},
		"no_host_key":             {func(a *Args) { a.Hosts[0].HostKey = "" }, "hosts[0].hostKey: not set: without a pinned host key anyone in the network path could impersonate the machine"},
		"a_fingerprint_as_key":    {func(a *Args) { a.Hosts[0].HostKey = "SHA256:abcdef" }, `hosts[0].hostKey: "SHA256:abcdef" is not one public key`},
		"an_RSA_host_key":         {func(a *Args) { a.Hosts[0].HostKey = publicKey(t, rsaKey.Public()) }, "hosts[0].hostKey: an ssh-rsa key cannot be pinned"},
		"two_host_keys":           {func(a *Args) { a.Hosts[0].HostKey = machine.NewHostKey(t) + "\n" + machine.NewHostKey(t) }, "is not one public key"},
		"a_local_host_with_user":  {func(a *Args) { a.Hosts[1].User = "root" }, "hosts[1]: local is set, so address, port, user, hostKey and private key must not be"},
		"an_unknown_version":      {func(a *Args) { a.FalcoVersion = "0.39.0" }, `falcoVersion: "0.39.0" is not allowed: one of 0.40.0, 0.41.3, 0.42.1, 0.43.1, 0.44.1`},
		"no_rules":                {func(a *Args) { a.Rules, a.RulesBeforeStock, a.RulesAfterStock = nil, nil, nil }, "rules: at least one file is needed"},
		"a_rule_file_with_a_path": {func(a *Args) { a.Rules["../x.yaml"] = "" }, `rules: "../x.yaml" is not allowed: a base name`},
		"a_rule_file_not_ordered": {func(a *Args) { a.RulesAfterStock = nil }, "it or rulesAfterStock must have 90-b.yaml"},
		"an_ordered_file_missing": {func(a *Args) { a.RulesAfterStock = append(a.RulesAfterStock, "c.yaml") }, `"c.yaml" is not allowed: rules has no such file`},
		"an_ordered_file_twice":   {func(a *Args) { a.RulesAfterStock = append(a.RulesAfterStock, "10-a.yaml") }, "listed twice"},
		"a_NUL_in_a_rule":         {func(a *Args) { a.Rules["10-a.yaml"] = "\x00" }, "its content has a NUL byte"},
		"a_relative_socket":       {func(a *Args) { a.AgentSocketPath = "api.sock" }, `agentSocketPath: "api.sock" is not allowed: an absolute path`},
		"no_output":               {func(a *Args) { a.Output = Output{} }, "output: file, syslog and http are all off"},
		"an_alert_file_in_tmp":    {func(a *Args) { a.Output.File = "/tmp/alerts" }, `output.file: "/tmp/alerts" is not allowed: Falco's service cannot write below /tmp`},
		"an_alert_file_with_dots": {func(a *Args) { a.Output.File = "/var/log/../../etc/x" }, "output.file:"},
		"no_rotated_files":        {func(a *Args) { a.Output.RotateKeep = -1 }, `output.rotateKeep: "-1" is not allowed: a whole number from 1 to 1000`},
		"an_FTP_output":           {func(a *Args) { a.Output.HTTP = "ftp://x" }, `output.http: "ftp://x" is not allowed: an http or https URL`},
		"a_password_in_the_URL":   {func(a *Args) { a.Output.HTTP = "https://u:hunter2@x/p" }, `output.http: "https://x/p" is not allowed: no user, password or query`},
		"a_token_in_the_URL":      {func(a *Args) { a.Output.HTTP = "https://x/p?token=hunter2" }, `output.http: "https://x/p" is not allowed`},
		"a_buffer_preset_of_11":   {func(a *Args) { a.BufferPreset = 11 }, `bufferPreset: "11" is not allowed: a whole number from 1 to 10`},
		"a_priority_of_warn":      {func(a *Args) { a.Priority = "warn" }, `priority: "warn" is not allowed: one of emergency, alert,`},
		"a_short_fingerprint": {func(a *Args) {
			r := FalcoRepository
			r.KeyFingerprint = "B35B1B1F"
			a.Repository = &r
		}, `repository.keyFingerprint: "B35B1B1F" is not allowed: a full fingerprint`},
		"a_repository_without_a_scheme": {func(a *Args) {
			r := FalcoRepository
			r.URL = "mirror/falco"
			a.Repository = &r
		}, `repository.url: "mirror/falco" is not allowed: an http or https URL`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := validArgs(t)
			c.spoil(a)
			err := a.Validate()
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}

	t.Run("all_problems_are_named_at_once", func(t *testing.T) {
		t.Parallel()
		a := validArgs(t)
		a.FalcoVersion, a.Priority, a.Hosts[0].User = "1", "x", "X"
		err := a.Validate()
		for _, key := range []string{"falcoVersion", "priority", "hosts[0].user"} {
			assert.ErrorContains(t, err, key)
		}
	})

	t.Run("an_ECDSA_host_key_as_known_hosts_has_it_is_taken", func(t *testing.T) {
		t.Parallel()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		line := publicKey(t, key.Public())
		pinned, err := hostKey("web-1.example.org " + line)
		require.NoError(t, err)
		assert.Equal(t, strings.TrimSpace(line), pinned)
	})
}

func TestVersions(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"0.40.0", "0.41.3", "0.42.1", "0.43.1", "0.44.1"}, Versions())
	for _, v := range Versions() {
		f, err := falco.Lookup(v)
		require.NoError(t, err)
		settings := packageSettings((&Args{FalcoVersion: v, Repository: &FalcoRepository}).withDefaults())
		assert.Contains(t, settings, setting{"KERNEL_MIN", f.MinKernel})
		assert.Contains(t, settings, setting{"KERNEL_BELOW", f.BelowKernel})
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	a := validArgs(t)
	a.Output.HTTP = "http://sidekick:2801"
	a.Priority, a.BufferPreset = "warning", 6
	rendered, err := renderConfig(a.withDefaults())
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(rendered), &got))
	assert.Equal(t, map[string]any{
		"engine":                     map[string]any{"kind": "modern_ebpf", "modern_ebpf": map[string]any{"cpus_for_each_buffer": 2, "buf_size_preset": 6, "drop_failed_exit": false}},
		"watch_config_files":         false,
		"priority":                   "warning",
		"json_output":                true,
		"json_include_tags_property": true,
		"stdout_output":              map[string]any{"enabled": false},
		"syslog_output":              map[string]any{"enabled": true},
		"file_output":                map[string]any{"enabled": true, "keep_alive": false, "filename": "/var/log/falco/events.json"},
		"http_output":                map[string]any{"enabled": true, "url": "http://sidekick:2801"},
		"webserver": map[string]any{
			"enabled": true, "listen_address": "127.0.0.1", "listen_port": 8765, "k8s_healthz_endpoint": "/healthz",
			"prometheus_metrics_enabled": true, "ssl_enabled": false,
		},
		"metrics": map[string]any{
			"enabled": true, "interval": "1h", "output_rule": false, "rules_counters_enabled": true, "resource_utilization_enabled": false,
			"state_counters_enabled": false, "kernel_event_counters_enabled": false, "libbpf_stats_enabled": false, "plugins_metrics_enabled": false,
		},
	}, got)
}

func TestScript(t *testing.T) {
	t.Parallel()
	t.Run("a_payload_stages_files_byte_for_byte", func(t *testing.T) {
		t.Parallel()
		a := validArgs(t)
		a.Rules["10-a.yaml"] = "- list: a # $(touch /nowhere) `x` \\ 'quoted' \"q\" EOF\n  items: []\n\n"
		body, err := payload(a.withDefaults())
		require.NoError(t, err)
		dir := t.TempDir()
		c := exec.Command("/bin/sh", "-s", dir)
		c.Stdin = strings.NewReader("set -eu\nSTATE=$1\nfail() { echo \"$*\"; exit 1; }\n" + stageFunction(t) + body + "payload\n")
		out, err := c.CombinedOutput()
		require.NoErrorf(t, err, "%s", out)
		for name, want := range map[string]string{"10-a.yaml": a.Rules["10-a.yaml"], "90-b.yaml": a.Rules["90-b.yaml"] + "\n"} {
			got, err := os.ReadFile(filepath.Join(dir, "staged", falco.RulesDir, name))
			require.NoError(t, err)
			assert.Equal(t, want, string(got))
		}
	})

	t.Run("settings_survive_quoting", func(t *testing.T) {
		t.Parallel()
		value := `it's "a" $value \ with ` + "`all`"
		out, err := exec.Command("/bin/sh", "-c", setting{"V", value}.assign()+`printf %s "$V"`).Output()
		require.NoError(t, err)
		assert.Equal(t, value, string(out))
	})

	t.Run("a_script_that_is_cut_off_anywhere_does_nothing", func(t *testing.T) {
		t.Parallel()
		a := validArgs(t).withDefaults()
		files, err := payload(a)
		require.NoError(t, err)
		steps := stepsOf("p/s", a, &a.Hosts[0], files)
		whole := steps[len(steps)-1].stdin
		for i := 0; i < len(whole)-len("main \"$@\" </dev/null\n"); i += 997 {
			// Every external program leaves a trace; none may run.
			dir := t.TempDir()
			c := exec.Command("/bin/sh", "-s", "--", "falco")
			c.Env = []string{"PATH=" + dir}
			c.Stdin = strings.NewReader(strings.ReplaceAll(whole[:i], "PATH=/usr/local/sbin", "PATH="+dir+":/usr/local/sbin"))
			out, _ := c.CombinedOutput()
			assert.NotContainsf(t, string(out), "web-1: ", "cut at byte %d", i)
		}
	})

	t.Run("rules_change_no_step_but_the_last", func(t *testing.T) {
		t.Parallel()
		one, two := validArgs(t), validArgs(t)
		two.Hosts = one.Hosts
		two.Rules["10-a.yaml"], two.RulesHash, two.Priority, two.BufferPreset = "- list: z\n  items: []\n", "xyz", "error", 2
		a, b := one.withDefaults(), two.withDefaults()
		fa, err := payload(a)
		require.NoError(t, err)
		fb, err := payload(b)
		require.NoError(t, err)
		sa, sb := stepsOf("p/s", a, &a.Hosts[0], fa), stepsOf("p/s", b, &b.Hosts[0], fb)
		for i := range sa {
			assert.Equal(t, i < len(sa)-1, sa[i].stdin == sb[i].stdin, sa[i].name)
		}
	})
}

// stageFunction cuts the function stage out of falco.sh.
func stageFunction(t *testing.T) string {
	t.Helper()
	_, after, found := strings.Cut(falcoSh, "\nstage() {")
	require.True(t, found)
	body, _, found := strings.Cut(after, "\n}\n")
	require.True(t, found)
	return "stage() {" + body + "\n}\n"
}
