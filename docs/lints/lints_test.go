package lints_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/docs/lints"
	"spire-falco/falco"
	"spire-falco/falco/ruleset"
)

var example = regexp.MustCompile("(?ms)^```yaml (bad|good)(?: falco=(\\S+))?\n(.*?)^```$")

// shown is the only code whose example cannot be shown: its bytes are no text.
const notShown = ruleset.LintNotUTF8

func TestEveryCodeHasAPageWhoseExamplesAreTrue(t *testing.T) {
	t.Parallel()
	index, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, code := range ruleset.LintCodes() {
		t.Run(string(code), func(t *testing.T) {
			t.Parallel()
			page, ok := lints.Page(string(code))
			require.True(t, ok, "there is no page")
			assert.True(t, strings.HasPrefix(page, "# "+string(code)+"\n"))
			assert.Contains(t, page, "\n## Why\n")
			assert.Contains(t, page, "\n## How to ignore it\n")
			assert.Contains(t, string(index), "["+string(code)+"]("+string(code)+".md)")
			examples := map[string]bool{}
			for _, m := range example.FindAllStringSubmatch(page, -1) {
				examples[m[1]] = true
				v := falco.Newest()
				if m[2] != "" {
					v, err = falco.Lookup(m[2])
					require.NoError(t, err)
				}
				set, report := ruleset.Load([]ruleset.File{{Name: "r.yaml", Content: []byte(m[3])}}, ruleset.Options{Falco: v})
				require.NoError(t, report.Err())
				var found []ruleset.FindingCode
				for _, f := range ruleset.Lint(set, ruleset.LintOptions{}) {
					found = append(found, f.Code)
				}
				if m[1] == "bad" {
					assert.Contains(t, found, code, m[3])
				} else {
					assert.Empty(t, found, m[3])
				}
			}
			assert.Equal(t, code != notShown, examples["bad"] && examples["good"])
		})
	}
}

func TestThereIsNoPageOfACodeThatIsGone(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	var codes []string
	for _, code := range ruleset.LintCodes() {
		codes = append(codes, string(code))
	}
	for _, f := range files {
		if name, ok := strings.CutSuffix(f.Name(), ".md"); ok && name != "README" {
			assert.Contains(t, codes, name)
		}
	}
}
