package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tor"
)

// The transports that are shown depend on what the machine has: these.
func shownHere() (transports, leftOut []string) {
	transports, leftOut = []string{"TCP, IPv4", "TCP, IPv6", "QUIC"}, []string{"Tor"}
	if _, err := exec.LookPath("microsocks"); err == nil {
		return append(transports, "SOCKS"), leftOut
	}
	return transports, append([]string{"SOCKS"}, leftOut...)
}

func TestDemoShowsEveryTransport(t *testing.T) {
	r := foolscap(t, "demo", "--duration", "20ms")
	require.Equal(t, exitOK, r.code, r.stderr)
	assert.Empty(t, r.stderr)
	for _, part := range []string{"TRANSPORT", "HANDLER", "DECISION", "CALLS/S", "TCP, IPv4  tcp:127.0.0.1:", "TCP, IPv6  tcp:[::1]:", "QUIC       quic:127.0.0.1:"} {
		assert.Contains(t, r.stdout, part)
	}
	_, left := shownHere()
	assert.Equal(t, len(left), strings.Count(r.stdout, "Left out"))
	assert.Contains(t, r.stdout, "Left out: Tor: all else stays within this machine; --tor control")
}

func TestDemoWritesJSON(t *testing.T) {
	r := foolscap(t, "demo", "--duration", "20ms", "--json")
	require.Equal(t, exitOK, r.code, r.stderr)
	assert.Equal(t, 1, strings.Count(r.stdout, "\n"))
	var doc demoDocument
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
	assert.Nil(t, doc.Error)
	var seen, left []string
	for _, l := range doc.LeftOut {
		left = append(left, l.Transport)
	}
	for _, run := range doc.Transports {
		seen = append(seen, run.Transport)
		assert.Positive(t, run.Single)
		assert.Positive(t, run.Many)
		require.NotNil(t, run.Phases.Total)
		if run.Transport == "QUIC" {
			assert.Equal(t, "quic", run.Handler)
			assert.True(t, strings.HasPrefix(run.Hint, "quic:"))
			assert.Nil(t, run.Phases.TLS)
			continue
		}
		assert.Equal(t, run.Transport == "SOCKS", strings.HasPrefix(run.Handler, "socks via 127.0.0.1:"))
		assert.True(t, strings.HasPrefix(run.Hint, "tcp:"))
		require.NotNil(t, run.Phases.TLS)
		assert.Greater(t, *run.Phases.Total, *run.Phases.TLS)
	}
	wantSeen, wantLeft := shownHere()
	assert.Equal(t, wantSeen, seen)
	assert.Equal(t, wantLeft, left)
}

func TestDemoEndsAtTheFirstFailure(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	failure := errors.New("the first one")
	tried := 0
	fails := demonstration{"fails", false, func(context.Context, *stage) error {
		tried++
		interrupt()
		return failure
	}}
	e := newEnv(strings.NewReader(""), io.Discard, io.Discard, noEnviron)
	assert.ErrorIs(t, e.demoAll(ctx, []demonstration{fails, fails}, time.Millisecond, new(demoDocument)), failure)
	assert.Equal(t, 1, tried)
}

func TestDemoSaysWhyItLeavesATransportOut(t *testing.T) {
	e := newEnv(strings.NewReader(""), io.Discard, io.Discard, noEnviron)
	var doc demoDocument
	// Documentation addresses belong to no machine.
	require.NoError(t, e.demoOne(t.Context(), direct("TCP elsewhere", "tcp:192.0.2.1:0"), time.Millisecond, &doc))
	require.Len(t, doc.LeftOut, 1)
	assert.Equal(t, "TCP elsewhere", doc.LeftOut[0].Transport)
	assert.Contains(t, doc.LeftOut[0].Reason, "192.0.2.1")
	var out strings.Builder
	e.stdout = &out
	e.printDemo(&doc)
	assert.Contains(t, out.String(), "Left out: TCP elsewhere: ")
}

func TestDemoFailsIfItsTorDoes(t *testing.T) {
	flags := []string{"demo", "--duration", "1ms", "--tor", "control:" + closedPort(t).Address()}
	r := foolscap(t, flags...)
	assert.Equal(t, exitUnreachable, r.code)
	assert.Contains(t, r.stdout, "QUIC ", "what has been shown until then")
	assert.NotContains(t, r.stdout, "Left out: Tor")
	assert.Regexp(t, `foolscap demo: Tor: tor: cannot make an onion service: no tor there: .*refused; start one, or --tor launch, or on Debian --tor control:unix:/run/tor/control\n$`, r.stderr)

	r = foolscap(t, append(flags, "--json")...)
	assert.Equal(t, exitUnreachable, r.code)
	var doc demoDocument
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
	assert.NotEmpty(t, doc.Transports)
	assert.Equal(t, exitUnreachable, doc.Error.Code)
}

func TestDemoSaysWhatItsTorWasWaitingFor(t *testing.T) {
	silent, _ := silentPeer(t)
	for _, terminal := range []bool{false, true} {
		stderr := watchFor("nothing in particular")
		e := newEnv(strings.NewReader(""), io.Discard, stderr, noEnviron)
		e.terminalErr = terminal
		s, err := newStage(e)
		require.NoError(t, err)
		defer s.close()
		err = overTor(t.Context(), s, tor.Control(tor.ControlConfig{Address: silent.Address()}), 100*time.Millisecond)
		assert.ErrorContains(t, err, `not published after 100ms; the last that was heard is "waiting for tor: connecting to`)
		assert.Equal(t, !terminal, strings.Contains(stderr.String(), "waiting for tor: connecting to"), "a terminal shows it as progress")
		assert.Contains(t, s.news.last(), "waiting for tor: connecting to")
	}
}

func TestDemoFailsIfItsProxyDoes(t *testing.T) {
	r := foolscap(t, "demo", "--duration", "1ms", "--socks", closedPort(t).Address())
	assert.Equal(t, exitUnreachable, r.code)
	assert.Contains(t, r.stderr, "the proxy cannot be reached")
}

func TestDemoCanBeInterrupted(t *testing.T) {
	ctx, interrupt := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer interrupt()
	var out strings.Builder
	code := run(ctx, []string{"demo", "--duration", "10m"}, strings.NewReader(""), &out, &out)
	assert.Equal(t, int(exitInterrupted), code)
}
