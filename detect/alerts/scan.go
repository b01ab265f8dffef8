package alerts

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"spire-falco/falco"
)

// Line is one item that was read: an alert, another message, or something unreadable.
type Line struct {
	// Alert is nil for a message, and for something unreadable.
	Alert *Alert
	// Text is the message or the unreadable text; empty for an alert.
	Text string
	// Err is an *UnreadableError: why a text that is or may be an alert cannot be read.
	Err error
	// Pod is the pod that wrote it.
	Pod string
	// Input is the name of the file or the pod, and Number the line in it, from 1.
	Input  string
	Number int
}

// Place returns the input and the line number, such as falco.log:17.
func (l Line) Place() string { return fmt.Sprintf("%s:%d", l.Input, l.Number) }

// UnreadableError says why a text that is or may be an alert cannot be read.
type UnreadableError struct {
	// Reason is the text of the error.
	Reason string
	// Priority is the most severe one that the text may have; Emergency when unknown.
	Priority falco.Priority
}

// Error returns the reason.
func (e *UnreadableError) Error() string { return e.Reason }

// Scan reads r to its end and passes what it finds to handle, in order; name is the name of the input. See Reader for
// the formats; gzip is decompressed.
func Scan(name string, r io.Reader, handle func(Line)) error {
	buffered := bufio.NewReaderSize(r, 64<<10)
	var in io.Reader = buffered
	if magic, _ := buffered.Peek(2); bytes.Equal(magic, gzipMagic) {
		unzipped, err := gzip.NewReader(buffered)
		if err != nil {
			return fmt.Errorf("read alerts from %s: %w", name, err)
		}
		in = unzipped
	}
	reader := NewReader(name, handle)
	_, err := io.CopyBuffer(struct{ io.Writer }{reader}, struct{ io.Reader }{in}, make([]byte, 64<<10))
	reader.End() // also after an error: what was read until then counts
	if err != nil {
		return fmt.Errorf("read alerts from %s: %w", name, err)
	}
	return nil
}
