//go:build unix

package appserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/appserver"
	"github.com/foolscap-go/foolscap/tub"
)

// ran runs a command of a service and returns what it has written.
func ran(t *testing.T, ref *tub.Ref, stdin io.Reader) (exit appserver.Exit, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	exit, e := appserver.Run(t.Context(), ref, appserver.Streams{Stdin: stdin, Stdout: &out, Stderr: &err})
	require.NoError(t, e)
	return exit, out.String(), err.String()
}

func TestACommandRuns(t *testing.T) {
	t.Setenv("SECRET_OF_THE_SERVER", "hunter2")
	t.Setenv("LET_THROUGH", "seen")
	folder, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	for _, c := range []struct {
		name           string
		options        []string
		script         string
		stdin          string
		exit           appserver.Exit
		stdout, stderr string
	}{
		{"with its output", nil, "echo out; echo err >&2; exit 3", "", appserver.Exit{Code: 3}, "out\n", "err\n"},
		{"in its folder", nil, "pwd", "", appserver.Exit{}, folder + "\n", ""},
		{"until a signal", nil, "kill -TERM $$", "", appserver.Exit{Signal: 15}, "", ""},
		{"with what it is fed", []string{"--accept-stdin"}, "cat; exit 4", "some input", appserver.Exit{Code: 4}, "some input", ""},
		{"without input unless it wants some", nil, "cat", "some input", appserver.Exit{}, "", ""},
		{"without what is not sent", []string{"--no-stdout", "--no-stderr"}, "echo out; echo err >&2", "", appserver.Exit{}, "", ""},
		{"to the end though its input is not read", []string{"--accept-stdin"}, "exec <&-; echo done", strings.Repeat("x", 1<<20), appserver.Exit{}, "done\n", ""},
		{"without the environment of the server", nil, "echo $SECRET_OF_THE_SERVER; test -n \"$PATH\"", "", appserver.Exit{}, "\n", ""},
		{"with what it is given of it", []string{"--env=LET_THROUGH", "--env=A=b=c"}, "echo $LET_THROUGH $A", "", appserver.Exit{}, "seen b=c\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ref := offer(t, "run-command", append(c.options, folder, "sh", "-c", c.script)...)
			exit, stdout, stderr := ran(t, ref, strings.NewReader(c.stdin))
			assert.Equal(t, c.exit, exit)
			assert.Equal(t, c.stdout, stdout)
			assert.Equal(t, c.stderr, stderr)
		})
	}
}

func TestLargeStreamsArriveWhole(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 300_000)
	ref := offer(t, "run-command", "--accept-stdin", t.TempDir(), "cat")
	var out bytes.Buffer
	exit, err := appserver.Run(t.Context(), ref, appserver.Streams{Stdin: bytes.NewReader(data), Stdout: &out})
	require.NoError(t, err)
	assert.Equal(t, appserver.Exit{}, exit)
	assert.True(t, bytes.Equal(data, out.Bytes()))
}

// stalled takes what is written when the test lets it.
type stalled struct {
	written atomic.Int64
	reached chan struct{}
	goOn    chan struct{}
}

func (s *stalled) Write(p []byte) (int, error) {
	if s.written.Add(int64(len(p))) == int64(len(p)) {
		close(s.reached)
	}
	<-s.goOn
	return len(p), nil
}

func TestASlowClientSlowsTheCommandDown(t *testing.T) {
	folder := t.TempDir()
	const total = 16 << 20
	// What it has written so far it tells on the side.
	ref := offer(t, "run-command", folder, "sh", "-c",
		"for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do head -c 1048576 /dev/zero; echo $i >progress; done")
	slow := &stalled{reached: make(chan struct{}), goOn: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := appserver.Run(t.Context(), ref, appserver.Streams{Stdout: slow})
		done <- err
	}()
	<-slow.reached
	progress := func() int {
		text, _ := os.ReadFile(filepath.Join(folder, "progress"))
		n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return n
	}
	assert.Never(t, func() bool { return progress() > 1 }, 300*time.Millisecond, 10*time.Millisecond, "it waits for its client")
	close(slow.goOn)
	require.NoError(t, <-done)
	assert.EqualValues(t, total, slow.written.Load())
	assert.Equal(t, 16, progress())
}

// sleeper is a script that says the numbers of its two processes, in a file, and sleeps.
const sleeper = "sleep 300 & echo $$ $! >pids.new && mv pids.new pids; wait"

// sleeping waits until the processes of a sleeper are there.
func sleeping(t *testing.T, folder string) (pids []int) {
	t.Helper()
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(filepath.Join(folder, "pids"))
		pids = nil
		for word := range strings.FieldsSeq(string(text)) {
			n, err := strconv.Atoi(word)
			require.NoError(t, err)
			pids = append(pids, n)
		}
		return err == nil && len(pids) == 2
	}, 10*time.Second, time.Millisecond)
	return pids
}

func gone(t *testing.T, pids []int) {
	t.Helper()
	require.Eventually(t, func() bool {
		for _, pid := range pids {
			if state, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && !strings.Contains(string(state), ") Z ") {
				return false
			} else if err != nil && syscall.Kill(pid, 0) == nil {
				return false
			}
		}
		return true
	}, 10*time.Second, time.Millisecond)
}

