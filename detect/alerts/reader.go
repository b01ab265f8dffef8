package alerts

import (
	"bytes"

	"spire-falco/falco"
	"spire-falco/internal/lazyregexp"
)

const (
	// maxAlert is the longest alert that is read, in bytes. Falco truncates fields long before.
	maxAlert = 1 << 20
	// maxHead is how much of a line is searched for the prefix that a log adds.
	maxHead = 64 << 10
	// maxSources is how many streams, such as a container's standard output and error, are kept apart in one input.
	maxSources = 64
)

// Reader finds alerts in the text written to it: one or several on a line, over several lines as jq prints them, in
// arrays, before or after other text, as Falco's text output, and wrapped by logs: those of the kubelet (CRI) and
// Docker, which split long lines, of the journal and syslog, of kubectl with prefixes and times, and JSON with alerts
// as values or inside strings. It reads UTF-8 and UTF-16, and skips byte order marks, NUL bytes and colours.
//
// It never drops anything that may be an alert: truncated text, an object with a rule but no priority, and a message
// that names Critical or Emergency or looks like Falco's text output are reported as a Line with an error.
//
// Each byte is read a bounded number of times, and memory is bounded by a few times maxAlert.
type Reader struct {
	handle  func(Line)
	name    string
	pod     string
	decoder decoder
	// line is the current line, up to maxHead; long is set when its start was passed on already.
	line    []byte
	long    bool
	current *scanner // of the rest of a long line
	partial bool     // the current line continues in the next line of the same stream
	number  int      // of the current line
	sources map[string]*scanner
	order   []string
	// parent is the alert whose unknown keys are being read: a shipper may keep the original line beside its fields.
	parent *Alert
	// alerts and unread count what was passed to handle.
	alerts, unread int
}

// NewReader returns a reader that passes what it finds to handle; name is the name of the input.
func NewReader(name string, handle func(Line)) *Reader {
	return &Reader{handle: handle, name: name, number: 1, sources: map[string]*scanner{}}
}

// Write reads p. It never fails.
func (r *Reader) Write(p []byte) (int, error) {
	text, binary := r.decoder.decode(p)
	if binary != "" {
		r.giveUnread(p, r.number, "the input is "+binary, falco.PriorityEmergency)
	}
	r.write(text)
	return len(p), nil
}

func (r *Reader) write(text []byte) {
	for len(text) > 0 {
		end := bytes.IndexByte(text, '\n')
		if end >= 0 && len(r.line) == 0 && !r.long { // a whole line needs no copy
			r.begin(text[:end])
			r.endLine()
			text = text[end+1:]
			continue
		}
		part := text
		if end >= 0 {
			part = text[:end]
		}
		r.line = append(r.line, part...)
		text = text[len(part):]
		if end >= 0 {
			text = text[1:]
			r.flushLine()
			r.endLine()
		} else if len(r.line) >= maxHead {
			r.flushLine()
		}
	}
}

// flushLine passes on the buffered part of the current line.
func (r *Reader) flushLine() {
	if r.long {
		r.current.feed(cleanLine(r.line), r.number)
	} else {
		r.begin(r.line)
		r.long = true
	}
	r.line = r.line[:0]
}

// begin passes on the start of a line, or a whole line.
func (r *Reader) begin(line []byte) {
	source, rest, partial := unwrapLine(cleanLine(line))
	r.current, r.partial = r.source(source), partial
	r.current.feed(rest, r.number)
}

func (r *Reader) endLine() {
	if !r.partial {
		r.current.newline()
	}
	r.long = false
	r.number++
}

// End ends the input: what is incomplete by now is truncated.
func (r *Reader) End() {
	r.write(r.decoder.end())
	if len(r.line) > 0 {
		r.flushLine()
	}
	for _, source := range r.order {
		r.sources[source].end()
	}
	r.sources, r.order, r.long = map[string]*scanner{}, nil, false
}

func (r *Reader) source(name string) *scanner {
	s := r.sources[name]
	if s == nil {
		if len(r.order) == maxSources {
			oldest := r.order[0]
			r.order = r.order[1:]
			r.sources[oldest].end()
			delete(r.sources, oldest)
		}
		s = &scanner{reader: r}
		r.sources[name] = s
		r.order = append(r.order, name)
	}
	return s
}

func (r *Reader) giveAlert(a *Alert, number int) {
	if p := r.parent; p != nil && p.Rule == a.Rule && p.Priority == a.Priority && p.Output == a.Output {
		return
	}
	r.alerts++
	a.FalcoPod = r.pod
	r.handle(Line{Alert: a, Pod: r.pod, Input: r.name, Number: number})
}

// giveUnread passes on a text that cannot be read; the start is enough to find it.
func (r *Reader) giveUnread(text []byte, number int, reason string, p falco.Priority) {
	const shown = 300
	r.unread++
	r.handle(Line{
		Text: string(text[:min(len(text), shown)]), Err: &UnreadableError{Reason: reason, Priority: p},
		Pod: r.pod, Input: r.name, Number: number,
	})
}

func (r *Reader) giveText(text []byte, number int) {
	r.handle(Line{Text: string(text), Pod: r.pod, Input: r.name, Number: number})
}

var (
	// criHead is the kubelet's prefix of a line: time, stream, and P for a part or F for the end of a line.
	criHead = lazyregexp.New(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S* (stdout|stderr) ([PF])(?::\S*)?(?: |$)`)
	// kubectlHead is the prefix of kubectl logs --prefix.
	kubectlHead = lazyregexp.New(`^\[pod/[^\]\s]+\] `)
	// journalHead is the prefix of syslog and of journalctl in the formats short, short-precise and short-iso.
	journalHead = lazyregexp.New(`^(?:<\d{1,3}>)?` +
		`(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*) [\w.-]+ [\w./@-]+(?:\[\d+\])?: `)
	// timeHead is the prefix of kubectl logs --timestamps.
	timeHead = lazyregexp.New(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)? `)
)

// unwrapLine strips the prefix that a log adds to a line: an object after a prefix is found anyway, but not one that
// spans several lines. source is the stream that the line belongs to; partial reports that the line continues.
func unwrapLine(line []byte) (source string, rest []byte, partial bool) {
	for range 4 {
		if len(line) == 0 {
			break
		}
		switch c := line[0]; {
		case c == '[':
			if head := kubectlHead().Find(line); head != nil {
				source += string(head)
				line = line[len(head):]
				continue
			}
		case c >= '0' && c <= '9', c == '<', c >= 'A' && c <= 'Z':
			if m := criHead().FindSubmatchIndex(line); m != nil {
				return source + string(line[m[2]:m[3]]), line[m[1]:], line[m[4]] == 'P'
			}
			head := journalHead().Find(line)
			if head == nil {
				head = timeHead().Find(line)
			}
			if _, _, suspect := suspicion(head); head != nil && !suspect {
				line = line[len(head):]
				continue
			}
		}
		break
	}
	return source, line, false
}
