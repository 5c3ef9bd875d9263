//go:build unix

package keyfile

import (
	"io/fs"
	"os"
	"syscall"
)

// posix says that file modes mean what they say.
const posix = true

// ours reports whether a file belongs to the user that the program runs as.
func ours(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Geteuid()
}

// syncDir makes a new name in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
