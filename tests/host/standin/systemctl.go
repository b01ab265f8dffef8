package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	vendorUnits = "/usr/lib/systemd/system"
	adminUnits  = "/etc/systemd/system"
	wantedBy    = "/etc/systemd/system/multi-user.target.wants"
)

// unitState is what the service manager knows of a unit's process.
type unitState struct {
	Active, Sub string
	PID         int
	Supervisor  int
}

// unitFile is what of a unit the stand-in obeys.
type unitFile struct {
	ExecStart, Alias, Wants []string
	RestartOnFailure        bool
}

func systemctl(args []string) error {
	var command string
	var units, properties []string
	now := false
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case a == "--now":
			now = true
		case a == "-p":
			i++
			properties = append(properties, args[i])
		case a == "--no-ask-password", a == "--system", a == "--no-pager", a == "-q":
		case strings.HasPrefix(a, "-"):
			return fmt.Errorf("systemctl: unknown option %s", a)
		case command == "":
			command = a
		default:
			units = append(units, a)
		}
	}
	if command == "daemon-reload" {
		return os.RemoveAll(filepath.Join(stateDir, "loaded"))
	}
	for _, u := range units {
		if err := one(command, u, now, properties); err != nil {
			return err
		}
	}
	return nil
}

func one(command, u string, now bool, properties []string) error {
	masked := isMasked(u)
	exists := fileOf(u) != ""
	switch command {
	case "is-enabled":
		switch {
		case masked:
			fmt.Println("masked")
		case !exists:
			fmt.Println("not-found")
		case onDisk(filepath.Join(wantedBy, u)):
			fmt.Println("enabled")
			return nil
		default:
			fmt.Println("disabled")
		}
		os.Exit(1)
	case "is-active":
		s := stateOf(u)
		fmt.Println(s.Active)
		if s.Active != "active" {
			os.Exit(3)
		}
		return nil
	case "show":
		s := stateOf(u)
		for _, p := range properties {
			fmt.Printf("%s=%s\n", p, map[string]string{"ActiveState": s.Active, "SubState": s.Sub}[p])
		}
		return nil
	case "unmask":
		if masked {
			return errors.Join(os.Remove(filepath.Join(adminUnits, u)), reload())
		}
		return nil
	case "reset-failed":
		if s := stateOf(u); s.Active == "failed" {
			return save(u, unitState{Active: "inactive", Sub: "dead"})
		}
		return nil
	case "stop":
		return stop(u)
	case "disable": // of a unit whose file is gone too
		links, _ := filepath.Glob(filepath.Join(adminUnits, "*.service"))
		for _, link := range append(links, filepath.Join(wantedBy, u)) {
			if to, err := os.Readlink(link); err == nil && filepath.Base(to) == u {
				_ = os.Remove(link)
			}
		}
		if now {
			if err := stop(u); err != nil {
				return err
			}
		}
		return reload()
	}
	if !exists && !masked {
		return fmt.Errorf("Unit %s could not be found.", u) //nolint:staticcheck // systemd's own words
	}
	switch command {
	case "mask":
		if onDisk(filepath.Join(adminUnits, u)) && !masked {
			return fmt.Errorf("Failed to mask unit: File %s already exists.", filepath.Join(adminUnits, u)) //nolint:staticcheck // systemd's own words
		}
		_ = os.Remove(filepath.Join(adminUnits, u))
		return errors.Join(os.Symlink("/dev/null", filepath.Join(adminUnits, u)), reload())
	}
	if masked {
		return fmt.Errorf("Unit %s is masked.", u) //nolint:staticcheck // systemd's own words
	}
	switch command {
	case "enable":
		if err := os.MkdirAll(wantedBy, 0o750); err != nil {
			return err
		}
		for _, a := range append(parse(fileOf(u)).Alias, "multi-user.target.wants/"+u) {
			_ = os.Remove(filepath.Join(adminUnits, a))
			if err := os.Symlink(fileOf(u), filepath.Join(adminUnits, a)); err != nil {
				return err
			}
		}
		return reload()
	case "start":
		return start(u)
	case "restart":
		if err := stop(u); err != nil {
			return err
		}
		return start(u)
	}
	return fmt.Errorf("systemctl: unknown command %s", command)
}

func onDisk(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func isMasked(u string) bool {
	to, err := os.Readlink(filepath.Join(adminUnits, u))
	return err == nil && to == "/dev/null"
}

func fileOf(u string) string {
	if !isMasked(u) && onDisk(filepath.Join(adminUnits, u)) {
		return filepath.Join(adminUnits, u)
	}
	if onDisk(filepath.Join(vendorUnits, u)) {
		return filepath.Join(vendorUnits, u)
	}
	return ""
}

// parse reads a unit file and its drop-ins.
func parse(file string) unitFile {
	var f unitFile
	u := filepath.Base(file)
	dropIns, _ := filepath.Glob(filepath.Join(adminUnits, u+".d", "*.conf"))
	for _, name := range append([]string{file}, dropIns...) {
		content, _ := os.ReadFile(name)
		for line := range strings.Lines(string(content)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "ExecStart": // an empty one takes back those before
				f.ExecStart = strings.Fields(value)
			case "Alias":
				f.Alias = strings.Fields(value)
			case "Wants":
				f.Wants = strings.Fields(value)
			case "Restart":
				f.RestartOnFailure = value == "on-failure"
			}
		}
	}
	return f
}

