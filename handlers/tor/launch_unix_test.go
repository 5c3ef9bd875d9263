//go:build unix

package tor_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tor"
)

// script returns a program that stands for a wrapper of tor.
func script(t *testing.T, format string, args ...any) string {
	path := filepath.Join(t.TempDir(), "tor")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+fmt.Sprintf(format, args...)+"\n"), 0o700))
	return path
}

func TestWhatAWrapperHasStartedEndsWithIt(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe") // it ends with the last process that could write to it
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for name, rest := range map[string]string{
		"that waits for it":   "wait",
		"that ends before it": "exit",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandler(t, tor.Launch(tor.LaunchConfig{Executable: script(t, "sleep 60 >'%s' &\n%s", pipe, rest)}))
			var dialling sync.WaitGroup
			dialling.Go(func() { assert.Error(t, tryDial(t, h)) })
			held, err := os.Open(pipe) // when it is there
			require.NoError(t, err)
			defer held.Close()
			began := time.Now()
			require.NoError(t, h.Close())
			dialling.Wait()
			assert.Less(t, time.Since(began), 20*time.Second)
			gone := make(chan struct{})
			go func() {
				defer close(gone)
				_, err := io.Copy(io.Discard, held)
				assert.NoError(t, err)
			}()
			select {
			case <-gone:
			case <-time.After(10 * time.Second):
				t.Error("it goes on")
			}
		})
	}
}

func TestTheCallersTorrcIsLeftAlone(t *testing.T) {
	lines := []string{"One 1", "Two 2"}
	via := tor.Launch(tor.LaunchConfig{Executable: script(t, "exit 1"), Torrc: lines[:1]})
	err := tryDial(t, newHandler(t, via))
	assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
	assert.ErrorContains(t, err, "ended at once")
	assert.Equal(t, []string{"One 1", "Two 2"}, lines)
}
