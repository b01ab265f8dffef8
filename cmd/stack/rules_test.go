package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/charts"
	"spire-falco/cmd/internal/cli"
	"spire-falco/cmd/internal/rulecmd"
	"spire-falco/falco/ruleset"
	"spire-falco/report/reporttest"
)

// run runs the command line in a folder and returns what it printed, and its error.
func run(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"--dir", dir}, args...)
	cmd := newRootCommand(args)
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

const project = "../.."

func ruleFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const (
	stockUse = "- rule: r\n  desc: d\n  condition: spawned_process and container and proc.name in (shell_binaries)\n" +
		"  output: o %proc.name\n  priority: INFO\n- rule: Terminal shell in container\n  enabled: false\n  override: {enabled: replace}\n"
	goodRule = "- rule: r\n  desc: d\n  condition: evt.type=open and proc.name=cat\n  output: o %proc.name\n  priority: INFO\n"
	badRule  = "- rule: r\n  desc: d\n  condition: evt.type=open and proc.nam=cat\n  output: o %proc.name\n  priority: INFO\n"
	deadRule = "- rule: r\n  desc: d\n  condition: evt.type=read and proc.exepath=/bin/cat\n  output: o %proc.name\n  priority: INFO\n"
)

func TestRulesCheckExitsAsFalcoWould(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		flags       []string
		fails       bool
		want        string
	}{
		{"a valid file", goodRule, nil, false, "Falco 0.44.1 (the newest known; --falco chooses another) would load them"},
		{"an unknown field with its place and the nearest ones", badRule, nil, true, "rules.yaml:3:32"},
		{"a rule that never fires is told, not counted", deadRule, nil, false, "uncaptured-event"},
		{"a rule that never fires fails with --strict", deadRule, []string{"--strict"}, true, "uncaptured-event"},
		{"a file that uses the stock rules, behind them", stockUse, []string{"--stock"}, false, "0 errors, 0 warnings, 0 lint findings"},
		{"the same file alone", stockUse, nil, true, "no rule by that name"},
		{"a macro of other rules than those of the image", strings.Replace(goodRule, "proc.name=cat", "bin_dir", 1), []string{"--stock", "--falco", "0.40.0"}, true, "Undefined macro 'bin_dir'"},
		{"a list that breaks a stock rule", "- list: sensitive_files\n  items: [/a, /b]\n", []string{"--stock"}, true, "rules.yaml:1:3"},
		{"a lint can be switched off", deadRule, []string{"--strict", "--disable", "uncaptured-event"}, false, "0 lint findings"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := run(t, t.TempDir(), append([]string{"rules", "check", ruleFile(t, tt.rules)}, tt.flags...)...)
			assert.Contains(t, out, tt.want)
			if !tt.fails {
				require.NoError(t, err)
				return
			}
			var code cli.ExitCode
			require.ErrorAs(t, err, &code)
			assert.Equal(t, cli.ExitCode(1), code)
		})
	}
	t.Run("the excerpt points at the mistake", func(t *testing.T) {
		out, _ := run(t, t.TempDir(), "rules", "check", ruleFile(t, badRule))
		assert.Contains(t, out, "condition: evt.type=open and proc.nam=cat\n                               ^")
	})
	t.Run("an unknown lint is refused", func(t *testing.T) {
		_, err := run(t, t.TempDir(), "rules", "check", ruleFile(t, goodRule), "--disable", "nonsense")
		require.ErrorContains(t, err, "there are: uncaptured-event")
	})
	t.Run("a missing file is named", func(t *testing.T) {
		_, err := run(t, t.TempDir(), "rules", "check", "nowhere.yaml")
		require.ErrorContains(t, err, "nowhere.yaml")
	})
	t.Run("as JSON", func(t *testing.T) {
		out, _ := run(t, t.TempDir(), "rules", "check", "--json", ruleFile(t, badRule))
		var result rulecmd.CheckResult
		require.NoError(t, json.Unmarshal([]byte(out), &result))
		assert.False(t, result.Successful)
		require.Len(t, result.Errors, 1)
		assert.Equal(t, 3, result.Errors[0].Line)
	})
	t.Run("as SARIF", func(t *testing.T) {
		out, _ := run(t, t.TempDir(), "rules", "check", "--sarif", ruleFile(t, badRule))
		var log rulecmd.SARIF
		require.NoError(t, json.Unmarshal([]byte(out), &log))
		require.Len(t, log.Runs[0].Results, 1)
		assert.Equal(t, "LOAD_ERR_COMPILE_CONDITION", log.Runs[0].Results[0].RuleID)
		assert.Equal(t, 3, log.Runs[0].Results[0].Locations[0].Physical.Region.StartLine)
	})
}

