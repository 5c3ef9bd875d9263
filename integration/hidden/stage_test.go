//go:build linux

package hidden

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
	"github.com/foolscap-go/foolscap/integration/leakwatch"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// requireObserver ends a test that cannot observe anything.
func requireObserver(t *testing.T) {
	t.Helper()
	if err := leakwatch.Available(); err != nil {
		if os.Getenv("FOOLSCAP_INTEGRATION") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

// A place is a Tub of this process that the program visits.
type place struct {
	tub      *tub.Tub
	furl     furl.FURL
	visitors chan *tub.Ref // the faces that were shown here
	acceptor *cutter
}

// newPlace opens a place. Unlike those that the program knows, the Tub need not hide.
func newPlace(t *testing.T, acceptor handlers.Acceptor) *place {
	t.Helper()
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	p := &place{visitors: make(chan *tub.Ref, 100), acceptor: &cutter{Acceptor: acceptor}}
	p.tub, err = tub.New(id, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.tub.Close()) })
	_, err = p.tub.Listen(p.acceptor)
	require.NoError(t, err)
	_, err = p.tub.WaitAdvertised(within(t))
	require.NoError(t, err)
	p.furl, err = p.tub.Register(tub.NewObject(
		tub.Method("log", func(_ context.Context, a struct{ Face *tub.Ref }) (tub.None, error) {
			p.visitors <- a.Face
			return tub.None{}, nil
		}),
	))
	require.NoError(t, err)
	return p
}

// tcpPlace listens at an address and is known by some name, too.
func tcpPlace(t *testing.T, ip, name string) *place {
	t.Helper()
	l, err := tcp.Listen(t.Context(), net.JoinHostPort(ip, "0"))
	require.NoError(t, err)
	p := newPlace(t, l)
	at := l.Addr().(*net.TCPAddr)
	p.furl = p.furl.WithHints(furl.StreamHint("tcp", name, uint16(at.Port)), furl.StreamHint("tcp", ip, uint16(at.Port)))
	return p
}

func onionPlace(t *testing.T, via *tornet.Tor) *place {
	t.Helper()
	l, err := tor.Listen(within(t), tor.Control(tor.ControlConfig{Address: "unix:" + via.ControlSocket}), onionPort)
	require.NoError(t, err)
	return newPlace(t, l)
}

// cutter can cut the connections that it has accepted.
type cutter struct {
	handlers.Acceptor
	mu      sync.Mutex
	count   int // of all that were accepted
	streams []handlers.Stream
}

func (c *cutter) Accept() (handlers.Stream, error) {
	s, err := c.Acceptor.Accept()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.count++
		c.streams = append(c.streams, s)
	}
	return s, err
}

func (c *cutter) accepted() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.streams {
		s.Close()
	}
	c.streams = nil
}

// A stage is a running program under observation.
type stage struct {
	t      *testing.T
	p      *program
	face   *tub.Ref // over the connection that the program has made to the hub
	tried  []attempt
	report chan *leakwatch.Report
	err    error
	output bytes.Buffer // of the program, once it has ended
}

// observe starts the program and waits until it has come to the hub.
func observe(t *testing.T, p *program, hub *place, allow ...string) *stage {
	t.Helper()
	p.Hub = hub.furl.Reveal()
	p.Socket = filepath.Join(t.TempDir(), "socket")
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%v", programVariable, p),
		"GODEBUG=netdns=go",        // the system's resolver may ask a daemon by a unix socket, which leads out of the namespace
		"GORACE=atexit_sleep_ms=0") // the race detector, should it be there, waits for a second at the end
	s := &stage{t: t, p: p, report: make(chan *leakwatch.Report, 1)}
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		defer close(s.report)
		var report *leakwatch.Report
		report, s.err = leakwatch.Observe(ctx, leakwatch.Config{Allow: allow, Timeout: 3 * patience}, cmd)
		if s.err == nil {
			s.report <- report
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if t.Failed() {
			t.Logf("the program says:\n%s", &s.output)
		}
	})
	s.face = s.visitor(hub)
	return s
}

// visitor waits for the program to come to a place.
func (s *stage) visitor(at *place) *tub.Ref {
	s.t.Helper()
	select {
	case face := <-at.visitors:
		return face
	case report := <-s.report:
		require.FailNow(s.t, "the program has ended", "%v, %v", report, s.err)
	case <-within(s.t).Done():
		require.FailNow(s.t, "the program does not come")
	}
	return nil
}

// ask has the program do something.
func (s *stage) ask(face *tub.Ref, method string, args ...any) any {
	s.t.Helper()
	answer, err := tub.Call[any](within(s.t), face, method, args...)
	require.NoError(s.t, err, method)
	return answer
}

// begin has the program try something that will fail, beside others.
func (s *stage) begin(face *tub.Ref, method, arg string) {
	s.t.Helper()
	began, err := tub.Start[any](within(s.t), face, method, arg)
	require.NoError(s.t, err)
	s.tried = append(s.tried, attempt{method + " " + arg, began})
}

// An attempt is something that will fail.
type attempt struct {
	what  string
	began *tub.Pending[any]
}

// allFail waits for what was begun, and sees what the program tells of its failures.
func (s *stage) allFail() {
	s.t.Helper()
	secrets := s.secrets()
	for _, a := range s.tried {
		_, err := a.began.Wait(within(s.t))
		var failed *tub.Failure
		require.ErrorAs(s.t, err, &failed, a.what)
		for _, secret := range secrets {
			assert.NotContains(s.t, failed.Text+failed.Traceback, secret, a.what)
		}
	}
	s.tried = nil
}

// finish ends the program and returns what was seen of it.
func (s *stage) finish() *leakwatch.Report {
	s.t.Helper()
	s.ask(s.face, "end")
	report, ok := <-s.report
	require.True(s.t, ok, "%v", s.err)
	for _, e := range slices.Concat(report.Reached, report.Bound) {
		s.t.Log(e)
	}
	return report
}

// secrets are what no peer may learn from the program, if it is hidden.
func (s *stage) secrets() []string {
	if !s.p.Hidden {
		return nil
	}
	host, err := os.Hostname()
	require.NoError(s.t, err)
	all := []string{filepath.Dir(s.p.Socket), host}
	for _, secret := range []string{s.p.Proxy, s.p.Control} {
		if secret != "" {
			all = append(all, secret)
		}
	}
	return all
}

// onSocket returns the handlers that reach the program where a tor would.
func (s *stage) onSocket() map[string]handlers.Handler {
	return map[string]handlers.Handler{"tor": socketHandler{tcp.New(), s.p.Socket}}
}
