package integration

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// patience is how long one thing may take before a test calls it hanging.
const patience = 30 * time.Second

// within is the context of the things that a test waits for.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// identity makes an identity for a Go Tub whose TubID accept agrees to.
func identity(t testing.TB, accept func(tubID string) bool) *tub.Identity {
	t.Helper()
	file, _ := pypeer.WriteCert(t, accept)
	id, err := tub.LoadIdentity(file, nil)
	require.NoError(t, err)
	return id
}

// journal keeps what Tubs log, for tests that fail.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// swissnums are those of the FURLs that tests have made. None of them may ever be logged.
var swissnums struct {
	sync.Mutex
	all []string
}

func secret(f furl.FURL) furl.FURL {
	swissnums.Lock()
	defer swissnums.Unlock()
	swissnums.all = append(swissnums.all, f.Name.Reveal())
	return f
}

func assertKeepsSecrets(t testing.TB, text string) {
	t.Helper()
	swissnums.Lock()
	defer swissnums.Unlock()
	for _, name := range swissnums.all {
		assert.False(t, strings.Contains(text, name), "a swissnum was logged")
	}
}

// startTub makes a Tub that lives as long as the test. Nobody listens for it yet.
func startTub(t testing.TB, id *tub.Identity, options tub.Options) *tub.Tub {
	t.Helper()
	var log journal
	options.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	tb, err := tub.New(id, &options)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, tb.Close())
		assertKeepsSecrets(t, log.String())
		if t.Failed() {
			t.Logf("the log of the Go Tub %s:\n%s", tb.TubID(), log.String())
		}
	})
	return tb
}

// negotiations are the errors, or nil, with which those of a Tub have ended. There has to be room for them.
type negotiations chan error

// observe is an Observer.
func (n negotiations) observe(e tub.Event) {
	if e.Kind == tub.EventNegotiate {
		n <- e.Err
	}
}

// listen lets a Tub accept connections on a port of its own, and returns its address. FURLs contain the location, or
// that address if none is given.
func listen(t testing.TB, tb *tub.Tub, location ...furl.Hint) (addr string) {
	t.Helper()
	var options []tcp.ListenOption
	if len(location) > 0 {
		options = append(options, tcp.WithLocation(location...))
	}
	l, err := tcp.Listen(t.Context(), "127.0.0.1:0", options...)
	require.NoError(t, err)
	_, err = tb.Listen(l)
	require.NoError(t, err)
	return l.Addr().String()
}

// register publishes an object of a Go Tub under a random name.
func register(t testing.TB, tb *tub.Tub, o *tub.Object) furl.FURL {
	t.Helper()
	f, err := tb.Register(o)
	require.NoError(t, err)
	return secret(f)
}

// publish publishes an object of a Python peer under a random name; it is made if there is none of its own name.
func publish(t testing.TB, peer *pypeer.Peer, name, kind string) furl.FURL {
	t.Helper()
	var text string
	peer.Do("register", pypeer.Params{"name": name, "kind": kind, "swissnum": ""}, &text)
	f, err := furl.Parse(text)
	require.NoError(t, err)
	return secret(f)
}

// connect is a Connect that has to succeed.
func connect(t testing.TB, tb *tub.Tub, f furl.FURL) *tub.Ref {
	t.Helper()
	ref, err := tb.Connect(within(t), f)
	require.NoError(t, err)
	return ref
}

// call is a Call that has to succeed.
func call[T any](t testing.TB, ref *tub.Ref, method string, args ...any) T {
	t.Helper()
	result, err := tub.Call[T](within(t), ref, method, args...)
	require.NoError(t, err)
	return result
}

// A role is whether a Tub dials, and whether it decides.
type role struct{ dials, master bool }

var roles = []role{{true, true}, {true, false}, {false, true}, {false, false}}

func (r role) String() string {
	switch r {
	case role{true, true}:
		return "Go dials and is the master"
	case role{true, false}:
		return "Go dials and is not the master"
	case role{false, true}:
		return "Python dials and is not the master"
	}
	return "Python dials and is the master"
}

// accept says which TubIDs give the role over a Tub with another TubID.
func (r role) accept(other string) func(string) bool {
	if r.master {
		return pypeer.Greater(other)
	}
	return pypeer.Less(other)
}

// A meeting is a Go Tub and a Python one that are connected, each with a reference to an object of the other.
type meeting struct {
	role // of the Go Tub

	tub  *tub.Tub
	desk *desk    // the object of the Go Tub
	root *tub.Ref // the Go Tub's reference to the object of the Python Tub

	peer   *pypeer.Peer
	number int        // which the Python Tub has given to the connection
	name   string     // of the object of the Python Tub
	ref    pypeer.Ref // the Python Tub's reference to the object of the Go Tub
}

// options of the two sides of a meeting.
type options struct {
	python pypeer.Options
	tub    tub.Options
}

// eachRole runs a test in each of the four roles that the Go Tub can have, one after the other, with one Python peer.
// In none of them is there a listener beside the one that is needed, so what is called in the other direction is called
// over a connection that the other side has opened.
func eachRole(t *testing.T, o options, test func(t *testing.T, m *meeting)) {
	t.Helper()
	o.python.CertFile, _ = pypeer.WriteCert(t, pypeer.Middling)
	peer := pypeer.Start(t, o.python)
	for _, r := range roles {
		t.Run(r.String(), func(t *testing.T) {
			test(t, meet(t, peer, r, o.tub))
		})
		peer.DropAll()
	}
}

// meet connects a new Go Tub with a Python peer.
func meet(t *testing.T, peer *pypeer.Peer, r role, o tub.Options) *meeting {
	t.Helper()
	return meetAs(t, peer, r, identity(t, r.accept(peer.TubID)), o, func(tb *tub.Tub) { listen(t, tb) })
}

// meetAs is meet with an identity that is right for the role, and a way to listen.
func meetAs(t *testing.T, peer *pypeer.Peer, r role, id *tub.Identity, o tub.Options, listen func(*tub.Tub)) *meeting {
	t.Helper()
	m := &meeting{role: r, peer: peer, desk: newDesk()}
	o.Inbound = append(o.Inbound, m.desk.attend)
	m.tub = startTub(t, id, o)
	m.name = "root of " + string(m.tub.TubID())
	root := publish(t, peer, m.name, pypeer.KindRoot)
	var err error
	if r.dials {
		m.root = connect(t, m.tub, root)
		m.ref, err = peer.GetReference(register(t, m.tub, m.desk.object).Reveal())
		require.NoError(t, err)
	} else {
		listen(m.tub)
		m.ref, err = peer.GetReference(register(t, m.tub, m.desk.object).Reveal())
		require.NoError(t, err)
		m.root = connect(t, m.tub, root.WithHints())
	}
	require.Equal(t, pypeer.Int(3), m.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2))) // now the desk knows the connection
	info, ok := m.tub.Info(furl.TubID(peer.TubID))
	require.True(t, ok)
	require.True(t, info.Connected)
	require.Equal(t, !r.dials, info.Inbound)
	require.Equal(t, r.master, info.Master)
	for _, c := range peer.Connections() {
		if c.TubID == string(m.tub.TubID()) {
			m.number = c.Connection
		}
	}
	require.NotZero(t, m.number)
	t.Cleanup(func() {
		// The peer's ops about "the" connection are for the next meeting.
		assert.NoError(t, m.tub.Close())
		if peer.Running() {
			peer.WaitConnections(0)
		}
	})
	return m
}
