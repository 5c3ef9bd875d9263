//go:build linux

package hidden

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/integration/internal/proxies"
	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
	"github.com/foolscap-go/foolscap/integration/leakwatch"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// traps are hints that somebody may put into a FURL to find out where a Tub is that follows it. Nothing is there.
var traps = []furl.Hint{
	"tcp:" + tornet.PublicIP + ":9",
	tornet.PublicIP + ":9",
	"tcp:[2001:db8::1]:9",
	"tcp:[::ffff:198.51.100.7]:9",
	"tcp:198.51.100.7:53",
	"tcp:127.0.0.1:9",
	"tcp:localhost:9",
	"tcp:trap.example:9",
	"trap.example:9",
	"tcp:trap.local:9",
	"quic:" + tornet.PublicIP + ":9",
	"quic:trap.example:9",
	"tor:trap.example:9",
	"tor:" + onionName + ":9",
	"udp:198.51.100.7:53",
	"unix:/run/trap.sock",
	"exec:touch trap",
}

// trap returns a FURL of a Tub that does not exist.
func trap(t *testing.T, hints ...furl.Hint) string {
	t.Helper()
	nobody, err := tub.NewIdentity()
	require.NoError(t, err)
	return furl.FURL{TubID: nobody.TubID(), Hints: hints, Name: furl.NewSwissnum()}.Reveal()
}

// perform has the program do all that a Tub can do, most of it on behalf of peers that want to know where it is. back
// connects to what the program listens on.
func perform(t *testing.T, s *stage, hub, island *place, back map[string]handlers.Handler) {
	t.Helper()
	for _, hint := range traps {
		s.begin(s.face, "visit", trap(t, hint))
	}
	s.begin(s.face, "visit", trap(t, traps...))
	s.begin(s.face, "visit_later", trap(t, traps...))
	s.begin(s.face, "visit", hub.furl.WithHints(traps...).Reveal()+"x") // of a Tub that it is connected to
	s.begin(s.face, "fail", "file")
	s.begin(s.face, "fail", "program")
	s.allFail()
	s.ask(s.face, "follow", trap(t, traps[:4]...))
	s.ask(s.face, "follow", island.furl.WithHints(slices.Concat(island.furl.Hints, traps[:2])...).Reveal())
	for range 3 {
		s.visitor(island)
		island.acceptor.cut()
	}
	s.ask(s.visitor(island), "take", "hello")

	f, err := tub.ParseFURL(s.ask(s.face, "listen").(string))
	require.NoError(t, err)
	caller := newCaller(t, back)
	ref, err := caller.Connect(within(t), f)
	require.NoError(t, err)
	s.ask(ref, "take", []any{1, 2})
	s.begin(ref, "visit", trap(t, traps...))
	s.begin(ref, "fail", "file")
	s.allFail()
}

// newCaller makes a Tub of this process that only calls.
func newCaller(t *testing.T, all map[string]handlers.Handler) *tub.Tub {
	t.Helper()
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	caller, err := tub.New(id, &tub.Options{NoHandlers: true, TracesFromPeers: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, caller.Close()) })
	for hintType, h := range all {
		require.NoError(t, caller.Handle(hintType, h))
	}
	return caller
}

// introduce has Python introduce the program to a third Tub, by a reference whose FURL has tcp hints. All that is known of
// what a hidden Tub does with introductions is here: it dials nothing before it uses them, and then as it always does.
func introduce(t *testing.T, s *stage, third *place) {
	t.Helper()
	peer := pypeer.Start(t, pypeer.Options{})
	var root string
	peer.Do("register", pypeer.Params{"name": "root", "kind": pypeer.KindRoot, "swissnum": ""}, &root)
	s.ask(s.face, "visit", root)
	logged := peer.TakeLogged("root")
	require.Len(t, logged, 1)
	face := peer.Ref(logged[0].Handle())
	gift := peer.MustGetReference(third.furl.WithHints(third.furl.Hints[1]).Reveal())
	visitors := third.acceptor.accepted() // Python is one
	face.MustCall("take", pypeer.List(gift.Value()))
	face.CallOnly("take", gift.Value())
	face.MustCall("take", pypeer.Int(1))
	require.Equal(t, visitors, third.acceptor.accepted(), "nobody has gone to the third Tub because of an introduction")
	_, err := face.Call("greet", gift.Value())
	require.Equal(t, err == nil, third.acceptor.accepted() == visitors+1, "%v", err)
}

