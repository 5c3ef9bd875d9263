package tub_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

var hidesAll = handlers.Exposure{HidesAddress: true, HidesLookups: true}

// exposedAcceptor reveals what a test wants.
type exposedAcceptor struct {
	*memoryAcceptor
	exposure handlers.Exposure
}

func (a exposedAcceptor) Exposure() handlers.Exposure { return a.exposure }

func assertExposure(t *testing.T, err error, what string) {
	t.Helper()
	var refused *tub.ExposureError
	require.ErrorAs(t, err, &refused)
	assert.ErrorIs(t, err, handlers.ErrRefusedByPolicy)
	assert.ErrorContains(t, err, what)
}

func TestAHiddenTubTakesNothingThatReveals(t *testing.T) {
	hidden := newTub(t, &tub.Options{Hidden: true})
	_, err := hidden.Connect(within(t), named(t, newIdentity(t).TubID(), "tcp:127.0.0.1:1"))
	assert.ErrorIs(t, err, handlers.ErrNoHandler, "it has no handler for tcp from the beginning")

	for _, reveals := range []handlers.Exposure{{}, {HidesAddress: true}, {HidesLookups: true}} {
		h := &memoryHandler{name: "loud", exposure: reveals}
		assertExposure(t, hidden.Handle("x", h), "memory loud reveals")
		assert.Equal(t, 1, h.closes(), "it is not kept")
		_, err := hidden.Listen(exposedAcceptor{newMemory().listen("x:y"), reveals})
		assertExposure(t, err, "the listener reveals")
	}
	l, err := tcp.Listen(t.Context(), "127.0.0.1:0", tcp.WithLocation("tcp:x.onion:1"))
	require.NoError(t, err)
	_, err = hidden.Listen(l)
	assertExposure(t, err, "reveals")
	assert.Empty(t, hidden.Hints())

	require.NoError(t, hidden.Handle("x", &memoryHandler{name: "quiet", exposure: hidesAll}))
	_, err = hidden.Listen(exposedAcceptor{newMemory().listen("x:y"), hidesAll})
	require.NoError(t, err)
	assert.Equal(t, []furl.Hint{"x:y"}, hidden.Hints())
}

func TestAHiddenTubAdvertisesNoAddress(t *testing.T) {
	hidden, open := newTub(t, &tub.Options{Hidden: true}), newTub(t, nil)
	all := []furl.Hint{"tcp:192.0.2.1:1", "tor:abc.onion:1", "tcp:host.example:1", "tcp:[2001:db8::1]:1", "host.example:1", "tcp:x.ONION.:1", "pigeon:roof"}
	for _, tb := range []*tub.Tub{hidden, open} {
		a := newMemory().listen("x:y")
		_, err := tb.Listen(exposedAcceptor{a, hidesAll})
		require.NoError(t, err)
		a.advertise(all...)
	}
	assert.Equal(t, []furl.Hint{"tor:abc.onion:1", "tcp:x.ONION.:1", "pigeon:roof"}, hidden.Hints())
	assert.Equal(t, all, open.Hints())
}

func TestAHandlerThatRevealsMoreThanItSaidIsNotUsed(t *testing.T) {
	hidden := newTub(t, &tub.Options{Hidden: true})
	h := handle(t, newTub(t, nil), map[string]dial{"x": hang})
	h.exposure = hidesAll
	require.NoError(t, hidden.Handle("x", h))
	h.exposure = handlers.Exposure{HidesAddress: true}
	_, err := hidden.Connect(within(t), named(t, newIdentity(t).TubID(), "x:y"))
	assert.ErrorIs(t, err, handlers.ErrRefusedByPolicy)
	assert.Empty(t, h.seen())
}

func TestAnIdentityHasOneFace(t *testing.T) {
	quiet := func() handlers.Acceptor { return exposedAcceptor{newMemory().listen("x:y"), hidesAll} }
	loud := func() handlers.Acceptor { return exposedAcceptor{newMemory().listen("x:z"), handlers.Exposure{}} }
	for name, order := range map[string][2]func() handlers.Acceptor{"first the hidden one": {quiet, loud}, "first the other one": {loud, quiet}} {
		t.Run(name, func(t *testing.T) {
			tb := newTub(t, nil)
			l, err := tb.Listen(order[0]())
			require.NoError(t, err)
			_, err = tb.Listen(order[1]())
			require.ErrorIs(t, err, tub.ErrTwoFaces)
			assert.Len(t, tb.Hints(), 1)
			require.NoError(t, l.Close())
			_, err = tb.Listen(order[1]())
			require.NoError(t, err, "the other one is gone")

			tb = newTub(t, &tub.Options{TwoFaces: true})
			for _, a := range order {
				_, err = tb.Listen(a())
				require.NoError(t, err)
			}
			assert.Len(t, tb.Hints(), 2)
		})
	}
}

