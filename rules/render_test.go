package rules_test

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
	"spire-falco/falco"
	"spire-falco/falco/stock"
	"spire-falco/rules"
)

var update = flag.Bool("update", false, "write the golden files anew")

// twoNamespaces are inputs that use every setting.
func twoNamespaces() rules.Inputs {
	return rules.Inputs{
		FalcoVersion:           "0.44.1",
		AgentSocketPath:        "/run/spire/sockets/agent.sock",
		SPIRENamespaces:        []string{"spire"},
		AllowedSocketProcesses: []string{"/usr/local/bin/spiffe-step-ssh", "/usr/bin/ghostunnel"},
		Workloads: []config.Workload{
			{
				Name: "orders", Namespace: "shop", Port: 8443, Executable: "/orders", Children: []string{"/bin/healthcheck"},
				Image: "registry.example.org:5000/shop/orders:1.2@sha256:" + strings.Repeat("0a", 32), Health: []string{"/orders", "--check", "ready"},
				Egress: []config.Endpoint{{CIDR: "10.1.2.3/8", Port: 5432, Protocol: "tcp"}, {CIDR: "fd00::1/128", Port: 53, Protocol: "udp"}, {CIDR: "0.0.0.0/0", Port: 443, Protocol: "tcp"}},
			},
			{Name: "stock", Namespace: "shop", Port: 9443, Executable: "/app/stock-service-with-a-long-name", CertificateDirs: []string{"/run/certs"}},
			// A label that is the name of a stock list, and one that YAML takes for a boolean.
			{Name: "shell_binaries", Namespace: "tools", Executable: "/tool", Image: "acme/tool", SocketPath: "/run/agent/api.sock"},
			{Name: "on", Namespace: "true", Port: 1, Executable: "/on"},
		},
	}
}

func generated(t *testing.T, r *rules.Rendered) string {
	t.Helper()
	i := slices.IndexFunc(r.Files(), func(f rules.File) bool { return f.Name == "spire-mtls-settings.yaml" })
	require.GreaterOrEqual(t, i, 0)
	return r.Files()[i].Content
}

func TestRender_generated_file(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]rules.Inputs{
		"default":        rules.DefaultInputs(),
		"two-namespaces": twoNamespaces(),
		"no-workload":    with(func(in *rules.Inputs) { in.Workloads = nil }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := rules.Render(in)
			require.NoError(t, err)
			golden := "testdata/settings-" + name + ".yaml"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(generated(t, r)), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), generated(t, r))
		})
	}
}

func TestRender_files_come_in_load_order(t *testing.T) {
	t.Parallel()
	in := rules.DefaultInputs()
	in.ExtraFiles = []rules.File{{Name: "50-a-first.yaml", Content: "- list: x\n  items: [a]\n"}, {Name: "team.yaml", Content: "- list: y\n  items: [x]\n"}}
	r, err := rules.Render(in)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"/etc/falco/rules.d/spire-mtls-rules.yaml", "/etc/falco/rules.d/spire-mtls-settings.yaml", "/etc/falco/falco_rules.yaml", "/etc/falco/falco_rules.local.yaml", "/etc/falco/rules.d/50-a-first.yaml", "/etc/falco/rules.d/team.yaml",
	}, r.RulesFiles())
	assert.Len(t, r.Data(), len(r.Files()))
	for _, f := range r.Files() {
		assert.Equal(t, f.Content, r.Data()[f.Name])
	}

	r, err = rules.Render(rules.DefaultInputs())
	require.NoError(t, err)
	list := r.RulesFiles()
	assert.Equal(t, []string{"/etc/falco/rules.d/spire-mtls-settings.yaml", "/etc/falco/falco_rules.yaml", "/etc/falco/falco_rules.local.yaml"}, list[len(list)-3:])
}

