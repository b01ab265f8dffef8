package condition

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// getter finds the value of one field in an event. ok is false where Falco
// would have null.
type getter func(ev *Event, into *constant) (ok bool)

// convert brings a value of an event into the form of type t.
func convert(t Type, v EventValue, into *constant) bool {
	switch t.kind() {
	case kindString, kindBytes:
		if v.kind == valueString {
			into.str = v.str
		} else {
			into.str = v.String()
		}
		return true
	case kindSigned, kindUnsigned:
		n, ok := v.number()
		if !ok {
			return false
		}
		if t.kind() == kindSigned {
			into.num = uint64(signExtend(int64(n), t.bits()))
		} else {
			into.num = truncate(n, t.bits())
		}
		return true
	case kindFloat:
		switch v.kind {
		case valueFloat:
			into.flt = v.flt
		case valueString:
			f, err := strconv.ParseFloat(v.str, 64)
			if err != nil {
				return false
			}
			into.flt = f
		default:
			into.flt = float64(int64(v.num))
		}
		return true
	case kindBool:
		switch {
		case v.kind == valueBool, v.kind == valueInt, v.kind == valueUint:
			into.num = min(v.num, 1)
		case v.str == "true":
			into.num = 1
		case v.str == "false":
			into.num = 0
		default:
			return false
		}
		return true
	case kindIP, kindNet:
		a, err := netip.ParseAddr(v.str)
		if err != nil {
			return false
		}
		into.addr = a
		return true
	default:
		into.str = v.String()
		return true
	}
}

func (v EventValue) number() (uint64, bool) {
	switch v.kind {
	case valueString:
		if n, ok := scanSigned(v.str, 64); ok {
			return uint64(n), true
		}
		return 0, false
	case valueFloat:
		return uint64(int64(v.flt)), true
	default:
		return v.num, true
	}
}

// sameAs names fields that carry the value of another one.
var sameAs = map[string]string{
	"proc.aname[0]": "proc.name", "proc.aname[1]": "proc.pname",
	"proc.apid[0]": "proc.pid", "proc.apid[1]": "proc.ppid",
	"proc.aexe[0]": "proc.exe", "proc.aexe[1]": "proc.pexe",
	"proc.aexepath[0]": "proc.exepath", "proc.aexepath[1]": "proc.pexepath",
	"proc.acmdline[0]": "proc.cmdline", "proc.acmdline[1]": "proc.pcmdline",
	"proc.aargs[0]": "proc.args",
	"fd.cnet":       "fd.cip", "fd.snet": "fd.sip", "fd.lnet": "fd.lip", "fd.rnet": "fd.rip",
	// Falco does not resolve ports to names unless told to.
	"fd.cproto": "fd.cport", "fd.sproto": "fd.sport", "fd.lproto": "fd.lport", "fd.rproto": "fd.rport",
}

const nanosecond = 1_000_000_000

// newGetter returns the getter of a field. Events name a field as outputs do;
// some fields can be written in two ways, or follow from others.
func (l *Language) newGetter(ref FieldRef) getter {
	t, name := ref.Type, ref.Name
	plain := func(ev *Event, into *constant) bool {
		v, ok := ev.fields[name]
		return ok && convert(t, v, into)
	}
	switch base := ref.Info.Name; {
	case base == "evt.arg" && ref.isIndexed():
		return l.indexedArgument(ref, plain)
	case ref.Arg != "" && strings.HasSuffix(base, ".label"):
		return labelGetter(ref, plain)
	case l.nestedTransformers && isAncestorField(base) && ref.Arg == "":
		return allAncestors(ref, plain)
	case base == "evt.type.is":
		return l.typeIs(ref, plain)
	case base == "evt.source":
		return withDefault(plain, constant{str: "syscall"})
	case base == "evt.count":
		return withDefault(plain, constant{num: 1})
	case base == "evt.rawtime.s" || base == "evt.rawtime.ns":
		return func(ev *Event, into *constant) bool {
			if plain(ev, into) {
				return true
			}
			v, ok := ev.fields["evt.rawtime"]
			if !ok || !convert(t, v, into) {
				return false
			}
			if base == "evt.rawtime.s" {
				into.num /= nanosecond
			} else {
				into.num %= nanosecond
			}
			return true
		}
	}
	if other, ok := sameAs[canonical(ref)]; ok {
		return func(ev *Event, into *constant) bool {
			if plain(ev, into) {
				return true
			}
			v, found := ev.fields[other]
			return found && convert(t, v, into)
		}
	}
	return plain
}

