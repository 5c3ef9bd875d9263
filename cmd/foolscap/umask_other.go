//go:build !unix

package main

import "io/fs"

func umask() fs.FileMode { return 0 }

func setUmask(fs.FileMode) fs.FileMode { return 0 }
