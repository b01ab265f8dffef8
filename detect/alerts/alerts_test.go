package alerts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/detect/alerts"
	"spire-falco/falco"
)

// recorded is a log of Falco: its own messages, five alerts (two critical, three warnings) and lines that are neither.
const recorded = "testdata/falco.log"

func priority(t *testing.T, name string) *falco.Priority {
	t.Helper()
	p, err := falco.ParsePriority(name)
	require.NoError(t, err)
	return &p
}

func read(t *testing.T, o alerts.Options) (string, string, error) {
	t.Helper()
	var out, notes bytes.Buffer
	if o.Format == "" {
		o.Format = alerts.Table
	}
	if o.Input == "" {
		o.Input = recorded
	}
	err := alerts.Run(t.Context(), o, &out, &notes)
	return out.String(), notes.String(), err
}

func TestPriority(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]falco.Priority{
		"critical": falco.PriorityCritical, "CRITICAL": falco.PriorityCritical, "info": falco.PriorityInformational, "Informational": falco.PriorityInformational,
		"alert": falco.PriorityAlert, "debug": falco.PriorityDebug, "emergency": falco.PriorityEmergency,
	} {
		got, err := falco.ParsePriority(name)
		require.NoError(t, err)
		assert.Equal(t, want, got, name)
	}
	_, err := falco.ParsePriority("severe")
	require.ErrorContains(t, err, `unknown priority "severe"; must be one of emergency, alert, critical, error, warning, notice, informational, debug`)
	assert.Less(t, falco.PriorityCritical, falco.PriorityWarning)
}

func TestParse(t *testing.T) {
	t.Parallel()
	t.Run("an alert has its fields", func(t *testing.T) {
		t.Parallel()
		a, err := alerts.Parse([]byte(`{"hostname":"n","output":"10:00:00.1: Critical Socket (proc=cat)","output_fields":{"k8s.ns.name":"mtls","k8s.pod.name":"p","fd.sport":8443,"evt.time":1795384393570679917,"user.name":"<NA>"},"priority":"Critical","rule":"R","source":"syscall","tags":["a"],"time":"2026-11-22T21:53:13.570679917Z"}`))
		require.NoError(t, err)
		assert.Equal(t, falco.PriorityCritical, a.Priority)
		assert.Equal(t, "Socket (proc=cat)", a.Message())
		assert.Equal(t, "mtls/p", a.Where())
		assert.Equal(t, "8443", a.Field("fd.sport"))
		assert.Equal(t, "1795384393570679917", a.Field("evt.time"), "no digit may be lost")
		assert.Empty(t, a.Field("user.name"))
		assert.Equal(t, time.Date(2026, 11, 22, 21, 53, 13, 570679917, time.UTC), a.Time)
	})
	t.Run("an alert of the node is told as the node's", func(t *testing.T) {
		t.Parallel()
		a, err := alerts.Parse([]byte(`{"hostname":"n","output":"x","output_fields":{"container.id":"host","k8s.pod.name":null},"priority":"Notice","rule":"R","time":"2026-11-22T21:53:13Z"}`))
		require.NoError(t, err)
		assert.Equal(t, "node n", a.Where())
	})
	for name, line := range map[string]string{
		"a message of Falco's":   "Sun Nov 22 23:02:10 2026: Falco version: 0.40.0",
		"JSON of something else": `{"level":"info","msg":"x"}`,
		"an empty line":          "",
	} {
		t.Run(name+" is no alert", func(t *testing.T) {
			t.Parallel()
			_, err := alerts.Parse([]byte(line))
			require.ErrorIs(t, err, alerts.ErrNotAlert)
		})
	}
	for name, line := range map[string]string{
		"cut off":             `{"rule":"R","priority":"Cri`,
		"of unknown priority": `{"rule":"R","priority":"Severe","time":"2026-11-22T21:53:13Z"}`,
		"of an empty rule":    `{"rule":"","priority":"Debug"}`,
	} {
		t.Run("an alert "+name+" is an error", func(t *testing.T) {
			t.Parallel()
			_, err := alerts.Parse([]byte(line))
			require.Error(t, err)
			require.NotErrorIs(t, err, alerts.ErrNotAlert)
		})
	}
}

