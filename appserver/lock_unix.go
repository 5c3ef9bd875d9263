//go:build unix

package appserver

import (
	"io/fs"
	"os"
	"syscall"
)

// lock keeps other processes from changing a folder that would do it under the lock
// too. It ends with the process, so nothing is left of it.
func lock(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
	}
	return func() { f.Close() }, nil
}
