package ruleset_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
	"spire-falco/falco/ruleset"
)

// falco040 is the Falco that gave the verdicts of the parity data.
var falco040 = ruleset.Options{Falco: version("0.40.0")}

func version(number string) falco.Version {
	v, err := falco.Lookup(number)
	if err != nil {
		panic(err)
	}
	return v
}

type judged struct {
	ID         string        `json:"id"`
	Kind       string        `json:"kind"`
	YAML       string        `json:"yaml"`
	Files      []judgedFile  `json:"files"`
	Successful bool          `json:"successful"`
	Errors     []judgedEntry `json:"errors"`
	Warnings   []judgedEntry `json:"warnings"`
	// Results holds errors and warnings file by file, where there are several.
	Results []struct {
		Errors   []judgedEntry `json:"errors"`
		Warnings []judgedEntry `json:"warnings"`
	} `json:"results"`
}

type judgedFile struct {
	Name string `json:"name"`
	YAML string `json:"yaml"`
}

type judgedEntry struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (j judged) files() []ruleset.File {
	if len(j.Files) == 0 {
		return []ruleset.File{{Name: "rules.yaml", Content: []byte(j.YAML)}}
	}
	var files []ruleset.File
	for _, f := range j.Files {
		files = append(files, ruleset.File{Name: f.Name, Content: []byte(f.YAML)})
	}
	return files
}

// judgedFiles reads rule files with what a real Falco 0.40.0 said of them.
func judgedFiles(t testing.TB, name string) []judged {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "parity", name))
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	scanner := bufio.NewScanner(z)
	scanner.Buffer(nil, 16<<20)
	var all []judged
	for scanner.Scan() {
		var j judged
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &j))
		all = append(all, j)
	}
	require.NoError(t, scanner.Err())
	return all
}

func falcoCodes(list []judgedEntry) []string {
	codes := []string{}
	for _, e := range list {
		codes = append(codes, e.Code)
	}
	slices.Sort(codes)
	return codes
}

func ourCodes(list []ruleset.Problem) []string {
	codes := []string{}
	for _, p := range list {
		codes = append(codes, string(p.Code))
	}
	slices.Sort(codes)
	return codes
}

func compareWithFalco(t *testing.T, all []judged) {
	t.Helper()
	disagreements := 0
	for _, j := range all {
		_, report := ruleset.Load(j.files(), falco040)
		ok := assert.Equal(t, j.Successful, report.OK(), "%s: accepted?\n%s\n%v", j.ID, j.YAML, report.Errors)
		if j.Errors != nil {
			ok = assert.Equal(t, falcoCodes(j.Errors), ourCodes(report.Errors), "%s: errors\n%s\n%v", j.ID, j.YAML, report.Errors) && ok
		}
		if j.Warnings != nil {
			ok = assert.Equal(t, falcoCodes(j.Warnings), ourCodes(report.Warnings), "%s: warnings\n%s\n%v", j.ID, j.YAML, report.Warnings) && ok
		}
		for i, r := range j.Results {
			ok = assert.Equal(t, falcoCodes(r.Errors), ourCodes(report.Files[i].Errors), "%s, file %d: errors\n%v\n%v", j.ID, i, j.Files, report.Errors) && ok
			ok = assert.Equal(t, falcoCodes(r.Warnings), ourCodes(report.Files[i].Warnings), "%s, file %d: warnings\n%v\n%v", j.ID, i, j.Files, report.Warnings) && ok
		}
		if !ok {
			disagreements++
		}
		for _, p := range report.Errors {
			assert.NotZero(t, p.Line, "%s: an error has its line: %s", j.ID, p)
			assert.NotZero(t, p.Column, "%s: an error has its column: %s", j.ID, p)
		}
	}
	t.Logf("%d files, %d disagreements", len(all), disagreements)
	assert.Zero(t, disagreements)
}

func TestParityWithFalcoOnRecordedRuleFiles(t *testing.T) {
	t.Parallel()
	all := judgedFiles(t, "rule-files.jsonl.gz")
	require.Len(t, all, 718)
	compareWithFalco(t, all)
}

// The files of these tests were written for them, to go where the recorded ones
// do not, and judged by a Falco 0.40.0 built from its source.
func TestParityWithFalcoOnRuleFilesOfOurOwn(t *testing.T) {
	t.Parallel()
	all := judgedFiles(t, "own-rule-files.jsonl.gz")
	require.GreaterOrEqual(t, len(all), 1400)
	compareWithFalco(t, all)
}

func TestParityWithFalcoOnSeveralFilesInLoadOrder(t *testing.T) {
	t.Parallel()
	all := judgedFiles(t, "own-several-files.jsonl.gz")
	require.GreaterOrEqual(t, len(all), 800)
	compareWithFalco(t, all)
}

// Messages are not part of the verdict, yet nearly all of them are Falco's own:
// those that are not come from the YAML library.
func TestMessagesAreThoseOfFalco(t *testing.T) {
	t.Parallel()
	for _, j := range judgedFiles(t, "rule-files.jsonl.gz") {
		_, report := ruleset.Load(j.files(), falco040)
		for i, e := range j.Errors {
			if e.Code != string(ruleset.ErrYAMLParse) && i < len(report.Errors) {
				assert.Equal(t, e.Message, report.Errors[i].Message, j.YAML)
			}
		}
		for i, w := range j.Warnings {
			if i < len(report.Warnings) {
				assert.Equal(t, w.Message, report.Warnings[i].Message, j.YAML)
			}
		}
	}
}
