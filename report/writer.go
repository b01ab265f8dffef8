package report

import (
	"io"
	"unicode/utf8"
)

// Writer returns a writer that passes text on to w line by line as Lines would return it, for what other programs print and
// for lines that are put together from outside text. It keeps its place between writes: a rune, an escape sequence or a
// command that is split over two of them is still seen. It is not safe for use by several goroutines at once.
func Writer(w io.Writer) io.Writer { return &writer{out: w, escaper: escaper{multi: true}} }

// ColorWriter is Writer for a program whose colours are wanted: of all escape sequences it lets the ones pass that set a
// colour, bold, dim, italic or underline, or reset them.
func ColorWriter(w io.Writer) io.Writer {
	return &writer{out: w, escaper: escaper{multi: true}, color: true}
}

type writer struct {
	out     io.Writer
	escaper escaper
	color   bool
	// part is the beginning of a rune, or with color of an escape sequence, that the last write ended in.
	part []byte
	buf  []byte
}

// maxColor is the longest colour sequence, such as \x1b[38;2;255;255;255m, with room to spare.
const maxColor = 32

// Write escapes p and writes it.
func (w *writer) Write(p []byte) (int, error) {
	in := p
	if len(w.part) > 0 {
		in = append(w.part, p...)
		w.part = nil
	}
	w.buf = w.buf[:0]
	for len(in) > 0 {
		if w.color && in[0] == 0x1b {
			n, whole := colorSequence(in)
			if !whole {
				w.part = append([]byte(nil), in...)
				break
			}
			if n > 0 {
				w.buf = append(w.escaper.finish(w.buf), in[:n]...)
				in = in[n:]
				continue
			}
		}
		if !utf8.FullRune(in) {
			w.part = append([]byte(nil), in...)
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

// colorSequence is the length of the colour sequence that b begins with, 0 for another escape; whole is false when b ends
// before that is known.
func colorSequence(b []byte) (n int, whole bool) {
	if len(b) > 1 && b[1] != '[' {
		return 0, true
	}
	number, first := 0, true // the parameters that stand alone; those of 38 and 48 are colours
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
			if first && number == 2 { // a colour by its three parts
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

// plainStyle reports the styles that hide nothing: not blinking, reversed or concealed.
func plainStyle(n int) bool {
	return n <= 4 || n >= 22 && n <= 24 || n >= 30 && n <= 39 || n >= 40 && n <= 49 || n >= 90 && n <= 97 || n >= 100 && n <= 107
}
