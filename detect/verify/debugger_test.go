package verify

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheDebuggerIsAProgramForEachArchitecture(t *testing.T) {
	t.Parallel()
	for machine, code := range map[elf.Machine][]byte{elf.EM_X86_64: seizeAMD64, elf.EM_AARCH64: seizeARM64} {
		t.Run(machine.String(), func(t *testing.T) {
			t.Parallel()
			f, err := elf.NewFile(bytes.NewReader(executable(machine, code)))
			require.NoError(t, err)
			assert.Equal(t, machine, f.Machine)
			require.Len(t, f.Progs, 1)
			p := f.Progs[0]
			assert.Equal(t, elf.PF_R|elf.PF_X, p.Flags, "nothing writable is executable")
			loaded := make([]byte, p.Filesz)
			_, err = p.ReadAt(loaded, 0)
			require.NoError(t, err)
			assert.Equal(t, code, loaded[f.Entry-p.Vaddr:], "it starts at its first instruction and ends with its last")
		})
	}
}

// The shell that it attaches to goes on, and nothing is left of it.
func TestTheDebuggerRunsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skipf("there is no program for %s", runtime.GOARCH)
	}
	file := filepath.Join(t.TempDir(), "marker")
	out, err := exec.CommandContext(t.Context(), "sh", "-c", attach(file)+"; echo unreachable").CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Empty(t, string(out))
	_, err = os.Stat(file)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
