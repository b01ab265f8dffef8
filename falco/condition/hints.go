package condition

import (
	"slices"
	"strings"

	"spire-falco/falco"
)

// Suggest returns up to three field names of the catalogue that name was
// probably meant to be, best first.
func (l *Language) Suggest(name string) []string {
	bare, _, _ := strings.Cut(name, "[")
	type candidate struct {
		name string
		cost int
	}
	var found []candidate
	limit := max(2, len(bare)/4)
	for _, f := range l.fields().fields {
		if f.Hidden || f.Deprecated {
			continue
		}
		cost := distance(strings.ToLower(bare), f.Name, limit)
		if after, ok := strings.CutPrefix(f.Name, bare+"."); ok && after != "" {
			cost = min(cost, limit)
		}
		if cost <= limit {
			found = append(found, candidate{f.Name, cost})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.cost - b.cost })
	var names []string
	for i := 0; i < len(found) && i < 3; i++ {
		names = append(names, found[i].name)
	}
	return names
}

// distance is the number of insertions, deletions, replacements and swaps of
// neighbours that make b of a, or limit+1 when there are more.
func distance(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit || len(a) > 200 {
		return limit + 1
	}
	two, one, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(one[j]+1, row[j-1]+1, one[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one, row = one, row, two
	}
	return one[len(b)]
}

// firstWith returns the first minor release, such as 0.44, after this language's
// whose language passes the test; "" when none does.
func (l *Language) firstWith(test func(*Language) bool) string {
	for _, v := range falco.Versions() {
		if falco.CompareReleases(v.Number, l.version.Number) > 0 && test(For(v)) {
			return v.Minor()
		}
	}
	return ""
}

// removedIn returns the minor release in which something went that an older
// language passes the test for; "" when none does.
func (l *Language) removedIn(test func(*Language) bool) string {
	removed := ""
	for _, v := range falco.Versions() {
		switch {
		case falco.CompareReleases(v.Number, l.version.Number) > 0:
			return removed
		case test(For(v)):
			removed = ""
		case removed == "":
			removed = v.Minor()
		}
	}
	return removed
}

// newerWordHint says which Falco first has the modifier or transformer that text
// breaks off behind; next is what follows it.
func (l *Language) newerWordHint(last, next string) string {
	if l.version.Number == falco.Newest().Number || last == "" {
		return ""
	}
	if strings.HasPrefix(next, "(") {
		if minor := l.firstWith(func(o *Language) bool { return slices.Contains(o.grammar().transformers, last) }); minor != "" {
			return "'" + last + "(' needs Falco " + minor + " or newer"
		}
	}
	if minor := l.firstWith(func(o *Language) bool { return slices.Contains(o.grammar().modifiers, last+" ") }); minor != "" {
		return "'" + last + "' needs Falco " + minor + " or newer"
	}
	return ""
}

// OtherVersionHint says which Falco first has a field that this one does not
// have, or in which it was removed; "" when no version has it.
func (l *Language) OtherVersionHint(name string) string {
	has := func(o *Language) bool {
		_, ok, err := o.LookupField(name)
		return ok && err == nil
	}
	if minor := l.firstWith(has); minor != "" {
		return "'" + name + "' needs Falco " + minor + " or newer"
	}
	known := false
	for _, v := range falco.Versions() {
		known = known || falco.CompareReleases(v.Number, l.version.Number) < 0 && has(For(v))
	}
	if !known {
		return ""
	}
	hint := "'" + name + "' was removed in Falco " + l.removedIn(has)
	if base, arg, ok := strings.Cut(name, ".label."); ok && l.fields().byName[base+".label"] != nil {
		hint += "; use " + base + ".label[" + arg + "]"
	}
	return hint
}

// FieldHint says what the name of an unknown field was probably meant to be, or which Falco has it; "" when nothing is near.
func (l *Language) FieldHint(name string) string {
	field, arg, ok := strings.Cut(name, "[")
	f := &Field{Name: field}
	if ok {
		f.Arg = strings.TrimSuffix(arg, "]")
	}
	if hint := l.argumentHint(f); hint != "" {
		return hint
	}
	return l.unknownFieldHint(name)
}

func (l *Language) unknownFieldHint(name string) string {
	if hint := l.OtherVersionHint(name); hint != "" {
		return hint
	}
	if bare, _, ok := strings.Cut(name, "["); ok {
		if f := l.fields().byName[bare]; f != nil && !f.ArgAllowed {
			return bare + " takes no argument"
		}
	}
	names := l.Suggest(name)
	if len(names) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(names, " or ") + "?"
}

func (l *Language) argumentHint(f *Field) string {
	if hint := l.OtherVersionHint(f.FullName()); hint != "" {
		return hint
	}
	switch {
	case strings.HasPrefix(f.Name, "evt.arg"), strings.HasPrefix(f.Name, "evt.rawarg"):
		arg := strings.TrimPrefix(strings.TrimPrefix(f.Name, "evt.rawarg"), "evt.arg")
		if strings.HasPrefix(arg, ".") {
			if near := l.nearestParam(arg[1:]); near != "" {
				return "did you mean " + strings.TrimSuffix(f.Name, arg) + "." + near + "?"
			}
		}
		return "name the argument, as in evt.arg.name, or its index, as in evt.arg[1]"
	case strings.HasPrefix(f.Name, "k8s.") && strings.Contains(f.Name, ".label"):
		return "name the label, as in k8s.pod.label[app]"
	case strings.HasPrefix(f.Name, "thread.cgroup"):
		return "name the subsystem, as in thread.cgroup.cpu"
	case strings.HasPrefix(f.Name, "container.mount"):
		return "give the mount's index or path, as in " + f.Name + "[/tmp]"
	}
	return ""
}

func (l *Language) nearestParam(name string) string {
	all := l.params()
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].name
	}
	return Nearest(name, names)
}

