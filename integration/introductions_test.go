package integration

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// A member of a party is a Tub, of either kind, with one object.
type member interface {
	furl() furl.FURL
	// meets makes references to the objects of the others.
	meets(t *testing.T, others ...member)
	// introduce lets the object of "to" call the object of "whom", which it gets
	// from this member, and returns what it has told: that of echo of 42.
	introduce(t *testing.T, to, whom member) (string, error)
	// echoed says whether a reference to "whom" that "by" echoes comes back as
	// the one that was sent.
	echoed(t *testing.T, by, whom member) bool
	// given is how many introductions are not acknowledged yet.
	given() int
	die(t *testing.T)
}

type goMember struct {
	tub  *tub.Tub
	desk *desk
	addr string
	gave atomic.Int64 // and was not acknowledged
	at   furl.FURL
	refs map[member]*tub.Ref
}

// newGoMember makes one whose FURLs contain the location, or else its address.
func newGoMember(t *testing.T, options tub.Options, location ...furl.Hint) *goMember {
	g := &goMember{desk: newDesk(), refs: make(map[member]*tub.Ref)}
	options.Observer = func(e tub.Event) {
		switch {
		case e.Kind != tub.EventGift || e.Inbound:
		case e.Detail == "given":
			g.gave.Add(1)
		case e.Detail == "acknowledged":
			g.gave.Add(-1)
		}
	}
	g.tub = startTub(t, identity(t, pypeer.Middling), options)
	g.addr = listen(t, g.tub, location...)
	g.at = register(t, g.tub, g.desk.object)
	return g
}

func (g *goMember) furl() furl.FURL { return g.at }

func (g *goMember) meets(t *testing.T, others ...member) {
	for _, o := range others {
		g.refs[o] = connect(t, g.tub, o.furl())
	}
}

func (g *goMember) introduce(t *testing.T, to, whom member) (string, error) {
	n, err := tub.Call[int](within(t), g.refs[to], "call_back", g.refs[whom], "echo", 42)
	return string(pypeer.Int(int64(n))), err
}

func (g *goMember) echoed(t *testing.T, by, whom member) bool {
	return tub.Same(g.refs[whom], call[*tub.Ref](t, g.refs[by], "echo", g.refs[whom]))
}

func (g *goMember) given() int { return int(g.gave.Load()) }

func (g *goMember) die(t *testing.T) { require.NoError(t, g.tub.Close()) }

type pythonMember struct {
	peer *pypeer.Peer
	name string
	at   furl.FURL
	refs map[member]pypeer.Ref
}

func newPythonMember(t *testing.T, options pypeer.Options) *pythonMember {
	p := &pythonMember{name: "member", refs: make(map[member]pypeer.Ref)}
	options.CertFile, _ = pypeer.WriteCert(t, pypeer.Middling)
	p.peer = pypeer.Start(t, options)
	p.at = publish(t, p.peer, p.name, pypeer.KindRoot)
	return p
}

func (p *pythonMember) furl() furl.FURL { return p.at }

func (p *pythonMember) meets(_ *testing.T, others ...member) {
	for _, o := range others {
		p.refs[o] = p.peer.MustGetReference(o.furl().Reveal())
	}
}

func (p *pythonMember) introduce(_ *testing.T, to, whom member) (string, error) {
	v, err := p.refs[to].Call("call_back", p.refs[whom].Value(), pypeer.Text("echo"), pypeer.Int(42))
	return string(v), err
}

func (p *pythonMember) echoed(_ *testing.T, by, whom member) bool {
	return p.refs[by].MustCall("echo", p.refs[whom].Value()).Handle() == p.refs[whom].Handle()
}

func (p *pythonMember) given() (n int) {
	for _, tables := range p.peer.Tables() {
		n += tables.Gifts
	}
	return n
}

func (p *pythonMember) die(*testing.T) { p.peer.Kill() }

// eachParty runs a test for three Tubs of either kind.
func eachParty(t *testing.T, test func(t *testing.T, giver, receiver, owner member)) {
	for kinds := range 8 {
		var names []string
		for i, role := range []string{"gives", "receives", "owns"} {
			names = append(names, []string{"Go", "Python"}[kinds>>i&1]+" "+role)
		}
		t.Run(strings.Join(names, ", "), func(t *testing.T) {
			t.Parallel()
			var all [3]member
			for i := range all {
				if kinds>>i&1 == 0 {
					all[i] = newGoMember(t, tub.Options{})
				} else {
					all[i] = newPythonMember(t, pypeer.Options{})
				}
			}
			test(t, all[0], all[1], all[2])
		})
	}
}

func nothingIsGiven(t *testing.T, m member) {
	t.Helper()
	require.Eventually(t, func() bool { return m.given() == 0 }, 20*time.Second, 10*time.Millisecond, "everything is acknowledged")
}

func TestThreeTubsOfAnyKindAreIntroduced(t *testing.T) {
	t.Parallel()
	eachParty(t, func(t *testing.T, giver, receiver, owner member) {
		giver.meets(t, receiver, owner)
		for range 2 { // the second time there is a connection already
			told, err := giver.introduce(t, receiver, owner)
			require.NoError(t, err)
			assert.Equal(t, "42", told)
		}
		assert.True(t, giver.echoed(t, receiver, owner), "what comes back is what was sent")
		nothingIsGiven(t, giver)
		nothingIsGiven(t, receiver)

		// The receiver hands on what it was given to a fourth Tub.
		fourth := newGoMember(t, tub.Options{})
		receiver.meets(t, fourth, owner)
		told, err := receiver.introduce(t, fourth, owner)
		require.NoError(t, err)
		assert.Equal(t, "42", told)
		nothingIsGiven(t, receiver)
	})
}

func TestAnIntroductionToATubThatHasGoneFailsAlone(t *testing.T) {
	t.Parallel()
	eachParty(t, func(t *testing.T, giver, receiver, owner member) {
		fourth := newGoMember(t, tub.Options{})
		giver.meets(t, receiver, fourth)
		if g, ok := giver.(*goMember); ok { // Python's references die with their connection
			g.refs[owner] = g.tub.Ref(owner.furl())
			owner.die(t)
			_, err := giver.introduce(t, receiver, owner)
			require.Error(t, err)
			nothingIsGiven(t, giver)
		} else {
			owner.die(t)
		}
		told, err := giver.introduce(t, receiver, fourth)
		require.NoError(t, err, "the connection of the two lives")
		assert.Equal(t, "42", told)
		nothingIsGiven(t, giver)
	})
}

func TestWhoIsIntroducedMayLoseTheGiver(t *testing.T) {
	t.Parallel()
	eachParty(t, func(t *testing.T, giver, receiver, owner member) {
		giver.meets(t, receiver, owner)
		told, err := giver.introduce(t, receiver, owner)
		require.NoError(t, err)
		assert.Equal(t, "42", told)
		giver.die(t)
		receiver.meets(t, owner)
		assert.True(t, receiver.echoed(t, owner, owner), "the others know each other now")
	})
}
