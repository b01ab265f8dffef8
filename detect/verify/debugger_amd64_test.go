package verify

import (
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The program is traced, and its attempt is refused by the tracer before the kernel acts on it: else it would seize the
// tests.
func TestTheDebuggerSeizesItsParentAndExitsWithZeroWhenRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "debugger")
	require.NoError(t, os.WriteFile(file, executable(elf.EM_X86_64, seizeAMD64), 0o700))
	runtime.LockOSThread() // ptrace is of one thread
	defer runtime.UnlockOSThread()
	command := exec.CommandContext(t.Context(), file)
	command.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	err := command.Start()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("nothing may be traced here; what the program calls is not checked")
	}
	require.NoError(t, err)
	pid := command.Process.Pid
	var status syscall.WaitStatus
	_, err = syscall.Wait4(pid, &status, 0, nil)
	require.NoError(t, err)

	type call struct{ number, a, b, c, d uint64 }
	var calls []call
	var answers []int64
	for entry := true; len(calls) < 10; entry = !entry {
		require.NoError(t, syscall.PtraceSyscall(pid, 0))
		_, err := syscall.Wait4(pid, &status, 0, nil)
		require.NoError(t, err)
		if !status.Stopped() {
			break
		}
		require.Equal(t, syscall.SIGTRAP, status.StopSignal())
		var r syscall.PtraceRegs
		require.NoError(t, syscall.PtraceGetRegs(pid, &r))
		if entry {
			calls = append(calls, call{r.Orig_rax, r.Rdi, r.Rsi, r.Rdx, r.R10})
			if r.Orig_rax == syscall.SYS_PTRACE {
				r.Orig_rax = ^uint64(0) // no call has this number: ENOSYS
				require.NoError(t, syscall.PtraceSetRegs(pid, &r))
			}
		} else {
			answers = append(answers, int64(r.Rax))
		}
	}
	require.Len(t, calls, 3)
	assert.EqualValues(t, syscall.SYS_GETPPID, calls[0].number)
	const seize = 0x4206
	assert.Equal(t, call{syscall.SYS_PTRACE, seize, uint64(os.Getpid()), 0, 0}, calls[1])
	assert.EqualValues(t, syscall.SYS_EXIT, calls[2].number)
	require.Len(t, answers, 2, "exit does not return")
	assert.Equal(t, -int64(syscall.ENOSYS), answers[1], "it was refused")
	assert.True(t, status.Exited())
	assert.Zero(t, status.ExitStatus())
}

func TestTheProgramThatAsksForIoUringEndsWithZeroHoweverItIsAnswered(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "uring")
	require.NoError(t, os.WriteFile(file, executable(elf.EM_X86_64, ioUringAMD64), 0o700))
	out, err := exec.CommandContext(t.Context(), file).CombinedOutput()
	require.NoError(t, err)
	assert.Empty(t, out)
}
