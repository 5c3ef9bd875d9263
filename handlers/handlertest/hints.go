package handlertest

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// hints: an acceptor announces hints that can stand in a FURL, tells when they
// change, and takes them back when it is closed.
func (k *kit) hints(t *testing.T) {
	a := k.cfg.NewAcceptor(t, k.server.cert)
	closed := false
	t.Cleanup(func() {
		if !closed {
			closeIt(t, "the acceptor", a.Close)
		}
	})
	k.advertised(t, a)
	hints := k.settled(t, a)
	for _, hint := range hints {
		_, err := furl.ParseHint(string(hint))
		assert.NoError(t, err, "the hint %q", hint)
		assert.NotEmpty(t, hint.Type(), "the type of the hint %q, by which its handler is found", hint)
		if host, _, err := hint.HostPort(); err == nil {
			addr, err := netip.ParseAddr(host)
			assert.False(t, err == nil && addr.IsUnspecified(), "the hint %q has a wildcard address, which leads nowhere", hint)
		}
	}
	want := slices.Clone(hints)
	hints[0] = "somebody-else:changed it"
	hints, changed := a.Hints()
	assert.Equal(t, want, hints, "the slice is the caller's, but changing it has changed the acceptor's hints")
	assert.False(t, isOver(changed), "Hints returns a channel that is closed already, though the hints are the same")

	if k.cfg.ChangeHints != nil {
		_, changed := a.Hints()
		k.cfg.ChangeHints(t, a)
		require.NotNil(t, changed, "the hints can change, but Hints returned no channel that says so")
		select {
		case <-changed:
		case <-time.After(k.cfg.Timeout):
			assert.Fail(t, "the hints have changed, but the channel is not closed")
		}
		hints, again := a.Hints()
		assert.NotEqual(t, want, hints, "the channel is closed, but the hints are the same")
		assert.False(t, isOver(again), "Hints returns a channel that is closed already: whoever waits for changes would run in circles")
	}

	_, changed = a.Hints()
	closed = true
	closeIt(t, "the acceptor", a.Close)
	if changed != nil {
		select {
		case <-changed:
		case <-time.After(atOnce):
			assert.Fail(t, "Close takes the hints back, but the channel is not closed")
		}
	}
	hints, changed = a.Hints()
	assert.Empty(t, hints, "hints after Close")
	assert.False(t, isOver(changed), "after Close, Hints returns a channel that is closed already: whoever waits for changes would run in circles")
}

// settled returns the hints of an acceptor once they have stayed the same for a
// while.
func (k *kit) settled(t *testing.T, a handlers.Acceptor) []furl.Hint {
	t.Helper()
	for end := time.Now().Add(k.cfg.Timeout); time.Now().Before(end); {
		hints, changed := a.Hints()
		require.NotEmpty(t, hints, "the hints are gone before Close")
		require.False(t, isOver(changed), "Hints returns a channel that is closed already: whoever waits for changes would run in circles")
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond):
			return hints
		}
	}
	require.FailNow(t, "the hints do not stop changing")
	return nil
}

func isOver(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
