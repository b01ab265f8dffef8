package controlplane

import "syscall"

// dieWithParent ends a program with the tests that started it, also when these are killed.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