// load reads a unit the first time and then goes on with what it read, as systemd does until a daemon-reload.
func load(u string) (unitFile, error) {
	cached := filepath.Join(stateDir, "loaded", u)
	var f unitFile
	if content, err := os.ReadFile(cached); err == nil {
		return f, json.Unmarshal(content, &f)
	}
	f = parse(fileOf(u))
	content, err := json.Marshal(f)
	if err != nil {
		return f, err
	}
	if err := os.MkdirAll(filepath.Dir(cached), 0o755); err != nil { //nolint:gosec // every user passes through it
		return f, err
	}
	return f, os.WriteFile(cached, content, 0o600)
}

func reload() error {
	return os.RemoveAll(filepath.Join(stateDir, "loaded"))
}

func stateFile(u string) string { return filepath.Join(stateDir, "state", u) }

func stateOf(u string) unitState {
	s := unitState{Active: "inactive", Sub: "dead"}
	if content, err := os.ReadFile(stateFile(u)); err == nil {
		_ = json.Unmarshal(content, &s)
	}
	return s
}

func save(u string, s unitState) error {
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(stateFile(u)), 0o755); err != nil { //nolint:gosec // every user may ask for a state
		return err
	}
	temporary := fmt.Sprintf("%s.%d", stateFile(u), os.Getpid())
	if err := os.WriteFile(temporary, content, 0o644); err != nil { //nolint:gosec // as above
		return err
	}
	return os.Rename(temporary, stateFile(u))
}

func alive(pid int) bool {
	return pid > 0 && syscall.Kill(pid, 0) == nil
}

func start(u string) error {
	if s := stateOf(u); s.Active == "active" && alive(s.PID) {
		return nil
	}
	f, err := load(u)
	if err != nil {
		return err
	}
	if err := save(u, unitState{Active: "activating", Sub: "start"}); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.Command(self) //nolint:gosec // this program
	c.Args = []string{"supervise", u}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	for range 200 {
		if stateOf(u).Sub != "start" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, w := range f.Wants {
		if fileOf(w) != "" && !isMasked(w) {
			if err := start(w); err != nil {
				return err
			}
		}
	}
	if onDisk(filepath.Join(settingsDir, "slow-start")) {
		time.Sleep(time.Minute)
	}
	return nil
}

func stop(u string) error {
	s := stateOf(u)
	if alive(s.Supervisor) {
		_ = syscall.Kill(s.Supervisor, syscall.SIGKILL)
	}
	if alive(s.PID) {
		_ = syscall.Kill(s.PID, syscall.SIGTERM)
		for i := 0; alive(s.PID) && i < 300; i++ {
			time.Sleep(10 * time.Millisecond)
		}
		if alive(s.PID) {
			_ = syscall.Kill(s.PID, syscall.SIGKILL)
		}
	}
	if fileOf(u) == "" && !onDisk(stateFile(u)) {
		return fmt.Errorf("Failed to stop %s: Unit %s not loaded.", u, u) //nolint:staticcheck // systemd's own words
	}
	return save(u, unitState{Active: "inactive", Sub: "dead"})
}

// supervise runs a unit's process and writes down what becomes of it.
func supervise(u string) error {
	f, err := load(u)
	if err != nil {
		return err
	}
	if len(f.ExecStart) == 0 {
		return save(u, unitState{Active: "failed", Sub: "failed"})
	}
	if err := os.MkdirAll(filepath.Join(stateDir, "journal"), 0o755); err != nil { //nolint:gosec // as systemd
		return err
	}
	journal, err := os.OpenFile(filepath.Join(stateDir, "journal", u), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for {
		c := exec.Command(f.ExecStart[0], f.ExecStart[1:]...) //nolint:gosec // running units is what systemd is for
		c.Stderr = journal
		c.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
		if err := c.Start(); err != nil {
			fmt.Fprintln(journal, err)
			return save(u, unitState{Active: "failed", Sub: "failed"})
		}
		if err := save(u, unitState{Active: "active", Sub: "running", PID: c.Process.Pid, Supervisor: os.Getpid()}); err != nil {
			return err
		}
		if c.Wait() == nil {
			return save(u, unitState{Active: "inactive", Sub: "dead"})
		}
		if !f.RestartOnFailure {
			return save(u, unitState{Active: "failed", Sub: "failed"})
		}
		if err := save(u, unitState{Active: "activating", Sub: "auto-restart", Supervisor: os.Getpid()}); err != nil {
			return err
		}
		time.Sleep(15 * time.Second)
	}
}

// journalctl prints the end of what a unit has said.
func journalctl(args []string) error {
	var u string
	count := 10
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-u":
			i++
			u = args[i]
		case "-n":
			i++
			if _, err := fmt.Sscan(args[i], &count); err != nil {
				return err
			}
		case "-o":
			i++
		}
	}
	f, err := os.Open(filepath.Join(stateDir, "journal", u))
	if err != nil {
		return nil // a unit that has said nothing has no journal
	}
	defer func() { _ = f.Close() }()
	var lines []string
	for s := bufio.NewScanner(f); s.Scan(); {
		lines = append(lines, s.Text())
	}
	fmt.Println(strings.Join(lines[max(0, len(lines)-count):], "\n"))
	return nil
}