func TestFilesThatAreNoRegularOnesAreNamedAndNotWaitedFor(t *testing.T) {
	dir := t.TempDir()
	pipe, large := filepath.Join(dir, "pipe"), filepath.Join(dir, "large")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, 1<<40))
	good := ruleFile(t, goodRule)
	for path, want := range map[string]string{
		pipe: "a pipe, not a regular file", large: "larger than the 16 MiB", "/dev/zero": "a device, not a regular file", dir: "a directory, not a regular file", // of eval and explain; check takes folders
	} {
		for _, args := range [][]string{{"rules", "check", path}, {"rules", "explain", "r", "--rules", path}, {"rules", "eval", path, "--rules", good}} {
			if args[1] == "eval" && path == large || path == dir && args[1] != "eval" { // it is read line by line
				continue
			}
			_, err := run(t, project, args...)
			require.ErrorContains(t, err, want, args)
			require.ErrorContains(t, err, path, args)
		}
	}
}

func TestRulesEvalPrintsFalcosOwnJSON(t *testing.T) {
	events := filepath.Join(t.TempDir(), "events.jsonl")
	require.NoError(t, os.WriteFile(events, []byte(`{"evt.num":1,"evt.time.iso8601":1,"evt.type":"open","evt.dir":"<","proc.name":"cat"}

{"evt.num":2,"evt.type":"open","evt.dir":"<","proc.name":"ls"}
`), 0o600))
	out, err := run(t, project, "rules", "eval", events, "--rules", ruleFile(t, goodRule))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 2)
	assert.Equal(t, "evaluating as Falco 0.40.0 (of chart 4.19.0, which the stack dev installs; --falco chooses another) does", lines[0], "on standard error")
	lines = lines[1:]
	var alert map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &alert))
	assert.Equal(t, "r", alert["rule"])
	assert.Equal(t, "Informational", alert["priority"])
	assert.Contains(t, alert["output"], "o cat")

	require.NoError(t, os.WriteFile(events, []byte("{}\nnot json\n"), 0o600))
	_, err = run(t, project, "rules", "eval", events, "--rules", ruleFile(t, goodRule))
	require.ErrorContains(t, err, "events.jsonl:2:")
	_, err = run(t, project, "rules", "eval", events, "--matching", "some")
	require.ErrorContains(t, err, "--matching")
}

func TestRulesEvalPrintsAlertsOfALiveStreamAtOnce(t *testing.T) {
	set, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: []byte(goodRule)}}, ruleset.Options{})
	require.NoError(t, report.Err())
	events, feed := io.Pipe()
	alerts, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- rulecmd.Evaluate(set.NewEngine(ruleset.First), events, "-", out) }()
	_, err := io.WriteString(feed, `{"evt.num":1,"evt.type":"open","evt.dir":"<","proc.name":"cat"}`+"\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(alerts).ReadString('\n') // the stream is still open
	require.NoError(t, err)
	assert.Contains(t, line, "o cat")
	require.NoError(t, feed.Close())
	require.NoError(t, <-done)
}

func TestRulesTestPassesAndFailsWithARuleMissing(t *testing.T) {
	junit := filepath.Join(t.TempDir(), "junit.xml")
	out, err := run(t, project, "rules", "test", "--junit", junit)
	require.NoError(t, err)
	assert.Contains(t, out, ", 0 failed")
	assert.FileExists(t, junit)
	out, err = run(t, project, "rules", "test", "--rules", ruleFile(t, goodRule))
	require.Error(t, err)
	assert.Contains(t, out, "missing: \"Unauthorized Access to SPIRE Socket\"")
}

func TestRulesExplainShowsWhatFeedsARule(t *testing.T) {
	out, err := run(t, project, "rules", "explain", "Unexpected Network Port Binding")
	require.NoError(t, err)
	assert.Contains(t, out, "workloads[].port")
	assert.Contains(t, out, "events      bind")
	_, err = run(t, project, "rules", "explain", "nonsense")
	require.ErrorContains(t, err, "Unexpected Network Port Binding")
}

func TestRulesRenderWritesWhatTheConfigMapHolds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	_, err := run(t, project, "rules", "render", "--output", dir)
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	require.NoError(t, err)
	assert.NotEmpty(t, files)
	_, err = run(t, project, append([]string{"rules", "check"}, files...)...)
	require.NoError(t, err)
}

