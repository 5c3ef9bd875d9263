//go:build !unix

package keyfile

import "io/fs"

const posix = false

func ours(fs.FileInfo) bool { return true }

func syncDir(string) error { return nil }