// socketHandler connects to where the program listens.
type socketHandler struct {
	handlers.Handler
	path string
}

func (h socketHandler) Dial(ctx context.Context, _ handlers.DialRequest) (handlers.Stream, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", h.path)
	return handlers.Stream{Conn: conn, Host: onionName}, err
}

func TestAHiddenTubReachesNothingButItsProxy(t *testing.T) {
	requireObserver(t)
	proxy := proxies.Microsocks(t, proxies.Options{Hosts: map[string]string{"hub.example": tornet.PublicIP}})
	hub, island := tcpPlace(t, tornet.PublicIP, "hub.example"), tcpPlace(t, "127.0.0.1", "hub.example")
	p := &program{Hidden: true, Proxy: proxy.Addr}
	s := observe(t, p, hub, proxy.Addr)
	perform(t, s, hub, island, s.onSocket())
	introduce(t, s, tcpPlace(t, "127.0.0.1", "third.example"))

	report := s.finish()
	report.Check(t)
	assert.True(t, report.Tried(proxy.Addr))
	assert.Equal(t, []string{proxy.Addr}, reached(report))
}

func TestTheSameProgramIsCaughtWhenItsTubIsNotHidden(t *testing.T) {
	requireObserver(t)
	proxy := proxies.Microsocks(t, proxies.Options{})
	hub, island := tcpPlace(t, tornet.PublicIP, "hub.example"), tcpPlace(t, "127.0.0.1", "hub.example")
	s := observe(t, &program{Proxy: proxy.Addr}, hub, proxy.Addr)
	perform(t, s, hub, island, s.onSocket())

	report := s.finish()
	require.NoError(t, report.Err)
	var found []string
	for _, f := range report.Findings {
		found = append(found, f.Network+" "+f.Address)
		if strings.Contains(f.Reason, "name server") {
			found = append(found, "a name")
		}
	}
	hubAt := string(hub.furl.Hints[1])
	for _, leak := range []string{
		"a name",
		strings.Replace(hubAt, ":", " ", 1),
		"tcp " + tornet.PublicIP + ":9",
		"tcp [2001:db8::1]:9",
		"udp " + tornet.PublicIP + ":9",
	} {
		assert.Contains(t, found, leak)
	}
}

func TestAHiddenTubOnAnOnionServiceReachesNothingButTor(t *testing.T) {
	requireObserver(t)
	network := tornet.Shared(t)
	mine, theirs := network.Start(t, tornet.Options{}), network.Client(t)
	hub, island := onionPlace(t, theirs), onionPlace(t, theirs)
	caller, err := tor.New(tor.SOCKS(theirs.SOCKS))
	require.NoError(t, err)

	control := "unix:" + mine.ControlSocket
	s := observe(t, &program{Hidden: true, Control: control}, hub, control, mine.SOCKS, mine.SOCKSExtended)
	perform(t, s, hub, island, map[string]handlers.Handler{"tor": caller})

	report := s.finish()
	report.Check(t)
	assert.True(t, report.Tried(control))
	assert.True(t, report.Tried(mine.SOCKS) || report.Tried(mine.SOCKSExtended))
}

// reached returns the addresses that a program has tried to reach, the kernel's own excepted.
func reached(r *leakwatch.Report) []string {
	var all []string
	for _, e := range r.Reached {
		if e.Network != "netlink" && !slices.Contains(all, e.Address) {
			all = append(all, e.Address)
		}
	}
	return all
}
