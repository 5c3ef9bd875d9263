package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// env is what surrounds one run of a command.
type env struct {
	name           string // of the command
	stdin          io.Reader
	stdout, stderr io.Writer
	// written is behind stdout, and knows whether all could be written.
	written *keepingWriter

	json    bool // --json
	verbose bool // --verbose
	// reported says that the command has told of its failure itself.
	reported bool

	colourOut, colourErr bool // colour may be used there
	terminalErr          bool // somebody watches stderr, so progress may be shown

	stdinTaken bool
	secrets    []string // what must not be shown
}

func newEnv(stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) *env {
	e := &env{stdin: stdin, stderr: &lockedWriter{w: stderr}, written: &keepingWriter{w: stdout}}
	e.stdout = e.written
	colour := getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	e.terminalErr = isTerminal(stderr)
	e.colourErr = colour && e.terminalErr
	e.colourOut = colour && isTerminal(stdout)
	return e
}

// A keepingWriter keeps its first error, and writes no more after it. So tables
// and texts can be printed without a look at each line.
type keepingWriter struct {
	w   io.Writer
	err error
}

func (k *keepingWriter) Write(p []byte) (n int, err error) {
	if k.err == nil {
		n, k.err = k.w.Write(p)
	}
	return n, k.err
}

// A lockedWriter lets messages, logs and progress share standard error.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// isTerminal takes every character device for a terminal. Of the others, such
// as the null device, nobody reads what is written there.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (e *env) red(s string) string { return paint(e.colourErr, "31", s) }

func paint(colour bool, code, s string) string {
	if !colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// logger writes to standard error, in the form that fits the rest.
func (e *env) logger(level slog.Level) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: e.redactAttr}
	if e.verbose {
		opts.Level = slog.LevelDebug
	}
	if e.json {
		return slog.New(slog.NewJSONHandler(e.stderr, opts))
	}
	return slog.New(slog.NewTextHandler(e.stderr, opts))
}

// redactAttr keeps secrets out of the log that others may have put into an
// error. The handlers escape what does not print.
func (e *env) redactAttr(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(e.withoutSecrets(v))
	case error:
		a.Value = slog.StringValue(e.withoutSecrets(v.Error()))
	}
	return a
}

// writeJSON writes one document in one line.
func (e *env) writeJSON(v any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := e.stdout.Write(escapeJSON(b.Bytes()))
	return err
}

// takeStdin reads all of standard input, up to max bytes; what names the thing
// that is read. There is only one thing in it.
func (e *env) takeStdin(ctx context.Context, what string, max int64) ([]byte, error) {
	if e.stdinTaken {
		return nil, usagef("two things cannot both come from standard input")
	}
	e.stdinTaken = true
	return unlessInterrupted(ctx, func() ([]byte, error) {
		return readUpTo(e.stdin, "standard input", what, max)
	})
}

// takeFile reads a file of at most max bytes.
func takeFile(ctx context.Context, path, what string, max int64) ([]byte, error) {
	return unlessInterrupted(ctx, func() ([]byte, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readUpTo(f, path, what, max)
	})
}

// unlessInterrupted returns what read does, or errInterrupted when ctx ends.
// Nothing ends the opening of a FIFO or the reading of a terminal: they are
// left behind, and end with the process.
func unlessInterrupted(ctx context.Context, read func() ([]byte, error)) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, errInterrupted
	}
	type outcome struct {
		data []byte
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		data, err := read()
		done <- outcome{data, err}
	}()
	select {
	case o := <-done:
		return o.data, o.err
	case <-ctx.Done():
		return nil, errInterrupted
	}
}

func readUpTo(r io.Reader, from, what string, max int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(data)) > max {
		err = fmt.Errorf("%s holds more than %d bytes, too many for %s", from, max, what)
	}
	return data, err
}

// maxFURLFile is generous: comments may stand in the file.
const maxFURLFile = 64 << 10

// furl reads the FURL that an argument stands for: itself, the file behind an
// @, or standard input for "-". No error contains anything of the secret.
func (e *env) furl(ctx context.Context, arg string) (furl.FURL, error) {
	text := arg
	switch path, isFile := strings.CutPrefix(arg, "@"); {
	case arg == "-":
		data, err := e.takeStdin(ctx, "a FURL", maxFURLFile)
		if err != nil {
			return furl.FURL{}, err
		}
		if text, err = onlyLine(data); err != nil {
			return furl.FURL{}, fmt.Errorf("standard input: %w", err)
		}
	case isFile:
		data, err := takeFile(ctx, path, "a FURL", maxFURLFile)
		if err != nil {
			return furl.FURL{}, err
		}
		if text, err = onlyLine(data); err != nil {
			return furl.FURL{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	f, err := furl.Parse(text)
	if err != nil {
		if text == arg && !strings.HasPrefix(text, "pb:") {
			return f, fmt.Errorf("%w; a file that holds a FURL is given as @FILE", err)
		}
		return f, err
	}
	e.keepSecret(f.Name.Reveal())
	return f, nil
}

// onlyLine returns the one line of a FURL file that is neither empty nor a
// comment.
func onlyLine(data []byte) (string, error) {
	var found string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case found != "":
			return "", errors.New("there is more than one line in it, one FURL is needed")
		default:
			found = line
		}
	}
	if found == "" {
		return "", errors.New("there is no FURL in it")
	}
	return found, nil
}

// isFileError reports whether an error is about a file rather than about what
// was written on the command line.
func isFileError(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}
