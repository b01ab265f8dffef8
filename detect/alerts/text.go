package alerts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"spire-falco/falco"
	"spire-falco/internal/lazyregexp"
)

// text is the text of a line outside the objects in it.
type text struct {
	all    []byte
	line   int
	hidden [][2]int // ranges that were read already
}

// overlap is how much of a text is read again when it is too long to be kept, because a word may span the cut.
const overlap = 64

func (s *scanner) addText(data []byte, number int) {
	if len(s.text.all) == 0 {
		s.text.line = number
	}
	s.text.all = append(s.text.all, data...)
	if len(s.text.all) > maxAlert {
		rest := bytes.Clone(s.text.all[len(s.text.all)-overlap:])
		s.endText()
		s.text.all, s.text.line = rest, number
	}
}

// placeholder adds a placeholder for an object that was read.
func (t *text) placeholder(number int) {
	if len(t.all) == 0 {
		t.line = number
	}
	t.hidden = append(t.hidden, [2]int{len(t.all), len(t.all) + 2})
	t.all = append(t.all, "{}"...)
}

// hide hides spans of the object of this size that was added last.
func (t *text) hide(size int, spans []span) {
	at := len(t.all) - size
	if at < 0 {
		return // the text was too long, and was read already
	}
	for _, p := range spans {
		t.hidden = append(t.hidden, [2]int{at + p.start, at + p.end})
	}
}

// plainAlert matches the prefix of Falco's text output: time and priority.
var plainAlert = lazyregexp.New(
	`(\d\d:\d\d:\d\d(?:\.\d{1,9})?|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?): ` +
		`(?i:(Emergency|Alert|Critical|Error|Warning|Notice|Informational|Debug)) `)