func TestFilter(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		filter alerts.Filter
		want   int
	}{
		{"no filter wants all", alerts.Filter{}, 5},
		{"critical and more severe", alerts.Filter{MinPriority: priority(t, "critical")}, 2},
		{"warning and more severe", alerts.Filter{MinPriority: priority(t, "warning")}, 5},
		{"alert and more severe", alerts.Filter{MinPriority: priority(t, "alert")}, 0},
		{"a rule by name in any case", alerts.Filter{Rules: []string{"unexpected network port binding"}}, 1},
		{"rules by pattern", alerts.Filter{Rules: []string{"Unexpected*"}}, 2},
		{"a pod by name", alerts.Filter{Pods: []string{"mtls-server-6895c6f559-m4bw6"}}, 2},
		{"pods of a namespace", alerts.Filter{Pods: []string{"mtls/*"}}, 4},
		{"pods of another namespace", alerts.Filter{Pods: []string{"other/*"}}, 0},
		{"since a time", alerts.Filter{Since: time.Date(2026, 11, 22, 22, 0, 0, 0, time.UTC)}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, _, err := read(t, alerts.Options{Filter: c.filter, Format: alerts.JSON})
			require.NoError(t, err)
			assert.Equal(t, c.want, strings.Count(out, "\n"), out)
		})
	}
	t.Run("a broken pattern is an error that names the flag", func(t *testing.T) {
		t.Parallel()
		_, _, err := read(t, alerts.Options{Filter: alerts.Filter{Rules: []string{"[a"}}})
		require.ErrorContains(t, err, `--rule = "[a"`)
	})
}

func TestGate(t *testing.T) {
	t.Parallel()
	t.Run("critical alerts stop and are named", func(t *testing.T) {
		t.Parallel()
		out, _, err := read(t, alerts.Options{FailOn: priority(t, "critical")})
		var gate *alerts.GateError
		require.ErrorAs(t, err, &gate)
		assert.Len(t, gate.Alerts, 2)
		require.EqualError(t, err, "2 alerts of priority critical or more severe: Sensitive File Read by mTLS Process (1), Unauthorized Access to SPIRE Socket (1)")
		assert.Contains(t, out, "Sensitive File Read by mTLS Process")
	})
	t.Run("warnings do not stop a gate for critical ones", func(t *testing.T) {
		t.Parallel()
		_, _, err := read(t, alerts.Options{FailOn: priority(t, "critical"), Filter: alerts.Filter{Rules: []string{"Unexpected*"}}})
		var unread *alerts.UnreadError
		require.ErrorAs(t, err, &unread, "but the line that is cut off does")
		assert.Equal(t, "testdata/falco.log:11", unread.First.Place())
	})
	t.Run("on GitHub each offending alert is an annotation", func(t *testing.T) {
		t.Parallel()
		_, notes, err := read(t, alerts.Options{FailOn: priority(t, "critical"), GitHub: true})
		require.Error(t, err)
		assert.Equal(t, 2, strings.Count(notes, "::error "), notes)
		assert.Contains(t, notes, "::error title=Falco Critical%3A Unauthorized Access to SPIRE Socket::node node-1: Unauthorized process accessing SPIRE socket (proc=cat")
	})
	t.Run("an annotation cannot be broken out of", func(t *testing.T) {
		t.Parallel()
		a := &alerts.Alert{Rule: "a,b::c", Output: "x\n::set-output name=y::z%", Priority: falco.PriorityCritical}
		assert.Equal(t, "::error title=Falco Critical%3A a%2Cb%3A%3Ac::unknown: x%0A::set-output name=y::z%25", alerts.GitHubAnnotation(a))
	})
}

func TestOutput(t *testing.T) {
	t.Parallel()
	t.Run("the table shows time, priority, rule, place and command", func(t *testing.T) {
		t.Parallel()
		out, notes, err := read(t, alerts.Options{})
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		require.Len(t, lines, 6)
		assert.Regexp(t, `^TIME \(UTC\) +PRIORITY +RULE +WHERE +COMMAND$`, lines[0])
		assert.Regexp(t, `^2026-11-22 \d\d:\d\d:\d\d\.\d{3}  Critical +Unauthorized Access to SPIRE Socket +node node-1 +cat /tmp/spire-agent/public/api.sock$`, lines[1])
		assert.Contains(t, notes, "1 place that is or may be an alert cannot be read: testdata/falco.log:", "the line that is cut off is reported")
		assert.NotContains(t, out, "\x1b")
	})
	t.Run("wide shows Falco's message without its time", func(t *testing.T) {
		t.Parallel()
		out, _, err := read(t, alerts.Options{Format: alerts.Wide, Color: true})
		require.NoError(t, err)
		assert.Contains(t, out, "  Unauthorized process accessing SPIRE socket (proc=cat")
		assert.Contains(t, out, "\x1b[1;31mCritical")
	})
	t.Run("JSON is what Falco wrote", func(t *testing.T) {
		t.Parallel()
		out, _, err := read(t, alerts.Options{Format: alerts.JSON})
		require.NoError(t, err)
		for line := range strings.Lines(out) {
			assert.True(t, json.Valid([]byte(line)))
		}
		log, err := os.ReadFile(recorded)
		require.NoError(t, err)
		first, _, _ := strings.Cut(out, "\n")
		assert.Contains(t, string(log), first+"\n")
	})
	t.Run("control characters of an attacker reach no terminal", func(t *testing.T) {
		t.Parallel()
		line := `{"output":"x","output_fields":{"proc.cmdline":"cat \u001b[2K\u001b]0;x\u0007\nCritical\u202e"},"priority":"Critical","rule":"R","time":"2026-11-22T21:53:13Z"}`
		out, _, err := read(t, alerts.Options{Input: "-", Stdin: strings.NewReader(line)})
		require.NoError(t, err)
		assert.Contains(t, out, `cat \x1b[2K\x1b]0;x\x07\nCritical\u202e`)
		assert.NotContains(t, out, "\x1b")
	})
	t.Run("a reader that goes away ends the reading", func(t *testing.T) {
		t.Parallel()
		err := alerts.Run(t.Context(), alerts.Options{Input: recorded, Format: alerts.JSON}, brokenPipe{}, &bytes.Buffer{})
		require.ErrorContains(t, err, "write alerts: broken pipe")
	})
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		o    alerts.Options
		want string
	}{
		{"nothing to read", alerts.Options{Format: alerts.Table}, "either from Falco's pods or from --input"},
		{"a duration without following", alerts.Options{Input: "-", Format: alerts.Table, For: time.Second}, "--for = 1s: must be a positive duration, with --follow"},
		{"an unknown format", alerts.Options{Input: "-", Format: "xml"}, `unknown format "xml"; must be table, wide or json`},
	} {
		t.Run(c.name+" is refused", func(t *testing.T) {
			t.Parallel()
			require.ErrorContains(t, alerts.Run(t.Context(), c.o, &bytes.Buffer{}, &bytes.Buffer{}), c.want)
		})
	}
	t.Run("a file that is not there is named", func(t *testing.T) {
		t.Parallel()
		_, _, err := read(t, alerts.Options{Input: filepath.Join(t.TempDir(), "none.log")})
		require.ErrorContains(t, err, "none.log")
	})
}

