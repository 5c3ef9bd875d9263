//go:build !linux

package tornet

// Command runs a program beside a network. It exists only on Linux.
func Command(args ...string) (code int, err error) { return 0, errUnavailable }
