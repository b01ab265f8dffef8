package conformance_test

import (
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
	"spire-falco/falco/conformance"
	"spire-falco/falco/ruleset"
)

// judge loads the files of a case as this project does. Every problem has its place.
func judge(t *testing.T, c conformance.Case, v falco.Version) conformance.Verdict {
	t.Helper()
	files := make([]ruleset.File, len(c.Files))
	for i, f := range c.Files {
		files[i] = ruleset.File{Name: f.Name, Content: []byte(f.Text)}
	}
	_, report := ruleset.Load(files, ruleset.Options{Falco: v})
	for _, p := range slices.Concat(report.Errors, report.Warnings) {
		if p.Line == 0 || p.Column == 0 {
			t.Errorf("%s: no place: %s", c.ID, p)
		}
	}
	var verdict conformance.Verdict
	for _, f := range report.Files {
		fv := conformance.FileVerdict{Accepted: len(f.Errors) == 0}
		for _, p := range f.Errors {
			if p.Code == ruleset.ErrPluginRequirement {
				verdict.Fatal = p.Message
			}
			fv.Errors = append(fv.Errors, conformance.Problem{string(p.Code), p.Message})
		}
		for _, p := range f.Warnings {
			fv.Warnings = append(fv.Warnings, conformance.Problem{string(p.Code), p.Message})
		}
		verdict.Files = append(verdict.Files, fv)
	}
	return verdict
}

func TestEveryVerdictIsThatOfTheRealFalco(t *testing.T) {
	cases, err := conformance.Cases()
	require.NoError(t, err)
	var texts map[string]string
	if dir := os.Getenv("FALCO_RULES_DIR"); dir != "" {
		texts, err = conformance.Texts(dir)
		require.NoError(t, err)
	}
	for _, v := range falco.Versions() {
		t.Run(v.Number, func(t *testing.T) {
			t.Parallel()
			judged, disagreements, absent := 0, 0, 0
			for _, c := range cases {
				c = c.With(texts)
				want, ok := c.Verdict(v.Number)
				switch {
				case !ok:
					continue
				case !c.Complete():
					absent++
					continue
				}
				judged++
				if differences := conformance.Differences(want, judge(t, c, v)); len(differences) > 0 {
					disagreements++
					if disagreements <= 20 {
						t.Errorf("%s:\n%.2000s\n%v", c.ID, c.Files[len(c.Files)-1].Text, differences)
					}
				}
			}
			t.Logf("%d cases, %d disagreements", judged, disagreements)
			if absent > 0 {
				t.Logf("%d cases are of Falco's own rule files, which are not part of this repository: name their folder in "+
					"FALCO_RULES_DIR to judge them too", absent)
			}
			assert.Zero(t, disagreements)
		})
	}
}
