package integration

import (
	"encoding/hex"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// A forger has Python send tokens that no Foolscap would.
type forger struct {
	tokens []byte
	opens  uint64 // that were sent on the connection before
	sent   int
}

func (f *forger) open(word string) uint64 {
	n := f.opens + uint64(f.sent)
	f.sent++
	f.tokens = banana.AppendToken(f.tokens, banana.TypeOpen, n)
	f.tokens = banana.AppendWord(f.tokens, 1, word)
	return n
}

func (f *forger) int(v int64)     { f.tokens = banana.AppendInt(f.tokens, v) }
func (f *forger) text(s string)   { f.tokens = banana.AppendString(f.tokens, s) }
func (f *forger) close(n uint64)  { f.tokens = banana.AppendToken(f.tokens, banana.TypeClose, n) }
func (f *forger) header(n uint64) { f.tokens = banana.AppendToken(f.tokens, banana.TypeString, n) }

// forged is the request number of what is forged, far from those that Python gives itself.
const forged = 1 << 20

// forge begins a call with one positional argument, which is to follow; the two sequences have to be closed behind it.
func (m *meeting) forge(clid int64, method string) (f *forger, call, arguments uint64) {
	f = &forger{opens: uint64(m.peer.Connections()[0].OpensSent)}
	call = f.open("call")
	f.int(forged)
	f.int(clid)
	f.text(method)
	arguments = f.open("arguments")
	f.int(1)
	return f, call, arguments
}

func (m *meeting) send(f *forger) {
	m.peer.Do("raw", pypeer.Params{"bytes": hex.EncodeToString(f.tokens), "opens": f.sent}, nil)
}

// awaitError waits until Python has received an error for what was forged.
func (m *meeting) awaitError(t *testing.T, texts ...string) {
	t.Helper()
	var all string
	reply := banana.AppendInt(banana.AppendWord(nil, 1, "error"), forged)
	for _, text := range append([]string{string(reply)}, texts...) {
		m.peer.Do("wait_captured", pypeer.Params{"bytes": hex.EncodeToString([]byte(text))}, &all)
	}
}

func TestATupleThatContainsItselfDirectlyFailsItsCallAlone(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		m.peer.Do("capture", nil, nil)
		f, call, arguments := m.forge(int64(m.ref.Describe().CLID), "echo")
		tuple := f.open("tuple")
		reference := f.open("reference")
		f.int(int64(tuple))
		f.close(reference)
		f.close(tuple)
		f.close(arguments)
		f.close(call)
		m.send(f)
		m.awaitError(t, "foolscap.tokens.Violation")
		assert.Equal(t, pypeer.Int(3), m.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)), "later calls are not held up")
		cycle := canonical(t, pypeer.Def(1, pypeer.List(pypeer.Same(1))))
		assert.Equal(t, cycle, m.ref.MustCall("echo", cycle), "both sides have counted on")
	})
}

func TestCallsThatMakeNoSenseAreAnsweredOrEndTheConnection(t *testing.T) {
	t.Parallel()
	m := justGo(t, options{})
	clid := int64(m.ref.Describe().CLID)
	for name, test := range map[string]struct {
		clid   int64
		method string
		text   string
	}{
		"an object that was never sent": {77, "echo", "unknown CLID 77"},
		"a negative number":             {-clid, "echo", "unknown CLID"},
		"the broker has no such method": {0, "shutdown", "shutdown"},
	} {
		t.Run(name, func(t *testing.T) {
			m.peer.Do("capture", nil, nil)
			f, call, arguments := m.forge(test.clid, test.method)
			f.int(1)
			f.close(arguments)
			f.close(call)
			m.send(f)
			m.awaitError(t, test.text)
			assert.Equal(t, pypeer.Int(3), m.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
		})
	}
	t.Run("a reference to an object that the peer has no reference to", func(t *testing.T) {
		ended := make(chan error, 1)
		m.root.OnDisconnect(func(reason error) { ended <- reason })
		m.peer.Do("capture", nil, nil)
		f, _, _ := m.forge(clid, "echo")
		reference := f.open("your-reference")
		f.int(77)
		f.close(reference)
		m.send(f)
		var protocol *banana.ProtocolError
		assert.ErrorAs(t, <-ended, &protocol)
		m.peer.WaitConnections(0)
		var captured string
		m.peer.Do("captured", pypeer.Params{"connection": m.number}, &captured)
		assert.Contains(t, captured, hex.EncodeToString([]byte("77")), "Python was told why")
	})
}

// No other test runs beside this one: it measures what the whole process allocates.
func TestAStrangerGetsLittle(t *testing.T) {
	pythonCert, _ := pypeer.WriteCert(t, pypeer.Middling)
	peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert, NoListen: true})
	tb := startTub(t, identity(t, pypeer.Middling), tub.Options{})
	listen(t, tb)
	desk := register(t, tb, newDesk().object)
	ask := func(name string) error {
		_, err := peer.GetReference((furl.FURL{TubID: tb.TubID(), Hints: tb.Hints()}).Reveal() + name)
		return err
	}
	assert.Equal(t, "builtins.KeyError", failedThere(t, ask("unknown")).Type)
	assert.Contains(t, failedThere(t, ask(strings.Repeat("x", 20_000))).Text, "StrangerMessage")

	// What is announced is not believed.
	m := &meeting{peer: peer, tub: tb}
	for range 5 {
		before, after := new(runtime.MemStats), new(runtime.MemStats)
		runtime.ReadMemStats(before)
		f, _, _ := m.forge(0, "getReferenceByName")
		f.header(1 << 30)
		f.tokens = append(f.tokens, make([]byte, 1000)...)
		m.send(f)
		peer.Do("disconnect", nil, nil)
		peer.WaitConnections(0)
		settled(t, tb)
		runtime.ReadMemStats(after)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
		assert.Equal(t, "builtins.KeyError", failedThere(t, ask("unknown")).Type)
	}
	assert.Zero(t, tb.MemoryUsed())

	// Who knows a name is no stranger any more.
	ref := peer.MustGetReference(desk.Reveal())
	assert.Equal(t, pypeer.Int(1_000_000), ref.MustCall("sink", pypeer.Pattern(1_000_000)))
}
