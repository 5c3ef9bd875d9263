//go:build unix

package main

import (
	"io/fs"
	"syscall"
)

// umask returns the file creation mask of the process.
func umask() fs.FileMode {
	mask := setUmask(0o077)
	setUmask(mask)
	return mask
}

// setUmask returns what the mask was before.
func setUmask(mask fs.FileMode) fs.FileMode { return fs.FileMode(syscall.Umask(int(mask))) }
