package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestServePrintsTheFURLAloneOnTheFirstLine(t *testing.T) {
	s := serve(t)
	f, err := furl.Parse(s.furl)
	require.NoError(t, err)
	assert.Len(t, f.Hints, 1)
	file, err := os.ReadFile(s.file)
	require.NoError(t, err)
	assert.Equal(t, s.furl+"\n", string(file))

	r := s.stop()
	assert.Equal(t, exitOK, r.code)
	assert.Equal(t, s.furl+"\n", r.stdout)
	assert.Contains(t, r.stderr, "serving")
	assert.Contains(t, r.stderr, "stopping")
	assert.NotContains(t, r.stderr, s.secret)
}

func TestServeKeepsItsFURLWithAnIdentityAndAFile(t *testing.T) {
	dir := t.TempDir()
	flags := []string{"--cert", filepath.Join(dir, "tub.pem"), "--furl-file", filepath.Join(dir, "my.furl"), "--location", "tcp:tub.example.org:9"}
	first := serve(t, flags...)
	require.Equal(t, exitOK, first.stop().code)
	second := serve(t, flags...)
	require.Equal(t, exitOK, second.stop().code)
	assert.Equal(t, first.furl, second.furl)
	info, err := os.Stat(filepath.Join(dir, "my.furl"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestServeDoesNotTakeTheFURLFileOfAnotherTub(t *testing.T) {
	s := serve(t)
	for says, flags := range map[string][]string{
		"that of Tub":                  nil,
		"give --cert in every run, or": {"--cert", ""},
	} {
		cert := filepath.Join(t.TempDir(), "tub.pem")
		r := foolscap(t, append([]string{"serve", "--furl-file", s.file, "--cert", cert}, flags...)...)
		assert.Equal(t, exitFailure, r.code)
		assert.Empty(t, r.stdout)
		assert.Contains(t, r.stderr, says)
		assert.NotContains(t, r.stderr, s.secret)
		file, err := os.ReadFile(s.file)
		require.NoError(t, err)
		assert.Equal(t, s.furl+"\n", string(file))
	}
}

func TestServeUsesTheNameItIsGiven(t *testing.T) {
	cert := filepath.Join(t.TempDir(), "tub.pem")
	s := serve(t, "--name", "name-of-the-object", "--cert", cert)
	assert.Equal(t, "name-of-the-object", s.secret)

	// The file stays that of the one that runs, whose port is another.
	r := foolscap(t, "serve", "--cert", cert, "--name", "another-name", "--furl-file", s.file)
	assert.Equal(t, exitFailure, r.code)
	file, err := os.ReadFile(s.file)
	require.NoError(t, err)
	assert.Equal(t, s.furl+"\n", string(file))
	assert.Contains(t, r.stderr, "another name than --name")
	assert.NotContains(t, r.stderr, "name-of-the-object")
	assert.NotContains(t, r.stderr, "another-name")
	assert.NotContains(t, s.stop().stderr, "name-of-the-object")
}

func TestServeListensWhereItIsTold(t *testing.T) {
	s := serve(t, "--listen", "tcp:127.0.0.1:0", "--listen", "tcp:127.0.0.1:0")
	f, err := furl.Parse(s.furl)
	require.NoError(t, err)
	assert.Len(t, f.Hints, 2)

	s = serve(t, "--listen", "tcp:127.0.0.1:0", "--listen", "tcp:127.0.0.1:0", "--location", "tcp:a.example.org:1", "--location", "new:hint")
	f, err = furl.Parse(s.furl)
	require.NoError(t, err)
	assert.ElementsMatch(t, []furl.Hint{"tcp:a.example.org:1", "new:hint"}, f.Hints)
	log := s.stop().stderr
	assert.Contains(t, log, "level=WARN")
	assert.Contains(t, log, "location=new:hint")
	assert.NotContains(t, log, "location=tcp:")
}

func TestServeListensByQUIC(t *testing.T) {
	s := serve(t, "--listen", "tcp:127.0.0.1:0", "--listen", "quic:127.0.0.1:0")
	f, err := furl.Parse(s.furl)
	require.NoError(t, err)
	require.Len(t, f.Hints, 2)
	assert.Equal(t, "tcp", f.Hints[0].Type())
	assert.Equal(t, "quic", f.Hints[1].Type())
	r := foolscapWith(t, f.WithHints(f.Hints[1]).Reveal(), "call", "-", "add", "2", "3")
	assert.Equal(t, result{code: exitOK, stdout: "5\n"}, r)
	assert.Equal(t, exitOK, foolscap(t, "ping", "--all", "@"+s.file).code)

	s = serve(t, "--listen", "quic:0.0.0.0:0", "--location", "quic:tub.example.org:9")
	f, err = furl.Parse(s.furl)
	require.NoError(t, err)
	assert.Equal(t, []furl.Hint{"quic:tub.example.org:9"}, f.Hints)
}

func TestServeFailsWhereThereIsNoTor(t *testing.T) {
	out := filepath.Join(t.TempDir(), "onion.furl")
	r := foolscap(t, "serve", "--hidden", "--listen", "tor", "--tor", "control:"+closedPort(t).Address(), "--furl-file", out)
	assert.Equal(t, exitFailure, r.code)
	assert.Empty(t, r.stdout)
	assert.Contains(t, r.stderr, "refused")
	assert.NoFileExists(t, out)
}

// A silent acceptor advertises nothing until it is told to.
type silentAcceptor struct {
	handlers.Acceptor
	hints   atomic.Pointer[furl.Hint]
	changed chan struct{}
}

func (a *silentAcceptor) Hints() ([]furl.Hint, <-chan struct{}) {
	if h := a.hints.Load(); h != nil {
		return []furl.Hint{*h}, nil
	}
	return nil, a.changed
}

func TestServeWaitsUntilAListenerAdvertisesItself(t *testing.T) {
	a := &silentAcceptor{changed: make(chan struct{})}
	ctx, interrupt := context.WithCancelCause(t.Context())
	interrupt(errInterrupted)
	require.ErrorIs(t, awaitHints(ctx, a), errInterrupted)
	done := make(chan error)
	go func() { done <- awaitHints(t.Context(), a) }()
	hint := furl.Hint("tor:x.onion:1")
	select {
	case <-done:
		t.Fatal("it has not waited")
	default:
	}
	a.hints.Store(&hint)
	close(a.changed)
	require.NoError(t, <-done)
}

func TestServeTriesNothingWhenItIsUsedWrongly(t *testing.T) {
	for _, c := range []struct{ flag, value, says string }{
		{"--listen", "tcp:127.0.0.1:99999", "0..65535"},
		{"--listen", "tcp:127.0.0.1", "port"},
		{"--listen", "tcp:localhost:0", "must be an IP address"},
		{"--listen", "quic:127.0.0.1:99999", "0..65535"},
		{"--listen", "quic:localhost:0", "must be an IP address"},
		{"--listen", "tor:0", "1..65535"},
		{"--listen", "tor:onion", "1..65535"},
		{"--listen", "tcp:0.0.0.0:9999", "--location tcp:tub.example.org:9999"},
		{"--listen", "quic:[::]:21998", "--location quic:tub.example.org:21998"},
		{"--listen", "quic:0.0.0.0:0", "--location quic:tub.example.org:PORT"},
		{"--location", "tcp:tub.example.org", "host:port"},
		{"--location", "tcp:tub.example.org:0", "1..65535"},
		{"--location", "127.1:9", "IPv4"},
		{"--location", "a/b", "'/'"},
		{"--grace", "-1s", "negative"},
	} {
		cert := filepath.Join(t.TempDir(), "tub.pem")
		r := foolscap(t, "serve", "--cert", cert, c.flag, c.value)
		assert.Equal(t, exitUsage, r.code, "%s %s", c.flag, c.value)
		assert.Empty(t, r.stdout)
		assert.Contains(t, r.stderr, c.flag[1:])
		assert.Contains(t, r.stderr, c.says)
		assert.NoFileExists(t, cert)
	}
}

func TestServeFailsWhereItCannotListen(t *testing.T) {
	f, err := furl.Parse(serve(t).furl)
	require.NoError(t, err)
	r := foolscap(t, "serve", "--listen", string(f.Hints[0]))
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "in use")
}

func TestServeWritesJSON(t *testing.T) {
	s := serve(t, "--json")
	var doc serveDocument
	require.NoError(t, json.Unmarshal([]byte(s.furl), &doc))
	f, err := furl.Parse(doc.FURL)
	require.NoError(t, err)
	assert.Equal(t, f.TubID.String(), doc.TubID)
	assert.Equal(t, hintTexts(f.Hints), doc.Hints)
	for line := range strings.Lines(s.stop().stderr) {
		assert.True(t, json.Valid([]byte(line)), line)
	}
}

func TestServeLogsWhoCallsWhat(t *testing.T) {
	s := serve(t, "--verbose")
	require.Equal(t, exitOK, foolscap(t, "call", "@"+s.file, "add", "1", "2").code)
	require.Equal(t, exitRemote, foolscap(t, "call", "@"+s.file, "fail", "text:see "+s.furl).code)
	log := s.stop().stderr
	assert.Contains(t, log, "method=add")
	assert.Contains(t, log, "method=fail")
	assert.Contains(t, log, "see pb://")
	assert.NotContains(t, log, s.secret)
	assert.Equal(t, 2, strings.Count(log, "connection ended"), "one for each call")
	assert.NotContains(t, log, "disconnected")
}

// interrupted interrupts "serve" while a call to it is in progress, which ends
// only when release is closed, and returns how both have ended.
func interrupted(t *testing.T, grace string, release func(stopping <-chan struct{}) <-chan struct{}) (serveLog string, code int, answer error) {
	file := filepath.Join(t.TempDir(), "demo.furl")
	out, log := watchFor("\n"), watchFor("stopping")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--furl-file", file, "--grace", grace}, strings.NewReader(""), out, log)
	}()
	<-out.seen

	id, err := tub.NewIdentity()
	require.NoError(t, err)
	client, err := tub.New(id, nil)
	require.NoError(t, err)
	defer client.Close()
	f, err := furl.Parse(strings.TrimSpace(out.String()))
	require.NoError(t, err)
	ref, err := client.Connect(t.Context(), f)
	require.NoError(t, err)
	entered := make(chan struct{})
	until := release(log.seen)
	slow := tub.NewObject(tub.Method("wait", func(ctx context.Context, _ struct{ Value any }) (string, error) {
		close(entered)
		select {
		case <-until:
			return "done", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}, tub.Concurrent))
	call, err := tub.Start[string](t.Context(), ref, "call_back", slow, "wait", nil)
	require.NoError(t, err)
	<-entered
	interrupt()
	_, err = call.Wait(t.Context())
	code = <-ended
	return log.String(), code, err
}

func TestServeLetsCallsInProgressFinish(t *testing.T) {
	log, code, err := interrupted(t, "1m", func(stopping <-chan struct{}) <-chan struct{} { return stopping })
	require.NoError(t, err)
	assert.Equal(t, int(exitOK), code)
	assert.NotContains(t, log, "cut off")
}

func TestServeCutsCallsOffAfterTheGrace(t *testing.T) {
	log, code, err := interrupted(t, "50ms", func(<-chan struct{}) <-chan struct{} { return nil })
	require.ErrorIs(t, err, tub.ErrDeadReference)
	assert.Equal(t, int(exitOK), code)
	assert.Contains(t, log, "cut off")
}
