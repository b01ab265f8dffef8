package ruleset

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"spire-falco/falco/condition"
)

// outputFormat is the output of a rule cut into texts and fields.
type outputFormat struct {
	tokens []outputToken
	// names holds the fields that the output names, once each, in order.
	names []outputField
}

// outputToken is a text, or a field in a width.
type outputToken struct {
	literal string
	field   *condition.Extractor
	width   int
}

type outputField struct {
	name  string
	field *condition.Extractor
}

// outputError is a failure in Falco's words with its place in the output.
type outputError struct {
	msg    string
	hint   string
	offset int
}

func (e *outputError) Error() string { return e.msg }

const notAvailable = "<NA>"

// checkOutput tells whether Falco's formatter takes an output. The error is of
// type *outputError.
func checkOutput(lang *condition.Language, format string) error {
	return scanOutput(lang, format, func(outputPart) {})
}

// parseOutput cuts up an output that has been checked.
func parseOutput(lang *condition.Language, format string) *outputFormat {
	f := &outputFormat{}
	err := scanOutput(lang, format, func(p outputPart) {
		if p.parsed != nil {
			for _, field := range p.parsed.Fields() {
				if !slices.ContainsFunc(f.names, func(o outputField) bool { return o.name == field.Name }) {
					f.names = append(f.names, outputField{field.Name, field.Field})
				}
			}
			f.tokens = append(f.tokens, outputToken{field: p.parsed.Shown(), width: p.width})
			return
		}
		if p.name == "" {
			f.tokens = append(f.tokens, outputToken{literal: p.literal})
			return
		}
		i := slices.IndexFunc(f.names, func(o outputField) bool { return o.name == p.name })
		if i < 0 {
			i = len(f.names)
			f.names = append(f.names, outputField{p.name, lang.NewExtractor(p.ref, nil)})
		}
		shown := f.names[i].field
		if len(p.chain) > 0 {
			shown = lang.NewExtractor(p.ref, p.chain)
		}
		f.tokens = append(f.tokens, outputToken{field: shown, width: p.width})
	})
	if err != nil {
		panic(fmt.Sprintf("output %q: %v", format, err))
	}
	return f
}

// outputExpressions returns the fields and transformers of an output that Falco
// reads with the parser of conditions, as it does since 0.44.
func outputExpressions(lang *condition.Language, format string) []condition.Expr {
	var all []condition.Expr
	_ = scanOutput(lang, format, func(p outputPart) { // checked when it was loaded
		if p.parsed != nil && p.parsed.Expr() != nil {
			all = append(all, p.parsed.Expr())
		}
	})
	return all
}

// outputPart is a text of an output, or when it has a name a field, with the
// transformers around it and the width that it is shown in.
type outputPart struct {
	literal string
	name    string
	ref     condition.FieldRef
	chain   []string
	width   int
	// parsed is set instead of name, ref and chain by Falco 0.44 and newer.
	parsed *condition.OutputField
}

// scanOutput reads an output as Falco's formatter does: %field, with a width
// between the percent sign and the name, or a transformer around it.
func scanOutput(lang *condition.Language, format string, visit func(outputPart)) error {
	if format == "" {
		return &outputError{msg: "empty formatting token"}
	}
	body, shift := format, 0
	if body[0] == '*' {
		body, shift = body[1:], 1
	}
	last := 0
	fail := func(at int, msg string) error { return &outputError{msg: msg, offset: at + shift} }
	for j := 0; j < len(body); j++ {
		if body[j] != '%' {
			continue
		}
		percent := j
		if last < j {
			visit(outputPart{literal: body[last:j]})
		}
		if j == len(body)-1 {
			return fail(percent, "invalid formatting syntax: formatting cannot end with a %")
		}
		width := 0
		for digits := j + 1; ; j++ {
			if j == len(body)-1 {
				return fail(percent, "invalid formatting syntax: formatting cannot end with a number")
			}
			if c := body[j+1]; c < '0' || c > '9' {
				width = atoi(body[digits : j+1])
				break
			}
		}
		if parsed, ok, err := lang.OutputField(body[j+1:]); ok {
			if err != nil {
				return &outputError{msg: err.Error(), hint: outputHint(lang, body[j+1:]), offset: percent + shift}
			}
			j += parsed.Length
			visit(outputPart{parsed: &parsed, width: width})
			last = j + 1
			continue
		}
		chain, size := outputTransformers(lang, body[j+1:])
		j += size
		rest := body[j+1:]
		ref, n, err := lang.LookupOutputField(rest)
		if err != nil {
			return &outputError{msg: err.Error(), hint: outputHint(lang, rest), offset: percent + shift}
		}
		j += n
		name := rest[:n]
		if len(chain) > 0 {
			if msg := condition.CheckTransformers(ref, chain); msg != "" {
				return fail(percent, msg)
			}
			for range chain {
				if j+1 >= len(body) || body[j+1] != ')' {
					return fail(percent, "missing closing transformer parenthesis: "+body[min(j, len(body)):])
				}
				j++
			}
		}
		visit(outputPart{name: name, ref: ref, chain: chain, width: width})
		last = j + 1
	}
	if last < len(body) {
		visit(outputPart{literal: body[last:]})
	}
	return nil
}

func atoi(s string) int {
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > maxWidth {
		return maxWidth
	}
	return n
}

// maxWidth bounds the width of a field in an output.
const maxWidth = 1 << 16

// outputTransformers reads the transformers that s starts with, outermost
// first, and returns them innermost first.
func outputTransformers(lang *condition.Language, s string) (chain []string, size int) {
	for {
		name := lang.LeadingTransformer(s[size:])
		if name == "" || size+len(name)+1 == len(s) {
			return chain, size
		}
		chain = append([]string{name}, chain...)
		size += len(name) + 1
	}
}

func outputHint(lang *condition.Language, rest string) string {
	n := 0
	for n < len(rest) && (rest[n] == '.' || rest[n] == '_' || rest[n]|0x20 >= 'a' && rest[n]|0x20 <= 'z' || rest[n] >= '0' && rest[n] <= '9') {
		n++
	}
	if n == 0 {
		return "a percent sign must be followed by a field; Falco knows no way to print one"
	}
	if hint := lang.OtherVersionHint(strings.TrimRight(rest[:n], ".")); hint != "" {
		return hint
	}
	if names := lang.Suggest(strings.TrimRight(rest[:n], ".")); len(names) > 0 {
		return "did you mean %" + strings.Join(names, " or %") + "?"
	}
	return ""
}

// render writes the output for an event.
func (f *outputFormat) render(b *strings.Builder, ev condition.Event) {
	for _, t := range f.tokens {
		s := t.literal
		if t.field != nil {
			var ok bool
			if s, ok = t.field.Text(ev); !ok {
				s = notAvailable
			}
		}
		if t.width > 0 {
			if len(s) > t.width {
				s = s[:t.width]
			}
			b.WriteString(s)
			b.WriteString(strings.Repeat(" ", t.width-len(s)))
			continue
		}
		b.WriteString(s)
	}
}

// fields returns the value of each field that the output names; null is nil.
func (f *outputFormat) fields(ev condition.Event) map[string]any {
	values := make(map[string]any, len(f.names)+1)
	for _, n := range f.names {
		v, ok := n.field.Value(ev)
		if ok {
			values[n.name] = v.Any()
		} else {
			values[n.name] = nil
		}
	}
	return values
}
