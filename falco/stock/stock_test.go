package stock_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
	"spire-falco/falco/condition"
	"spire-falco/falco/conformance"
	"spire-falco/falco/ruleset"
	"spire-falco/falco/stock"
)

func TestThePlaceholdersLoadWithoutAWarning(t *testing.T) {
	t.Parallel()
	for _, v := range falco.Versions() {
		file, err := stock.Rules(v)
		require.NoError(t, err)
		set, report := ruleset.Load([]ruleset.File{file}, ruleset.Options{Falco: v})
		require.NoError(t, report.Err(), v.Number)
		for _, w := range report.Warnings {
			assert.Contains(t, []ruleset.Code{ruleset.WarnUnusedList, ruleset.WarnUnusedMacro}, w.Code, "%s: %s", v.Number, w)
		}
		assert.Greater(t, len(set.Rules()), 25)
	}
}

func TestALineOfTheDataIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	for _, v := range falco.Versions() {
		facts, err := stock.Facts(v)
		require.NoError(t, err)
		var lines []string
		for _, f := range facts {
			lines = append(lines, f.String())
		}
		b, err := os.ReadFile("data/" + v.Rules + ".tsv")
		require.NoError(t, err)
		have := slices.DeleteFunc(strings.Split(strings.TrimSuffix(string(b), "\n"), "\n"), func(l string) bool { return l[0] == '#' })
		assert.Equal(t, have, lines)
	}
}

func rule(condition string) string {
	return "- rule: Mine\n  desc: d\n  condition: " + condition + "\n  output: o %proc.name\n  priority: NOTICE\n"
}

func TestAFileIsJudgedAsBehindTheRulesOfItsFalco(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, falco, mine string
		want              []string // parts of the error; none when the file is right
	}{
		{name: "a stock macro and a stock list", falco: "0.40.0", mine: rule("spawned_process and container and proc.name in (shell_binaries)")},
		{name: "a list of networks", falco: "0.40.0", mine: rule("evt.type = connect and not fd.snet in (rfc_1918_addresses)")},
		{name: "a list of ports", falco: "0.44.1", mine: rule("evt.type = connect and fd.sport in (ssh_non_standard_ports)")},
		{name: "a list of words for ports", falco: "0.44.1", mine: rule("evt.type = connect and fd.sport in (shell_binaries)"), want: []string{"unrecognized protocol"}},
		{name: "a list of words for networks", falco: "0.44.1", mine: rule("evt.type = connect and fd.snet in (shell_binaries)"), want: []string{"netmask"}},
		{name: "a macro of the sandbox rules", falco: "0.40.0", mine: rule("open_write and bin_dir"), want: []string{"Undefined macro 'bin_dir'", "my.yaml:3"}},
		{
			name: "a list with the name of a stock macro", falco: "0.40.0", mine: "- list: sensitive_files\n  items: [/srv/a, /srv/b]\n",
			want: []string{"my.yaml:1", `rule "Read sensitive file trusted after startup"`, "sensitive_files", "the name of a macro: rename the list"},
		},
		{
			name: "a list with the name of a value of the stock rules", falco: "0.44.1", mine: "- list: host\n  items: [a, b]\n",
			want: []string{"my.yaml:1", "list host", "rename the list"},
		},
		{name: "words in a list of networks", falco: "0.44.1", mine: "- list: rfc_1918_addresses\n  items: [intern]\n  override: {items: append}\n", want: []string{"my.yaml:2", "intern", "rfc_1918_addresses"}},
		{name: "a stock rule switched off", falco: "0.43.1", mine: "- rule: Terminal shell in container\n  enabled: false\n  override: {enabled: replace}\n"},
		{name: "a rule of the incubating rules switched off", falco: "0.43.1", mine: "- rule: Launch Privileged Container\n  enabled: false\n  override: {enabled: replace}\n", want: []string{"no rule by that name"}},
		{name: "a stock rule appended to", falco: "0.44.1", mine: "- rule: Terminal shell in container\n  condition: and not proc.nme = x\n  override: {condition: append}\n", want: []string{"my.yaml:2", "proc.nme"}},
		{name: "an exception for a stock rule", falco: "0.44.1", mine: "- rule: Terminal shell in container\n  exceptions:\n    - name: e\n      fields: [proc.name]\n      values: [[a]]\n  override: {exceptions: append}\n"},
		{name: "a macro of 5.1.0 alone", falco: "0.43.1", mine: rule("spawned_process and postgres_running_cnpg"), want: []string{"postgres_running_cnpg"}},
		{name: "a macro of 5.1.0 alone, with it", falco: "0.44.1", mine: rule("spawned_process and postgres_running_cnpg")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, err := falco.Lookup(c.falco)
			require.NoError(t, err)
			file, err := stock.Rules(v)
			require.NoError(t, err)
			_, report := ruleset.Load([]ruleset.File{file, {Name: "my.yaml", Content: []byte(c.mine)}}, ruleset.Options{Falco: v})
			if len(c.want) == 0 {
				require.NoError(t, report.Err())
				return
			}
			require.Error(t, report.Err())
			for _, part := range c.want {
				assert.Contains(t, report.Err().Error(), part)
			}
		})
	}
}

