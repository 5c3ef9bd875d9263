package handlertest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/handlertest"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// The kit stops the tests of what it finds fault with, so each broken transport
// is tested in a process of its own: this test binary, which the variable tells
// what to break.
const breakVariable = "HANDLERTEST_BREAK"

// nothing is broken in a transport that authenticates.
const nothing = "nothing"

// TestTransport runs the kit with the transport that is to be tested, a sound one
// by default.
func TestTransport(t *testing.T) {
	tr := &transport{}
	switch name := os.Getenv(breakVariable); name {
	case "":
	case nothing:
		authenticates(tr)
	default:
		broken, ok := find(name)
		require.True(t, ok, "nothing is broken in the way %q", name)
		broken.change(tr)
		tr.timeout = time.Second
		handlertest.SetAtOnce(500 * time.Millisecond)
	}
	handlertest.Run(t, tr.config())
}

// TestBrokenTransports shows for each check that it catches a transport which is
// broken in the way that the check is about.
func TestBrokenTransports(t *testing.T) {
	for _, b := range breakages {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel() // most of them wait most of the time
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			failing := strings.TrimSuffix("TestTransport/"+strings.ReplaceAll(b.check, " ", "_"), "/")
			path := strings.Split(failing, "/")
			for i, part := range path {
				path[i] = "^" + regexp.QuoteMeta(part) + "$"
			}
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.count=1", "-test.run", strings.Join(path, "/"))
			cmd.Env = append(os.Environ(), breakVariable+"="+b.name)
			output, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "the kit has found no fault:\n%s", output)
			assert.Contains(t, string(output), "--- FAIL: "+failing+" ")
			assert.Contains(t, string(output), b.says)
			assert.NotContains(t, string(output), "panic: ", "the kit is to survive what it tests")
		})
	}
}

func TestEveryCheckCatchesSomething(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.count=1", "-test.run", "^TestTransport$")
	cmd.Env = append(os.Environ(), breakVariable+"="+nothing)
	output, err := cmd.Output()
	require.NoError(t, err, "%s", output)
	checks := regexp.MustCompile(`(?m)^ +--- PASS: TestTransport/(\S+) `).FindAllStringSubmatch(string(output), -1)
	require.NotEmpty(t, checks, "%s", output)
	for _, check := range checks {
		path := check[1]
		if m := notOurs.FindStringSubmatch(path); m != nil {
			path = m[1]
		}
		assert.True(t, slices.ContainsFunc(breakages, func(b breakage) bool {
			return strings.HasPrefix(strings.ReplaceAll(b.check, " ", "_")+"/", path+"/")
		}), "no broken transport shows that the check %q catches anything", path)
	}
}

// notOurs are subtests that check nothing by themselves: those of nettest, and those in
// which leaks are made.
var notOurs = regexp.MustCompile(`^(the_stream_is_a_net\.Conn/[^/]+|nothing_is_left_behind)/`)

// transport is tcp, with what a test wants to be different.
type transport struct {
	dial      func(h handlers.Handler, ctx context.Context, req handlers.DialRequest) (handlers.Stream, error)
	exposure  func(h handlers.Handler) handlers.Exposure
	describe  func() string
	close     func(h handlers.Handler) error
	accept    func(a handlers.Acceptor) (handlers.Stream, error)
	hints     func(a *acceptor) ([]furl.Hint, <-chan struct{})
	aExposure func(a handlers.Acceptor) handlers.Exposure
	aClose    func(a *acceptor) error

	authenticates bool
	server        atomic.Pointer[x509.Certificate] // for whom acceptors were made
	change        func(a *acceptor)
	timeout       time.Duration
}

func (tr *transport) config() handlertest.Config {
	c := handlertest.Config{
		NewHandler: func(*testing.T) handlers.Handler { return &handler{Handler: tcp.New(), tr: tr} },
		NewAcceptor: func(t *testing.T, identity *tls.Certificate) handlers.Acceptor {
			tr.server.Store(identity.Leaf)
			l, err := tcp.Listen(t.Context(), "127.0.0.1:0")
			require.NoError(t, err)
			a := &acceptor{Acceptor: l, tr: tr, changed: make(chan struct{})}
			a.announced, _ = l.Hints()
			return a
		},
		Authenticates: tr.authenticates,
		Silent: map[string]func(*testing.T) (handlers.Handler, handlers.DialRequest){
			"nobody answers": func(*testing.T) (handlers.Handler, handlers.DialRequest) {
				silence := tcp.WithDialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				})
				return &handler{Handler: tcp.New(silence), tr: tr}, handlers.DialRequest{Hint: "tcp:192.0.2.1:1"}
			},
		},
		Failures: map[string]handlertest.Failure{
			"refused": {
				Dial: func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
					l, err := net.Listen("tcp", "127.0.0.1:0")
					require.NoError(t, err)
					require.NoError(t, l.Close())
					return &handler{Handler: tcp.New(), tr: tr}, handlers.DialRequest{Hint: furl.Hint("tcp:" + l.Addr().String())}
				},
				Phase: handlers.PhaseDial, Err: handlers.ErrUnreachable,
			},
		},
		Bulk:    2 << 20,
		Timeout: tr.timeout,
	}
	if tr.change != nil {
		c.ChangeHints = func(_ *testing.T, a handlers.Acceptor) { tr.change(a.(*acceptor)) }
	}
	return c
}

type handler struct {
	handlers.Handler
	tr *transport
}

func (h *handler) Dial(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
	if h.tr.dial != nil {
		return h.tr.dial(h.Handler, ctx, req)
	}
	return h.Handler.Dial(ctx, req)
}

func (h *handler) Exposure() handlers.Exposure {
	if h.tr.exposure != nil {
		return h.tr.exposure(h.Handler)
	}
	return h.Handler.Exposure()
}

func (h *handler) Description() string {
	if h.tr.describe != nil {
		return h.tr.describe()
	}
	return h.Handler.Description()
}

func (h *handler) Close() error {
	if h.tr.close != nil {
		return h.tr.close(h.Handler)
	}
	return h.Handler.Close()
}

type acceptor struct {
	handlers.Acceptor
	tr        *transport
	announced []furl.Hint
	changed   chan struct{}
}

func (a *acceptor) Accept() (handlers.Stream, error) {
	if a.tr.accept != nil {
		return a.tr.accept(a.Acceptor)
	}
	return a.Acceptor.Accept()
}

func (a *acceptor) Hints() ([]furl.Hint, <-chan struct{}) {
	if a.tr.hints != nil {
		return a.tr.hints(a)
	}
	return a.Acceptor.Hints()
}

func (a *acceptor) Exposure() handlers.Exposure {
	if a.tr.aExposure != nil {
		return a.tr.aExposure(a.Acceptor)
	}
	return a.Acceptor.Exposure()
}

func (a *acceptor) Close() error {
	if a.tr.aClose != nil {
		return a.tr.aClose(a)
	}
	return a.Acceptor.Close()
}

func find(name string) (breakage, bool) {
	for _, b := range breakages {
		if b.name == name {
			return b, true
		}
	}
	return breakage{}, false
}

// failing returns err as a handler does.
func failing(req handlers.DialRequest, phase handlers.Phase, err error) (handlers.Stream, error) {
	return handlers.Stream{}, &handlers.Error{Hint: req.Hint, Phase: phase, Err: err}
}

var errBroken = errors.New("the transport is broken")
