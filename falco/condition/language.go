package condition

import (
	"embed"
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
	features
	// Each catalogue is read when it is first needed: not every question needs all.
	fields  func() *fieldCatalogue
	events  func() *eventCatalogue
	grammar func() *grammar
	// params holds the parameters of all events, the first of each name.
	params func() []param
	// eventParams holds the parameters of each event of the table.
	eventParams func() [][]param
}

// features is what versions of the language differ in, besides their catalogues.
type features struct {
	// pluginFields: the fields of containers and Kubernetes are those of the
	// container plugin, with the argument rules of plugins; syscall.type selects
	// events as evt.type does. Since 0.41.
	pluginFields bool
	// lenientAncestors: a wrong argument of proc.aname and its likes counts as
	// none, not as a name of no length; constants of PID fields can be read. Since 0.42.
	lenientAncestors bool
	// nestedTransformers: transformers take several arguments, texts and numbers
	// among them; operators take list modifiers; outputs are read by the parser of
	// conditions; an invalid regular expression is an error. Since 0.44.
	nestedTransformers bool
}

func featuresOf(v falco.Version) features {
	return features{
		pluginFields:       v.AtLeast("0.41"),
		lenientAncestors:   v.AtLeast("0.42"),
		nestedTransformers: v.AtLeast("0.44"),
	}
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
	l := &Language{version: v, features: featuresOf(v)}
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
	// pluginEvents are the events that the container plugin raises.
	pluginEvents []string
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
		case "plugin event":
			g.pluginEvents = append(g.pluginEvents, word)
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

// RefusesBrokenRegex reports whether an invalid regular expression is an error,
// as it is since Falco 0.44.
func (l *Language) RefusesBrokenRegex() bool { return l.nestedTransformers }

// Modifiers lists the list modifiers that operators of texts take.
func (l *Language) Modifiers() []string {
	names := make([]string, len(l.grammar().modifiers))
	for i, m := range l.grammar().modifiers {
		names[i] = strings.TrimSuffix(m, " ")
	}
	return names
}

// ModifierHint says which Falco first takes an operator with a list modifier; ""
// when none does.
func (l *Language) ModifierHint(op string) string {
	if minor := l.firstWith(func(o *Language) bool { return o.OperatorWithModifier(op) }); minor != "" {
		return "'" + op + "' needs Falco " + minor + " or newer"
	}
	return ""
}

// OperatorWithModifier reports whether text is an operator of texts with a list
// modifier, such as "startswith anyof".
func (l *Language) OperatorWithModifier(text string) bool {
	g := l.grammar()
	op, modifier, ok := strings.Cut(text, " ")
	is := func(word string) func(string) bool {
		return func(s string) bool { return strings.TrimSuffix(s, " ") == word }
	}
	return ok && slices.ContainsFunc(g.modifiers, is(modifier)) && slices.ContainsFunc(g.stringOperators, is(op))
}

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