// isAncestorField tells the fields that are those of an ancestor.
func isAncestorField(base string) bool {
	return base != "proc.args" && slices.Contains(ancestorFields, base)
}

// allAncestors joins the values of all ancestors, which Falco 0.44 and newer
// print where no ancestor is named; proc.apid is that of the process itself.
func allAncestors(ref FieldRef, plain getter) getter {
	keys := ancestorsOf(ref.Info.Name)
	return func(ev *Event, into *constant) bool {
		if plain(ev, into) {
			return true
		}
		if ref.Info.Name == "proc.apid" {
			v, ok := ev.fields["proc.pid"]
			return ok && convert(ref.Type, v, into)
		}
		var all []string
		for _, key := range keys {
			if v, ok := ev.fields[key]; ok {
				all = append(all, v.String())
			}
		}
		into.str = strings.Join(all, " ")
		return into.str != ""
	}
}

// isIndexed tells evt.arg[1] from evt.arg.name.
func (r FieldRef) isIndexed() bool { return strings.HasSuffix(r.Name, "]") }

// canonical is the field's name with its argument as Falco understood it.
func canonical(ref FieldRef) string {
	if ref.Arg == "" || !ref.isIndexed() {
		return ref.Name
	}
	return ref.Info.Name + "[" + ref.Arg + "]"
}

func withDefault(plain getter, value constant) getter {
	return func(ev *Event, into *constant) bool {
		if !plain(ev, into) {
			*into = value
		}
		return true
	}
}

// indexedArgument finds evt.arg[N] by the name that the event table gives to
// the Nth parameter.
func (l *Language) indexedArgument(ref FieldRef, plain getter) getter {
	index, _ := scanSigned(ref.Arg, 32)
	return func(ev *Event, into *constant) bool {
		if plain(ev, into) {
			return true
		}
		exit := ev.Text("evt.dir") != ">"
		params := l.currentParams(ev.Text("evt.type"), exit)
		if _, generic := ev.fields["evt.arg.ID"]; generic {
			params = l.genericParams(exit)
		}
		if index < 0 || int(index) >= len(params) {
			return false
		}
		v, ok := ev.fields["evt.arg."+params[index].name]
		return ok && convert(ref.Type, v, into)
	}
}

// genericParams returns the parameters of the events of calls that have none of their own.
func (l *Language) genericParams(exit bool) []param {
	if exit {
		return l.eventParams()[1]
	}
	return l.eventParams()[0]
}

// currentParams returns the parameters of the newest version of an event.
func (l *Language) currentParams(name string, exit bool) []param {
	c := l.events()
	var params []param
	for _, code := range c.codes[name] {
		if e := &c.events[code]; e.exit == exit && (!e.old || params == nil) {
			params = l.eventParams()[code]
		}
	}
	return params
}

func (l *Language) typeIs(ref FieldRef, plain getter) getter {
	c := l.events()
	codes := map[int]bool{}
	if n, ok := scanUnsigned(ref.Arg, 32); ok {
		codes[int(n)] = true
	} else {
		for i := range c.events {
			if c.events[i].name == ref.Arg {
				codes[i], codes[i+1] = true, true
				break
			}
		}
	}
	return func(ev *Event, into *constant) bool {
		if plain(ev, into) {
			return true
		}
		name, exit := ev.Text("evt.type"), ev.Text("evt.dir") != ">"
		into.num = 0
		for _, code := range c.codes[name] {
			if e := &c.events[code]; e.exit == exit && !e.old && codes[code] {
				into.num = 1
			}
		}
		return true
	}
}

