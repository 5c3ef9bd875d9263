package integration

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/relay"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// A mortal is a member that can be stopped in the middle of an introduction.
type mortal interface {
	member
	// lets is introduce for any method of "whom" that takes a text, here, where Python's errors are those of Python.
	lets(t *testing.T, to, whom member, method string) error
	// awaitBlocked waits for a call of block, and unblock answers it if it is still there.
	awaitBlocked(t *testing.T)
	unblock()
	// forgets gives up what it holds; assertEmpty waits until the tables of all its connections are empty.
	forgets()
	assertEmpty(t *testing.T)
}

// blockKey is the argument of the calls of block.
const blockKey = "key"

type goMortal struct {
	*goMember
	// asked, unless nil, is called when an introduction has arrived; looked when an object is looked up.
	asked, looked atomic.Pointer[func(ctx context.Context)]

	mu      sync.Mutex
	brokers map[*broker.Broker]bool
}

func newGoMortal(t *testing.T, way *relay.Relay) *goMortal {
	m := &goMortal{brokers: make(map[*broker.Broker]bool)}
	m.goMember = newGoMember(t, tub.Options{
		Inbound: []tub.Interceptor{func(ctx context.Context, _ *tub.CallInfo, next func(context.Context) (any, error)) (any, error) {
			m.mu.Lock()
			m.brokers[broker.FromContext(ctx)] = true
			m.mu.Unlock()
			return next(ctx)
		}},
		AskIntroduction: func(ctx context.Context, _ tub.Introduction) tub.Introductions {
			if asked := m.asked.Load(); asked != nil {
				(*asked)(ctx)
			}
			return tub.IntroductionsAccepted
		},
	}, furl.Hint(way.Hint()))
	way.SetTarget(m.addr)
	// By a name that is looked up by us.
	name := furl.NewSwissnum()
	m.tub.OnLookup(func(ctx context.Context, asked string) (*tub.Object, error) {
		if asked != name.Reveal() {
			return nil, tub.ErrUnknownName
		}
		if looked := m.looked.Load(); looked != nil {
			(*looked)(ctx)
		}
		return m.desk.object, nil
	})
	m.at.Name = name
	secret(m.at)
	return m
}

func (m *goMortal) meets(t *testing.T, others ...member) {
	m.goMember.meets(t, others...)
	for _, o := range others { // who calls back, so that the connection is known
		assert.Equal(t, 1, call[int](t, m.refs[o], "call_back", m.desk.object, "echo", 1))
	}
}

func (m *goMortal) lets(t *testing.T, to, whom member, method string) error {
	_, err := tub.Call[any](within(t), m.refs[to], "call_back", m.refs[whom], method, blockKey)
	return err
}

func (m *goMortal) awaitBlocked(t *testing.T) { m.desk.awaitBlocked(t, blockKey, 1) }
func (m *goMortal) unblock()                  { m.desk.release(blockKey, nil) }

func (m *goMortal) forgets() {
	for _, ref := range m.refs {
		ref.Close()
	}
	m.desk.drop()
}

func (m *goMortal) assertEmpty(t *testing.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	require.NotEmpty(t, m.brokers)
	for b := range m.brokers {
		empty := func() bool {
			runtime.GC()
			return b.Err() != nil || b.Tables() == broker.Tables{}
		}
		if !assert.Eventually(t, empty, patience, 10*time.Millisecond) {
			require.Zero(t, b.Tables(), "the tables of the connection with %s", b.Peer().Short())
		}
	}
}

type pythonMortal struct{ *pythonMember }

func newPythonMortal(t *testing.T, way *relay.Relay) pythonMortal {
	p := pythonMortal{newPythonMember(t, pypeer.Options{Location: way.Hint()})}
	way.SetTarget(p.peer.Addr())
	return p
}

func (p pythonMortal) lets(_ *testing.T, to, whom member, method string) error {
	_, err := p.refs[to].Call("call_back", p.refs[whom].Value(), pypeer.Text(method), pypeer.Text(blockKey))
	return err
}

func (p pythonMortal) awaitBlocked(*testing.T) { p.peer.WaitState(p.name, pypeer.State{Waiting: 1}) }
func (p pythonMortal) unblock()                { p.peer.Release(p.name, blockKey, pypeer.Text("late")) }

func (p pythonMortal) forgets() { p.peer.DropAll() }

func (p pythonMortal) assertEmpty(t *testing.T) {
	require.Eventually(t, func() bool {
		runtime.GC() // what the Go sides have not closed, theirs to release
		for _, tables := range p.peer.Tables() {
			if tables.Mine+tables.Yours+tables.Gifts > 0 {
				return false
			}
		}
		return true
	}, patience, 10*time.Millisecond, "the tables are empty")
}

// An encounter is the three parties of an introduction, and the ways to two of them.
type encounter struct {
	giver, receiver, owner mortal
	toReceiver, toOwner    *relay.Relay
}

