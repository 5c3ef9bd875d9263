package flog

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// While an incident is collected it is in NAME.flog.tmp, locked, so that it
// survives the death of the process. Then NAME.flog.bz2.tmp is made of that and
// renamed, and NAME.flog.tmp removed. A name without .tmp is that of a complete
// file.
const (
	plainEnd  = ".flog"
	packedEnd = ".flog.bz2"
	tempEnd   = ".tmp"
)

func newName(t time.Time) string {
	var unique [4]byte
	rand.Read(unique[:])
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(unique[:])
	return "incident-" + t.UTC().Format("2006-01-02--15-04-05") + "Z-" + strings.ToLower(text)
}

// write writes an incident to its file, and waits for what belongs to it.
func (l *Log) write(rec *recording) (incident Incident, err error) {
	trigger := decode(rec.trigger, l.incarnation)
	now := time.Now()
	f, name, err := l.begin(now)
	if err != nil {
		l.trail(rec)
		return incident, err
	}
	defer f.Close()
	sortRecords(rec.snapshot)
	lines, size, dropped := l.lines(rec.snapshot, now)
	header := Header{Type: "incident", Versions: l.opts.Versions, PID: pid, Trigger: &trigger}
	if header.Versions == nil {
		header.Versions = map[string]string{}
	}
	if dropped > 0 {
		header.Attrs = []slog.Attr{slog.Int("dropped", dropped)}
	}
	_, err = f.Write(append(append(append([]byte(magic), appendHeader(nil, header)...), '\n'), lines...))
	rec.snapshot = nil
	if err == nil {
		err = f.Sync()
	}
	for _, rec := range l.trail(rec) {
		if err != nil {
			break
		}
		line := l.line(rec, time.Now())
		if size += len(line); size > l.opts.Incidents.MaxBytes {
			break
		}
		_, err = f.Write(line)
	}
	if err != nil {
		os.Remove(f.Name())
		return incident, err
	}
	path, err := l.complete(f, name)
	return Incident{Name: name, Path: path, Trigger: trigger}, err
}

// begin makes a file that no other process will take for a leftover.
func (l *Log) begin(now time.Time) (f *os.File, name string, err error) {
	for range 10 {
		name = newName(now)
		path := l.path(name + plainEnd + tempEnd)
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if claim(f, path) {
			return f, name, nil
		}
		f.Close()
		err = errors.New("flog: another process takes the files of incidents away as they are made")
	}
	return nil, "", err
}

// claim locks a file, and makes sure that it still has its name.
func claim(f *os.File, path string) bool {
	if !lock(f) {
		return false
	}
	this, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(this, named)
}

func (l *Log) path(name string) string { return filepath.Join(l.opts.Incidents.Dir, name) }

func (l *Log) line(rec []byte, now time.Time) []byte {
	return append(appendEntry(nil, Entry{Event: decode(rec, l.incarnation), From: "local", Received: now}), '\n')
}

// lines makes the text of events, without the oldest if it is too much.
func (l *Log) lines(records [][]byte, now time.Time) (text []byte, size, dropped int) {
	begin := len(records)
	lines := make([][]byte, len(records))
	for begin > 0 {
		line := l.line(records[begin-1], now)
		if size+len(line) > l.opts.Incidents.MaxBytes && begin < len(records) {
			break
		}
		begin--
		lines[begin] = line
		size += len(line)
	}
	return bytes.Join(lines[begin:], nil), size, begin
}

// complete makes the final file of a temporary one. f is locked, and stays so
// unless the system needs it closed.
func (l *Log) complete(f *os.File, name string) (path string, err error) {
	if !l.opts.Incidents.Plain {
		path = l.path(name + packedEnd)
		if err = l.pack(f, path); err == nil {
			closeOnWindows(f)
			if err := os.Remove(f.Name()); err != nil {
				l.complain("a temporary file could not be removed", err)
			}
			return path, nil
		}
		l.complain("an incident could not be compressed", err)
	}
	path = l.path(name + plainEnd)
	if err = f.Sync(); err == nil {
		closeOnWindows(f)
		err = os.Rename(f.Name(), path)
	}
	syncDir(l.opts.Incidents.Dir)
	return path, err
}

// closeOnWindows closes a file before its name changes, where that is needed.
func closeOnWindows(f *os.File) {
	if runtime.GOOS == "windows" {
		f.Close()
	}
}

func (l *Log) pack(f *os.File, path string) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	packed, err := os.OpenFile(path+tempEnd, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer packed.Close()
	if err = pack(packed, f); err == nil {
		err = publish(packed, path)
	}
	if err != nil {
		os.Remove(packed.Name())
	}
	return err
}

// recover completes what a process that has died has left: all lines that are
// whole. What has not got as far as the header holds nothing.
func (l *Log) recover() {
	temps, _ := filepath.Glob(l.path("incident-*" + tempEnd))
	for _, temp := range temps {
		path := strings.TrimSuffix(temp, tempEnd)
		name := nameOf(path)
		switch {
		case name == "":
		case strings.HasSuffix(path, packedEnd):
			l.removeOrphan(temp, name)
		default:
			if err := l.salvage(temp, name); err != nil {
				l.complain("what is left of an incident could not be completed", err)
			}
		}
	}
}

// removeOrphan removes a half compressed file if there is nothing to make it
// of. When there is, whoever completes that replaces it; Python keeps that in
// NAME.flog.
func (l *Log) removeOrphan(temp, name string) {
	for _, end := range []string{plainEnd + tempEnd, plainEnd} {
		if _, err := os.Lstat(l.path(name + end)); !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	os.Remove(temp)
}

func (l *Log) salvage(temp, name string) error {
	info, err := os.Lstat(temp)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.OpenFile(temp, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if !claim(f, temp) {
		return nil // its process lives
	}
	if _, err := os.Lstat(l.path(name + packedEnd)); err == nil {
		return os.Remove(temp)
	}
	whole, lines, err := wholeLines(f)
	if err != nil {
		return err
	}
	if lines < 2 {
		return os.Remove(temp)
	}
	if err := f.Truncate(whole); err != nil {
		return err
	}
	_, err = l.complete(f, name)
	if err == nil {
		l.mu.Lock()
		l.stats.Recorded++
		l.mu.Unlock()
	}
	return err
}

// wholeLines returns how long a file is without a line that is not complete.
func wholeLines(f *os.File) (size int64, lines int, err error) {
	r := bufio.NewReader(f)
	at := int64(0)
	for {
		part, err := r.ReadSlice('\n')
		at += int64(len(part))
		switch {
		case err == nil:
			size = at
			lines++
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return size, lines, nil
		default:
			return 0, 0, fmt.Errorf("flog: %w", err)
		}
	}
}
