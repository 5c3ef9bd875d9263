package main

import (
	"bytes"
	"context"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func noEnviron(string) string { return "" }

// A watcher is written to, by several goroutines, and tells when a word has
// been. Some may still write when the program has ended.
type watcher struct {
	mu   sync.Mutex
	b    bytes.Buffer
	word string
	seen chan struct{}
	once sync.Once
}

func watchFor(word string) *watcher { return &watcher{word: word, seen: make(chan struct{})} }

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(p)
	if strings.Contains(w.b.String(), w.word) {
		w.once.Do(func() { close(w.seen) })
	}
	return len(p), nil
}

func (w *watcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// A result is what a run of the program has left.
type result struct {
	code           exitCode
	stdout, stderr string
}

// foolscap runs the program.
func foolscap(t testing.TB, args ...string) result { return foolscapWith(t, "", args...) }

// foolscapWith runs the program with something on standard input. After a
// minute it is interrupted, should it be a "serve" that was to be refused.
func foolscapWith(t testing.TB, stdin string, args ...string) result {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var stdout bytes.Buffer
	stderr := watchFor("nothing in particular")
	code := run(ctx, args, strings.NewReader(stdin), &stdout, stderr)
	return result{exitCode(code), stdout.String(), stderr.String()}
}

// A served is a running "foolscap serve".
type served struct {
	file   string // with the FURL
	furl   string
	secret string
	stop   func() result
}

// serve runs "foolscap serve" until the test ends or stop is called.
func serve(t testing.TB, flags ...string) *served {
	s := &served{file: filepath.Join(t.TempDir(), "demo.furl")}
	read, write := io.Pipe()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	stderr := watchFor("nothing in particular")
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"serve", "--furl-file", s.file}, flags...), strings.NewReader(""), write, stderr)
		write.Close()
	}()
	var first strings.Builder
	b := make([]byte, 1)
	for !strings.HasSuffix(first.String(), "\n") {
		_, err := read.Read(b)
		require.NoError(t, err, "serve has ended: %s", stderr)
		first.Write(b)
	}
	s.furl = strings.TrimSpace(first.String())
	s.secret = s.furl[strings.LastIndexByte(s.furl, '/')+1:]
	rest := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(read)
		rest <- string(text)
	}()
	s.stop = sync.OnceValue(func() result {
		cancel()
		select {
		case c := <-code:
			return result{exitCode(c), first.String() + <-rest, stderr.String()}
		case <-time.After(30 * time.Second):
			t.Error("serve does not end")
			return result{code: -1}
		}
	})
	t.Cleanup(func() { s.stop() })
	return s
}
