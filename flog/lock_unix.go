//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package flog

import (
	"os"
	"syscall"
)

// lock takes a file for as long as it is open, unless another process, or
// another Log, has it. The death of a process unlocks it.
func lock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}
