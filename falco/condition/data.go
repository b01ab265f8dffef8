package condition

import (
	_ "embed" // the services below
	"iter"
	"strings"
	"sync"
)

//go:embed data/services.tsv
var servicesTSV string

// FieldInfo describes one field of the catalogue.
type FieldInfo struct {
	// Class is the group that Falco lists the field under (evt, process, ...).
	Class string
	Name  string
	Type  Type
	// List is set for fields with more than one value per event.
	List bool
	// ArgRequired and ArgAllowed tell whether the field takes an argument.
	ArgRequired, ArgAllowed bool
	// FilterOnly fields work in conditions and not in outputs.
	FilterOnly bool
	// NoRight fields are not compared with another field.
	NoRight bool
	// NoTransformer fields take no function such as tolower.
	NoTransformer bool
	Deprecated    bool
	// Hidden fields are accepted although Falco does not list them.
	Hidden bool
}

type param struct {
	name string
	typ  Type
}

// eventInfo is one entry of the event table: an enter or an exit event of one
// version. Its index in the table is the event's code.
type eventInfo struct {
	name  string
	exit  bool
	hasFD bool
	old   bool
	// params are the parameters as the table has them, NAME:TYPE with commas.
	params   string
	syscalls []string
}

// paramList cuts the parameters of an event.
func (e *eventInfo) paramList() iter.Seq[param] {
	return func(yield func(param) bool) {
		if e.params == "" {
			return
		}
		for p := range strings.SplitSeq(e.params, ",") {
			name, typ, _ := strings.Cut(p, ":")
			if !yield(param{name, Type(typ)}) {
				return
			}
		}
	}
}

// fieldCatalogue holds the fields of conditions and outputs.
type fieldCatalogue struct {
	fields []FieldInfo
	byName map[string]*FieldInfo
	// classesByWord maps the first word of fields to their classes, in Falco's order.
	classesByWord map[string][]fieldClass
}

// eventCatalogue holds the event table and the names of system calls.
type eventCatalogue struct {
	events   []eventInfo
	syscalls map[string]bool
	// uncaptured holds the calls that Falco leaves out unless told otherwise (-A).
	uncaptured map[string]bool
	// codes maps an event's name to its codes from 2 on.
	codes map[string][]int
}

type fieldClass struct {
	name   string
	fields []*FieldInfo
}

// classOrder is the order in which Falco asks its field classes for a name.
var classOrder = []string{
	"evt", "process", "user", "group", "container", "fd", "fs.path", "fs", "syslog", "util",
	"fdlist", "k8s", "mesos", "span", "evtin",
}

func loadFields(table string) *fieldCatalogue {
	fields := rows(table)[1:]
	c := &fieldCatalogue{
		fields: make([]FieldInfo, len(fields)), byName: make(map[string]*FieldInfo, len(fields)),
		classesByWord: map[string][]fieldClass{},
	}
	byClass := map[string][]*FieldInfo{}
	for i, line := range fields {
		class, line, _ := strings.Cut(line, "\t")
		name, line, _ := strings.Cut(line, "\t")
		typ, flags, _ := strings.Cut(line, "\t")
		flags, _, _ = strings.Cut(flags, "\t")
		flag := func(b byte) bool { return strings.IndexByte(flags, b) >= 0 }
		c.fields[i] = FieldInfo{
			Class: class, Name: name, Type: Type(typ),
			List: flag('l'), ArgRequired: flag('r'), ArgAllowed: flag('a'), FilterOnly: flag('f'),
			NoRight: flag('n'), NoTransformer: flag('t'), Deprecated: flag('d'), Hidden: flag('h'),
		}
		info := &c.fields[i]
		c.byName[info.Name] = info
		byClass[info.Class] = append(byClass[info.Class], info)
	}
	for _, name := range classOrder {
		seen := map[string]bool{}
		for _, f := range byClass[name] {
			if word, _, _ := strings.Cut(f.Name, "."); !seen[word] {
				seen[word] = true
				c.classesByWord[word] = append(c.classesByWord[word], fieldClass{name, byClass[name]})
			}
		}
	}
	return c
}

func loadEvents(table, syscalls string) *eventCatalogue {
	events, calls := rows(table)[1:], rows(syscalls)
	c := &eventCatalogue{
		events: make([]eventInfo, len(events)), syscalls: make(map[string]bool, len(calls)),
		uncaptured: make(map[string]bool, len(calls)), codes: make(map[string][]int, len(events)),
	}
	for i, line := range events {
		name, line, _ := strings.Cut(line, "\t")
		flags, line, _ := strings.Cut(line, "\t")
		params, from, _ := strings.Cut(line, "\t")
		from, _, _ = strings.Cut(from, "\t")
		info := eventInfo{
			name: name, exit: flags[0] == '<', hasFD: strings.Contains(flags, "f"), old: strings.Contains(flags, "o"),
			params: params,
		}
		if from != "" {
			info.syscalls = strings.Split(from, ",")
		}
		c.events[i] = info
		if i >= 2 {
			c.codes[name] = append(c.codes[name], i)
		}
	}
	for _, line := range calls {
		name, left := strings.CutPrefix(line, "-")
		if strings.HasPrefix(name, "#") {
			continue
		}
		c.syscalls[name] = true
		if left {
			c.uncaptured[name] = true
		}
	}
	return c
}

func loadParams(events []eventInfo) []param {
	var all []param
	seen := map[string]bool{}
	for _, e := range events {
		for p := range e.paramList() {
			if !seen[p.name] {
				seen[p.name] = true
				all = append(all, p)
			}
		}
	}
	return all
}

// rows cuts a table into its lines.
func rows(table string) []string { return strings.Split(strings.TrimSuffix(table, "\n"), "\n") }

// services maps the names of services to their ports.
var services = sync.OnceValue(func() map[string]uint16 {
	ports := map[string]uint16{}
	for line := range strings.SplitSeq(strings.TrimSuffix(servicesTSV, "\n"), "\n") {
		if name, port, ok := strings.Cut(line, "\t"); ok {
			n, _ := scanUnsigned(port, 16)
			ports[name] = uint16(n)
		}
	}
	return ports
})

// Fields returns the whole field catalogue for the syscall source.
func (l *Language) Fields() []FieldInfo { return append([]FieldInfo(nil), l.fields().fields...) }
