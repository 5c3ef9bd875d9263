//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package flog

import (
	"os"
	"time"
)

// abandoned is the age of a file to which nobody adds any more.
const abandoned = time.Hour

// lock takes a file. Where there are no locks, a process that lives is told by
// its having written to the file of late, or just made it.
func lock(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && (info.Size() == 0 || time.Since(info.ModTime()) > abandoned)
}
