// Package safefile reads and writes files safely: a write is atomic, and a read accepts only regular files of a bounded
// size.
package safefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// Write atomically replaces the file at path: a full disk, a crash or a second writer never leaves a partial file. A
// symbolic link at path is replaced, not followed.
func Write(path string, content []byte, mode fs.FileMode) error {
	return place(path, content, mode, os.Rename)
}

// Create is Write for a file that must not exist yet; otherwise the error wraps fs.ErrExist.
func Create(path string, content []byte, mode fs.FileMode) error {
	return place(path, content, mode, func(from, to string) error {
		err := os.Link(from, to)
		if err == nil || errors.Is(err, fs.ErrExist) {
			return err //nolint:wrapcheck // place does
		}
		// The file system has no hard links.
		if _, err := os.Lstat(to); err == nil {
			return &fs.PathError{Op: "create", Path: to, Err: fs.ErrExist}
		}
		return os.Rename(from, to) //nolint:wrapcheck // place does
	})
}

func place(path string, content []byte, mode fs.FileMode, put func(from, to string) error) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(temporary.Name()) //nolint:errcheck // renamed, unless writing failed
	_, err = temporary.Write(content)
	// Sync reports failures of delayed writes before the old file is replaced.
	if err = errors.Join(err, temporary.Chmod(mode), temporary.Sync(), temporary.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := put(temporary.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil { // so that the name survives a crash too
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}

// Open opens a regular file, or a symbolic link to one, for reading. Anything else is an error: opening a pipe would
// block until it has a writer, and a device may be endless.
func Open(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENXIO) { // a socket
		return nil, &fs.PathError{Op: "read", Path: path, Err: kindError(fs.ModeSocket)}
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "read", Path: path, Err: kindError(info.Mode().Type())}
	}
	if err != nil {
		_ = file.Close()
		return nil, err //nolint:wrapcheck // it names the file
	}
	return file, nil
}

// Read reads a regular file of at most limit bytes.
func Read(path string, limit int64) ([]byte, error) {
	file, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	content, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the file
	}
	if int64(len(content)) > limit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: TooLargeError(limit)}
	}
	return content, nil
}

// TooLargeError reports a file that exceeds this number of bytes.
type TooLargeError int64

// Error returns the limit.
func (e TooLargeError) Error() string {
	if size := int64(e); size >= 1<<20 && size%(1<<20) == 0 {
		return fmt.Sprintf("the file is larger than the %d MiB allowed", size>>20)
	}
	return "the file is larger than the " + strconv.FormatInt(int64(e), 10) + " bytes allowed"
}

// kindError reports a file that is not a regular one.
type kindError fs.FileMode

// Error names the kind of file.
func (k kindError) Error() string {
	what := "a special file"
	switch mode := fs.FileMode(k); {
	case mode&fs.ModeDir != 0:
		what = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		what = "a pipe"
	case mode&fs.ModeSocket != 0:
		what = "a socket"
	case mode&fs.ModeDevice != 0:
		what = "a device"
	}
	return what + ", not a regular file"
}