func TestChooseFalco(t *testing.T) {
	project := func(t *testing.T, settings string) string {
		t.Helper()
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.yaml"), []byte("name: spire-falco\nruntime: go\n"), 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "Pulumi.dev.yaml"), []byte("config:\n"+settings), 0o600))
		return dir
	}
	for name, tt := range map[string]struct {
		dir, flag, want, err string
	}{
		"outside a project the newest":           {dir: t.TempDir(), want: "Falco 0.44.1 (the newest known; --falco chooses another)"},
		"in a project the stack's":               {dir: project(t, "  spire-falco:falco.chartVersion: 6.4.1\n"), want: "Falco 0.41.3 (of chart 6.4.1, which the stack dev installs; --falco chooses another)"},
		"the flag wins":                          {dir: project(t, "  spire-falco:falco.chartVersion: 6.4.1\n"), flag: "0.42.1", want: "Falco 0.42.1 (chosen by --falco)"},
		"the flag helps broken settings":         {dir: project(t, "  spire-falco:no.such: 1\n"), flag: "0.40.0", want: "Falco 0.40.0 (chosen by --falco)"},
		"broken settings are an error":           {dir: project(t, "  spire-falco:no.such: 1\n"), err: "Pulumi.dev.yaml:2:3: no.such: no such setting"},
		"an unknown version lists what is known": {dir: t.TempDir(), flag: "0.39.2", err: `--falco = "0.39.2": unknown Falco version "0.39.2"; known: 0.40.0, 0.41.3, 0.42.1, 0.43.1, 0.44.1`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := chooseFalco(&cli.Target{Dir: tt.dir, Name: "dev"}, tt.flag)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got.String())
		})
	}
}

func TestNothingOfARuleFileReachesATerminalRaw(t *testing.T) {
	quoted, err := json.Marshal(reporttest.Hostile)
	require.NoError(t, err)
	hostile := string(quoted)
	bad := ruleFile(t, "- rule: "+hostile+"\n  desc: "+hostile+"\n  condition: evt.type=open and proc.nam="+hostile+"\n  output: "+hostile+"\n  priority: INFO\n- list: "+hostile+"\n  items: ["+hostile+"]\n")
	good := ruleFile(t, "- rule: "+hostile+"\n  desc: "+hostile+"\n  condition: evt.type=open and proc.name=cat\n  output: "+hostile+"\n  priority: INFO\n  tags: ["+hostile+"]\n")
	dead := ruleFile(t, "- rule: "+hostile+"\n  desc: d\n  condition: evt.type=read and proc.exepath=/bin/cat\n  output: o\n  priority: INFO\n")
	events := filepath.Join(t.TempDir(), "events.jsonl")
	require.NoError(t, os.WriteFile(events, []byte(`{"evt.type":"open","proc.name":"cat","fd.name":`+hostile+`}`+"\n"), 0o600))
	for _, args := range [][]string{
		{"rules", "check", bad},
		{"rules", "check", "--json", bad},
		{"rules", "check", "--sarif", bad},
		{"rules", "check", dead},
		{"rules", "check", "--json", dead},
		{"rules", "check", "--sarif", dead},
		{"rules", "explain", reporttest.Hostile, "--rules", good},
		{"rules", "explain", "none", "--rules", good},
		{"rules", "eval", events, "--rules", good},
		{"rules", "test", "--rules", good},
		{"rules", "check", reporttest.Hostile},
	} {
		out, err := run(t, project, args...)
		if err != nil {
			var b strings.Builder
			cli.WriteError(&b, err)
			out += b.String()
		}
		reporttest.Harmless(t, out)
		assert.Contains(t, out, "h", args)
	}
}

