package condition

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
)

// The verdicts are those of the functions that Falco's operators call: fnmatch
// and strcasestr of the C library, RE2 in POSIX mode, and Falco's path search.
func TestTextOperatorsAgreeWithTheFunctionsThatFalcoCalls(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/parity/operators.jsonl.gz")
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	scanner := bufio.NewScanner(z)
	n := 0
	for ; scanner.Scan(); n++ {
		var c struct {
			Op, P, S string
			L        []string
			Match    bool
		}
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &c))
		got := false
		switch c.Op {
		case "glob":
			got = globMatch(c.P, c.S, false)
		case "iglob":
			got = globMatch(c.P, c.S, true)
		case "icontains":
			got = containsFold(c.S, c.P)
		case "regex":
			re := compileRegex(c.P)
			got = re != nil && re.MatchString(c.S)
		case "pmatch":
			got = newPathSet(c.L).match(c.S)
		default:
			t.Fatalf("operator %q", c.Op)
		}
		assert.Equal(t, c.Match, got, "%q %s %q %q", c.S, c.Op, c.P, c.L)
	}
	require.NoError(t, scanner.Err())
	require.GreaterOrEqual(t, n, 5000)
}

func TestAListThatWasNotParsedCanBeChecked(t *testing.T) {
	t.Parallel()
	left := &Field{Name: "evt.type"}
	lang := For(falco.Versions()[0])
	_, err := lang.Check(&Binary{Left: left, Op: "in", Right: &List{Values: []string{"open", "close"}}})
	require.NoError(t, err)
	_, err = lang.Check(&Binary{Left: left, Op: "in", Right: &List{Values: []string{"open", "clsoe"}}})
	require.ErrorContains(t, err, "unknown event type clsoe")
}
