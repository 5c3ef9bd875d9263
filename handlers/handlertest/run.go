package handlertest

import (
	"crypto/tls"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// Run tests a transport. It replaces what net.DefaultResolver does while it
// runs, and counts goroutines and open files, so it must not run beside other
// tests of the process.
func Run(t *testing.T, cfg Config) {
	require.NotNil(t, cfg.NewHandler, "Config.NewHandler is missing")
	require.NotNil(t, cfg.NewAcceptor, "Config.NewAcceptor is missing")
	if cfg.Timeout <= 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Bulk <= 0 {
		cfg.Bulk = 10 << 20
	}
	k := &kit{cfg: cfg, lookups: watchLookups(t), client: newParty(t), server: newParty(t)}
	k.station = k.newStation(t)

	for _, check := range []struct {
		name string
		run  func(*kit, *testing.T)
	}{
		{"hints that are garbage", (*kit).garbage},
		{"a context that has ended", (*kit).endedBefore},
		{"a context that ends during the dial", (*kit).endedDuring},
		{"a deadline", (*kit).deadline},
		{"a context that ends after the dial", (*kit).endedAfter},
		{"concurrent dials", (*kit).concurrent},
		{"a handler closed during dials", (*kit).closedDuring},
		{"a handler closed after dials", (*kit).closedAfter},
		{"calls at a time", (*kit).callsAtATime},
		{"who is at the other end", (*kit).parties},
		{"bulk both ways", (*kit).bulk},
		{"the stream is a net.Conn", (*kit).netConn},
		{"half-open peers", (*kit).halfOpen},
		{"progress", (*kit).progress},
		{"failures", (*kit).failures},
		{"exposure", (*kit).exposure},
		{"look-ups", (*kit).noLookups},
		{"hints come and go", (*kit).hints},
		{"a closed acceptor", (*kit).closedAcceptor},
		{"nothing is left behind", (*kit).nothingLeft},
		{"a conversation", (*kit).conversation},
	} {
		t.Run(check.name, func(t *testing.T) { check.run(k, t) })
	}
}

// kit is one Run.
type kit struct {
	cfg            Config
	lookups        *lookups
	client, server party
	station        *station // for all checks that do not need one of their own
}

// atOnce is how long something may take that has nothing to wait for. A variable
// for tests only.
var atOnce = 3 * time.Second

// party is a Tub at one end.
type party struct {
	id   *tub.Identity
	cert *tls.Certificate
}

func newParty(t *testing.T) party {
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	text, err := id.PEM()
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(text, text)
	require.NoError(t, err)
	return party{id, &cert}
}

func (p party) tubID() furl.TubID { return p.id.TubID() }

// each runs a subtest for every entry of a map, in the order of the names.
func each[V any](t *testing.T, all map[string]V, run func(t *testing.T, v V)) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) { run(t, all[name]) })
	}
}