func TestRender_hash_follows_the_content(t *testing.T) {
	t.Parallel()
	hash := func(in rules.Inputs) string {
		r, err := rules.Render(in)
		require.NoError(t, err)
		assert.Regexp(t, `^[0-9a-f]{64}$`, r.Hash)
		return r.Hash
	}
	base := hash(rules.DefaultInputs())
	assert.Equal(t, base, hash(rules.DefaultInputs()), "the same inputs give the same hash")
	assert.Equal(t, base, hash(with(func(in *rules.Inputs) { in.FalcoVersion = "0.44.1" })), "the rules are the same for every Falco")
	seen := map[string]string{base: "default"}
	for name, in := range map[string]rules.Inputs{
		"another port": with(func(in *rules.Inputs) { in.Workloads[0].Port = 9443 }),
		"an extra file": with(func(in *rules.Inputs) {
			in.ExtraFiles = []rules.File{{Name: "a.yaml", Content: "- list: a\n  items: []\n"}}
		}),
		"its name": with(func(in *rules.Inputs) {
			in.ExtraFiles = []rules.File{{Name: "b.yaml", Content: "- list: a\n  items: []\n"}}
		}),
	} {
		h := hash(in)
		assert.NotContains(t, seen, h, "%s and %s", name, seen[h])
		seen[h] = name
	}
}

func TestRules_have_the_guides_names_and_priorities(t *testing.T) {
	t.Parallel()
	r, err := rules.Render(rules.DefaultInputs())
	require.NoError(t, err)
	got := map[string]string{}
	for _, s := range r.Rules {
		got[s.Name] = s.Priority
		assert.NotEmpty(t, s.Description, s.Name)
		assert.NotEmpty(t, s.File, s.Name)
		assert.True(t, slices.ContainsFunc(s.Tags, func(tag string) bool { return strings.HasPrefix(tag, "mitre_") }), "%s has no MITRE tactic", s.Name)
		assert.True(t, slices.ContainsFunc(s.Tags, regexp.MustCompile(`^T\d{4}(\.\d{3})?$`).MatchString), "%s has no MITRE technique", s.Name)
	}
	assert.Equal(t, map[string]string{
		"Unauthorized Access to SPIRE Socket":            "CRITICAL",
		"Unexpected Shell Spawned in mTLS Container":     "WARNING",
		"Unexpected Network Port Binding":                "WARNING",
		"Certificate File Modification":                  "CRITICAL",
		"Container Escape Attempt via Proc":              "CRITICAL",
		"Outbound Connection from mTLS Server":           "WARNING",
		"Sensitive File Read by mTLS Process":            "CRITICAL",
		"SPIRE Socket Directory Tampering":               "CRITICAL",
		"Service Account Token Access in mTLS Container": "CRITICAL",
		"Unexpected Child Process in mTLS Container":     "WARNING",
		"Debugger Attached to mTLS Process":              "CRITICAL",
		"Detection Evasion Attempt":                      "CRITICAL",
	}, got)
}

// The names are those of the rules that the image of each Falco carries.
func TestNames_clash_with_no_stock_rule(t *testing.T) {
	t.Parallel()
	var names []string
	for _, v := range falco.Versions() {
		facts, err := stock.Facts(v)
		require.NoError(t, err)
		for _, f := range facts {
			names = append(names, string(f.Kind)+": "+f.Name)
		}
	}
	require.Greater(t, len(names), 400)
	declared := regexp.MustCompile(`(?m)^- ((rule|macro|list): (.*))$`)
	var own []string
	for _, f := range rules.Static() {
		for _, m := range declared.FindAllStringSubmatch(f.Content, -1) {
			assert.NotContains(t, names, m[1])
			if m[2] != "rule" {
				assert.True(t, strings.HasPrefix(m[3], "spire_mtls_"), m[1])
				own = append(own, m[3])
			}
		}
	}
	// And none of the stock lists and macros is used: no word of ours is one of their names.
	for _, f := range rules.Static() {
		words := regexp.MustCompile(`[a-z0-9]+(_[a-z0-9]+)+`).FindAllString(f.Content, -1)
		for _, w := range words {
			if !slices.Contains(own, w) {
				assert.NotContains(t, names, "macro: "+w, f.Name)
				assert.NotContains(t, names, "list: "+w, f.Name)
			}
		}
	}
}
