package alerts

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// filePoll is how often a followed file is looked at.
const filePoll = 200 * time.Millisecond

// FollowFile gives the lines of a file and then those that are added to it, until ctx ends. It goes on in the new file when
// the file is renamed and made anew, and from the beginning when it is cut, as logrotate does with and without copytruncate.
func FollowFile(ctx context.Context, path string, handle func(Line)) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	t := &fileTail{file: file, reader: bufio.NewReader(file), handle: handle}
	defer func() { _ = t.file.Close() }()
	for {
		if err := t.toEnd(); err != nil {
			return fmt.Errorf("read alerts from %s: %w", path, err)
		}
		if !sleep(ctx, filePoll) {
			return nil
		}
		if err := t.rotate(path); err != nil {
			return fmt.Errorf("read alerts from %s: %w", path, err)
		}
	}
}

type fileTail struct {
	file   *os.File
	reader *bufio.Reader
	handle func(Line)
	read   int64
	part   []byte // a line whose end is not written yet
}

func (t *fileTail) toEnd() error {
	for {
		text, err := t.reader.ReadBytes('\n')
		t.read += int64(len(text))
		t.part = append(t.part, text...)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if line := bytes.TrimRight(t.part, "\r\n"); len(line) > 0 {
			t.handle(newLine(line, ""))
		}
		t.part = t.part[:0]
	}
}

// rotate changes over to the file that path names now when it is another, or begins anew when it got shorter.
func (t *fileTail) rotate(path string) error {
	now, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // between renaming and making anew
	}
	if err != nil {
		return err
	}
	mine, err := t.file.Stat()
	if err != nil {
		return err
	}
	switch {
	case !os.SameFile(now, mine):
		next, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := t.toEnd(); err != nil { // what was still written to the old one
			return errors.Join(err, next.Close())
		}
		_ = t.file.Close()
		t.file = next
	case now.Size() < t.read:
		if _, err := t.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
	default:
		return nil
	}
	t.reader.Reset(t.file)
	t.read, t.part = 0, nil
	return nil
}