// A hundred thousand lines, a third of them Falco's messages, must be read in under 2 s of processor time: other
// programs may run beside this test.
func TestAHundredThousandLinesAreReadInUnderTwoSeconds(t *testing.T) {
	log, err := os.ReadFile(recorded)
	require.NoError(t, err)
	lines := strings.SplitAfter(strings.TrimSpace(string(log))+"\n", "\n")
	lines = lines[:len(lines)-3] // without the cut-off one and the one that is no alert
	var b strings.Builder
	for n := range 100_000 {
		b.WriteString(lines[n%len(lines)])
	}
	path := filepath.Join(t.TempDir(), "falco.log")
	require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
	best := time.Hour
	for range 3 {
		begun := processorTime(t)
		out, _, err := read(t, alerts.Options{Input: path, FailOn: priority(t, "critical"), Filter: alerts.Filter{Pods: []string{"mtls/*"}}})
		best = min(best, processorTime(t)-begun)
		require.Error(t, err)
		require.Greater(t, strings.Count(out, "\n"), 30_000)
		if best < 2*time.Second {
			break
		}
	}
	t.Logf("%d MiB in %s", b.Len()>>20, best)
	if !raceDetector { // which takes several times as long
		assert.Less(t, best, 2*time.Second)
	}
}

func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

var raceDetector bool

func BenchmarkScan(b *testing.B) {
	log, err := os.ReadFile(recorded)
	require.NoError(b, err)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		if err := alerts.Scan("log", bytes.NewReader(log), func(alerts.Line) {}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestScanGoesOnAfterALineWithoutEnd(t *testing.T) {
	t.Parallel()
	n := 0
	text := strings.Repeat("x", 5<<20) + "\n" + `{"rule":"R","priority":"Debug","time":"2026-11-22T21:53:13Z"}`
	require.NoError(t, alerts.Scan("log", strings.NewReader(text), func(l alerts.Line) {
		if l.Alert != nil {
			n++
		}
	}))
	assert.Equal(t, 1, n)
}

func TestFollowFile(t *testing.T) {
	t.Parallel()
	alert := func(rule string) string {
		return `{"rule":"` + rule + `","priority":"Debug","time":"2026-11-22T21:53:13Z"}` + "\n"
	}
	path := filepath.Join(t.TempDir(), "falco.log")
	require.NoError(t, os.WriteFile(path, []byte(alert("there before")), 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string, 10)
	done := make(chan error, 1)
	go func() {
		done <- alerts.FollowFile(ctx, path, func(l alerts.Line) {
			if l.Alert != nil {
				got <- l.Alert.Rule
			}
		})
	}()
	expect := func(want string) {
		t.Helper()
		select {
		case rule := <-got:
			require.Equal(t, want, rule)
		case <-time.After(10 * time.Second):
			require.Fail(t, "no alert", want)
		}
	}
	add := func(text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	expect("there before")
	whole := alert("in two writes")
	add(whole[:20])
	time.Sleep(300 * time.Millisecond)
	add(whole[20:])
	expect("in two writes")
	require.NoError(t, os.Rename(path, path+".1"))
	add(alert("after renaming"))
	expect("after renaming")
	require.NoError(t, os.Truncate(path, 0))
	time.Sleep(300 * time.Millisecond)
	add(alert("cut"))
	expect("cut")
	cancel()
	require.NoError(t, <-done)
}
