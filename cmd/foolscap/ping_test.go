package main

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestPingTriesEveryHint(t *testing.T) {
	s := serve(t)
	f, err := furl.Parse(s.furl)
	require.NoError(t, err)
	good, bad := f.Hints[0], closedPort(t)
	wrongTub, err := furl.Parse(serve(t).furl)
	require.NoError(t, err)
	wrongName := f
	wrongName.Name, err = furl.ParseSwissnum("a-name-that-is-not-there")
	require.NoError(t, err)

	stranger := f
	stranger.TubID = wrongTub.TubID

	for _, c := range []struct {
		name  string
		furl  furl.FURL
		flags []string
		code  exitCode
		says  []string
	}{
		{"one that works", f, nil, exitOK, []string{"HINT", "LOOKUP", string(good), "tcp", "ok"}},
		{"all that work", f.WithHints(good, furl.Hint(good.Address())), []string{"--all"}, exitOK, []string{"ok"}},
		{"one of two", f.WithHints(bad, good), nil, exitOK, []string{"failed in dial", "refused", "ok"}},
		{"one of two, all are needed", f.WithHints(bad, good), []string{"--all"}, exitPartly, []string{"failed in dial", "1 of 2 hints"}},
		{"none", f.WithHints(bad), nil, exitUnreachable, []string{"failed in dial", "no hint works"}},
		{"none, all are needed", f.WithHints(bad, "x:y"), []string{"--all"}, exitUnreachable, []string{"no hint works"}},
		{"no handler", f.WithHints("carrier-pigeon:roof"), nil, exitUnreachable, []string{"failed in parse", "no handler", "only for " + transportTypes(), "carrier-pigeon:roof"}},
		{"a Tub that is not there", stranger, nil, exitUnreachable, []string{"failed in plaintext", "unknown TubID", "the FURL may be out of date"}},
		{"a hint that hides something", f.WithHints("x:\u202ey"), nil, exitUnreachable, []string{`x:\u202ey`}},
		{"another Tub", f.WithHints(wrongTub.Hints...), nil, exitUnreachable, []string{"failed in plaintext"}},
		{"another name", wrongName, nil, exitRemote, []string{"failed in lookup", "KeyError", "out of date"}},
		{"another name, or nobody", wrongName.WithHints(bad, good), nil, exitRemote, []string{"failed in lookup", "failed in dial"}},
		{"no hints", f.WithHints(), nil, exitUnreachable, []string{"no hints"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := foolscapWith(t, c.furl.Reveal(), append([]string{"ping", "-"}, c.flags...)...)
			assert.Equal(t, c.code, r.code, r.stderr)
			for _, part := range c.says {
				assert.Contains(t, r.stdout+r.stderr, part)
			}
			assert.NotContains(t, r.stdout+r.stderr, c.furl.Name.Reveal())
		})
	}
}

func TestPingWritesJSON(t *testing.T) {
	s := serve(t)
	f, err := furl.Parse(s.furl)
	require.NoError(t, err)
	bad := closedPort(t)
	r := foolscap(t, "ping", "--all", "--json", f.WithHints(f.Hints[0], bad).Reveal())
	assert.Equal(t, exitPartly, r.code)
	assert.Empty(t, r.stderr)
	assert.NotContains(t, r.stdout, s.secret)
	var doc pingDocument
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
	assert.Equal(t, 1, strings.Count(r.stdout, "\n"))
	assert.Equal(t, f.TubID.String(), doc.TubID)
	assert.Equal(t, 1, doc.Working)
	assert.Equal(t, 1, doc.Failed)
	assert.Equal(t, exitPartly, doc.Error.Code)
	require.Len(t, doc.Hints, 2)
	good := doc.Hints[0]
	assert.True(t, good.OK)
	assert.Nil(t, good.Failure)
	assert.Equal(t, "tcp", good.Handler)
	sum := 0.0
	for _, ms := range []*float64{good.Phases.Dial, good.Phases.Plaintext, good.Phases.TLS, good.Phases.Hello, good.Phases.Decision, good.Phases.Lookup} {
		require.NotNil(t, ms)
		assert.Positive(t, *ms)
		sum += *ms
	}
	assert.InDelta(t, *good.Phases.Total, sum, 0.01, "the phases are all there is")
	failed := doc.Hints[1]
	assert.False(t, failed.OK)
	assert.Equal(t, "dial", failed.Failure.Phase)
	assert.Nil(t, failed.Phases.TLS)
	assert.Nil(t, failed.Phases.Lookup)
	assert.NotNil(t, failed.Phases.Total)

	r = foolscap(t, "ping", "--json", s.furl)
	assert.Equal(t, exitOK, r.code)
	assert.NotContains(t, r.stdout, `"error"`)
}