// Nearest returns the one of the names that word was probably meant to be, ""
// when none is within the slips that a word of its length may have.
func Nearest(word string, names []string) string {
	best, near := slips(word)+1, ""
	for _, n := range names {
		if d := distance(word, n, best); d < best {
			best, near = d, n
		}
	}
	return near
}

// slips is how many changes of a letter are still a slip: a word of two letters
// is near to every other one.
func slips(word string) int { return min(2, len(word)/3) }

func (l *Language) valueHint(left *operand, v string) string {
	switch left.typ.kind() {
	case kindBool:
		return left.ref.Name + " is true or false"
	case kindSigned, kindUnsigned, kindFloat:
		if left.typ == TypePort {
			return left.ref.Name + " wants a port number or the name of a service"
		}
		return left.ref.Name + " wants a whole number"
	case kindIP:
		return left.ref.Name + " wants an address; for a network use fd.net, fd.snet and their likes"
	case kindNet:
		return left.ref.Name + " wants a network such as 10.0.0.0/8"
	}
	if left.ref.Info.Name == "evt.type" {
		return l.eventTypeHint(v)
	}
	return ""
}

// eventTypeHint says what the name of an unknown event was probably meant to be.
func (l *Language) eventTypeHint(v string) string {
	if minor := l.firstWith(func(o *Language) bool { return o.KnownEventType(v) }); minor != "" {
		return "'" + v + "' needs Falco " + minor + " or newer"
	}
	if near := Nearest(v, l.eventNames()); near != "" {
		return "did you mean " + near + "?"
	}
	return ""
}

// escapeHint says how to write what an unreadable escape sequence was meant to be.
func escapeHint(text string) string {
	if len(text) < 2 {
		return ""
	}
	c := text[1]
	if c == '"' || c == '\'' {
		return "put the value into the other kind of quotes, without the backslash"
	}
	hint := `double the backslash (\\` + string(rune(c)) + `)`
	if strings.IndexByte("dDwWsSbB", c) >= 0 {
		hint += `; regex takes POSIX expressions, without \` + string(rune(c)) +
			`: write a class such as [0-9], [[:alnum:]_] or [[:space:]]`
	}
	return hint
}

// IsValue reports whether text is one value of a condition from end to end: a
// word, or a string in quotes.
func IsValue(text string) bool {
	l := newLexer(&Source{Text: text})
	if ok, failure := l.quoted(); failure != "" || !ok && !l.bareString() {
		return false
	}
	return l.off == len(text)
}

// eventNames are the events that a rule can mean, sorted. Fillers of the event
// table such as NA are none.
func (l *Language) eventNames() []string {
	var names []string
	for name := range l.events().codes {
		if !strings.ContainsAny(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
