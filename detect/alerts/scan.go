package alerts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxLine is the longest line that is read whole, in bytes. Falco cuts fields long before.
const maxLine = 1 << 20

// Line is one line of Falco's log: an alert, or one of Falco's own messages.
type Line struct {
	// Alert is nil when the line is a message of Falco's, or an alert that cannot be read.
	Alert *Alert
	// Text of a line that is no alert.
	Text string
	// Err says why a line that begins as an alert cannot be read.
	Err error
	// Pod that wrote it.
	Pod string
}

func newLine(text []byte, pod string) Line {
	a, err := Parse(bytes.Clone(text))
	switch {
	case err == nil:
		a.FalcoPod = pod
		return Line{Alert: a, Pod: pod}
	case errors.Is(err, ErrNotAlert):
		return Line{Text: string(text), Pod: pod}
	default:
		return Line{Text: string(text), Err: err, Pod: pod}
	}
}

// Scan reads lines to the end of r and gives each to handle, alerts and messages alike, in their order.
func Scan(r io.Reader, handle func(Line)) error {
	err := eachLine(r, func(text []byte) { handle(newLine(text, "")) })
	if err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	return nil
}

// eachLine gives every line without its end. The text is only good until handle returns. Of a line longer than maxLine the
// rest is dropped: it is no alert, and must not hide those after it.
func eachLine(r io.Reader, handle func([]byte)) error {
	reader := bufio.NewReaderSize(r, 64<<10)
	var long []byte
	for {
		part, err := reader.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if len(long) < maxLine {
				long = append(long, part...)
			}
			continue
		}
		if len(long) > 0 {
			part = append(long, part...)
			long = long[:0]
		}
		if part = bytes.TrimRight(part, "\r\n"); len(part) > 0 {
			handle(part)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
