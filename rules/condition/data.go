package condition

import (
	_ "embed" // the catalogues below
	"encoding/json"
	"strings"
	"sync"
)

//go:embed data/fields.json
var fieldsJSON []byte

//go:embed data/events.json
var eventsJSON []byte

//go:embed data/services.json
var servicesJSON []byte

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
	syscalls      map[string]bool
	// uncaptured holds the calls that Falco leaves out unless told otherwise (-A).
	uncaptured map[string]bool
	// codes maps an event's name to its codes from 2 on.
	codes    map[string][]int
	services map[string]uint16
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
	var f struct{ Fields [][4]string }
	mustDecode(fieldsJSON, &f)
	c.fields = make([]FieldInfo, len(f.Fields))
	byClass := map[string][]*FieldInfo{}
	for i, row := range f.Fields {
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
	var e struct {
		Events []struct {
			N, D    string
			Fd, Old int
			P, S    []string
		}
		Syscalls []string
		Io       []string
	}
	mustDecode(eventsJSON, &e)
	c.events = make([]eventInfo, len(e.Events))
	for i, row := range e.Events {
		info := eventInfo{name: row.N, exit: row.D == "<", hasFD: row.Fd != 0, old: row.Old != 0, syscalls: row.S}
		for _, p := range row.P {
			name, typ, _ := strings.Cut(p, ":")
			info.params = append(info.params, param{name, Type(typ)})
		}
		c.events[i] = info
		if i >= 2 {
			c.codes[info.name] = append(c.codes[info.name], i)
		}
	}
	for _, s := range e.Syscalls {
		c.syscalls[s] = true
	}
	for _, s := range e.Io {
		c.uncaptured[s] = true
	}
	var s struct{ Services map[string]uint16 }
	mustDecode(servicesJSON, &s)
	c.services = s.Services
	return c
}

func mustDecode(data []byte, into any) {
	if err := json.Unmarshal(data, into); err != nil {
		panic("condition: embedded catalogue: " + err.Error())
	}
}

// Fields returns the whole field catalogue of Falco 0.40.0 for the syscall source.
func Fields() []FieldInfo { return append([]FieldInfo(nil), tables().fields...) }