func TestWhatWasCheckedIsWhatIsEvaluatedAndExplained(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("Pulumi.yaml", "name: spire-falco\nruntime: go\n")
	write("Pulumi.dev.yaml", "config:\n  spire-falco:falco.chartVersion: 9.1.0\n  spire-falco:falco.extraRules: [mine.yaml]\n")
	write("mine.yaml", "- rule: Built on stock\n  desc: d\n  condition: spawned_process and proc.name startswith anyof (nc, socat)\n  output: o\n  priority: INFO\n"+
		"- rule: By itself\n  desc: d\n  condition: evt.type = openat and fd.name startswith anyof (/srv/till, /srv/ledger)\n  output: o %fd.name\n  priority: INFO\n")
	write("events.jsonl", `{"evt.type":"openat","fd.name":"/srv/ledger.db"}`+"\n"+`{"evt.type":"execve","proc.name":"nc"}`+"\n")

	out, err := run(t, dir, "rules", "eval", filepath.Join(dir, "events.jsonl"))
	require.NoError(t, err)
	assert.Contains(t, out, "evaluating as Falco 0.44.1 (of chart 9.1.0")
	assert.Contains(t, out, `not evaluated: rule "Built on stock" uses lists or macros of the stock rules`)
	assert.Contains(t, out, `"rule":"By itself"`)
	assert.Equal(t, 1, strings.Count(out, `"rule":`), "no placeholder fires")

	for _, rule := range []string{"Built on stock", "By itself", "Unauthorized Access to SPIRE Socket"} {
		out, err = run(t, dir, "rules", "explain", rule)
		require.NoError(t, err, rule)
		assert.Contains(t, out, "of chart 9.1.0")
	}
	_, err = run(t, dir, "rules", "explain", "Terminal shell in container")
	require.ErrorContains(t, err, "there is no rule", "a placeholder is not explained")

	_, err = run(t, dir, "rules", "eval", "--falco", "0.40.0", filepath.Join(dir, "events.jsonl"))
	require.ErrorContains(t, err, "mine.yaml:3:", "with an older Falco the same files are refused, with their place")
}

// TestAnExtraRuleFileIsJudgedByTheFalcoOfItsChart holds one table of files against every chart: what is refused, and
// with which words.
func TestAnExtraRuleFileIsJudgedByTheFalcoOfItsChart(t *testing.T) {
	rule := func(condition string) string {
		return "- rule: R\n  desc: d\n  condition: " + condition + "\n  output: o\n  priority: INFO\n"
	}
	for name, tt := range map[string]struct {
		text    string
		refused map[string]string // by chart; a chart that is not here accepts
	}{
		"a list modifier": {rule("evt.type = execve and proc.name startswith anyof (nc, socat)"), map[string]string{
			"4.19.0": "'anyof' needs Falco 0.44 or newer", "6.4.1": "'anyof' needs", "7.2.1": "'anyof' needs", "8.0.5": "'anyof' needs",
		}},
		"a field that was removed": {rule("evt.type = sendto and syslog.severity <= 3"), map[string]string{
			"6.4.1": "syslog.severity", "7.2.1": "syslog.severity", "8.0.5": "syslog.severity", "9.1.0": "syslog.severity",
		}},
		"a label with a dot": {rule("evt.type = execve and k8s.pod.label.app = shop"), map[string]string{
			"6.4.1": "k8s.pod.label[app]", "7.2.1": "k8s.pod.label[app]", "8.0.5": "k8s.pod.label[app]", "9.1.0": "k8s.pod.label[app]",
		}},
		"a label in brackets":    {rule("evt.type = execve and k8s.pod.label[app] = shop"), nil},
		"a macro of every Falco": {rule("spawned_process and proc.name = nc"), nil},
		"a macro of the sandbox": {rule("open_write and bin_dir"), map[string]string{
			"4.19.0": "bin_dir", "6.4.1": "bin_dir", "7.2.1": "bin_dir", "8.0.5": "bin_dir", "9.1.0": "bin_dir",
		}},
		"an engine of Falco 0.44": {"- required_engine_version: 0.62.0\n", map[string]string{
			"4.19.0": "0.62.0", "6.4.1": "0.62.0", "7.2.1": "0.62.0", "8.0.5": "0.62.0",
		}},
		"the container plugin of Falco 0.43": {"- required_plugin_versions:\n    - name: container\n      version: 0.6.4\n", map[string]string{
			"4.19.0": "container", "6.4.1": "container", "7.2.1": "container",
		}},
	} {
		for _, chart := range charts.SupportedFalco() {
			t.Run(name+" with chart "+chart.Version, func(t *testing.T) {
				dir := t.TempDir()
				for file, text := range map[string]string{
					"Pulumi.yaml":     "name: spire-falco\nruntime: go\n",
					"Pulumi.dev.yaml": "config:\n  spire-falco:falco.chartVersion: " + chart.Version + "\n  spire-falco:falco.extraRules: [mine.yaml]\n",
					"mine.yaml":       tt.text,
				} {
					require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
				}
				_, err := run(t, dir, "rules", "render", "--output", filepath.Join(dir, "out"))
				want, refused := tt.refused[chart.Version]
				if chart.Version == "4.21.3" { // the same Falco as 4.19.0
					want, refused = tt.refused["4.19.0"]
				}
				if !refused {
					require.NoError(t, err)
					return
				}
				require.ErrorContains(t, err, want)
				require.ErrorContains(t, err, "mine.yaml")
			})
		}
	}
}
