// Command standin plays the parts of a machine that a container or a namespace cannot have: systemd's systemctl and
// journalctl, the kernel release that uname prints, a process 1, and a Falco that loads configuration and rules,
// validates, serves its health and metrics endpoints, and depends on the kernel, as the real one does. The name that
// it is called by says which.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// Places of the stand-ins' own, in the machine.
const (
	// settingsDir holds what a test sets: kernel, and files that make a part fail.
	settingsDir = "/etc/standin"
	// stateDir holds what the service manager knows.
	stateDir = "/run/standin"
)

func main() {
	var err error
	switch name := filepath.Base(os.Args[0]); name {
	case "systemctl":
		err = systemctl(os.Args[1:])
	case "supervise":
		err = supervise(os.Args[1])
	case "journalctl":
		err = journalctl(os.Args[1:])
	case "uname":
		err = uname(os.Args[1:])
	case "falco":
		err = falco(os.Args[1:])
	case "falcoctl":
		err = falcoctl(os.Args[1:])
	case "init":
		initProcess()
	default:
		err = fmt.Errorf("no stand-in for %q", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// uname prints the kernel release that the test has set.
func uname(args []string) error {
	if len(args) == 1 && args[0] == "-r" {
		release, err := os.ReadFile(filepath.Join(settingsDir, "kernel"))
		if err != nil {
			return err
		}
		fmt.Println(strings.TrimSpace(string(release)))
		return nil
	}
	fmt.Println("Linux")
	return nil
}

// falcoctl writes the engine's kind as the real one does, and follows nothing.
func falcoctl(args []string) error {
	switch strings.Join(args[:min(2, len(args))], " ") {
	case "driver config":
		return os.WriteFile("/etc/falco/config.d/engine-kind-falcoctl.yaml", []byte("engine:\n  kind: modern_ebpf\n"), 0o600)
	case "driver cleanup":
		return nil
	case "artifact follow":
		wait := make(chan os.Signal, 1)
		signal.Notify(wait, syscall.SIGTERM)
		<-wait
		return nil
	}
	return fmt.Errorf("falcoctl: unknown command %q", args)
}

// initProcess is process 1: it reaps.
func initProcess() {
	for {
		var status syscall.WaitStatus
		if _, err := syscall.Wait4(-1, &status, 0, nil); errors.Is(err, syscall.ECHILD) {
			_ = syscall.Pause()
		}
	}
}
