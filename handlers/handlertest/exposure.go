package handlertest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// exposure: what is declared to be hidden stays hidden, as far as that can be seen
// from inside this process.
func (k *kit) exposure(t *testing.T) {
	h := k.handler(t)
	dials, accepts := h.Exposure(), k.station.acceptor.Exposure()
	dialled, accepted := k.station.pair(t, k, h)
	closeIt(t, "the handler", h.Close)
	for _, e := range []struct {
		what          string
		before, after handlers.Exposure
	}{
		{"the handler", dials, h.Exposure()},
		{"the acceptor", accepts, k.station.acceptor.Exposure()},
	} {
		assert.Equal(t, e.before, e.before.Combine(e.after), "%s began to reveal more", e.what)
	}

	if dials.HidesAddress && seen(dialled, accepted) {
		// Two ports can be the same by chance, though hardly twice.
		assert.False(t, seen(k.station.pair(t, k, k.handler(t))), "the handler declares to hide the address, but the peer sees it")
	}
	if accepts.HidesAddress {
		hints, _ := k.station.acceptor.Hints()
		for _, hint := range hints {
			host, _, err := hint.HostPort()
			if err != nil {
				continue
			}
			_, err = netip.ParseAddr(host)
			assert.Error(t, err, "the acceptor declares to hide the address, but its hint %q contains one", hint)
		}
	}
}

// seen reports whether the peer sees the address from which a stream was dialled.
func seen(dialled, accepted handlers.Stream) bool {
	ours, ok := ipOf(dialled.LocalAddr())
	theirs, ok2 := ipOf(accepted.RemoteAddr())
	if !ok || !ok2 {
		return false
	}
	if ours.Addr().IsUnspecified() { // of a socket that is not connected only the port is known
		return ours.Port() == theirs.Port()
	}
	return ours == theirs
}

// ipOf returns an address with its port, if it is one of IP.
func ipOf(addr net.Addr) (netip.AddrPort, bool) {
	if addr == nil {
		return netip.AddrPort{}, false
	}
	ip, err := netip.ParseAddrPort(addr.String())
	return netip.AddrPortFrom(ip.Addr().Unmap(), ip.Port()), err == nil
}

// noLookups: a transport that declares to hide look-ups makes none.
func (k *kit) noLookups(t *testing.T) {
	const why = "%s declares to hide look-ups, but has looked up a name through net.DefaultResolver"
	if k.station.acceptor.Exposure().HidesLookups {
		assert.Zero(t, k.station.lookups, why, "the acceptor")
	}
	h := k.handler(t)
	before := k.lookups.count.Load()
	hints := []furl.Hint{k.station.hint}
	if _, port, err := k.station.hint.HostPort(); err == nil {
		for _, name := range []string{"name.handlertest.invalid", "NAME.handlertest.invalid."} {
			hints = append(hints, furl.StreamHint(k.station.hint.Type(), name, port))
		}
	}
	for _, hint := range hints {
		ctx, cancel := context.WithTimeout(t.Context(), k.cfg.Timeout)
		o := k.dial(ctx, t, h, handlers.DialRequest{Hint: hint, Isolation: "handlertest"})
		cancel()
		if o.err == nil {
			o.stream.Close() // the other side of a proxy has found it
		}
	}
	if h.Exposure().HidesLookups {
		assert.Equal(t, before, k.lookups.count.Load(), why, "the handler")
	}
}

// lookups counts what goes to the name servers of this machine, and keeps it from
// them.
type lookups struct{ count atomic.Int64 }

func watchLookups(t *testing.T) *lookups {
	l := new(lookups)
	// The resolver itself is changed, since others may have kept the pointer.
	preferGo, strict, dial := net.DefaultResolver.PreferGo, net.DefaultResolver.StrictErrors, net.DefaultResolver.Dial
	t.Cleanup(func() {
		net.DefaultResolver.PreferGo, net.DefaultResolver.StrictErrors, net.DefaultResolver.Dial = preferGo, strict, dial
	})
	net.DefaultResolver.PreferGo = true
	net.DefaultResolver.StrictErrors = true
	net.DefaultResolver.Dial = func(context.Context, string, string) (net.Conn, error) {
		l.count.Add(1)
		return nil, errors.New("handlertest: nothing is looked up while a transport is tested")
	}
	return l
}