// silentPeer accepts connections and says nothing. It tells of the first one.
func silentPeer(t *testing.T) (furl.Hint, <-chan struct{}) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	accepted := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		var all []net.Conn
		for {
			conn, err := l.Accept()
			if err != nil {
				break
			}
			if all = append(all, conn); len(all) == 1 {
				close(accepted)
			}
		}
		for _, conn := range all {
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return furl.StreamHint("tcp", "127.0.0.1", uint16(l.Addr().(*net.TCPAddr).Port)), accepted
}

func TestPingSaysWhereAHintHangs(t *testing.T) {
	f, err := furl.Parse(serve(t).furl)
	require.NoError(t, err)
	hint, _ := silentPeer(t)
	r := foolscap(t, "ping", "--timeout", "300ms", f.WithHints(hint).Reveal())
	assert.Equal(t, exitUnreachable, r.code)
	assert.Contains(t, r.stdout, "failed in plaintext")
	assert.Contains(t, r.stdout, "the time is up (--timeout)")

	// Whether a hint was refused or hangs, there is a phase and a total.
	for _, flags := range [][]string{{"--timeout", "1ns"}, {"--timeout", "50ms"}} {
		r := foolscap(t, append([]string{"ping", "--json", f.WithHints(hint, closedPort(t)).Reveal()}, flags...)...)
		assert.Equal(t, exitUnreachable, r.code)
		var doc pingDocument
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
		require.Len(t, doc.Hints, 2)
		for _, h := range doc.Hints {
			assert.NotEmpty(t, h.Failure.Phase)
			assert.NotEmpty(t, h.Failure.Text)
			require.NotNil(t, h.Phases.Total)
			assert.Positive(t, *h.Phases.Total)
			assert.Nil(t, h.Phases.Lookup)
		}
	}
}

func TestAnInterruptedPingTellsWhatItHasFound(t *testing.T) {
	// The good hint is done when its connection has ended again.
	left := make(chan struct{})
	f := publishedWith(t, &tub.Options{Observer: func(ev tub.Event) {
		if ev.Kind == tub.EventDisconnect {
			close(left)
		}
	}})
	silent, accepted := silentPeer(t)
	address := f.WithHints(f.Hints[0], silent).Reveal()
	ctx, interrupt := context.WithCancel(t.Context())
	var stdout strings.Builder
	stderr := watchFor("nothing in particular")
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"ping", "-", "--json"}, strings.NewReader(address), &stdout, stderr)
	}()
	<-accepted
	<-left
	interrupt()
	assert.Equal(t, int(exitInterrupted), <-code)
	assert.Empty(t, stderr.String())
	var doc pingDocument
	require.NoError(t, json.Unmarshal([]byte(stdout.String()), &doc))
	assert.Equal(t, exitInterrupted, doc.Error.Code)
	assert.Equal(t, 1, doc.Working)
	require.Len(t, doc.Hints, 2)
	assert.True(t, doc.Hints[0].OK)
	assert.False(t, doc.Hints[1].OK)
}
