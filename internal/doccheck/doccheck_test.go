package doccheck

import (
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const page = "# The `page` & [more](x.md)\n" +
	"See [a](a.md#b \"title\"), `[no](link)` and [c](#the-page--more).\n" +
	"## Twice\n## Twice\n\n" +
	"    tool run --fast FILE   # comment\n\n" +
	"Use `tool run --slow`, or `other | tool stop -n 3 < in`.\n" +
	"```sh\n# no heading\n[no](link)\nX=1 go run ./cmd/tool run \"a b\"; next\nhow a tool is run\n```\n"

func TestPage(t *testing.T) {
	t.Parallel()
	p := parse("docs/page.md", page)
	assert.Equal(t, []Link{{1, "x.md"}, {2, "a.md#b"}, {2, "#the-page--more"}}, p.Links())
	assert.Equal(t, []string{"the-page--more", "twice", "twice-1"}, p.Anchors())
	assert.Equal(t, []Command{
		{"docs/page.md:6", []string{"run", "--fast", "FILE"}},
		{"docs/page.md:8", []string{"run", "--slow"}},
		{"docs/page.md:8", []string{"stop", "-n", "3"}},
		{"docs/page.md:12", []string{"run", "a b"}},
	}, p.Commands("tool"))
}

func TestCobra(t *testing.T) {
	t.Parallel()
	root := &cobra.Command{Use: "tool"}
	root.PersistentFlags().StringP("dir", "C", "", "")
	run := &cobra.Command{Use: "run FILE", Run: func(*cobra.Command, []string) {}}
	run.Flags().Bool("fast", false, "")
	root.AddCommand(run, &cobra.Command{Use: "pass", DisableFlagParsing: true, Run: func(*cobra.Command, []string) {}})
	for _, args := range [][]string{
		{"run", "--fast", "-C", "x", "--dir=y", "FILE", "-"}, {"run", "--help"}, {"run", "--", "--any"}, {"pass", "--any"}, {"COMMAND"}, {},
	} {
		require.NoError(t, Command{Args: args}.Cobra(root), args)
	}
	require.EqualError(t, Command{"a.md:1", []string{"ran"}}.Cobra(root), `a.md:1: "tool" has no command "ran"`)
	require.EqualError(t, Command{"a.md:1", []string{"run", "--slow"}}.Cobra(root), `a.md:1: "tool run" has no flag --slow`)
	require.EqualError(t, Command{"a.md:1", []string{"run", "-x"}}.Cobra(root), `a.md:1: "tool run" has no flag -x`)
}
