package condition

import (
	_ "embed" // the catalogues below
	"strings"
	"sync"
)

//go:embed data/fields.tsv
var fieldsTSV string

//go:embed data/events.tsv
var eventsTSV string

//go:embed data/syscalls.txt
var syscallsText string

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
	name     string
	exit     bool
	hasFD    bool
	old      bool
	params   []param
	syscalls []string
}

type catalogue struct {
	fields []FieldInfo
	byName map[string]*FieldInfo
	// classesByWord maps the first word of fields to their classes, in Falco's order.
	classesByWord map[string][]fieldClass
	events        []eventInfo
	// params holds the parameters of all events, the first of each name.
	params   []param
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

var tables = sync.OnceValue(loadCatalogue)

func loadCatalogue() *catalogue {
	c := &catalogue{
		byName:     map[string]*FieldInfo{},
		syscalls:   map[string]bool{},
		uncaptured: map[string]bool{},
		codes:      map[string][]int{},

		classesByWord: map[string][]fieldClass{},
	}
	rows := strings.Split(strings.TrimSuffix(fieldsTSV, "\n"), "\n")[1:]
	c.fields = make([]FieldInfo, len(rows))
	byClass := map[string][]*FieldInfo{}
	for i, line := range rows {
		row := strings.Split(line, "\t")
		flag := func(s string) bool { return strings.Contains(row[3], s) }
		c.fields[i] = FieldInfo{
			Class: row[0], Name: row[1], Type: Type(row[2]),
			List: flag("l"), ArgRequired: flag("r"), ArgAllowed: flag("a"), FilterOnly: flag("f"),
			NoRight: flag("n"), NoTransformer: flag("t"), Deprecated: flag("d"), Hidden: flag("h"),
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
	c.loadEvents()
	return c
}

func (c *catalogue) loadEvents() {
	rows := strings.Split(strings.TrimSuffix(eventsTSV, "\n"), "\n")[1:]
	seen := map[string]bool{}
	c.events = make([]eventInfo, len(rows))
	for i, line := range rows {
		row := strings.Split(line, "\t")
		info := eventInfo{
			name: row[0], exit: row[1][0] == '<', hasFD: strings.Contains(row[1], "f"), old: strings.Contains(row[1], "o"),
		}
		if row[2] != "" {
			for p := range strings.SplitSeq(row[2], ",") {
				name, typ, _ := strings.Cut(p, ":")
				info.params = append(info.params, param{name, Type(typ)})
				if !seen[name] {
					seen[name] = true
					c.params = append(c.params, param{name, Type(typ)})
				}
			}
		}
		if row[3] != "" {
			info.syscalls = strings.Split(row[3], ",")
		}
		c.events[i] = info
		if i >= 2 {
			c.codes[info.name] = append(c.codes[info.name], i)
		}
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(syscallsText, "\n"), "\n") {
		name, left := strings.CutPrefix(line, "-")
		if strings.HasPrefix(name, "#") {
			continue
		}
		c.syscalls[name] = true
		if left {
			c.uncaptured[name] = true
		}
	}
}

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

// Fields returns the whole field catalogue of Falco 0.40.0 for the syscall source.
func Fields() []FieldInfo { return append([]FieldInfo(nil), tables().fields...) }