// labelGetter finds a label under both of its spellings, and in the list of
// all labels. A pod without the label has an empty one.
func labelGetter(ref FieldRef, plain getter) getter {
	base := ref.Info.Name
	dot, bracket := base+"."+ref.Arg, base+"["+ref.Arg+"]"
	return func(ev *Event, into *constant) bool {
		if plain(ev, into) {
			return true
		}
		for _, name := range [2]string{dot, bracket} {
			if v, ok := ev.fields[name]; ok {
				return convert(ref.Type, v, into)
			}
		}
		all, ok := ev.fields[base+"s"]
		if !ok {
			return false
		}
		into.str = ""
		for pair := range strings.SplitSeq(all.str, ", ") {
			if key, value, _ := strings.Cut(pair, ":"); key == ref.Arg {
				into.str = value
				break
			}
		}
		return true
	}
}

// ancestorsOf lists the keys under which an event has the ancestors' values of
// proc.aname and its likes, parents first.
func ancestorsOf(base string) []string {
	keys := []string{sameAs[base+"[1]"]}
	if keys[0] == "" {
		keys[0] = base + "[1]"
	}
	for i := 2; i <= maxAncestors; i++ {
		keys = append(keys, base+"["+strconv.Itoa(i)+"]")
	}
	return keys
}

// maxAncestors bounds how far up the recorded ancestors of a process reach.
const maxAncestors = 16

// socket is what the filter-only fields fd.ip, fd.port and fd.net see: both
// ends of a connection, or the one end of a listening socket.
type socket struct {
	addrs [2]netip.Addr
	ports [2]uint16
	ends  int
}

// fdKnown tells whether Falco knew the event's file descriptor: such an event
// always has its type.
func fdKnown(ev *Event) bool {
	_, ok := ev.fields["fd.type"]
	return ok
}

func readSocket(ev *Event, s *socket) bool {
	s.ends = 0
	if t := ev.fields["fd.type"]; t.str != "ipv4" && t.str != "ipv6" {
		return false
	}
	add := func(ip, port string) {
		a, ok := ev.fields[ip]
		if !ok || s.ends == 2 {
			return
		}
		addr, err := netip.ParseAddr(a.str)
		if err != nil {
			return
		}
		p, _ := ev.fields[port].number()
		s.addrs[s.ends], s.ports[s.ends] = addr, uint16(truncate(p, 16))
		s.ends++
	}
	add("fd.cip", "fd.cport")
	add("fd.sip", "fd.sport")
	if s.ends == 0 {
		add("fd.lip", "fd.lport")
		add("fd.rip", "fd.rport")
	}
	if s.ends == 0 {
		s.fromName(ev.fields["fd.name"].str)
	}
	if name, ok := ev.fields["fd.name"]; s.ends == 0 && ok && name.str == "" {
		// A socket that is not connected has two ends that are nowhere.
		s.ends, s.addrs, s.ports = 2, [2]netip.Addr{netip.IPv4Unspecified(), netip.IPv4Unspecified()}, [2]uint16{}
		if ev.fields["fd.type"].str == "ipv6" {
			s.addrs = [2]netip.Addr{netip.IPv6Unspecified(), netip.IPv6Unspecified()}
		}
	}
	return s.ends > 0
}

// fromName reads "10.0.0.1:80->10.0.0.2:90" or "0.0.0.0:80".
func (s *socket) fromName(name string) {
	left, right, both := strings.Cut(name, "->")
	for _, end := range [2]string{left, right} {
		host, port := end, ""
		if i := strings.LastIndexByte(end, ':'); i >= 0 {
			host, port = end[:i], end[i+1:]
		}
		addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil {
			addr, err = netip.ParseAddr("::")
			if host != "::" && host != ":" || err != nil {
				continue
			}
		}
		n, _ := scanUnsigned(port, 16)
		s.addrs[s.ends], s.ports[s.ends] = addr, uint16(n)
		s.ends++
		if !both {
			return
		}
	}
}
