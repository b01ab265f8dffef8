package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"spire-falco/config"
	"spire-falco/internal/filelock"
	"spire-falco/internal/safefile"
)

// lock is what the engine writes into the file that locks a stack of a file backend.
type lock struct {
	PID       int       `json:"pid"`
	Username  string    `json:"username"`
	Hostname  string    `json:"hostname"`
	Timestamp time.Time `json:"timestamp"`
}

// heldLock is a lock of the stack and its file.
type heldLock struct {
	lock

	file string
}

// lockFiles returns the files of the stack's locks, as far as this machine can see.
func (b *Backend) lockFiles() ([]string, error) {
	dir := b.lockDir()
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for locks of the stack: %w", err)
	}
	var files []string
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == ".json" {
			files = append(files, filepath.Join(dir, entry.Name()))
		}
	}
	return files, nil
}

// locked reports whether any run holds the lock of the stack. A folder of locks that cannot be read counts as held.
func (b *Backend) locked() bool {
	files, err := b.lockFiles()
	return err != nil || len(files) > 0
}

// locks reads the stack's locks that tell who took them.
func (b *Backend) locks() ([]heldLock, error) {
	files, err := b.lockFiles()
	if err != nil {
		return nil, err
	}
	var all []heldLock
	for _, file := range files {
		l := heldLock{file: file}
		text, err := safefile.Read(l.file, textLimit)
		if errors.Is(err, fs.ErrNotExist) {
			continue // its run has just ended
		}
		if err != nil {
			return nil, fmt.Errorf("read the lock of the stack: %w", err)
		}
		if json.Unmarshal(text, &l.lock) == nil && l.PID > 0 {
			all = append(all, l)
		}
	}
	return all, nil
}

// unlock removes the stack's locks whose processes are provably dead: they ran on this machine and run no more. The engine
// leaves such a lock when it is killed. Any other lock stays, and holders names its process.
func (e *Engine) unlock() error {
	locks, err := e.opts.Backend.locks()
	if err != nil || len(locks) == 0 {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("look for locks of the stack: %w", err)
	}
	for _, l := range locks {
		if l.Hostname != host || !dead(l.PID) {
			continue
		}
		if err := os.Remove(l.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the lock of a run that was killed: %w", err)
		}
		_ = os.Remove(l.file + attributes) // where the backend keeps them
		e.tell("removed the lock of a run that was killed (process %d, begun %s)\n", l.PID, l.Timestamp.Format(time.RFC3339))
	}
	return nil
}

// holders names the runs that hold the stack's lock, and what to do about one that will not end by itself. It is empty
// for a backend that keeps no files.
func (b *Backend) holders() string {
	locks, err := b.locks()
	if err != nil {
		return ""
	}
	host, _ := os.Hostname()
	var out []string
	for _, l := range locks {
		text := fmt.Sprintf("process %d of %s on %s holds it since %s", l.PID, strconv.QuoteToGraphic(l.Username), strconv.QuoteToGraphic(l.Hostname), l.Timestamp.Local().Format(time.RFC3339))
		if l.Hostname == host && filelock.Stopped(l.PID) {
			text += fmt.Sprintf(", and is stopped: continue it with kill -CONT %[1]d, or end it with kill -KILL %[1]d", l.PID)
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// attributes is the ending of the file beside each file of a file backend that does not skip metadata.
const attributes = ".attrs"

// mend removes what a killed engine has left of the attributes of a file backend's state: with an empty file there the
// engine does not read the state ("failed to load checkpoint: EOF"); without it does.
func (b *Backend) mend() error {
	dir := b.fileDir()
	if dir == "" {
		return nil
	}
	for _, ending := range []string{".json", ".json.bak"} {
		file := filepath.Join(dir, "stacks", config.Project, b.stack+ending+attributes)
		info, err := os.Stat(file)
		if err != nil || info.Size() > 0 {
			continue
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mend the state after a run that was killed: %w", err)
		}
	}
	return nil
}

// lockDir is where a file backend keeps the stack's locks; empty for another backend.
func (b *Backend) lockDir() string {
	dir := b.fileDir()
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "locks", "organization", config.Project, b.stack)
}

// fileDir is where a file backend keeps everything; empty for another backend.
func (b *Backend) fileDir() string {
	url := b.Environment["PULUMI_BACKEND_URL"]
	if url == "" {
		url = os.Getenv("PULUMI_BACKEND_URL")
	}
	dir, isFile := strings.CutPrefix(url, "file://")
	if !isFile || !filepath.IsAbs(dir) {
		return ""
	}
	dir, _, _ = strings.Cut(dir, "?")
	return filepath.Join(dir, ".pulumi")
}

// dead tells whether the engine that took a lock is certainly gone: there is no process of that ID, or it is not Pulumi's.
func dead(pid int) bool {
	process, err := os.FindProcess(pid)
	if err != nil {
		return false // nothing is known
	}
	if errors.Is(process.Signal(syscall.Signal(0)), os.ErrProcessDone) {
		return true
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && !strings.HasPrefix(string(name), "pulumi")
}
