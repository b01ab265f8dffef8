package verify

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"spire-falco/detect/alerts"
	"spire-falco/report"
)

// Outcome is the result of a scenario in one word.
type Outcome string

// The outcomes.
const (
	// Passed: the rule fired for the attack, and Falcosidekick got the alert.
	Passed Outcome = "passed"
	// Failed: the attack was performed, but the alert or its delivery is missing.
	Failed Outcome = "failed"
	// Errored: the attack could not be performed, so the result is unknown.
	Errored Outcome = "error"
	// Skipped: the scenario does not apply to this workload.
	Skipped Outcome = "skipped"
)

// Result is the result of one scenario.
type Result struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Guide string `json:"guide,omitempty"`
	Rule  string `json:"rule"`
	// Priority is that of the alert, or of the rule when it did not fire.
	Priority string  `json:"priority"`
	Outcome  Outcome `json:"outcome"`
	Fired    bool    `json:"fired"`
	// LatencyMillis is the time from the start of the attack to the alert's arrival at verify.
	LatencyMillis int64 `json:"latencyMilliseconds,omitempty"`
	// Delivered reports whether Falcosidekick counted the alert.
	Delivered bool   `json:"delivered"`
	Pod       string `json:"pod,omitempty"`
	Marker    string `json:"marker"`
	// Detail says why the scenario did not pass.
	Detail string `json:"detail,omitempty"`
	// Alert is the alert as Falco wrote it.
	Alert json.RawMessage `json:"alert,omitempty"`

	seconds float64
}

// Report is the result of a run.
type Report struct {
	Run       string    `json:"run"`
	Context   string    `json:"context"`
	Workload  string    `json:"workload"`
	Nodes     int       `json:"nodes"`
	RulesHash string    `json:"rulesHash"`
	Started   time.Time `json:"started"`
	Seconds   float64   `json:"seconds"`
	Scenarios []Result  `json:"scenarios"`
	Checks    []Check   `json:"checks"`
	// Quiet is nil when the quiet period was left out.
	Quiet *Quiet `json:"quiet,omitempty"`
	// Interrupted reports that the run was stopped before its end.
	Interrupted bool `json:"interrupted,omitempty"`
	Passed      bool `json:"passed"`
}

// failures returns one sentence for each problem.
func (r *Report) failures() []string {
	var out []string
	for _, s := range r.Scenarios {
		if s.Outcome == Failed || s.Outcome == Errored {
			out = append(out, fmt.Sprintf("%s: %s", s.ID, s.Detail))
		}
	}
	for _, c := range r.Checks {
		if !c.OK {
			out = append(out, fmt.Sprintf("%s: no: %s", c.Name, c.Detail))
		}
	}
	if r.Quiet != nil {
		for _, p := range r.Quiet.Problems {
			out = append(out, "quiet period: "+p)
		}
		for _, raw := range r.Quiet.FalsePositives {
			out = append(out, "false positive: "+describe(raw))
		}
	}
	if r.Interrupted {
		out = append(out, "the run was interrupted")
	}
	return out
}

// describe returns an alert in one line.
func describe(raw []byte) string {
	a, err := alerts.Parse(raw)
	if err != nil {
		return report.Text(string(raw))
	}
	return report.Text(fmt.Sprintf("%s (%s): %s", a.Rule, a.Where(), a.Message()))
}

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	if err := report.WriteJSON(w, r); err != nil {
		return fmt.Errorf("write the JSON report: %w", err)
	}
	return nil
}

// WriteJUnit writes the report as a JUnit test suite, one case for each scenario and check.
func (r *Report) WriteJUnit(w io.Writer) error {
	suite := report.JUnitSuite{Name: "verify", Took: junitTime(r.Seconds), Started: r.Started}
	for _, s := range r.Scenarios {
		suite.Cases = append(suite.Cases, s.junit())
	}
	for _, check := range r.Checks {
		c := report.JUnitCase{Class: "verify.check", Name: check.Name, Out: check.Detail}
		if !check.OK {
			c.Failure = &report.JUnitMessage{Message: check.Detail}
		}
		suite.Cases = append(suite.Cases, c)
	}
	if r.Quiet != nil {
		suite.Cases = append(suite.Cases, r.Quiet.junit())
	}
	if r.Interrupted {
		suite.Cases = append(suite.Cases, report.JUnitCase{
			Class: "verify", Name: "the run is complete", Error: &report.JUnitMessage{Message: "interrupted"},
		})
	}
	return report.JUnit{Suites: []report.JUnitSuite{suite}}.Write(w) //nolint:wrapcheck // it says what it was writing
}

