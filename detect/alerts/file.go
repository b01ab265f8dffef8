package alerts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// filePoll is how often a followed file is checked.
const filePoll = 200 * time.Millisecond

// FollowFile reads a file and then what is appended to it, until ctx ends. It follows rotation as logrotate does it: it
// continues with the new file when the file is replaced, and from the start when it is truncated (copytruncate).
func FollowFile(ctx context.Context, path string, handle func(Line)) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read alerts: %w", err)
	}
	t := &fileTail{file: file, reader: NewReader(path, handle), buf: make([]byte, 64<<10)}
	defer func() { _ = t.file.Close() }()
	defer func() { t.reader.End() }() // reports an incomplete alert
	for {
		if err := t.toEnd(); err != nil {
			return fmt.Errorf("read alerts from %s: %w", path, err)
		}
		if !sleep(ctx, filePoll) {
			return nil
		}
		if err := t.rotate(path, handle); err != nil {
			return fmt.Errorf("read alerts from %s: %w", path, err)
		}
	}
}

type fileTail struct {
	file   *os.File
	reader *Reader
	read   int64
	buf    []byte
}

func (t *fileTail) toEnd() error {
	for {
		n, err := t.file.Read(t.buf)
		t.read += int64(n)
		_, _ = t.reader.Write(t.buf[:n])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// rotate switches to the new file at path if it was replaced, or to the start if it got shorter.
func (t *fileTail) rotate(path string, handle func(Line)) error {
	now, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // between rename and create
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
		if err := t.toEnd(); err != nil { // the rest of the old file
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
	t.reader.End()
	t.reader, t.read = NewReader(path, handle), 0
	return nil
}
