package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/internal/filelock"
)

// beTheStack makes this test binary the program itself: it is started again under the name of stack, from folders that
// have a neighbour and from such that have none.
const beTheStack = "SPIRE_FALCO_TEST_STACK"

func TestMain(m *testing.M) {
	if os.Getenv(beTheStack) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// install puts the program into a folder, with a neighbour that is this shell script; without one for an empty script.
func install(t *testing.T, script string) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	path := filepath.Join(dir, "stack")
	if os.Link(self, path) != nil { // another file system
		copyProgram(t, self, path)
	}
	if script != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "stack-engine"), []byte("#!/bin/sh\n"+script), 0o700))
	}
	return path
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close() //nolint:errcheck // only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, errors.Join(err, out.Close()))
}

type result struct {
	stdout, stderr string
	code           int
}

// start runs the program with a working folder and an environment beside that of the tests.
func start(t *testing.T, program, dir string, env []string, args ...string) result {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), beTheStack+"=1"), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func TestACommandOfTheEngineIsHandedToItsNeighbourAsItIs(t *testing.T) {
	t.Parallel()
	stack := install(t, `for a in "$@"; do echo "<$a>"; done; echo "env $HANDED in $(pwd)"; exit 7`)
	for _, args := range [][]string{
		{"preview"},
		{"--stack", "prod", "-C", "elsewhere", "verify", "--only", "a b", ""},
		{"alerts", "-f", "--since", "1h", "-s", "prod"},
		{"up", "--help"},
		{"help", "up"},
		{"pulumi", "--", "config", "set", "--secret", "KEY"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			dir, err := filepath.EvalSymlinks(t.TempDir()) // no project: what is wrong with it the other program says
			require.NoError(t, err)
			r := start(t, stack, dir, []string{"HANDED=over"}, args...)
			assert.Equal(t, "<"+strings.Join(args, ">\n<")+">\nenv over in "+dir+"\n", r.stdout)
			assert.Empty(t, r.stderr)
			assert.Equal(t, 7, r.code)
		})
	}
	t.Run("it takes the place of the process, so that signals reach it", func(t *testing.T) {
		t.Parallel()
		stack := install(t, `trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done`)
		cmd := exec.Command(stack, "alerts", "--follow")
		cmd.Env = append(os.Environ(), beTheStack+"=1")
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		hung := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer hung.Stop()
		_, err = io.ReadFull(out, make([]byte, len("ready\n")))
		require.NoError(t, err)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait()
		assert.Equal(t, 9, cmd.ProcessState.ExitCode())
	})
	t.Run("a shell's completion asks it too", func(t *testing.T) {
		t.Parallel()
		r := start(t, stack, t.TempDir(), nil, "__complete", "verify", "--on")
		assert.Contains(t, r.stdout, "<__complete>\n<verify>\n<--on>\n")
	})
}

func TestWhatTheStackAnswersItselfNeedsNoEngine(t *testing.T) {
	t.Parallel()
	stack := install(t, `echo "the engine was asked"; exit 7`)
	for _, tt := range []struct {
		args []string
		code int
		want []string
	}{
		{nil, 0, []string{"SPIRE, Falco with tested rules", "plan the whole stack; changes nothing", "-C, --dir string"}},
		{[]string{"--help"}, 0, []string{"alerts ", "down ", "outputs ", "preview ", "pulumi ", "rules ", "up ", "verify "}},
		{[]string{"rules"}, 0, []string{"check ", "render "}},
		{[]string{"rules", "check", "--help"}, 0, []string{"--strict"}},
		{[]string{"help", "rules"}, 0, []string{"explain "}},
		{[]string{"nonsense"}, 1, []string{`unknown command "nonsense"`}},
		{[]string{"--bogus", "x"}, 1, []string{"unknown flag: --bogus"}},
		{[]string{"rules", "render", "-C", "/nowhere"}, 1, []string{"there is no Pulumi.yaml"}},
		{[]string{"__complete", "rules", "ch"}, 0, []string{"check"}},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Parallel()
			r := start(t, stack, t.TempDir(), nil, tt.args...)
			for _, want := range tt.want {
				assert.Contains(t, r.stdout+r.stderr, want)
			}
			assert.NotContains(t, r.stdout, "the engine was asked")
			assert.Equal(t, tt.code, r.code)
		})
	}
}

