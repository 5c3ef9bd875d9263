package tor_test

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/handlertest"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestConformance(t *testing.T) {
	f := startTorNetwork(t)
	byControl := func() *tor.Tor { return tor.Control(tor.ControlConfig{Address: f.Address}) }
	dialling := func(via func(t *testing.T) *tor.Tor, hint furl.Hint) func(*testing.T) (handlers.Handler, handlers.DialRequest) {
		return func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
			h, err := tor.New(via(t))
			require.NoError(t, err)
			return h, handlers.DialRequest{Hint: hint}
		}
	}
	mute := func(t *testing.T) string {
		l, err := net.Listen("tcp", "127.0.0.1:0") // connections wait in its queue for ever
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		return l.Addr().String()
	}
	answering := func(code byte) func(t *testing.T) *tor.Tor {
		return func(t *testing.T) *tor.Tor { return tor.SOCKS(startSOCKS(t, "tcp", code).Address) }
	}
	handlertest.Run(t, handlertest.Config{
		NewHandler: func(t *testing.T) handlers.Handler {
			h, err := tor.New(byControl())
			require.NoError(t, err)
			return h
		},
		NewAcceptor: func(t *testing.T, _ *tls.Certificate) handlers.Acceptor {
			l, err := tor.Listen(t.Context(), byControl(), 80)
			require.NoError(t, err)
			return l
		},
		InvalidHints: []furl.Hint{"tor:127.0.0.1:1", "tor:[::1]:1", "tor:x.onion:1", "tcp:10.0.0.1:80", "tor:a.example:0"},
		Silent: map[string]func(*testing.T) (handlers.Handler, handlers.DialRequest){
			"a SOCKS port":   dialling(func(t *testing.T) *tor.Tor { return tor.SOCKS(mute(t)) }, "tor:x.example:1"),
			"a control port": dialling(func(t *testing.T) *tor.Tor { return tor.Control(tor.ControlConfig{Address: mute(t)}) }, "tor:x.example:1"),
			"a tor that is not ready": dialling(func(t *testing.T) *tor.Tor {
				starting := startBoth(t, func(f *fakeTor) {
					f.answers["GETINFO status/bootstrap-phase"] = "250-status/bootstrap-phase=" + bootstrapped(10) + "\r\n250 OK"
				})
				return tor.Control(tor.ControlConfig{Address: starting.Address})
			}, "tor:x.example:1"),
		},
		Failures: map[string]handlertest.Failure{
			"no tor": {
				Dial:  dialling(func(t *testing.T) *tor.Tor { return tor.SOCKS(unused(t)) }, "tor:x.example:1"),
				Phase: handlers.PhaseDial, Err: handlers.ErrProxyUnreachable,
			},
			"no control port": {
				Dial:  dialling(func(t *testing.T) *tor.Tor { return tor.Control(tor.ControlConfig{Address: unused(t)}) }, "tor:x.example:1"),
				Phase: handlers.PhaseDial, Err: handlers.ErrProxyUnreachable,
			},
			"a tor that wants a password": {
				Dial: dialling(func(t *testing.T) *tor.Tor {
					closed := startTor(t, func(f *fakeTor) { f.methods, f.password = "HASHEDPASSWORD", "secret" })
					return tor.Control(tor.ControlConfig{Address: closed.Address})
				}, "tor:x.example:1"),
				Phase: handlers.PhaseDial, Err: handlers.ErrProxyRefused,
			},
			"a service that is not published": {
				Dial:  dialling(answering(0xF0), "tor:"+onion+":80"),
				Phase: handlers.PhaseProxy, Err: handlers.ErrUnreachable,
			},
			"a service that does not admit us": {
				Dial:  dialling(answering(0xF4), "tor:"+onion+":80"),
				Phase: handlers.PhaseProxy, Err: handlers.ErrProxyRefused,
			},
		},
	})
}
