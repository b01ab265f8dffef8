// Package filelock locks a file against other processes on this machine. A wait is never silent and ends with its
// context: the holder is recorded in the file, printed at once, and reported when it is stopped or has ended.
package filelock

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

const (
	// interval is how often a waiting process retries. A blocking flock could not be cancelled.
	interval = 100 * time.Millisecond
	// repeat is how often a wait is reported again.
	repeat = 20 * time.Second
	// infoLimit is how much of a lock file is read, in bytes.
	infoLimit = 4096
)

// Lock locks the file at path, which it creates if needed, and returns a function that unlocks it. While another
// process holds the lock, it prints to log which one, and it returns as soon as ctx ends. what says in messages what is
// locked, such as "the build of pulumi".
func Lock(ctx context.Context, path, what string, log io.Writer) (unlock func(), err error) {
	// Go opens every file close-on-exec, so a program that the holder starts does not keep the lock.
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", what, err)
	}
	if err := wait(ctx, file, what, log); err != nil {
		_ = file.Close()
		return nil, err
	}
	_ = self().write(file) // only used in messages
	return func() {
		_ = file.Truncate(0) // before unlocking, so that the next holder is not mistaken for this one
		_ = file.Close()
	}, nil
}

// wait returns when it has locked the file, or with an error.
func wait(ctx context.Context, file *os.File, what string, log io.Writer) error {
	var (
		begun    = time.Now()
		reported time.Time
		said     condition
		current  holder
		gone     int
		ticks    = time.NewTicker(interval)
	)
	defer ticks.Stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("lock %s: %s: %w", what, file.Name(), err)
		}
		current = holderOf(file)
		is := current.condition()
		if is == ended { // or the next holder has not recorded itself yet
			if gone++; gone < 3 {
				is = said
			}
		} else {
			gone = 0
		}
		now := time.Now()
		switch {
		case reported.IsZero():
			fmt.Fprintf(log, "waiting for %s: %s; Ctrl-C ends the wait\n", what, current)
			reported = now
		case now.Sub(reported) >= repeat:
			fmt.Fprintf(log, "still waiting for %s, %s: %s\n", what, now.Sub(begun).Round(time.Second), current)
			reported = now
		}
		if is != said {
			said = is
			if advice := current.advice(is, file.Name()); advice != "" {
				fmt.Fprintln(log, advice)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ended the wait for %s after %s (%s): %w",
				what, time.Since(begun).Round(time.Second), current, ctx.Err())
		case <-ticks.C:
		}
	}
}

// holder is the process that holds a lock, as recorded in the lock file.
type holder struct {
	// PID is the process ID; 0 when unknown.
	PID int `json:"pid"`
	// Program is its name, without arguments, which may be secret.
	Program string `json:"program"`
	// Dir is its working directory.
	Dir string `json:"dir"`
	// Since is when it got the lock.
	Since time.Time `json:"since"`
	// Place is the machine and the PID namespace in which PID is valid.
	Place string `json:"place"`
	// Start is the start time of the process in kernel ticks, because PIDs are reused.
	Start string `json:"start,omitempty"`
}

// String describes the holder for a message.
func (h holder) String() string {
	if h.PID == 0 {
		return "another process holds it"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "process %d", h.PID)
	if h.Program != "" {
		fmt.Fprintf(&b, " (%s", printable(h.Program))
		if h.Dir != "" {
			fmt.Fprintf(&b, " in %s", printable(h.Dir))
		}
		b.WriteString(")")
	}
	if h.Place != "" && h.Place != place() {
		b.WriteString(" of another machine or container")
	}
	b.WriteString(" holds it")
	if !h.Since.IsZero() {
		fmt.Fprintf(&b, " since %s (%s)", h.Since.Local().Format("15:04:05"), time.Since(h.Since).Round(time.Second))
	}
	return b.String()
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// condition is the state of a process.
type condition int

const (
	working condition = iota // or unknown
	stopped
	ended
)

func (h holder) condition() condition {
	if h.PID == 0 || h.Place != "" && h.Place != place() {
		return working
	}
	return conditionOf(h.PID, h.Start)
}

// Stopped reports whether a process on this machine is stopped, for example by Ctrl-Z, and so will not finish by
// itself.
func Stopped(pid int) bool { return conditionOf(pid, "") == stopped }

// conditionOf returns the state of a process on this machine. An empty start means any process with that ID.
func conditionOf(pid int, start string) condition {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return ended
		}
		return working
	}
	state, since, err := processStat(pid)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && start != "" && since != start, state == "Z", state == "X":
		return ended
	case state == "T", state == "t":
		return stopped
	}
	return working
}

// advice says what to do about a holder that will not release the lock by itself.
func (h holder) advice(is condition, file string) string {
	switch is {
	case stopped:
		return fmt.Sprintf("process %[1]d is stopped and will not continue by itself; "+
			"continue it with: kill -CONT %[1]d, or end it with: kill -KILL %[1]d", h.PID)
	case ended:
		return fmt.Sprintf("process %d has ended, but a process that it started still holds the lock; "+
			"find it with: fuser -v %s", h.PID, file)
	case working:
	}
	return ""
}

// self returns this process as a holder.
func self() holder {
	dir, _ := os.Getwd()
	_, start, _ := processStat(os.Getpid())
	return holder{
		PID: os.Getpid(), Program: filepath.Base(os.Args[0]), Dir: dir,
		Since: time.Now().Truncate(time.Second), Place: place(), Start: start,
	}
}

// place identifies the machine and the PID namespace.
func place() string {
	host, _ := os.Hostname()
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	return host + " " + namespace
}

func (h holder) write(file *os.File) error {
	text, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("record the holder of a lock: %w", err)
	}
	_, err = file.WriteAt(append(text, '\n'), 0)
	return errors.Join(err, file.Truncate(int64(len(text)+1)))
}

// holderOf returns who holds the lock: from the file or, if that is empty, from the kernel.
func holderOf(file *os.File) holder {
	text := make([]byte, infoLimit)
	n, _ := file.ReadAt(text, 0)
	var h holder
	if json.Unmarshal(text[:n], &h) == nil && h.PID > 0 {
		return h
	}
	return holder{PID: kernelHolder(file)}
}

// kernelHolder returns the process in the kernel's list of locks for the file; 0 if there is none.
func kernelHolder(file *os.File) int {
	var stat syscall.Stat_t
	if syscall.Fstat(int(file.Fd()), &stat) != nil {
		return 0
	}
	list, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	inode := ":" + strconv.FormatUint(stat.Ino, 10)
	for lines := bufio.NewScanner(bytes.NewReader(list)); lines.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[1] != "FLOCK" || !strings.HasSuffix(fields[5], inode) {
			continue
		}
		if pid, err := strconv.Atoi(fields[4]); err == nil && pid > 0 {
			return pid
		}
	}
	return 0
}

// processStat returns the state letter of a process and its start time, from /proc/PID/stat.
func processStat(pid int) (state, start string, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", "", fmt.Errorf("read the state of process %d: %w", pid, err)
	}
	// The name in parentheses may contain anything; the state follows it, and the start time is the 20th field from there.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return "", "", fmt.Errorf("read the state of process %d: its stat has %d fields", pid, len(fields))
	}
	return fields[0], fields[19], nil
}
