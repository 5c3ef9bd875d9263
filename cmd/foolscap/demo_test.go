package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestDemoShowsEveryTransport(t *testing.T) {
	r := foolscap(t, "demo", "--duration", "20ms")
	require.Equal(t, exitOK, r.code, r.stderr)
	assert.Empty(t, r.stderr)
	for _, part := range []string{"TRANSPORT", "HANDLER", "DECISION", "CALLS/S", "TCP, IPv4  tcp:127.0.0.1:", "TCP, IPv6  tcp:[::1]:"} {
		assert.Contains(t, r.stdout, part)
	}
	assert.NotContains(t, r.stdout, "Left out")
}

func TestDemoWritesJSON(t *testing.T) {
	r := foolscap(t, "demo", "--duration", "20ms", "--json")
	require.Equal(t, exitOK, r.code, r.stderr)
	assert.Equal(t, 1, strings.Count(r.stdout, "\n"))
	var doc demoDocument
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
	assert.Nil(t, doc.Error)
	demos := 0
	for _, tr := range transports {
		demos += len(tr.demos)
	}
	require.Len(t, doc.Transports, demos)
	assert.Empty(t, doc.LeftOut)
	for _, run := range doc.Transports {
		assert.Positive(t, run.Single)
		assert.Positive(t, run.Many)
		assert.Equal(t, "tcp", run.Handler)
		assert.True(t, strings.HasPrefix(run.Hint, "tcp:"))
		require.NotNil(t, run.Phases.TLS)
		require.NotNil(t, run.Phases.Total)
		assert.Greater(t, *run.Phases.Total, *run.Phases.TLS)
	}
}

func TestDemoEndsAtTheFirstFailure(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	failure := errors.New("the first one")
	tried := 0
	listen := func(context.Context, string, []furl.Hint, *slog.Logger) (handlers.Acceptor, error) {
		tried++
		interrupt()
		return nil, failure
	}
	list := []transport{{listen: listen, demos: make([]demoAddress, 2)}, {listen: listen, demos: make([]demoAddress, 2)}}
	e := newEnv(strings.NewReader(""), io.Discard, io.Discard, noEnviron)
	assert.ErrorIs(t, e.demoAll(ctx, list, time.Millisecond, new(demoDocument)), failure)
	assert.Equal(t, 1, tried)
}

func TestDemoSaysWhyItLeavesATransportOut(t *testing.T) {
	e := newEnv(strings.NewReader(""), io.Discard, io.Discard, noEnviron)
	var doc demoDocument
	// Documentation addresses belong to no machine.
	where := demoAddress{"TCP elsewhere", "192.0.2.1:0"}
	require.NoError(t, e.demoOne(t.Context(), transports[0], where, time.Millisecond, &doc))
	require.Len(t, doc.LeftOut, 1)
	assert.Equal(t, "TCP elsewhere", doc.LeftOut[0].Transport)
	assert.Contains(t, doc.LeftOut[0].Reason, "192.0.2.1")
	var out strings.Builder
	e.stdout = &out
	e.printDemo(&doc)
	assert.Contains(t, out.String(), "Left out: TCP elsewhere, because of this:")
}

func TestDemoCanBeInterrupted(t *testing.T) {
	ctx, interrupt := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer interrupt()
	var out strings.Builder
	code := run(ctx, []string{"demo", "--duration", "10m"}, strings.NewReader(""), &out, &out)
	assert.Equal(t, int(exitInterrupted), code)
}
