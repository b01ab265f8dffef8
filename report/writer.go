package report

import (
	"bytes"
	"io"
	"slices"
	"sync"
	"unicode/utf8"
)

// Writer returns a writer that escapes text as Lines does and writes it to w, for the output of other programs and
// other untrusted text. It also recognises a rune, an escape sequence or a command that is split over several writes.
// It is safe for concurrent use.
func Writer(w io.Writer) io.Writer { return &writer{out: w, escaper: escaper{multi: true}} }

// ColorWriter is a Writer that keeps colours: it passes on escape sequences that set or reset a colour, bold, dim,
// italic or underline, and no others.
func ColorWriter(w io.Writer) io.Writer {
	return &writer{out: w, escaper: escaper{multi: true}, color: true}
}

type writer struct {
	mu      sync.Mutex
	out     io.Writer
	escaper escaper
	color   bool
	// part is an incomplete rune, or with color an incomplete escape sequence, at the end of the last write.
	part []byte
	buf  []byte
}

// maxColor is more than the length of the longest colour sequence, such as \x1b[38;2;255;255;255m.
const maxColor = 32

// Write escapes p and writes it.
func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := p
	if len(w.part) > 0 {
		in = slices.Concat(w.part, p)
		w.part = nil
	}
	w.buf = w.buf[:0]
	for len(in) > 0 {
		if w.color && in[0] == 0x1b {
			n, whole := colorSequence(in)
			if !whole {
				w.part = bytes.Clone(in)
				break
			}
			if n > 0 {
				w.buf = append(w.escaper.finish(w.buf), in[:n]...)
				in = in[n:]
				continue
			}
		}
		if !utf8.FullRune(in) {
			w.part = bytes.Clone(in)
			break
		}
		r, size := utf8.DecodeRune(in)
		w.buf = w.escaper.append(w.buf, r, size, in[0])
		in = in[size:]
	}
	if _, err := w.out.Write(w.buf); err != nil {
		return 0, err //nolint:wrapcheck // the caller's own writer
	}
	return len(p), nil
}

// colorSequence returns the length of the colour sequence at the start of b, or 0 for another escape sequence; whole is
// false when b ends before that is known.
func colorSequence(b []byte) (n int, whole bool) {
	if len(b) > 1 && b[1] != '[' {
		return 0, true
	}
	number, first := 0, true // the current parameter; those after 38 and 48 are parts of a colour
	rest := 0
	for i := 2; i < len(b); i++ {
		c := b[i]
		switch {
		case c >= '0' && c <= '9' && number < 1000:
			number = number*10 + int(c-'0')
			continue
		case c != ';' && c != 'm', i >= maxColor:
			return 0, true
		}
		switch {
		case rest > 0:
			rest--
			if first && number == 2 { // an RGB colour has three more parameters
				rest = 3
			}
			first = false
		case number == 38 || number == 48:
			rest, first = 2, true
		case !plainStyle(number):
			return 0, true
		}
		if c == 'm' {
			return i + 1, true
		}
		number = 0
	}
	return 0, len(b) >= maxColor
}

// plainStyle reports whether the style hides nothing: it is not blinking, reversed or concealed.
func plainStyle(n int) bool {
	return n <= 4 || n >= 22 && n <= 24 || n >= 30 && n <= 39 || n >= 40 && n <= 49 || n >= 90 && n <= 97 || n >= 100 && n <= 107
}
