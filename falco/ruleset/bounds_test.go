package ruleset_test

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"spire-falco/falco/ruleset"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostile writes files that are small for what a loader makes of them.
var hostile = []struct {
	name string
	n    int
	make func(n int) string
	// err is a part of the error that the file of size n must give; "" when it loads.
	err string
}{
	{"appended conditions", 2500, func(n int) string {
		return rule("R", "evt.type = open") + strings.Repeat("- rule: R\n  condition: and fd.num > 1\n  append: true\n", n)
	}, ""},
	{"appended macros", 2500, func(n int) string {
		return "- macro: m\n  condition: evt.type = open\n" + strings.Repeat("- macro: m\n  condition: or fd.num > 1\n  append: true\n", n) + rule("R", "m")
	}, ""},
	{"appended and replaced in turn", 2000, func(n int) string {
		return rule("R", "evt.type = open") + strings.Repeat("- rule: R\n  condition: and fd.num > 1\n  tags: [a]\n  output: x\n  priority: INFO\n  override: {condition: append, tags: append, output: append, priority: replace}\n", n)
	}, ""},
	{"appended lists", 2500, func(n int) string {
		return "- list: l\n  items: [a]\n" + strings.Repeat("- list: l\n  items: [b]\n  append: true\n", n) + rule("R", "evt.type = open and proc.name in (l)")
	}, ""},
	{"appended exceptions", 1000, func(n int) string {
		var b strings.Builder
		b.WriteString(rule("R", "evt.type = open"))
		for i := range n {
			fmt.Fprintf(&b, "- rule: R\n  exceptions:\n    - name: e%d\n      fields: [proc.name]\n      values: [[a]]\n  override: {exceptions: append}\n", i)
		}
		return b.String()
	}, ""},
	{"line ends of carriage returns", 20000, func(n int) string {
		return strings.ReplaceAll(rule("R", "evt.type = open")+strings.Repeat("# a comment\n", n), "\n", "\r")
	}, ""},
	{"a block scalar with carriage returns", 20000, func(n int) string {
		return strings.ReplaceAll(rule("R", "evt.type = open\n"+strings.Repeat("    and fd.num > 1\n", n)), "\n", "\r")
	}, ""},
	{"unknown keys of one rule", 10000, func(n int) string {
		var b strings.Builder
		b.WriteString(rule("R", "evt.type = open"))
		for i := range n {
			fmt.Fprintf(&b, "  key%d: x\n", i)
		}
		return b.String()
	}, ""},
	{"unused lists", 5000, func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "- list: l%d\n  items: [a]\n", i)
		}
		return b.String()
	}, ""},
	{"broken expressions", 2000, func(n int) string {
		return rule("R", "evt.type = open "+strings.Repeat(`and fd.name contains "x" `, n))
	}, ""},
	{"one map for every item", 400, func(n int) string {
		return "- &a\n  list: l\n  items: [a]\n" + strings.Repeat("  k: x\n", n) + strings.Repeat("- *a\n", n)
	}, "any"},
	{"aliases in the values of an exception", 9, func(n int) string {
		var b strings.Builder
		b.WriteString(rule("R", "evt.type = open") + "  exceptions:\n    - name: e\n      fields: [proc.name]\n      comps: [in]\n      values:\n        - &v0 [[x, y]]\n")
		for i := range n {
			fmt.Fprintf(&b, "        - &v%d [%s*v%d]\n", i+1, strings.Repeat(fmt.Sprintf("*v%d, ", i), 9), i)
		}
		return b.String()
	}, "aliases"},
	{"one sequence for every list", 4000, func(n int) string {
		var b strings.Builder
		b.WriteString("- list: l\n  items: &i [" + strings.Repeat("a, ", n) + "a]\n")
		for i := range n {
			fmt.Fprintf(&b, "- list: l%d\n  items: *i\n", i)
		}
		return b.String()
	}, "aliases"},
	{"lists that take in a long list", 3000, func(n int) string {
		return "- list: a\n  items: [" + strings.Repeat("x, ", n) + "x]\n- list: b\n  items: [" + strings.Repeat("a, ", n) + "a]\n"
	}, "lists in lists"},
	{"macros that double", 30, func(n int) string {
		var b strings.Builder
		b.WriteString("- macro: m0\n  condition: (fd.num = 1)\n")
		for i := range n {
			fmt.Fprintf(&b, "- macro: m%d\n  condition: (m%d or m%d)\n", i+1, i, i)
		}
		return b.String() + rule("R", fmt.Sprintf("evt.type = open and m%d", n))
	}, "macros expand"},
	{"lists that double within the text", 30, func(n int) string {
		var b strings.Builder
		fmt.Fprintf(&b, "- list: l%d\n  items: [x]\n", n)
		b.Reset()
		for i := range n {
			fmt.Fprintf(&b, "- list: l%d\n  items: [l%d, l%d]\n", i, i+1, i+1)
		}
		return b.String() + rule("R", "evt.type = open and proc.name in (l0)")
	}, "4 MiB"},
	{"parentheses", 6000, func(n int) string {
		return rule("R", strings.Repeat("(", n)+"evt.type = open"+strings.Repeat(")", n))
	}, "max depth"},
	{"nested sequences", 2000, func(n int) string { return "- " + strings.Repeat("[", n) + strings.Repeat("]", n) + "\n" }, "bad file"},
	{"nested block sequences", 2000, func(n int) string { return strings.Repeat("- ", n) + "a\n" }, "bad file"},
}

// processorTime is what the process has used of the processors, which other
// programs on the machine do not change.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestAHostileFileIsRefusedOrCostsWhatItsSizeAsks(t *testing.T) {
	if raceDetector || testing.Short() {
		t.Skip("measures time")
	}
	for _, c := range hostile {
		t.Run(c.name, func(t *testing.T) {
			var took [3]time.Duration
			var memory [3]uint64
			for i := range took {
				content := []byte(c.make(c.n << i))
				took[i] = time.Hour
				for range 3 { // the least of three: other programs run too
					runtime.GC() // what came before is not this file's cost
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					start := processorTime(t)
					rs, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: content}}, ruleset.Options{})
					if rs != nil {
						ruleset.Lint(rs, ruleset.LintOptions{})
					}
					took[i] = min(took[i], processorTime(t)-start)
					runtime.ReadMemStats(&after)
					memory[i] = after.TotalAlloc - before.TotalAlloc
					switch c.err {
					case "any":
						continue
					case "":
						require.NoError(t, report.Err())
						continue
					}
					require.Error(t, report.Err())
					assert.Contains(t, report.Err().Error(), c.err)
					assert.NotZero(t, report.Errors[0].Line, "it has its place")
				}
			}
			t.Logf("n, 2n, 4n: %v, %v MB", took, []uint64{memory[0] >> 20, memory[1] >> 20, memory[2] >> 20})
			assert.Less(t, took[2], 4*time.Second)
			// Four times the size may take twelve times as long, not sixteen; below 240 ms nothing is measured.
			assert.Less(t, took[2], 12*max(took[0], 20*time.Millisecond))
			assert.Less(t, memory[2], uint64(500<<20))
		})
	}
}