func TestAHiddenTubSharesNoListener(t *testing.T) {
	for _, second := range []bool{true, false} {
		l := tub.NewListener(exposedAcceptor{newMemory().listen("x:y"), hidesAll}, nil)
		defer l.Close()
		require.NoError(t, newTub(t, &tub.Options{Hidden: !second}).Attach(l))
		other := newTub(t, &tub.Options{Hidden: second})
		require.ErrorIs(t, other.Attach(l), tub.ErrSharedListener)
		assert.Empty(t, other.Hints())
	}
	l := tub.NewListener(exposedAcceptor{newMemory().listen("x:y"), hidesAll}, nil)
	defer l.Close()
	for range 2 {
		require.NoError(t, newTub(t, nil).Attach(l))
	}
	hidden := newTub(t, &tub.Options{Hidden: true})
	require.ErrorIs(t, hidden.Attach(l), tub.ErrSharedListener)
}

type frankError struct{ error }

func (frankError) RemoteType() (string, []string) { return "frank.Error", nil }

func TestAHiddenTubDoesNotTellPeersOfItsMachine(t *testing.T) {
	const secret = "192.0.2.77:1234"
	opErr := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 77), Port: 1234}, Err: os.ErrDeadlineExceeded}
	failures := []error{
		opErr,
		fmt.Errorf("while asking: %w", opErr),
		&net.DNSError{Err: "no such host", Name: secret},
		&fs.PathError{Op: "open", Path: secret, Err: fs.ErrNotExist},
		os.NewSyscallError(secret, os.ErrPermission),
		&url.Error{Op: "Get", URL: "http://" + secret, Err: context.DeadlineExceeded},
		&tub.DialError{Err: errors.New(secret)},
		&tub.CallError{Err: errors.New(secret)},
		&handlers.Error{Handler: "socks via " + secret, Err: handlers.ErrProxyUnreachable},
		&tub.ExposureError{What: "the handler socks via " + secret},
		fmt.Errorf("%s: %w", secret, handlers.ErrProxyRefused),
		nil, // a panic
		errors.New("plain"),
		frankError{opErr},
	}
	m := newMemory()
	for _, hidden := range []bool{true, false} {
		server, client := newTub(t, &tub.Options{Hidden: hidden, TracesToPeers: true}), newTub(t, &tub.Options{TracesFromPeers: true})
		hint := furl.Hint(fmt.Sprintf("mem:%v", hidden))
		_, err := server.Listen(m.listen(hint))
		require.NoError(t, err)
		f := register(t, server, tub.NewObject(tub.Method("fail", func(_ context.Context, a struct{ N int }) (any, error) {
			if failures[a.N] == nil {
				panic(secret)
			}
			return nil, failures[a.N]
		}),
			tub.Method("joined", func(context.Context, tub.None) (any, error) {
				return nil, errors.Join(frankError{errors.New("frank")}, opErr)
			})))
		handle(t, client, map[string]dial{"mem": m.dialer()})
		ref := connect(t, client, f)
		for i := range failures {
			_, err := tub.Call[any](within(t), ref, "fail", i)
			var failed *tub.Failure
			require.ErrorAs(t, err, &failed)
			told := i >= len(failures)-2 || !hidden
			assert.Equal(t, told, failed.Text != "an error that this Tub does not describe to others" && failed.Text != "the method panicked", "%v: %v", failures[i], failed)
			if !told {
				assert.NotContains(t, failed.Text+failed.Traceback, secret)
				assert.NotContains(t, failed.Traceback, ".go")
			}
		}
		_, err = tub.Call[any](within(t), ref, "joined")
		var failed *tub.Failure
		require.ErrorAs(t, err, &failed)
		if hidden {
			assert.Equal(t, "frank", failed.Text)
		}
	}
}