func junitTime(seconds float64) report.JUnitTime {
	return report.JUnitTime(seconds * float64(time.Second))
}

func (s Result) junit() report.JUnitCase {
	c := report.JUnitCase{
		Class: "verify.scenario", Name: fmt.Sprintf("%s: %s [%s]", s.ID, s.Title, s.Rule),
		Took: junitTime(s.seconds), Out: string(s.Alert),
	}
	message := &report.JUnitMessage{Message: s.Detail}
	switch s.Outcome {
	case Passed:
	case Failed:
		c.Failure = message
	case Errored:
		c.Error = message
	case Skipped:
		c.Skipped = message
	}
	return c
}

func (q *Quiet) junit() report.JUnitCase {
	c := report.JUnitCase{
		Class: "verify.quiet", Name: "normal operation raises no alert",
		Took: junitTime(q.Seconds), Out: strings.Join(q.Done, "\n"),
	}
	if !q.OK() {
		text := strings.Join(q.Problems, "\n")
		for _, raw := range q.FalsePositives {
			text += "\n" + string(raw)
		}
		c.Failure = &report.JUnitMessage{
			Message: fmt.Sprintf("%d false positives, %d problems", len(q.FalsePositives), len(q.Problems)),
			Text:    strings.TrimSpace(text),
		}
	}
	return c
}

// table prints results as they come.
type table struct {
	out   io.Writer
	color bool
	live  bool
}

const rowFormat = "%-6s  %-20s  %-46s  %-9s  %-6s  %9s  %s\n"

func (t table) header() {
	_, _ = fmt.Fprintf(t.out, rowFormat, "", "SCENARIO", "RULE", "PRIORITY", "FIRED", "LATENCY", "DELIVERED")
}

// begin shows the current scenario on a terminal; its row will overwrite that line.
func (t table) begin(s Scenario) {
	if t.live {
		_, _ = fmt.Fprintf(t.out, "\r\x1b[K…       %-20s  %s", s.ID, s.Title)
	}
}

func (t table) row(res Result) {
	if t.live {
		_, _ = io.WriteString(t.out, "\r\x1b[K")
	}
	latency := "-"
	if res.Fired {
		latency = fmt.Sprintf("%d ms", res.LatencyMillis)
	}
	mark := map[Outcome]string{Passed: "ok", Failed: "FAIL", Errored: "ERROR", Skipped: "-"}[res.Outcome]
	label := fmt.Sprintf("%-6s", mark)
	if t.color {
		code := map[Outcome]string{Passed: "32", Failed: "1;31", Errored: "1;33", Skipped: "2"}[res.Outcome]
		label = "\x1b[" + code + "m" + label + "\x1b[0m"
	}
	_, _ = io.WriteString(t.out, label) // not through report, which would escape its colour
	report.Fprintf(t.out, rowFormat[len("%-6s"):],
		res.ID, res.Rule, res.Priority, yes(res.Fired), latency, yes(res.Delivered))
	if res.Outcome != Passed {
		_, _ = fmt.Fprintf(t.out, "        %s\n", report.Text(res.Detail))
	}
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// rest prints what follows the table.
func (t table) rest(r *Report) {
	write := func(format string, args ...any) { report.Fprintf(t.out, format, args...) }
	write("\n")
	for _, c := range r.Checks {
		mark := "ok  "
		if !c.OK {
			mark = "FAIL"
		}
		write("%s    %s (%s)\n", mark, c.Name, c.Detail)
	}
	if q := r.Quiet; q != nil {
		mark := "ok  "
		if !q.OK() {
			mark = "FAIL"
		}
		write("%s    quiet period of %.0f s: %d false positives, %d alerts of other rules\n",
			mark, q.Seconds, len(q.FalsePositives), q.OtherAlerts)
		for _, d := range q.Done {
			write("        done: %s\n", d)
		}
		for _, d := range q.Skipped {
			write("        skipped: %s\n", d)
		}
	}
	failures := r.failures()
	if len(failures) == 0 {
		write("\nverified: %d scenarios, %.0f s\n", len(r.Scenarios), r.Seconds)
		return
	}
	write("\nNOT verified:\n")
	for _, f := range failures {
		write("  - %s\n", f)
	}
}
