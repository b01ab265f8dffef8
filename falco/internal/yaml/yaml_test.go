package yaml_test

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"sort"
	"strings"
	"testing"

	"spire-falco/falco/internal/yaml"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorded is a file with what yaml-cpp itself made of it: its message, or the
// documents in a notation of one line.
type recorded struct {
	YAML   string `json:"yaml"`
	OK     bool   `json:"ok"`
	Result string `json:"result"`
}

func notation(b *strings.Builder, n *yaml.Node) {
	switch n.Kind {
	case yaml.Null:
		b.WriteString("N")
	case yaml.Scalar:
		b.WriteString("S<" + strings.ReplaceAll(n.Value, "\n", `\n`) + ">")
	case yaml.Sequence:
		b.WriteString("[")
		for _, c := range n.Content {
			notation(b, c)
			b.WriteString(",")
		}
		b.WriteString("]")
	case yaml.Map:
		b.WriteString("{")
		for i, c := range n.Content {
			notation(b, c)
			b.WriteString([]string{":", ","}[i%2])
		}
		b.WriteString("}")
	}
}

func readRecorded(t testing.TB) []recorded {
	t.Helper()
	f, err := os.Open("testdata/yaml-cpp.jsonl.gz")
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	var all []recorded
	scanner := bufio.NewScanner(z)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var r recorded
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &r))
		all = append(all, r)
	}
	require.NoError(t, scanner.Err())
	require.NotEmpty(t, all)
	return all
}

func TestReadsFilesAsYamlCppDid(t *testing.T) {
	t.Parallel()
	for _, r := range readRecorded(t) {
		if strings.HasPrefix(r.YAML, "- &a [*a]") {
			continue // contains itself
		}
		docs, err := yaml.Parse(decoded(r.YAML))
		if !r.OK {
			require.Error(t, err, "%q", r.YAML)
			assert.Equal(t, strings.TrimPrefix(r.Result, "yaml-cpp: "), strings.TrimPrefix(err.Error(), "yaml-cpp: "), "%q", r.YAML)
			continue
		}
		require.NoError(t, err, "%q", r.YAML)
		var b strings.Builder
		for _, d := range docs {
			notation(&b, d)
			b.WriteString("|")
		}
		assert.Equal(t, strings.ReplaceAll(r.Result, "\r", ""), strings.ReplaceAll(b.String(), "\r", ""), "%q", r.YAML)
	}
}

func TestEveryByteOfAScalarKnowsItsOffset(t *testing.T) {
	t.Parallel()
	const file = "- a: >\n    one two\n    three\n- b: \"x\\ty\"\n- c: plain\n    folded\n"
	docs, err := yaml.Parse(decoded(file))
	require.NoError(t, err)
	for i, want := range []string{"three", "y", "folded"} {
		value := docs[0].Content[i].Content[1]
		at := strings.Index(value.Value, want)
		require.GreaterOrEqual(t, at, 0)
		assert.Equal(t, want, file[offsetOf(t, value, at):][:len(want)])
		checkRuns(t, value, len(file))
	}
}

func offsetOf(t *testing.T, n *yaml.Node, i int) int {
	t.Helper()
	k := sort.Search(len(n.Runs()), func(k int) bool { return int(n.Runs()[k].Start) > i }) - 1
	require.GreaterOrEqual(t, k, 0)
	return n.Runs()[k].At(i)
}

// checkRuns checks that every byte of every scalar has an offset inside the file.
func checkRuns(t *testing.T, n *yaml.Node, size int) {
	t.Helper()
	for i := range n.Value {
		at := offsetOf(t, n, i)
		require.GreaterOrEqual(t, at, 0)
		require.Less(t, at, size)
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range readRecorded(f)[:200] {
		f.Add(r.YAML)
	}
	f.Fuzz(func(t *testing.T, content string) {
		docs, err := yaml.Parse(decoded(content))
		if err == nil {
			for _, d := range docs {
				checkRuns(t, d, len(content))
			}
		}
	})
}

func decoded(content string) string {
	text, _ := yaml.Decode(content)
	return text
}
