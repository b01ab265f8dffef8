package condition

import (
	"embed"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"spire-falco/falco"
)

//go:embed data/0.*
var catalogues embed.FS

// Language is the condition language of one Falco version: its fields, events,
// operators and transformers. Falco releases of the same minor share it. It is
// safe for concurrent use.
type Language struct {
	version falco.Version
	// Each catalogue is read when it is first needed: not every question needs all.
	fields  func() *fieldCatalogue
	events  func() *eventCatalogue
	grammar func() *grammar
	// params holds the parameters of all events, the first of each name.
	params func() []param
	// eventParams holds the parameters of each event of the table.
	eventParams func() [][]param
}

// languages holds one Language per row of falco.Versions.
var languages = func() map[string]*Language {
	all := map[string]*Language{}
	for _, v := range falco.Versions() {
		all[v.Number] = newLanguage(v)
	}
	return all
}()

// For returns the language of a Falco version. The zero Version stands for the
// newest; one that is not of falco.Versions or falco.Lookup is a programming error.
func For(v falco.Version) *Language {
	if v.Number == "" {
		v = falco.Newest()
	}
	l := languages[v.Row()]
	if l == nil {
		panic("condition: no language for Falco version " + v.Number)
	}
	return l
}

func newLanguage(v falco.Version) *Language {
	l := &Language{version: v}
	l.fields = sync.OnceValue(func() *fieldCatalogue { return loadFields(l.data("fields.tsv")) })
	l.events = sync.OnceValue(func() *eventCatalogue { return loadEvents(l.data("events.tsv"), l.data("syscalls.txt")) })
	l.grammar = sync.OnceValue(func() *grammar { return loadGrammar(l.data("language.tsv")) })
	l.params = sync.OnceValue(func() []param { return loadParams(l.events().events) })
	l.eventParams = sync.OnceValue(func() [][]param {
		events := l.events().events
		params := make([][]param, len(events))
		for i := range events {
			params[i] = slices.Collect(events[i].paramList())
		}
		return params
	})
	return l
}

// data returns a file of the version's catalogues.
func (l *Language) data(name string) string {
	b, err := catalogues.ReadFile("data/" + l.version.Number + "/" + name)
	if errors.Is(err, fs.ErrNotExist) { // until the version's own are in place
		b, err = catalogues.ReadFile("data/0.40.0/" + name)
	}
	if err != nil {
		panic("condition: " + err.Error()) // embedded at build time: a programming error
	}
	return string(b)
}

// Version returns the Falco version of the language, the one in falco.Versions.
func (l *Language) Version() falco.Version { return l.version }

// grammar holds the words of the language, each list in the order in which
// Falco's parser tries them.
type grammar struct {
	// operators has the names of all operators.
	operators []string
	// Operators of letters have a blank at their end here where one must follow.
	unaryOperators, numberOperators, stringOperators, listOperators []string
	// modifiers turn an operator of texts into one of lists, with a blank at their end.
	modifiers []string
	// transformers change the value of a field; tokens have the parenthesis.
	transformers, transformerTokens []string
}

func loadGrammar(table string) *grammar {
	g := &grammar{}
	for _, line := range rows(table)[1:] {
		kind, word, _ := strings.Cut(line, "\t")
		switch kind {
		case "operator":
			switch {
			case word == "exists":
				g.unaryOperators = append(g.unaryOperators, word)
			case word[0] == '<' || word[0] == '>':
				g.numberOperators = append(g.numberOperators, word)
			case isAlpha(word[0]):
				g.stringOperators = append(g.stringOperators, word+" ")
			default:
				g.stringOperators = append(g.stringOperators, word)
			}
			g.operators = append(g.operators, word)
		case "list operator":
			g.listOperators = append(g.listOperators, word)
			g.operators = append(g.operators, word)
		case "modifier":
			g.modifiers = append(g.modifiers, word+" ")
		case "transformer":
			g.transformers = append(g.transformers, word)
			g.transformerTokens = append(g.transformerTokens, word+"(")
		}
	}
	return g
}

// IsOperator reports whether the language has an operator of that name.
func (l *Language) IsOperator(name string) bool { return slices.Contains(l.grammar().operators, name) }

// TakesList reports whether an operator takes a list.
func (l *Language) TakesList(op string) bool { return slices.Contains(l.grammar().listOperators, op) }

// LeadingTransformer returns the transformer that text starts with, without
// its parenthesis, and "" when there is none.
func (l *Language) LeadingTransformer(text string) string {
	g := l.grammar()
	for i, t := range g.transformerTokens {
		if strings.HasPrefix(text, t) {
			return g.transformers[i]
		}
	}
	return ""
}
