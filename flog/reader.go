package flog

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"slices"
)

// MaxLine is how long a line of a file may be, in bytes.
const MaxLine = 4 << 20

// Why a file cannot be read.
var (
	ErrFormat   = errors.New("flog: not a flogfile")
	ErrLineSize = errors.New("the line is too long")
)

// A LineError says which line of a file is wrong; the first has number 1.
type LineError struct {
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("flog: line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// A Reader reads a file of events, ours or Foolscap's, compressed or not.
type Reader struct {
	r         *bufio.Reader
	file      *os.File
	line      int
	text      []byte
	header    Header
	first     *Entry // when there is no header
	pending   error  // of the line that should have been one
	truncated bool
	done      bool
}

// Open opens a file. The error wraps ErrFormat if it holds something else.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := NewReader(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.file = f
	return r, nil
}

// NewReader reads the beginning of a file, with its header.
func NewReader(from io.Reader) (*Reader, error) {
	r := &Reader{r: bufio.NewReader(from)}
	if start, _ := r.r.Peek(3); string(start) == "BZh" {
		r.r = bufio.NewReader(bzip2.NewReader(r.r))
	}
	start, err := r.r.Peek(len(magic))
	if string(start) != magic {
		switch {
		case bytes.HasPrefix(start, []byte("pb:")):
			return nil, fmt.Errorf("%w, but one that holds a FURL: it is to be connected to, not to be read", ErrFormat)
		case bytes.HasPrefix(start, []byte("(dp0")):
			return nil, fmt.Errorf("%w of this time: it holds pickles, as Foolscap wrote them before version 0.13", ErrFormat)
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return nil, ErrFormat
	}
	r.r.Discard(len(magic))
	r.line = 1
	e, isHeader, err := r.next()
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		r.pending = err
	case err == nil && !isHeader:
		r.first = &e
	}
	return r, nil
}

// Header returns the header, of several the last that was met; the zero Header
// if there is none.
func (r *Reader) Header() Header { return r.header }

// Truncated reports whether the end of the file is missing; it is known when
// all entries have been read. The rest of a line is left out then.
func (r *Reader) Truncated() bool { return r.truncated }

// Close closes a file that Open has opened.
func (r *Reader) Close() error {
	if r.file != nil {
		return r.file.Close()
	}
	return nil
}

// Entries gives the events in the order of the file, once. A line that is wrong
// is a *LineError, and the next one follows; after another error it is over.
func (r *Reader) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if e := r.first; e != nil {
			r.first = nil
			if !yield(*e, nil) {
				return
			}
		}
		for {
			var e Entry
			isHeader, err := false, r.pending
			r.pending = nil
			if err == nil {
				e, isHeader, err = r.next()
			}
			var wrong *LineError
			switch {
			case errors.Is(err, io.EOF):
				return
			case errors.As(err, &wrong), err == nil && !isHeader:
				if !yield(e, err) {
					return
				}
			case err != nil:
				r.done = true
				yield(Entry{}, err)
				return
			}
		}
	}
}

// next reads a line: an entry, or a header. The end is io.EOF.
func (r *Reader) next() (e Entry, isHeader bool, err error) {
	for {
		text, whole, err := r.readLine()
		if err != nil {
			return e, false, err
		}
		if len(bytes.TrimSpace(text)) == 0 || string(text) == magic[:len(magic)-1] {
			continue // the magic: Foolscap's gatherer may add to a file that is there
		}
		e, isHeader, err = r.parse(text)
		if err != nil && !whole {
			r.truncated = true
			return Entry{}, false, io.EOF
		}
		if err != nil {
			err = &LineError{r.line, err}
		}
		return e, isHeader, err
	}
}

// readLine returns a line without its end, which only the last may lack.
func (r *Reader) readLine() (text []byte, whole bool, err error) {
	if r.done {
		return nil, false, io.EOF
	}
	r.line++
	r.text = r.text[:0]
	size := 0
	for {
		part, err := r.r.ReadSlice('\n')
		if size += len(part); size <= MaxLine {
			r.text = append(r.text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case size > MaxLine && (err == nil || errors.Is(err, io.EOF)):
			r.done = err != nil
			return nil, false, &LineError{r.line, ErrLineSize}
		case err == nil:
			return r.text[:len(r.text)-1], true, nil
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			r.done = true
			r.truncated = r.truncated || errors.Is(err, io.ErrUnexpectedEOF)
			if size == 0 {
				return nil, false, io.EOF
			}
			return r.text, false, nil
		default:
			return nil, false, fmt.Errorf("flog: after line %d: %w", r.line-1, err)
		}
	}
}

func (r *Reader) parse(text []byte) (e Entry, isHeader bool, err error) {
	v, err := parseValue(text)
	if err != nil {
		return e, false, err
	}
	if v.Kind() != slog.KindGroup {
		return e, false, errors.New("it is no JSON object")
	}
	raw := slices.Clone(text)
	for _, a := range v.Group() {
		group := a.Value.Kind() == slog.KindGroup
		switch {
		case a.Key == "header" && group:
			r.header = headerOf(a.Value.Group())
			r.header.Raw = raw
			return e, true, nil
		case a.Key == "d" && group:
			e.Event = eventOf(a.Value.Group())
			e.Raw = raw
		case a.Key == "from" && a.Value.Kind() == slog.KindString:
			e.From = a.Value.String()
		case a.Key == "rx_time":
			e.Received, _ = timeOf(a.Value)
		}
	}
	if e.Raw == nil {
		return Entry{}, false, errors.New("it holds neither a header nor an event")
	}
	return e, false, nil
}

func headerOf(attrs []slog.Attr) (h Header) {
	for _, a := range attrs {
		ok := false
		switch kind := a.Value.Kind(); a.Key {
		case "type":
			if ok = kind == slog.KindString; ok {
				h.Type = a.Value.String()
			}
		case "pid":
			var n uint64
			n, ok = unsigned(a.Value)
			h.PID = int(n)
		case "start":
			h.Start, ok = timeOf(a.Value)
		case "trigger":
			if ok = kind == slog.KindGroup; ok {
				trigger := eventOf(a.Value.Group())
				h.Trigger = &trigger
			}
		case "versions":
			if ok = kind == slog.KindGroup; ok {
				h.Versions = make(map[string]string)
				for _, v := range a.Value.Group() {
					h.Versions[v.Key] = v.Value.String()
				}
			}
		}
		if !ok {
			h.Attrs = append(h.Attrs, a)
		}
	}
	return h
}