// The steps of an introduction, each with what makes it stop there. reach returns when it has; after go on.
var introductionSteps = []struct {
	name    string
	python  bool // works for Python Tubs too
	method  string
	prepare func(t *testing.T, e *encounter) (reached func(), goOn func())
}{
	{"before it arrives", true, "echo", func(_ *testing.T, e *encounter) (func(), func()) {
		h := e.toReceiver.HoldToTarget()
		return func() { <-h.Held() }, h.Release
	}},
	{"before the dial", false, "echo", func(_ *testing.T, e *encounter) (func(), func()) {
		asked, proceed := make(chan struct{}), make(chan struct{})
		first := sync.OnceFunc(func() { close(asked) })
		wait := func(ctx context.Context) {
			first()
			select {
			case <-proceed:
			case <-ctx.Done():
			}
		}
		e.receiver.(*goMortal).asked.Store(&wait)
		return func() { <-asked }, func() { close(proceed) }
	}},
	{"during the negotiation", true, "echo", func(_ *testing.T, e *encounter) (func(), func()) {
		h := e.toOwner.HoldToTarget()
		return func() { <-h.Held() }, h.Release
	}},
	{"before the look-up is answered", false, "echo", func(_ *testing.T, e *encounter) (func(), func()) {
		held := make(chan *relay.Hold, 1)
		first := sync.OnceFunc(func() { held <- e.toOwner.HoldToClient() })
		hold := func(context.Context) { first() }
		e.owner.(*goMortal).looked.Store(&hold)
		var h *relay.Hold
		return func() { h = <-held; <-h.Held() }, func() { h.Release() }
	}},
	{"before it is acknowledged", true, "block", func(t *testing.T, e *encounter) (func(), func()) {
		h := e.toReceiver.HoldToClient()
		return func() { <-h.Held(); e.owner.awaitBlocked(t) }, h.Release
	}},
	{"after it was acknowledged", true, "block", func(t *testing.T, e *encounter) (func(), func()) {
		return func() { e.owner.awaitBlocked(t); nothingIsGiven(t, e.giver) }, func() {}
	}},
}

const (
	theGiver = iota
	theReceiver
	theOwner
)

// lose ends the connections of a party, and the party if it is to die.
func (e *encounter) lose(t *testing.T, who int, dies bool) {
	if dies {
		[]mortal{e.giver, e.receiver, e.owner}[who].die(t)
	}
	if who != theOwner {
		e.toReceiver.Cut()
	}
	for i, c := range e.toOwner.Conns() {
		if who == theOwner || (who == theGiver) == (i == 0) { // the giver has met the owner first
			c.Cut()
		}
	}
}

func TestAPartyIsLostAtEachStepOfAnIntroduction(t *testing.T) {
	t.Parallel()
	for kinds, kindName := range map[int]string{0: "all Go", 1: "Python gives", 2: "Python receives", 4: "Python owns"} {
		for _, step := range introductionSteps {
			for who, whoName := range []string{"the giver", "the receiver", "the owner"} {
				for _, dies := range []bool{true, false} {
					if kinds != 0 && !(step.python && dies) {
						continue
					}
					what := map[bool]string{true: "dies", false: "loses its connections"}[dies]
					t.Run(fmt.Sprintf("%s, %s %s %s", kindName, whoName, what, step.name), func(t *testing.T) {
						t.Parallel()
						e := &encounter{toReceiver: relay.Start(t, ""), toOwner: relay.Start(t, "")}
						for i, p := range []*mortal{&e.giver, &e.receiver, &e.owner} {
							way := []*relay.Relay{relay.Start(t, ""), e.toReceiver, e.toOwner}[i]
							if kinds>>i&1 == 0 {
								*p = newGoMortal(t, way)
							} else {
								*p = newPythonMortal(t, way)
							}
						}
						e.giver.meets(t, e.receiver, e.owner)
						reached, goOn := step.prepare(t, e)
						result := make(chan error, 1)
						go func() { result <- e.giver.lets(t, e.receiver, e.owner, step.method) }()
						reached()
						e.lose(t, who, dies)
						goOn()
						e.assertResult(t, <-result, step.method, who, dies, kinds)
						e.assertRestGoesOn(t, who, dies)
					})
				}
			}
		}
	}
}

// assertResult says what becomes of the giver's call.
func (e *encounter) assertResult(t *testing.T, err error, method string, who int, dies bool, kinds int) {
	t.Helper()
	_, goGives := e.giver.(*goMortal)
	switch {
	case who == theGiver && dies && !goGives: // there is nobody to say it
	case who == theReceiver && goGives && errors.As(err, new(*tub.Failure)):
		// It lost the owner first, and could still say so.
		assert.ErrorContains(t, err, tub.ErrDeadReference.Error())
	case who != theOwner && goGives:
		assert.ErrorIs(t, err, tub.ErrDeadReference)
		var failed *tub.CallError
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, tub.MayHaveRun, failed.Sent)
	case who != theOwner:
		var failure *pypeer.Error
		require.ErrorAs(t, err, &failure)
		assert.Contains(t, connectionEnded, failure.Type)
	case err == nil:
		assert.False(t, dies || method == "block", "the owner is found again")
	case !goGives:
		var failure *pypeer.Error
		require.ErrorAs(t, err, &failure)
		assert.True(t, failure.Remote)
	default:
		var failure *tub.Failure
		require.ErrorAs(t, err, &failure)
		if method == "echo" && kinds != 2 {
			assert.Equal(t, "foolscap.IntroductionFailed", failure.Type)
		}
	}
}

// assertRestGoesOn makes sure that those who are left can go on, and hold nothing in the end.
func (e *encounter) assertRestGoesOn(t *testing.T, who int, dies bool) {
	t.Helper()
	left := map[int]mortal{theGiver: e.giver, theReceiver: e.receiver, theOwner: e.owner}
	if dies {
		delete(left, who)
	}
	if o := left[theOwner]; o != nil {
		o.unblock()
	}
	switch {
	case !dies:
		e.giver.meets(t, e.receiver, e.owner)
		require.NoError(t, e.giver.lets(t, e.receiver, e.owner, "echo"))
	case who == theGiver:
		e.receiver.meets(t, e.owner)
		assert.True(t, e.receiver.echoed(t, e.owner, e.owner))
	case who == theReceiver:
		assert.True(t, e.giver.echoed(t, e.owner, e.owner))
	case who == theOwner:
		assert.True(t, e.giver.echoed(t, e.receiver, e.receiver))
	}
	for _, m := range left {
		m.forgets()
	}
	for _, m := range left {
		m.assertEmpty(t)
	}
}
