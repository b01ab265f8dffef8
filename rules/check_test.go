package rules_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/rules"
)

func TestRender_checks_the_users_files(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		falco, yaml string
		want        []string // parts of the error; none when the file is right
	}{
		"a rule on our macros and lists": {yaml: `
- rule: Python in workload
  desc: d
  condition: spire_mtls_program_start and spire_mtls_workload and proc.name startswith python
  output: o %proc.name
  priority: NOTICE
`},
		"a rule on stock macros and lists": {yaml: `
- rule: Shell anywhere
  desc: d
  condition: spawned_process and container and proc.name in (shell_binaries)
  output: o %proc.name
  priority: NOTICE
`},
		"a row for an exception of ours": {yaml: `
- rule: Container Escape Attempt via Proc
  exceptions:
    - name: node_agents
      values:
        - [monitoring, docker.io/prom/node-exporter, [/bin/node_exporter]]
  override:
    exceptions: append
`},
		"a stock rule switched off": {yaml: "- rule: Terminal shell in container\n  enabled: false\n  override:\n    enabled: replace\n"},
		"an engine of Falco 0.44":   {falco: "0.44.1", yaml: "- required_engine_version: 0.62.0\n"},
		"the container plugin of Falco 0.44": {falco: "0.44.1", yaml: `
- required_plugin_versions:
    - name: container
      version: 0.7.0
`},
		"an engine that is too new":   {yaml: "- required_engine_version: 0.62.0\n", want: []string{"team.yaml:1:", "0.62.0"}},
		"a plugin that is not loaded": {yaml: "- required_plugin_versions:\n    - name: container\n      version: 0.7.0\n", want: []string{"team.yaml", "container"}},
		"a macro that no one has": {yaml: `
- rule: R
  desc: d
  condition: evt.type = open and no_such_macro
  output: o
  priority: NOTICE
`, want: []string{"team.yaml:4:", "no_such_macro"}},
		"a field that no one has": {yaml: `
- rule: R
  desc: d
  condition: evt.type = open and proc.nam = x
  output: o
  priority: NOTICE
`, want: []string{"team.yaml:4:", "proc.nam"}},
		"a rule to override that no one has": {yaml: "- rule: No Such Rule\n  enabled: false\n  override:\n    enabled: replace\n", want: []string{"team.yaml:1:", "No Such Rule"}},
		"no YAML":                            {yaml: "- rule: [\n", want: []string{"team.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := rules.Render(with(func(in *rules.Inputs) {
				if tc.falco != "" {
					in.FalcoVersion = tc.falco
				}
				in.ExtraFiles = []rules.File{{Name: "team.yaml", Content: tc.yaml}}
			}))
			if len(tc.want) == 0 {
				require.NoError(t, err)
				assert.Equal(t, tc.yaml, r.Data()["team.yaml"])
				return
			}
			require.Error(t, err)
			assert.Nil(t, r)
			for _, part := range tc.want {
				assert.Contains(t, err.Error(), part)
			}
		})
	}
}

func TestRender_is_accepted_by_every_falco(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0.40.0", "0.41.3", "0.42.1", "0.43.1", "0.44.1"} {
		for name, in := range map[string]rules.Inputs{"default": rules.DefaultInputs(), "two namespaces": twoNamespaces(), "no workload": with(func(in *rules.Inputs) { in.Workloads = nil })} {
			in.FalcoVersion = version
			_, err := rules.Render(in)
			assert.NoErrorf(t, err, "%s on Falco %s", name, version)
		}
	}
}

func TestRender_takes_files_in_every_encoding_of_Unicode_and_writes_UTF8(t *testing.T) {
	t.Parallel()
	const plain = "- list: mine\n  items: [a]\n"
	utf16 := "\xFF\xFE"
	for _, c := range plain {
		utf16 += string([]byte{byte(c), 0})
	}
	r, err := rules.Render(with(func(in *rules.Inputs) { in.ExtraFiles = []rules.File{{Name: "team.yaml", Content: utf16}} }))
	require.NoError(t, err)
	assert.Equal(t, plain, r.Data()["team.yaml"])
	_, err = rules.Render(with(func(in *rules.Inputs) {
		in.ExtraFiles = []rules.File{{Name: "team.yaml", Content: plain + "# caf\xe9\n"}}
	}))
	require.ErrorContains(t, err, "team.yaml:3:6: byte 0xE9: the file is not UTF-8 (perhaps Latin-1, ISO 8859-1)")
}
