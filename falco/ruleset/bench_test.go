package ruleset_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"testing"

	"spire-falco/falco"
	"spire-falco/falco/ruleset"

	"github.com/stretchr/testify/require"
)

// recordedLines returns the recorded events of the parity data, as lines.
func recordedLines(t testing.TB) [][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "condition", "testdata", "parity", "events.jsonl.gz"))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	data, err := io.ReadAll(z)
	require.NoError(t, err)
	var lines [][]byte
	scanner := bufio.NewScanner(bytes.NewReader(data))
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var row struct {
			Event json.RawMessage `json:"event"`
		}
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &row))
		lines = append(lines, row.Event)
	}
	require.NoError(t, scanner.Err())
	return lines
}

func recordedEvents(t testing.TB) []ruleset.Event {
	t.Helper()
	var events []ruleset.Event
	for _, line := range recordedLines(t) {
		ev, err := ruleset.ParseEvent(line)
		require.NoError(t, err)
		events = append(events, ev)
	}
	return events
}

// ourFiles returns this stack's rule files.
func ourFiles(t testing.TB) []ruleset.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("..", "..", "rules", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, names)
	var files []ruleset.File
	for _, name := range names {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		files = append(files, ruleset.File{Name: filepath.Base(name), Content: content})
	}
	return files
}

// stockFiles returns the rules that Falco ships with, from the file that
// FALCO_STOCK_RULES names: they are not part of this repository.
func stockFiles(t testing.TB) []ruleset.File {
	t.Helper()
	name := os.Getenv("FALCO_STOCK_RULES")
	if name == "" {
		return nil
	}
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	return []ruleset.File{{Name: filepath.Base(name), Content: content}}
}

// benchedFalco is the Falco that FALCO_VERSION names, 0.40.0 when it names none.
func benchedFalco(b *testing.B) ruleset.Options {
	number := os.Getenv("FALCO_VERSION")
	if number == "" {
		return falco040
	}
	v, err := falco.Lookup(number)
	require.NoError(b, err)
	return ruleset.Options{Falco: v}
}

// BenchmarkCheckStockAndOurs measures what stands before a deployment: loading
// and checking the stock rules (when FALCO_STOCK_RULES names them) and ours.
func BenchmarkCheckStockAndOurs(b *testing.B) {
	options := benchedFalco(b)
	files := append(stockFiles(b), ourFiles(b)...)
	size := 0
	for _, f := range files {
		size += len(f.Content)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		rs, report := ruleset.Load(files, options)
		if !report.OK() {
			b.Fatal(report.Err())
		}
		ruleset.Lint(rs, ruleset.LintOptions{})
	}
}

// BenchmarkEvaluateStream measures rules over events that have been read: the
// cost of the rules themselves.
func BenchmarkEvaluateStream(b *testing.B) {
	rs, report := ruleset.Load(append(stockFiles(b), ourFiles(b)...), falco040)
	require.NoError(b, report.Err())
	engine := rs.NewEngine(ruleset.First)
	var events []ruleset.Event
	for _, ev := range recordedEvents(b) {
		if engine.Match(ev) == nil {
			events = append(events, ev)
		}
	}
	require.NotEmpty(b, events)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		engine.Match(events[n%len(events)])
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkReadAndEvaluateStream measures the same with the reading of JSON lines.
func BenchmarkReadAndEvaluateStream(b *testing.B) {
	rs, report := ruleset.Load(append(stockFiles(b), ourFiles(b)...), falco040)
	require.NoError(b, report.Err())
	engine := rs.NewEngine(ruleset.First)
	lines := recordedLines(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		ev, err := ruleset.ParseEvent(lines[n%len(lines)])
		if err != nil {
			b.Fatal(err)
		}
		engine.Eval(ev)
		n++
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
}

func TestAnEventThatFiresNothingCostsNoAllocation(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates on its own; the ordinary run measures")
	}
	rs, report := ruleset.Load(ourFiles(t), falco040)
	require.NoError(t, report.Err())
	engine := rs.NewEngine(ruleset.All)
	for _, ev := range recordedEvents(t) {
		engine.Match(ev)
		if engine.Match(ev) != nil {
			continue
		}
		require.Zero(t, testing.AllocsPerRun(10, func() { engine.Match(ev) }))
	}
}
