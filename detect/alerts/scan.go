package alerts

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"spire-falco/falco"
)

// Line is one thing that was read: an alert, a message of Falco's or of somebody else, or what cannot be read.
type Line struct {
	// Alert is nil for a message, and for what cannot be read.
	Alert *Alert
	// Text of what is no alert, or cannot be read.
	Text string
	// Err says why a text that is or may be an alert cannot be read. It is an *UnreadableError.
	Err error
	// Pod that wrote it.
	Pod string
	// Input is the name of the file or the pod, and Number the line in it, from 1.
	Input  string
	Number int
}

// Place is the input and the number of the line, such as falco.log:17.
func (l Line) Place() string { return fmt.Sprintf("%s:%d", l.Input, l.Number) }

// UnreadableError says why a text that is or may be an alert cannot be read.
type UnreadableError struct {
	// Reason in words.
	Reason string
	// Priority is the most severe one that the text can have: Emergency when that is not known.
	Priority falco.Priority
}

// Error is the reason.
func (e *UnreadableError) Error() string { return e.Reason }

// Scan reads r to its end and gives handle what it holds, in order; name is that of the input. See Reader for what is read.
// A gzip file is decompressed.
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
	reader.End() // also when reading broke off: what came until then counts
	if err != nil {
		return fmt.Errorf("read alerts from %s: %w", name, err)
	}
	return nil
}
