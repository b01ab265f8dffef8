// Package stock knows the rules that Falco's image carries: their names, what
// they refer to and of what kind it is, as data that was made from the files.
//
// The rules themselves come with Falco and are not shipped. Placeholders made
// from the data stand before a user's file, so that it is judged as it would
// be behind the real rules.
package stock

import (
	"embed"
	"fmt"
	"strings"
	"sync"

	"spire-falco/falco"
	"spire-falco/falco/ruleset"
)

//go:embed data/*.tsv
var data embed.FS

// Rules returns a rule file with a placeholder for each list, macro and rule of
// the one file that the image of that Falco carries. The placeholders use the
// same lists and macros in the same kinds of checks and ask for the same
// events; what they compare with is made up.
func Rules(v falco.Version) (ruleset.File, error) {
	facts, err := Facts(v)
	if err != nil {
		return ruleset.File{}, err
	}
	return ruleset.File{Name: falco.StockRulesFile, Content: []byte(written(v.Row(), facts))}, nil
}

var files sync.Map

// written is the file of placeholders of a version, which is written once.
func written(version string, facts []Fact) string {
	if s, ok := files.Load(version); ok {
		return s.(string) //nolint:forcetypeassert // nothing else is stored
	}
	s := write(facts)
	files.Store(version, s)
	return s
}

// Facts returns what is known of the rules that the image of that Falco
// carries, in the order of the file.
func Facts(v falco.Version) ([]Fact, error) {
	b, err := data.ReadFile("data/" + v.Rules + ".tsv")
	if err != nil {
		return nil, fmt.Errorf("stock rules %s of Falco %s: %w", v.Rules, v.Number, err)
	}
	return parse(string(b))
}

// Hide removes lines and columns from problems in the placeholders, which
// nobody can look up: the item is named in each.
func Hide(problems []ruleset.Problem) {
	for i := range problems {
		if problems[i].File == falco.StockRulesFile {
			problems[i].Line, problems[i].Column = 0, 0
		}
	}
}

// IsPlaceholder reports whether a problem or finding is in the placeholders
// rather than in a file of one's own.
func IsPlaceholder(file string) bool { return strings.EqualFold(file, falco.StockRulesFile) }
