package alerts

import (
	"bytes"

	"spire-falco/falco"
	"spire-falco/internal/lazyregexp"
)

const (
	// maxAlert is the longest alert that is read, in bytes. Falco cuts fields long before.
	maxAlert = 1 << 20
	// maxHead is how much of a line is looked at for what a log puts before a message.
	maxHead = 64 << 10
	// maxSources is how many streams, such as the standard output and error of a container, are kept apart in one input.
	maxSources = 64
)

// Reader finds alerts in what is written to it, as people keep them: one on a line, several on a line, over several lines as
// jq prints them, in an array, behind or before a message, as Falco's text output, and in the logs that wrap them: those of
// the kubelet (CRI) and of Docker with lines that are cut into parts, of the journal and of syslog, of kubectl with prefixes
// and times, and JSON that holds alerts as values or in strings. It reads UTF-8 and UTF-16, and passes over byte order
// marks, NUL bytes and colours.
//
// It never drops what may be an alert: a text that is cut off, an object that has a rule and no priority, a message that
// names Critical or Emergency or that is written as Falco writes alerts, comes as a Line with an error.
//
// Time and memory: each byte is looked at a bounded number of times, and at most a few times maxAlert are kept.
type Reader struct {
	handle  func(Line)
	name    string
	pod     string
	decoder decoder
	// line is the current line, up to maxHead; long is set when the beginning was handed on already.
	line    []byte
	long    bool
	current *scanner // takes the rest of a long line
	partial bool     // the current line goes on in the next of the same stream
	number  int      // of the current line
	sources map[string]*scanner
	order   []string
	// parent is the alert whose unknown keys are read: a shipper may keep the line beside the fields of the same alert.
	parent *Alert
	// alerts and unread count what was handed on.
	alerts, unread int
}

// NewReader returns a reader that gives handle what it finds; name is that of the input.
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
		if end >= 0 && len(r.line) == 0 && !r.long { // the whole line is here: no copy
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

// flushLine hands on what is kept of the current line.
func (r *Reader) flushLine() {
	if r.long {
		r.current.feed(cleanLine(r.line), r.number)
	} else {
		r.begin(r.line)
		r.long = true
	}
	r.line = r.line[:0]
}

// begin hands on the beginning of a line, which may be the whole line.
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

// End ends the input: what is not complete by now is cut off.
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

// giveUnread hands on a text that cannot be read. Of a long one the beginning is enough to find it.
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
	// criHead is what the kubelet writes before a line: time, stream, and P for a part or F for the end of a line.
	criHead = lazyregexp.New(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S* (stdout|stderr) ([PF])(?::\S*)?(?: |$)`)
	// kubectlHead is what kubectl logs --prefix writes before a line.
	kubectlHead = lazyregexp.New(`^\[pod/[^\]\s]+\] `)
	// journalHead is what syslog and journalctl write before a line, in the forms short, short-precise and short-iso.
	journalHead = lazyregexp.New(`^(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*) [\w.-]+ [\w./@-]+(?:\[\d+\])?: `)
	// timeHead is what kubectl logs --timestamps writes before a line.
	timeHead = lazyregexp.New(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)? `)
)

// unwrapLine takes away what a log writes before a line, as far as that matters: an object that stands behind something on
// its line is found anyway, but one that is cut into several lines is not. source is the stream that the line belongs to.
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
