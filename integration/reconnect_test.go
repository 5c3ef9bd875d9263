package integration

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestAReconnectorKeepsAReferenceToAPeerThatDiesAndComesBack(t *testing.T) {
	t.Parallel()
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	for name, master := range map[string]bool{"with Go as the master": true, "with Python as the master": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start := func(port int) *pypeer.Peer {
				return pypeer.Start(t, pypeer.Options{CertFile: pythonCert, Port: port})
			}
			peer := start(0)
			f, err := furl.Parse(peer.Register("root", pypeer.KindRoot))
			require.NoError(t, err)
			tb := startTub(t, identity(t, role{master: master}.accept(pythonID)), tub.Options{})
			refs, lost := make(chan *tub.Ref), make(chan error)
			r, err := tb.Reconnect(f, func(ctx context.Context, ref *tub.Ref) {
				refs <- ref
				<-ctx.Done()
				lost <- context.Cause(ctx)
			}, nil)
			require.NoError(t, err)
			state := func(what string, reached func(tub.ReconnectorState) bool) {
				t.Helper()
				require.Eventually(t, func() bool { return reached(r.State()) }, patience, time.Millisecond, what)
			}
			waiting := func(s tub.ReconnectorState) bool { return !s.Next.IsZero() }

			ref := <-refs
			assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
			for _, end := range []func(){peer.Kill, func() { peer.Do("stop", nil, nil); peer.Kill() }} {
				end()
				assert.ErrorIs(t, <-lost, tub.ErrLost)
				state("it is told that nobody is there", func(s tub.ReconnectorState) bool { return waiting(s) && s.Attempts > 0 })
				assert.ErrorIs(t, r.State().Err, handlers.ErrUnreachable)

				// It is back, but its object is not yet.
				peer = start(peer.Port)
				r.Reset()
				var failure *tub.Failure
				state("the object is missing", func(s tub.ReconnectorState) bool { return waiting(s) && errors.As(s.Err, &failure) })
				assert.NotContains(t, r.State().Err.Error(), f.Name.Reveal())
				peer.Register("root", pypeer.KindRoot)
				r.Reset()

				ref = <-refs
				assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
				assert.True(t, r.State().Connected)
			}

			// Python disconnects, and is there when it is looked for a second later.
			begin := time.Now()
			peer.Do("disconnect", nil, nil)
			<-lost
			ref = <-refs
			assert.GreaterOrEqual(t, time.Since(begin), time.Second)
			assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))

			go func() { <-lost }()
			r.Stop()
			assert.Equal(t, 3, call[int](t, ref, "add", 1, 2), "the connection stays")
			peer.Kill()
			settled(t, tb)
			assert.True(t, r.State().Stopped)
		})
	}
}
