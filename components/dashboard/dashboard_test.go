package dashboard_test

import (
	_ "embed"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/components/dashboard"
)

// What Falco 0.40.0 answered on /metrics with the values of this stack, one line of each metric.
//
//go:embed testdata/metrics.txt
var metrics string

type panel struct {
	ID      int    `json:"id"`
	Title   string `json:"title"`
	GridPos struct{ X, Y, W, H int }
	Targets []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
}

func load(t *testing.T) []panel {
	t.Helper()
	var d struct {
		UID    string  `json:"uid"`
		Panels []panel `json:"panels"`
	}
	require.NoError(t, json.Unmarshal([]byte(dashboard.Data()[dashboard.FileName]), &d))
	require.NotEmpty(t, d.UID)
	return d.Panels
}

var metricName = regexp.MustCompile(`falcosecurity_[a-z_]+`)

func TestEveryMetricOfTheDashboardIsOneThatFalcoGives(t *testing.T) {
	t.Parallel()
	for _, p := range load(t) {
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			names := metricName.FindAllString(target.Expr, -1)
			require.NotEmpty(t, names, target.Expr)
			for _, name := range names {
				assert.Contains(t, metrics, "\n"+name+"{", p.Title)
			}
			for label := range strings.SplitSeq("rule_name priority", " ") {
				if strings.Contains(target.Expr, "("+label+")") {
					assert.Regexp(t, names[0]+`\{[^}]*`+label+`="`, metrics, p.Title)
				}
			}
			assert.Equal(t, strings.Count(target.Expr, "("), strings.Count(target.Expr, ")"), target.Expr)
		}
	}
}

func TestPanelsDoNotOverlapAndHaveTheirOwnIDs(t *testing.T) {
	t.Parallel()
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range load(t) {
		assert.False(t, ids[p.ID], p.Title)
		ids[p.ID] = true
		g := p.GridPos
		assert.LessOrEqual(t, g.X+g.W, 24, p.Title)
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				assert.Empty(t, taken[[2]int{x, y}], p.Title)
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
}

func TestTheDashboardShowsWhatTheStackPromises(t *testing.T) {
	t.Parallel()
	var titles []string
	for _, p := range load(t) {
		titles = append(titles, p.Title)
	}
	for _, want := range []string{
		"Alerts by rule", "Alerts by priority", "Events per second by node", "Dropped events per second by node", "CPU by node", "Memory by node",
	} {
		assert.Contains(t, titles, want)
	}
}