func TestACommandIsKilledWithItsChildren(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []string
		end     func(t *testing.T, s *appserver.Server, client *tub.Tub, stop func())
		stderr  string // "" if nobody is told
	}{
		{"when its client goes away", nil, func(t *testing.T, _ *appserver.Server, client *tub.Tub, _ func()) {
			require.NoError(t, client.Close())
		}, ""},
		{"when the server stops", nil, func(_ *testing.T, _ *appserver.Server, _ *tub.Tub, stop func()) { stop() }, "the service has ended"},
		{"when the service is removed", nil, func(t *testing.T, s *appserver.Server, _ *tub.Tub, _ func()) {
			_, err := s.Remove("1")
			require.NoError(t, err)
		}, "the service has ended"},
		{"when its time is up", []string{"--time-limit=500ms"}, func(*testing.T, *appserver.Server, *tub.Tub, func()) {}, "the time limit is reached"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, folder := create(t), t.TempDir()
			stop := serve(t, s)
			service := add(t, s, "run-command", append(c.options, folder, "sh", "-c", sleeper)...)
			client := newTub(t, nil)
			ref, err := client.Connect(t.Context(), service.FURL)
			require.NoError(t, err)
			type result struct {
				exit appserver.Exit
				err  error
			}
			done := make(chan result, 1)
			var stderr bytes.Buffer
			go func() {
				exit, err := appserver.Run(t.Context(), ref, appserver.Streams{Stderr: &stderr})
				done <- result{exit, err}
			}()
			pids := sleeping(t, folder)
			c.end(t, s, client, stop)
			r := <-done
			gone(t, pids)
			if c.stderr == "" {
				assert.Error(t, r.err)
				return
			}
			require.NoError(t, r.err)
			assert.Equal(t, appserver.Exit{Signal: 9}, r.exit)
			assert.Contains(t, stderr.String(), c.stderr)
		})
	}
}

func TestAProcessThatLeavesTheGroupHoldsNothingUp(t *testing.T) {
	folder := t.TempDir()
	ref := offer(t, "run-command", "--time-limit=500ms", folder, "sh", "-c", "setsid sleep 8 & wait")
	begun := time.Now()
	exit, _, _ := ran(t, ref, nil)
	assert.Equal(t, 9, exit.Signal)
	assert.Less(t, time.Since(begun), 8*time.Second)
}

func TestACommandThatCannotStartIsAnError(t *testing.T) {
	folder := t.TempDir()
	ref := offer(t, "run-command", folder, "no-such-program")
	_, err := appserver.Run(t.Context(), ref, appserver.Streams{})
	assert.ErrorContains(t, err, "cannot be started")
	assert.NotContains(t, err.Error(), "no-such-program")
	_, err = tub.Call[any](t.Context(), ref, "execute", nil)
	assert.ErrorContains(t, err, "a watcher is needed")
}

func TestOutputThatCannotBeWrittenEndsTheCommand(t *testing.T) {
	ref := offer(t, "run-command", t.TempDir(), "yes")
	read, write := io.Pipe()
	go func() {
		_, _ = io.CopyN(io.Discard, read, 100_000)
		read.CloseWithError(errors.New("enough"))
	}()
	_, err := appserver.Run(t.Context(), ref, appserver.Streams{Stdout: write})
	assert.ErrorContains(t, err, "enough")
}

func TestInputThatCannotBeReadEndsTheRun(t *testing.T) {
	ref := offer(t, "run-command", "--accept-stdin", t.TempDir(), "cat")
	g := newGate(strings.NewReader("some"))
	g.goOn <- errors.New("the disk is broken")
	_, err := appserver.Run(t.Context(), ref, appserver.Streams{Stdin: g})
	assert.ErrorContains(t, err, "reading standard input: the disk is broken")
}

func TestARunEndsWithItsContext(t *testing.T) {
	folder := t.TempDir()
	ref := offer(t, "run-command", folder, "sh", "-c", sleeper)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := appserver.Run(ctx, ref, appserver.Streams{})
		done <- err
	}()
	sleeping(t, folder)
	enough := errors.New("enough")
	cancel(enough)
	assert.ErrorIs(t, <-done, enough)
}

// A client that does not wait for answers, as Python's, and is far ahead.
func TestAFloodOfInputKillsTheCommand(t *testing.T) {
	ref := offer(t, "run-command", "--accept-stdin", t.TempDir(), "sleep", "300")
	told := make(chan string, 10)
	watcher := tub.NewObject(
		tub.Method("stderr", func(_ context.Context, a struct{ Data []byte }) (tub.None, error) {
			told <- string(a.Data)
			return tub.None{}, nil
		}),
		tub.Method("done", func(_ context.Context, a struct{ Signal, ExitCode any }) (tub.None, error) {
			assert.EqualValues(t, 9, a.Signal)
			assert.Nil(t, a.ExitCode)
			told <- "done"
			return tub.None{}, nil
		}),
	)
	stdin, err := tub.Call[*tub.Ref](t.Context(), ref, "execute", watcher)
	require.NoError(t, err)
	for range 20 {
		require.NoError(t, tub.Send(t.Context(), stdin, "feed_stdin", make([]byte, 1<<20)))
	}
	assert.Contains(t, <-told, "faster than it could be used")
	assert.Equal(t, "done", <-told)
}