// userFiles are files of people: those that the loader is compared with Falco
// on, and for each item of the stock rules what people do to it.
func userFiles(t *testing.T, v falco.Version) []string {
	t.Helper()
	var all []string
	cases, err := conformance.Cases()
	require.NoError(t, err)
	for _, c := range cases {
		if folder, _, _ := strings.Cut(c.ID, "/"); !strings.HasSuffix(folder, "-files") {
			continue
		}
		content := ""
		for _, f := range c.Files {
			content += f.Text + "\n"
		}
		if len(content) < 20_000 {
			all = append(all, content)
		}
	}
	facts, err := stock.Facts(v)
	require.NoError(t, err)
	override := func(kind, name, key, value, operation string) string {
		return fmt.Sprintf("- %s: %q\n  %s: %s\n  override: {%s: %s}\n", kind, name, key, value, key, operation)
	}
	for _, f := range facts {
		switch f.Kind {
		case stock.KindList:
			for _, items := range []string{"[]", "[a]", "[a, b]", `["bob's"]`, "[10]", `['"10.1.0.0/16"']`, "['a b', c]", "[/a/b]", "[open]", "[spawned_process]", "[shell_binaries]", `['"a']`} {
				all = append(all, fmt.Sprintf("- list: %s\n  items: %s\n", f.Name, items), override("list", f.Name, "items", items, "append"))
			}
			for _, check := range []string{
				"proc.name in (%s)", "fd.name pmatch (%s)", "fd.sport in (%s)", "fd.snet in (%s)", "fd.sip in (%s)", "fd.num in (%s)",
				"evt.type in (%s)", "proc.name = %s", "proc.name in %s", "fd.name startswith %s", "not proc.aname in (a, %s, b)",
				"fd.types in (%s)", "evt.is_open_read in (%s)", "proc.name intersects (%s)", "%s", "proc.args contains '%s'",
			} {
				all = append(all, rule("evt.type = openat and "+fmt.Sprintf(check, f.Name)))
			}
			all = append(all, fmt.Sprintf("- macro: %s\n  condition: (proc.name = a)\n", f.Name))
		case stock.KindMacro:
			for _, c := range []string{"(proc.name = a)", "(evt.type in (read, write))", "(proc.nme = a)", "(never_true)", "(no_such_macro)", "(fd.num = a)", "(container and spawned_process)", f.Name, "proc.name = a)", "evt.type exists"} {
				all = append(all, fmt.Sprintf("- macro: %s\n  condition: %s\n", f.Name, c), override("macro", f.Name, "condition", "or "+c, "append"))
			}
			for _, items := range []string{"[]", "[a]", "[a, b]", "[never_true]"} {
				all = append(all, fmt.Sprintf("- list: %s\n  items: %s\n", f.Name, items))
			}
			for _, c := range []string{"%s", "not %s", "evt.type = openat and %s", "evt.type = openat and not %s", "%s or proc.name = a", "not (%s or evt.type = openat)", "%s exists", "proc.name in (%s)"} {
				all = append(all, rule(fmt.Sprintf(c, f.Name)))
			}
		case stock.KindRule:
			for _, kv := range [][2]string{
				{"condition", "and proc.name = a"},
				{"condition", "or evt.type = read"},
				{"condition", ") or (proc.name = a"},
				{"condition", "and proc.nme = a"},
				{"output", "x %proc.name"},
				{"output", "x %proc.nme"},
				{"tags", "[a]"},
				{"desc", "x"},
				{"priority", "INFO"},
				{"enabled", "false"},
				{"warn_evttypes", "false"},
				{"exceptions", "[{name: e, fields: [proc.name], values: [[a]]}]"},
				{"exceptions", "[{name: e, values: [[a]]}]"},
				{"exceptions", "[{name: e, fields: [proc.name]}]"},
			} {
				all = append(all, override("rule", f.Name, kv[0], kv[1], "append"), override("rule", f.Name, kv[0], kv[1], "replace"))
			}
			all = append(all, fmt.Sprintf("- rule: %q\n  enabled: false\n", f.Name), strings.Replace(rule("evt.type = openat and proc.name = a"), "Mine", fmt.Sprintf("%q", f.Name), 1),
				strings.Replace(rule("spawned_process and shell_procs")+"  source: k8s_audit\n", "Mine", fmt.Sprintf("%q", f.Name), 1), fmt.Sprintf("- rule: %q\n  append: true\n  condition: and fd.num = 1\n", f.Name))
		case stock.KindValues, stock.KindNumbers, stock.KindFields, stock.KindOperators:
			for _, word := range f.Items {
				for _, items := range []string{"[]", "[a]", "[a, b]"} {
					all = append(all, fmt.Sprintf("- list: %q\n  items: %s\n", word, items))
				}
			}
		case stock.KindEngine, stock.KindPlugin:
		}
	}
	for _, word := range []string{"open", "connect", "and", "or", "not", "a", "evt.type", "evt.num", "true", "1"} {
		all = append(all, fmt.Sprintf("- list: %q\n  items: [a, b]\n", word), fmt.Sprintf("- list: %q\n  items: [close]\n", word))
	}
	return all
}

