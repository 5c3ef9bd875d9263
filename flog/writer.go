package flog

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dsnet/compress/bzip2"
)

const magic = "# foolscap flogfile v1\n"

// A Header is the first thing in a file.
type Header struct {
	// Type is "incident", "tail", "gatherer", or what else made the file.
	Type     string
	Versions map[string]string
	PID      int       // 0: not said
	Start    time.Time // of a gatherer's file; zero: not said
	Trigger  *Event    // of an incident
	// Attrs is everything else.
	Attrs []slog.Attr
	// Raw is the line as it was read. When it is not nil a Writer writes it,
	// and nothing else.
	Raw json.RawMessage
}

// An Entry is an event in a file.
type Entry struct {
	Event Event
	// From is the TubID of whoever logged it, or a beginning of it, or "local".
	From string
	// Received is when it came to who wrote the file; zero stands for its own
	// time.
	Received time.Time
	// Raw is the line as it was read. When it is not nil a Writer writes it,
	// and nothing else.
	Raw json.RawMessage
}

// A Writer writes a file of events, which Foolscap's flogtool reads too.
type Writer struct {
	w      *bufio.Writer
	line   []byte
	pack   *bzip2.Writer
	file   *os.File // of Create
	path   string
	failed error
}

// NewWriter begins a file with its header. What was written is in w after
// Flush or Close.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	fw := &Writer{w: bufio.NewWriter(w)}
	fw.w.WriteString(magic)
	return fw, fw.writeLine(h.Raw, func(b []byte) []byte { return appendHeader(b, h) })
}

// Create begins a file of that name, for its owner only, which is compressed
// if the name ends in ".bz2". It has another name, which ends in ".tmp", until
// Close has written it completely.
func Create(path string, h Header) (*Writer, error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, err
	}
	var to io.Writer = f
	var pack *bzip2.Writer
	if strings.HasSuffix(path, ".bz2") {
		pack, to = newPacker(f)
	}
	w, err := NewWriter(to, h)
	w.pack, w.file, w.path = pack, f, path
	if err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

// Write adds an entry.
func (w *Writer) Write(e Entry) error {
	return w.writeLine(e.Raw, func(b []byte) []byte { return appendEntry(b, e) })
}

func (w *Writer) writeLine(raw json.RawMessage, encode func([]byte) []byte) error {
	if w.failed != nil {
		return w.failed
	}
	if raw != nil {
		w.line = append(w.line[:0], raw...)
	} else {
		w.line = encode(w.line[:0])
	}
	w.line = append(w.line, '\n')
	_, w.failed = w.w.Write(w.line)
	return w.failed
}

// Flush hands on what was written. A compressed file has it after Close only.
func (w *Writer) Flush() error {
	if w.failed == nil {
		w.failed = w.w.Flush()
	}
	return w.failed
}

// Close completes the file. Of one that could not be written nothing is left.
func (w *Writer) Close() error {
	err := w.Flush()
	if w.pack != nil && err == nil {
		err = closeGuarded(w.pack)
	}
	if w.file == nil {
		return err
	}
	if err == nil {
		err = publish(w.file, w.path)
	}
	if err != nil {
		w.Abort()
	}
	w.file, w.failed = nil, errors.Join(err, os.ErrClosed)
	return err
}

// Abort removes a file that Create has begun. After Close it does nothing.
func (w *Writer) Abort() {
	if w.file != nil {
		w.file.Close()
		os.Remove(w.file.Name())
		w.file, w.failed = nil, os.ErrClosed
	}
}

// publish gives a file, whose content is complete, its name.
func publish(f *os.File, path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	syncDir(filepath.Dir(path))
	return nil
}

// syncDir makes a new name last. Not all systems can do that, and those that
// cannot need not.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}

func appendHeader(b []byte, h Header) []byte {
	b = append(b, `{"header":{"type":`...)
	b = appendString(b, h.Type)
	var attrs []slog.Attr
	if h.Versions != nil {
		b = append(b, `,"versions":`...)
		versions, _ := json.Marshal(h.Versions) // which cannot fail, and sorts
		b = append(b, versions...)
	}
	if h.PID != 0 {
		attrs = append(attrs, slog.Int("pid", h.PID))
	}
	b = appendAttrs(b, append(attrs, h.Attrs...), true)
	if !h.Start.IsZero() {
		b = appendTime(append(b, `,"start":`...), h.Start)
	}
	if h.Trigger != nil {
		b = appendEvent(append(b, `,"trigger":`...), *h.Trigger, h.Trigger.Time)
	}
	return append(b, "}}"...)
}

func appendEntry(b []byte, e Entry) []byte {
	if e.Received.IsZero() {
		e.Received = e.Event.Time
	}
	b = append(b, `{"from":`...)
	b = appendString(b, e.From)
	b = appendTime(append(b, `,"rx_time":`...), e.Received)
	b = appendEvent(append(b, `,"d":`...), e.Event, e.Received)
	return append(b, '}')
}
