package flog_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/flog"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func observedTub(t *testing.T) (*tub.Tub, *flog.Log) {
	t.Helper()
	l, err := flog.New(nil)
	require.NoError(t, err)
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	tb, err := tub.New(id, &tub.Options{Observer: flog.Observe(l)})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = tb.Close()
		_ = l.Close()
	})
	return tb, l
}

func TestTheStoryOfAConnectionIsLogged(t *testing.T) {
	server, there := observedTub(t)
	client, here := observedTub(t)
	listener, err := tcp.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	_, err = server.Listen(listener)
	require.NoError(t, err)
	f, err := server.Register(tub.NewObject(
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
	))
	require.NoError(t, err)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dead := furl.Hint("tcp:" + closed.Addr().String())
	require.NoError(t, closed.Close())

	ref, err := client.Connect(t.Context(), f.WithHints(dead, f.Hints[0]))
	require.NoError(t, err)
	_, err = tub.Call[int](t.Context(), ref, "add", 1, 2)
	require.NoError(t, err)
	_, err = tub.Call[int](t.Context(), ref, "missing")
	require.Error(t, err)
	require.NoError(t, client.Close())
	require.NoError(t, server.Close())

	for side, l := range map[string]*flog.Log{"here": here, "there": there} {
		byFacility := make(map[string][]flog.Event)
		byNumber := make(map[uint64]flog.Event)
		for _, e := range l.Events() {
			byFacility[e.Facility] = append(byFacility[e.Facility], e)
			byNumber[e.Num] = e
			text := e.Text()
			for _, a := range e.Attrs {
				text += " " + a.String()
			}
			assert.NotContains(t, text, f.Name.Reveal())
		}
		connection := byFacility["foolscap.connection"]
		require.Len(t, connection, 2, side)
		assert.Equal(t, []string{"connected", "disconnected"}, []string{connection[0].Message, connection[1].Message})
		assert.Equal(t, connection[0].Num, connection[1].Parent)
		roots := 0
		for _, e := range byNumber {
			if !e.HasParent {
				roots++
				continue
			}
			assert.Contains(t, byNumber, e.Parent)
		}
		assert.Equal(t, 1, roots, "it is one story")
		require.Len(t, byFacility["foolscap.negotiate"], 1)
		var failed []string
		for _, e := range byFacility["foolscap.call"] {
			assert.Equal(t, connection[0].Num, e.Parent)
			if method, ok := e.Attr("method"); ok && e.Level > flog.Noisy {
				failed = append(failed, method.String())
			}
		}
		assert.Equal(t, []string{"missing"}, failed)
		assert.NotEmpty(t, byFacility["foolscap.reference"])
	}
	var dials []string
	for _, e := range here.Events() {
		if e.Facility == "foolscap.dial" {
			dials = append(dials, e.Message)
			_, hasPhase := e.Attr("phase")
			assert.True(t, hasPhase)
		}
	}
	assert.Len(t, dials, 2)
	assert.Contains(t, strings.Join(dials, "\n"), "dialled "+string(f.Hints[0]))
	assert.Contains(t, strings.Join(dials, "\n"), "dialling "+string(dead)+" failed in the phase dial")
}