// oneIn is how many files there are for each that is compared: all take minutes.
func oneIn(t *testing.T) int {
	t.Helper()
	if os.Getenv("STOCK_ALL") != "" {
		return 1
	}
	return 40
}

func TestAFileIsJudgedBehindThePlaceholdersAsBehindTheRealRules(t *testing.T) {
	for n, v := range falco.Versions() {
		t.Run(v.Number, func(t *testing.T) {
			t.Parallel()
			real := ruleset.File{Name: "real.yaml", Content: realRules(t, v)}
			placeholders, err := stock.Rules(v)
			require.NoError(t, err)
			opts := ruleset.Options{Falco: v}
			verdict := func(stockFile ruleset.File, mine string) string {
				_, report := ruleset.Load([]ruleset.File{stockFile, {Name: "my.yaml", Content: []byte(mine)}}, opts)
				var said []string
				if len(report.Files[1].Errors) > 0 {
					return "refused"
				}
				for _, p := range report.Files[1].Warnings {
					if p.File == "my.yaml" && report.OK() {
						said = append(said, fmt.Sprintf("%s at %d", p.Code, p.Line))
					}
				}
				slices.Sort(said)
				return strings.Join(said, "\n")
			}
			refused, disagreements, compared := 0, 0, 0
			files := userFiles(t, v)
			for i, mine := range files {
				if every := oneIn(t); i%every != n%every {
					continue
				}
				compared++
				want := verdict(real, mine)
				if want == "refused" {
					refused++
				}
				if !assert.Equal(t, want, verdict(placeholders, mine), mine) {
					disagreements++
				}
			}
			t.Logf("%d files, %d refused, %d disagreements", compared, refused, disagreements)
		})
	}
}

func TestThePlaceholdersAskForTheEventsOfTheRealRules(t *testing.T) {
	for _, v := range falco.Versions() {
		t.Run(v.Number, func(t *testing.T) {
			file, err := stock.Rules(v)
			require.NoError(t, err)
			facts, err := stock.Facts(v)
			require.NoError(t, err)
			lang := condition.For(v)
			// A rule for each macro and its negation makes their events comparable.
			more := ""
			for _, f := range facts {
				if f.Kind == stock.KindMacro {
					more += strings.Replace(rule(f.Name), "Mine", "is "+f.Name, 1) + strings.Replace(rule("not "+f.Name), "Mine", "not "+f.Name, 1)
				}
			}
			mine := ruleset.File{Name: "my.yaml", Content: []byte(more)}
			want, report := ruleset.Load([]ruleset.File{{Name: "real.yaml", Content: realRules(t, v)}, mine}, ruleset.Options{Falco: v})
			require.NoError(t, report.Err())
			have, report := ruleset.Load([]ruleset.File{file, mine}, ruleset.Options{Falco: v})
			require.NoError(t, report.Err())
			for _, r := range want.Rules() {
				h, ok := have.Rule(r.Name)
				require.True(t, ok, r.Name)
				assert.Equal(t, r.EventTypes, h.EventTypes, r.Name)
				a, err := lang.NeededEventTypes(r.Expr)
				require.NoError(t, err)
				b, err := lang.NeededEventTypes(h.Expr)
				require.NoError(t, err)
				assert.Equal(t, a, b, r.Name)
				assert.Equal(t, r.Priority, h.Priority, r.Name)
				assert.Equal(t, r.Tags, h.Tags, r.Name)
			}
		})
	}
}
