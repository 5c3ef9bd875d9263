package handlers_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
)

var (
	everything = handlers.Exposure{}
	address    = handlers.Exposure{HidesLookups: true}
	lookups    = handlers.Exposure{HidesAddress: true}
	nothing    = handlers.Exposure{HidesAddress: true, HidesLookups: true}
)

func TestOnlyWhatRevealsNothingIsHidden(t *testing.T) {
	assert.True(t, nothing.Hidden())
	for _, e := range []handlers.Exposure{everything, address, lookups} {
		assert.False(t, e.Hidden(), "%v", e)
	}
}

func TestAHandlerThatResolvesAddsLookups(t *testing.T) {
	assert.Equal(t, lookups, nothing.WithLookups())
	assert.Equal(t, lookups, lookups.WithLookups())
	assert.Equal(t, everything, address.WithLookups())
	assert.Equal(t, everything, everything.WithLookups())
}

func TestTwoTransportsRevealWhatEitherReveals(t *testing.T) {
	all := []handlers.Exposure{everything, address, lookups, nothing}
	for _, e := range all {
		assert.Equal(t, e, e.Combine(nothing))
		assert.Equal(t, everything, e.Combine(everything))
		for _, f := range all {
			assert.Equal(t, e.Combine(f), f.Combine(e))
		}
	}
	assert.Equal(t, everything, address.Combine(lookups))
}

func TestExposureInWords(t *testing.T) {
	assert.Equal(t, "reveals the address and name look-ups", everything.String())
	assert.Equal(t, "reveals the address", address.String())
	assert.Equal(t, "reveals name look-ups", lookups.String())
	assert.Equal(t, "reveals nothing", nothing.String())
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

func TestAForeignDialerCanBeGivenAnExposure(t *testing.T) {
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	d := handlers.DialerWithExposure(dialFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
		assert.Equal(t, "circuit 7", handlers.IsolationFromContext(ctx))
		assert.Equal(t, "tcp", network)
		assert.Equal(t, "a.example:1", address)
		return ours, nil
	}), lookups)
	assert.Equal(t, lookups, d.Exposure())
	conn, err := d.DialContext(handlers.ContextWithIsolation(t.Context(), "circuit 7"), "tcp", "a.example:1")
	require.NoError(t, err)
	assert.True(t, conn == ours)
	assert.Equal(t, "", handlers.IsolationFromContext(t.Context()))
}
