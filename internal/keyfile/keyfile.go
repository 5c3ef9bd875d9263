// Package keyfile keeps secrets in files: keys and FURLs. Files are written
// whole or not at all, for their owner only, and never over something that
// could not be read.
package keyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// ErrUnsafe is wrapped by the errors of files that others could have changed.
var ErrUnsafe = errors.New("other users can write the file")

var errNotOurs = errors.New("it belongs to somebody else")

// MaxSize is the longest file that Read reads, in bytes.
const MaxSize = 1 << 20

// Read returns what parse makes of a file. One that others can write is
// refused: who knows whose secret that is. One that others can read, as Python
// programs write them, is made private if it is ours, with a warning; logger
// may be nil. A file that parse does not take is left as it is: it may have
// been named by mistake.
func Read[T any](path string, logger *slog.Logger, parse func(text []byte) (T, error)) (T, error) {
	var none T
	// To open a pipe would wait for somebody who writes.
	info, err := os.Stat(path)
	if err != nil {
		return none, err
	}
	if !info.Mode().IsRegular() {
		return none, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return none, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil { // what was opened
		return none, err
	}
	mode := info.Mode().Perm()
	if posix && mode&0o022 != 0 {
		return none, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w (mode %04o); check its content, then chmod 600 it", ErrUnsafe, mode)}
	}
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	switch {
	case err != nil:
		return none, err
	case len(text) > MaxSize:
		return none, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("more than %d bytes are too many for a file of secrets", MaxSize)}
	}
	content, err := parse(text)
	if err != nil {
		return none, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	if posix && mode&0o077 != 0 {
		tighten(f, info, logger)
	}
	return content, nil
}

// tighten makes a file private, if it is ours.
func tighten(f *os.File, info fs.FileInfo, logger *slog.Logger) {
	mode := info.Mode().Perm()
	err := errNotOurs
	if ours(info) { // root could change those of others, too
		err = f.Chmod(mode &^ 0o077)
	}
	switch {
	case logger == nil:
	case err == nil:
		logger.Warn("others could read a file of secrets; it is private now", "path", f.Name(), "mode", fmt.Sprintf("%04o", mode))
	default:
		logger.Warn("others can read a file of secrets", "path", f.Name(), "mode", fmt.Sprintf("%04o", mode), "error", err)
	}
}

// Create writes a new file with mode 0600. It fails with an error that wraps
// fs.ErrExist if there is one already.
func Create(path string, text []byte) error {
	temp, err := write(path, text)
	if err != nil {
		return err
	}
	defer os.Remove(temp)
	// A link fails where a file exists, a rename would replace it.
	if err := os.Link(temp, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return err
		}
		return createWithoutLinks(path, text, err)
	}
	return syncDir(filepath.Dir(path))
}

// createWithoutLinks is Create for file systems that have no hard links.
func createWithoutLinks(path string, text []byte, cause error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return errors.Join(err, cause)
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// Replace writes a file with mode 0600 in place of what is there.
func Replace(path string, text []byte) error {
	temp, err := write(path, text)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		os.Remove(temp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// write writes a temporary file beside path.
func write(path string, text []byte) (temp string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) { // nobody has asked for the temporary file
			return "", &fs.PathError{Op: "create", Path: path, Err: at.Err}
		}
		return "", err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