func TestAnInterruptEndsACommandThatReadsItsInput(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(install(t, ""), "rules", "eval", "-", "--rules", ruleFile(t, goodRule))
	cmd.Env = append(os.Environ(), beTheStack+"=1")
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	hung := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer hung.Stop()
	// Alerts are written together: enough of them show that it reads.
	for range 1000 {
		_, err = io.WriteString(in, `{"evt.num":1,"evt.time.iso8601":1,"evt.type":"open","evt.dir":"<","proc.name":"cat"}`+"\n")
		require.NoError(t, err)
	}
	_, err = out.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	_, err = io.Copy(io.Discard, out)
	require.NoError(t, err)
	_ = cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	assert.Equal(t, syscall.SIGINT, status.Signal())
}

const building = "building the commands that need the Pulumi engine (the first time takes minutes)\n"

// source is a project's folder whose engine is this program.
func source(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "cmd", "stack-engine"), 0o750))
	for name, text := range map[string]string{
		"Pulumi.yaml":              "name: spire-falco\n",
		"go.mod":                   "module example.org/project\n\ngo 1.24\n",
		"cmd/stack-engine/main.go": program,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestWithoutANeighbourTheEngineIsBuiltFromTheProject(t *testing.T) {
	t.Parallel()
	stack := install(t, "")
	t.Run("once, and it says so", func(t *testing.T) {
		t.Parallel()
		dir := source(t, "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc main() {\n\tfmt.Println(os.Args)\n\tos.Exit(7)\n}\n")
		r := start(t, stack, t.TempDir(), nil, "--dir", dir, "preview", "--expect-no-changes")
		assert.Equal(t, result{"[stack --dir " + dir + " preview --expect-no-changes]\n", building, 7}, r)
		before, err := os.Stat(filepath.Join(dir, ".cache", "bin", "stack-engine"))
		require.NoError(t, err)
		r = start(t, stack, t.TempDir(), nil, "preview", "--help", "--expect-no-changes", "-C", dir)
		assert.Equal(t, 7, r.code)
		assert.True(t, strings.HasPrefix(r.stdout, "[stack preview --help"), r.stdout)
		after, err := os.Stat(filepath.Join(dir, ".cache", "bin", "stack-engine"))
		require.NoError(t, err)
		assert.True(t, os.SameFile(before, after), "nothing has changed, so it is not built again")
	})
	t.Run("again when its source has changed", func(t *testing.T) {
		t.Parallel()
		dir := source(t, "package main\n\nfunc main() { println(1) }\n")
		r := start(t, stack, dir, nil, "up")
		assert.Equal(t, building+"1\n", r.stderr)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "cmd", "stack-engine", "main.go"), []byte("package main\n\nfunc main() { println(2) }\n"), 0o600))
		r = start(t, stack, dir, nil, "up")
		assert.Equal(t, "2\n", strings.TrimPrefix(r.stderr, building))
	})
	t.Run("and what the compiler says is shown", func(t *testing.T) {
		t.Parallel()
		dir := source(t, "package main\n\nfunc main() { nonsense() }\n")
		r := start(t, stack, dir, nil, "up")
		assert.Contains(t, r.stderr, building)
		assert.Contains(t, r.stderr, "main.go:3:15: undefined: nonsense")
		assert.Contains(t, r.stderr, "error: build the commands that need the Pulumi engine from "+dir)
		assert.Equal(t, 1, r.code)
		r = start(t, stack, dir, nil, "help", "up")
		assert.Contains(t, r.stderr, "undefined: nonsense")
		assert.Equal(t, 1, r.code)
	})
	for _, tt := range []struct {
		name string
		dir  func(dir string) error
		env  string
		want string
	}{
		{"a folder that is no project is named", func(dir string) error { return os.Remove(filepath.Join(dir, "Pulumi.yaml")) }, "", "there is no Pulumi.yaml"},
		{"a project without its source is named", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "cmd")) }, "", "there is no cmd/stack-engine"},
		{"a machine without Go is told what to do", func(string) error { return nil }, "PATH=/nowhere", "no Go command in PATH: install Go"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := source(t, "package main\n\nfunc main() {}\n")
			require.NoError(t, tt.dir(dir))
			r := start(t, stack, dir, []string{tt.env}, "up")
			assert.Contains(t, r.stderr, tt.want)
			assert.Equal(t, 1, r.code)
			assert.NoDirExists(t, filepath.Join(dir, ".cache"))
		})
	}
	// goCommand is a folder for PATH with a Go command that is this shell script.
	goCommand := func(t *testing.T, script string) string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\n"+script), 0o700))
		return "PATH=" + dir + string(os.PathListSeparator) + os.Getenv("PATH")
	}
	t.Run("and when it is there already, it says so only if that takes long", func(t *testing.T) {
		t.Parallel()
		dir := source(t, "package main\n\nfunc main() {}\n")
		built := filepath.Join(dir, ".cache", "bin", "stack-engine")
		require.NoError(t, os.MkdirAll(filepath.Dir(built), 0o750))
		require.NoError(t, os.WriteFile(built, []byte("#!/bin/sh\necho built\n"), 0o700))
		assert.Equal(t, result{"built\n", "", 0}, start(t, stack, dir, []string{goCommand(t, "exit 0")}, "up"))
		assert.Equal(t, result{"built\n", building, 0}, start(t, stack, dir, []string{goCommand(t, "sleep 2.5")}, "up"))
	})
	t.Run("and an interrupt stops it", func(t *testing.T) {
		t.Parallel()
		dir := source(t, "package main\n\nfunc main() {}\n")
		cmd := exec.Command(stack, "up")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), beTheStack+"=1", goCommand(t, `trap 'echo cleaned >&2; exit 1' INT; echo begun >&2; while :; do sleep 0.05; done`))
		stderr, err := cmd.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		hung := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer hung.Stop()
		_, err = io.ReadFull(stderr, make([]byte, len(building+"begun\n")))
		require.NoError(t, err)
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		rest, err := io.ReadAll(stderr)
		require.NoError(t, err)
		assert.Equal(t, "cleaned\n", string(rest))
		_ = cmd.Wait()
		assert.Equal(t, 130, cmd.ProcessState.ExitCode())
	})
	t.Run("and an interrupt ends the wait for another run that builds", func(t *testing.T) {
		t.Parallel()
		dir := source(t, "package main\n\nfunc main() {}\n")
		bin := filepath.Join(dir, ".cache", "bin")
		require.NoError(t, os.MkdirAll(bin, 0o750))
		unlock, err := filelock.Lock(t.Context(), filepath.Join(bin, "stack-engine.lock"), "it", io.Discard)
		require.NoError(t, err)
		defer unlock()
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			cmd := exec.Command(stack, "up")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), beTheStack+"=1")
			stderr, err := cmd.StderrPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			hung := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
			said := bufio.NewReader(stderr)
			for line := ""; !strings.HasPrefix(line, "waiting for the build of stack-engine: process "); {
				line, err = said.ReadString('\n')
				require.NoError(t, err)
			}
			begun := time.Now()
			require.NoError(t, cmd.Process.Signal(signal))
			rest, err := io.ReadAll(said)
			require.NoError(t, err)
			_ = cmd.Wait()
			hung.Stop()
			assert.Less(t, time.Since(begun), 2*time.Second)
			assert.Equal(t, 130, cmd.ProcessState.ExitCode())
			assert.Equal(t, 1, strings.Count(strings.TrimSpace(string(rest)), "\n")+1, "one line: %s", rest)
			assert.Contains(t, string(rest), "interrupted: ended the wait for the build of stack-engine")
		}
	})
	t.Run("a shell's completion builds nothing", func(t *testing.T) {
		t.Parallel()
		dir := source(t, "package main\n\nfunc main() { println(\"asked\") }\n")
		r := start(t, stack, dir, nil, "__complete", "up", "--")
		assert.Equal(t, 0, r.code)
		assert.NoDirExists(t, filepath.Join(dir, ".cache"))
	})
}
