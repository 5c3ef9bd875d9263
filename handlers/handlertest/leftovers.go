package handlertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
)

// nothingLeft: whatever a handler and an acceptor have been through, nothing is
// left of them once they, and the streams, are closed. Close waits for goroutines;
// descriptors may take longer.
func (k *kit) nothingLeft(t *testing.T) {
	started := time.Now()
	t.Run("warm-up", func(t *testing.T) { // what is made once in a process is nobody's
		k.station.pair(t, k, k.handler(t))
	})
	long := 2 * atOnce
	// Goroutines that Close has waited for, and those of streams, still have their
	// last steps to do, on a machine that is as slow as it is.
	short := min(atOnce/6+10*time.Since(started), long)
	goroutines, files := goroutineStacks(), openFiles()
	t.Run("lives", k.liveAndDie)

	closed := time.Now()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for ; ; <-again.C {
		var left []string
		patience := long
		for id, stack := range goroutineStacks() {
			if _, known := goroutines[id]; !known {
				left, patience = append(left, stack), short
			}
		}
		for name, count := range openFiles() {
			if more := count - files[name]; more > 0 {
				left = append(left, fmt.Sprintf("%d × %s", more, name))
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Since(closed) > patience {
			require.FailNow(t, "something is left behind after Close", strings.Join(left, "\n\n"))
		}
	}
}

// liveAndDie does everything that can leave something behind.
func (k *kit) liveAndDie(t *testing.T) {
	s := k.newStation(t)
	h := k.handler(t)
	for range 5 {
		s.pair(t, k, h)
	}
	req := k.request()
	req.Hint = s.hint
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 5 {
		if o := k.dial(ended, t, h, req); o.err == nil {
			o.stream.Close()
		}
		soon, cancel := context.WithCancel(t.Context())
		d := k.start(soon, h, req)
		cancel()
		if o := d.wait(t, atOnce, "its context was cancelled"); o.err == nil {
			o.stream.Close()
		}
		if o := k.dial(t.Context(), t, h, handlers.DialRequest{Hint: ":"}); o.err == nil {
			o.stream.Close()
		}
	}
	each(t, k.cfg.Silent, func(t *testing.T, silent silence) {
		h, req := silent(t)
		closing(t, h)
		ctx, cancel := context.WithCancel(t.Context())
		cancelled, closed := k.start(ctx, h, req), k.start(t.Context(), h, req)
		k.untilItWaits(t, cancelled, 20*time.Millisecond)
		k.untilItWaits(t, closed, 0)
		cancel()
		cancelled.wait(t, atOnce, "its context was cancelled")
		closeIt(t, "the handler", h.Close)
		closed.wait(t, atOnce, "the handler has been closed")
	})
	if k.cfg.HalfOpen != nil {
		k.cfg.HalfOpen(t, s.hint)
	}
	dialled, accepted := s.pair(t, k, h)
	closeIt(t, "the handler", h.Close)
	s.close(t)
	require.NotNil(t, accepted.Conn)
	dialled.Close()
}

// goroutineStacks returns the stacks of all goroutines but this one, by their
// ids.
func goroutineStacks() map[string]string {
	buf := make([]byte, 16<<20)
	buf = buf[:runtime.Stack(buf, true)]
	all := strings.Split(string(buf), "\n\n")
	stacks := make(map[string]string)
	for _, stack := range all[1:] { // the first is our own
		id, _, _ := strings.Cut(stack, " [")
		stacks[id] = stack
	}
	return stacks
}

// openFiles returns how many descriptors this process has of what; nothing where
// the system has no such list.
func openFiles() map[string]int {
	const list = "/dev/fd"
	entries, err := os.ReadDir(list)
	if err != nil {
		return nil
	}
	files := make(map[string]int)
	for _, entry := range entries {
		// Linux says what it is. The list itself is closed by now.
		if what, err := os.Readlink(filepath.Join(list, entry.Name())); err == nil {
			files[what]++
		} else if runtime.GOOS != "linux" {
			files["file descriptor"]++
		}
	}
	return files
}