// endText reads the text of a line: alerts of Falco's text output, escaped JSON, or a message.
func (s *scanner) endText() {
	t := s.text
	s.text = text{all: t.all[:0]}
	if cap(t.all) > maxAlert/4 {
		s.text.all = nil
	}
	if len(bytes.TrimSpace(t.all)) == 0 {
		return
	}
	visible := t.all
	if len(t.hidden) > 0 {
		visible = bytes.Clone(t.all)
		for _, h := range t.hidden {
			for i := h[0]; i < h[1]; i++ {
				visible[i] = ' '
			}
		}
	}
	before := visible
	var found [][]int
	if mayHavePlainAlert(visible) {
		found = plainAlert().FindAllSubmatchIndex(visible, -1)
	}
	if len(found) > 0 {
		first := found[0][0]
		before = visible[:first]
		// Not the text output, but an output inside malformed or escaped JSON, so the rest does not belong to its message.
		quoted := first > 0 && strings.IndexByte(`"'\`, visible[first-1]) >= 0
		if quoted || hasAlertKey(withoutEscapes(visible[first:])) != "" {
			if s.readMessage(visible, t.line, false) {
				return
			}
			before = nil
		}
	}
	s.readMessage(before, t.line, len(found) == 0)
	for i, m := range found {
		end := len(visible)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		s.reader.giveAlert(newPlainAlert(t.all[m[0]:end], t.all[m[2]:m[3]], t.all[m[4]:m[5]]), t.line)
	}
}

// mayHavePlainAlert is a fast check before the regular expression.
func mayHavePlainAlert(text []byte) bool {
	for i := 0; ; i++ {
		next := bytes.Index(text[i:], []byte(": "))
		if next < 0 {
			return false
		}
		i += next
		if i > 0 && i+2 < len(text) && (text[i-1] >= '0' && text[i-1] <= '9' || text[i-1] == 'Z') &&
			strings.IndexByte("eacwnid", text[i+2]|0x20) >= 0 {
			return true
		}
	}
}

// readMessage reads text that is no alert of the text output, and reports whether it was escaped JSON.
func (s *scanner) readMessage(message []byte, number int, give bool) (escaped bool) {
	reason, p, ok := suspicion(message)
	if ok && s.depth < maxWrapped && bytes.Contains(message, []byte(`\"`)) {
		before := s.reader.alerts + s.reader.unread
		child := scanner{reader: s.reader, depth: s.depth + 1}
		child.feedText(unescape(message), number)
		child.end()
		if s.reader.alerts+s.reader.unread > before {
			return true
		}
	}
	if ok {
		s.reader.giveUnread(bytes.TrimSpace(message), number, reason, p)
	} else if message = bytes.TrimSpace(message); give && len(message) > 0 && s.depth == 0 {
		s.reader.giveText(message, number)
	}
	return false
}

// newPlainAlert returns the alert of a line of the text output.
func newPlainAlert(output, clock, name []byte) *Alert {
	output = bytes.TrimSpace(output)
	a := &Alert{Output: strings.ToValidUTF8(string(output), "\ufffd"), Plain: true}
	a.Priority, _ = falco.ParsePriority(string(name))
	a.Time = parseTime(gjson.Result{Str: string(clock)}) // zero without a day
	fields := struct {
		Output   string         `json:"output"`
		Priority falco.Priority `json:"priority"`
		Time     *time.Time     `json:"time,omitempty"`
	}{Output: a.Output, Priority: a.Priority}
	if !a.Time.IsZero() {
		fields.Time = &a.Time
	}
	a.Raw, _ = json.Marshal(fields) // cannot fail for these types
	return a
}

// wordOf matches a priority as Falco writes it before a message.
var wordOf = lazyregexp.New(`: (Emergency|Alert|Critical|Error|Warning|Notice|Informational|Debug) `)

// suspicion reports whether a text that cannot be read as an alert may still be one, why, and its most severe possible
// priority: it names a priority as Falco does before a message, names Critical or Emergency anywhere, or has the keys
// of an alert.
func suspicion(text []byte) (reason string, most falco.Priority, ok bool) {
	if len(text) < worthALook-2 {
		return "", 0, false
	}
	plain := withoutEscapes(text)
	if key := hasAlertKey(plain); key != "" {
		return "it has the key " + key + " of an alert, but cannot be read as one", falco.PriorityEmergency, true
	}
	if p, name, found := namesIn(plain, text); found {
		return fmt.Sprintf("it names the priority %s, but cannot be read as an alert", name), p, true
	}
	return "", 0, false
}

// hasAlertKey returns a key of an alert that the text contains in quotes.
func hasAlertKey(plain []byte) string {
	for _, key := range []string{`"rule"`, `"priority"`, `"output_fields"`, `'rule'`, `'priority'`, `'output_fields'`} {
		if bytes.Contains(plain, []byte(key)) {
			return key[1 : len(key)-1]
		}
	}
	return ""
}

// namesIn returns the most severe priority that a text names; lower is the same text in lower case.
func namesIn(lower, text []byte) (most falco.Priority, name string, ok bool) {
	most = falco.PriorityDebug + 1
	if bytes.Contains(lower, []byte("emergency")) {
		most = falco.PriorityEmergency
	} else if bytes.Contains(lower, []byte("critical")) {
		most = falco.PriorityCritical
	}
	if bytes.Contains(text, []byte(": ")) {
		for _, m := range wordOf().FindAllSubmatch(text, -1) {
			if p, err := falco.ParsePriority(string(m[1])); err == nil {
				most = min(most, p)
			}
		}
	}
	if most > falco.PriorityDebug {
		return 0, "", false
	}
	return most, most.String(), true
}

// withoutEscapes returns a text in lower case without backslashes and invisible characters, with \u and \x escapes
// decoded.
func withoutEscapes(text []byte) []byte {
	plain := true
	for _, c := range text {
		if c == '\\' || c < ' ' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return bytes.ToLower(text)
	}
	text = withoutColor(text)
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		i += size
		if r == '\\' {
			for i < len(text) && text[i] == '\\' {
				i++
			}
			if i == len(text) {
				break
			}
			digits := map[byte]int{'u': 4, 'x': 2, 'U': 8}[text[i]]
			if digits == 0 {
				continue
			}
			var ok bool
			if r, ok = hex(text[i+1:], digits); !ok {
				continue
			}
			i += 1 + digits
		}
		if r >= ' ' && r < 0x7f {
			if r >= 'A' && r <= 'Z' {
				r |= 0x20
			}
			out = append(out, byte(r))
		}
	}
	return out
}
