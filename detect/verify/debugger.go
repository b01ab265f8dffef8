package verify

import (
	"bytes"
	"debug/elf"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// The debugger scenario needs a program that attaches to another process, which neither the workload's image nor a
// toolbox has. This one has about 160 bytes: it calls ptrace(PTRACE_SEIZE, getppid(), 0, 0) and exits with 0 whatever
// the result. Seizing does not stop a process, and the exit of the tracer releases it.

// seizeAMD64 is its machine code; the system call numbers are from Linux's asm/unistd_64.h.
var seizeAMD64 = []byte{
	0xb8, 110, 0, 0, 0, // mov eax, getppid
	0x0f, 0x05, // syscall
	0x89, 0xc6, // mov esi, eax
	0xbf, 0x06, 0x42, 0, 0, // mov edi, PTRACE_SEIZE
	0x31, 0xd2, // xor edx, edx
	0x45, 0x31, 0xd2, // xor r10d, r10d
	0xb8, 101, 0, 0, 0, // mov eax, ptrace
	0x0f, 0x05, // syscall
	0x31, 0xff, // xor edi, edi
	0xb8, 60, 0, 0, 0, // mov eax, exit
	0x0f, 0x05, // syscall
}

// seizeARM64 is the same for arm64; the system call numbers are from Linux's asm-generic/unistd.h.
var seizeARM64 = words(
	0xd2800008|173<<5,    // mov x8, getppid
	0xd4000001,           // svc 0
	0xaa0003e1,           // mov x1, x0
	0xd2800000|0x4206<<5, // mov x0, PTRACE_SEIZE
	0xd2800002,           // mov x2, 0
	0xd2800003,           // mov x3, 0
	0xd2800008|117<<5,    // mov x8, ptrace
	0xd4000001,           // svc 0
	0xd2800000,           // mov x0, 0
	0xd2800008|93<<5,     // mov x8, exit
	0xd4000001,           // svc 0
)

func words(w ...uint32) []byte {
	var out []byte
	for _, v := range w {
		out = binary.LittleEndian.AppendUint32(out, v)
	}
	return out
}

// executable returns a static ELF program that consists of the code only.
func executable(machine elf.Machine, code []byte) []byte {
	const base, headers = 0x400000, 64 + 56
	var b bytes.Buffer
	size := uint64(headers + len(code))
	for _, part := range []any{
		elf.Header64{
			Ident: [elf.EI_NIDENT]byte{
				0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT),
			},
			Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
			Entry: base + headers, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
		},
		elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
			Vaddr: base, Paddr: base, Filesz: size, Memsz: size, Align: 0x10000,
		},
		code,
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			panic(err) // every part has a fixed size
		}
	}
	return b.Bytes()
}

// attach returns a shell script that writes the program to file, lets it seize the shell, and removes it.
func attach(file string) string { return runProgram(file, seizeAMD64, seizeARM64) }

// ioUringAMD64 calls io_uring_setup(1, NULL), which fails, and exits with 0.
var ioUringAMD64 = []byte{
	0xbf, 1, 0, 0, 0, // mov edi, 1
	0x31, 0xf6, // xor esi, esi
	0xb8, 0xa9, 0x01, 0, 0, // mov eax, io_uring_setup
	0x0f, 0x05, // syscall
	0x31, 0xff, // xor edi, edi
	0xb8, 60, 0, 0, 0, // mov eax, exit
	0x0f, 0x05, // syscall
}

// ioUringARM64 is the same for arm64.
var ioUringARM64 = words(
	0xd2800000|1<<5,   // mov x0, 1
	0xd2800001,        // mov x1, 0
	0xd2800008|425<<5, // mov x8, io_uring_setup
	0xd4000001,        // svc 0
	0xd2800000,        // mov x0, 0
	0xd2800008|93<<5,  // mov x8, exit
	0xd4000001,        // svc 0
)

// ioUring returns a shell script that writes the program to file, runs it, and removes it.
func ioUring(file string) string { return runProgram(file, ioUringAMD64, ioUringARM64) }

// runProgram returns a shell script that writes a program to file, runs it, and removes it.
func runProgram(file string, amd64, arm64 []byte) string {
	program := func(m elf.Machine, code []byte) string { return base64.StdEncoding.EncodeToString(executable(m, code)) }
	return fmt.Sprintf(`case "$(uname -m)" in
x86_64) p=%s ;;
aarch64) p=%s ;;
*) echo "no program for $(uname -m)" >&2; exit 1 ;;
esac
echo "$p" | base64 -d >%[3]s && chmod 755 %[3]s && %[3]s; s=$?; rm -f %[3]s; exit $s`,
		program(elf.EM_X86_64, amd64), program(elf.EM_AARCH64, arm64), file)
}
