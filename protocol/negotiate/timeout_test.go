package negotiate

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newHandshake(conn net.Conn, l *Local) *tls.Conn {
	c := tls.Server(conn, l.tls)
	c.Handshake()
	return c
}

// A stall is a peer that comes as far as a phase and then only drips: every
// second one byte that leads nowhere.
type stall struct {
	phase Phase
	run   func(ctx context.Context, own *Local, peer *Local, dripping func(net.Conn)) error
}

// stalls are all the ways to be left waiting. own is a slave of peer. The peers
// end when their stream does.
var stalls = map[string]stall{
	"a client that does not ask": {PhasePlaintext, func(ctx context.Context, own, peer *Local, drip func(net.Conn)) error {
		a, b := net.Pipe()
		go drip(a)
		_, err := Server(ctx, b, ServerConfig{Find: answering(own)})
		return err
	}},
	"a server that does not answer": {PhasePlaintext, func(ctx context.Context, own, peer *Local, drip func(net.Conn)) error {
		a, b := net.Pipe()
		go func() {
			b.Read(make([]byte, maxBlock))
			drip(b)
		}()
		_, err := Client(ctx, a, ClientConfig{Local: own, Target: peer.tubID})
		return err
	}},
	"a server that does not read": {PhasePlaintext, func(ctx context.Context, own, peer *Local, drip func(net.Conn)) error {
		a, b := net.Pipe()
		defer b.Close()
		_, err := Client(ctx, a, ClientConfig{Local: own, Target: peer.tubID})
		return err
	}},
	"a client that does not start TLS": {PhaseTLS, func(ctx context.Context, own, peer *Local, drip func(net.Conn)) error {
		a, b := net.Pipe()
		go func() {
			a.Write(appendRequest(nil, own.tubID, ""))
			io.ReadFull(a, make([]byte, len(response)))
			a.Write([]byte{0x16, 3, 1, 0x40, 0}) // the head of a record that never comes
			drip(a)
		}()
		_, err := Server(ctx, b, ServerConfig{Find: answering(own)})
		return err
	}},
	"a server that does not start TLS": {PhaseTLS, func(ctx context.Context, own, peer *Local, drip func(net.Conn)) error {
		a, b := net.Pipe()
		go func() {
			answerRequest(b)
			io.Copy(io.Discard, b)
			b.Close()
		}()
		_, err := Client(ctx, a, ClientConfig{Local: own, Target: peer.tubID})
		return err
	}},
	"a slot that is never free": {PhaseSlot, func(ctx context.Context, own, peer *Local, drip func(net.Conn)) error {
		a, b := net.Pipe()
		defer b.Close()
		_, err := Client(ctx, a, ClientConfig{
			Local: own, Target: peer.tubID, Peer: peer.tls.Certificates[0].Leaf,
			HelloSlot: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		})
		return err
	}},
	"a server without a hello": {PhaseHello, func(ctx context.Context, own, peer *Local, drip func(net.Conn)) error {
		a, b := net.Pipe()
		go func() {
			answerRequest(b)
			conn := newHandshake(b, peer)
			go io.Copy(io.Discard, conn)
			drip(conn)
			b.Close()
		}()
		_, err := Client(ctx, a, ClientConfig{Local: own, Target: peer.tubID})
		return err
	}},
	"a peer that does not read our hello": {PhaseHello, func(ctx context.Context, own, peer *Local, drip func(net.Conn)) error {
		a, b := net.Pipe()
		go drip(a)
		_, err := Server(ctx, b, ServerConfig{Local: own, Peer: peer.tls.Certificates[0].Leaf})
		return err
	}},
	"a master that does not decide": {PhaseDecision, func(ctx context.Context, own, peer *Local, drip func(net.Conn)) error {
		a, b := net.Pipe()
		go func() {
			go io.Copy(io.Discard, a)
			a.Write(helloOf(peer).encode())
			drip(a)
		}()
		_, err := Server(ctx, b, ServerConfig{Local: own, Peer: peer.tls.Certificates[0].Leaf})
		return err
	}},
	"a slave that does not read the decision": {PhaseDecision, func(ctx context.Context, own, peer *Local, drip func(net.Conn)) error {
		a, b := net.Pipe()
		defer a.Close()
		go func() {
			io.ReadFull(a, make([]byte, len(helloOf(peer).encode())))
			a.Write(helloOf(own).encode())
		}()
		_, err := Server(ctx, b, ServerConfig{Local: peer, Peer: own.tls.Certificates[0].Leaf})
		return err
	}},
}

// drip writes one byte a second until the stream is closed.
func drip(conn net.Conn) {
	for {
		time.Sleep(time.Second)
		if _, err := conn.Write([]byte{'x'}); err != nil {
			return
		}
	}
}

func TestNoPeerKeepsANegotiationWaitingLongerThanItsPhaseMayLast(t *testing.T) {
	own, peer := newTubs(t)
	defaults := map[Phase]time.Duration{
		PhasePlaintext: 30 * time.Second,
		PhaseTLS:       30 * time.Second,
		PhaseSlot:      120 * time.Second,
		PhaseHello:     60 * time.Second,
		PhaseDecision:  30 * time.Second,
	}
	for name, stall := range stalls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := stall.run(t.Context(), restarted(t, own), restarted(t, peer), drip)
				assert.Equal(t, defaults[stall.phase], time.Since(start))
				assert.ErrorIs(t, err, ErrTimeout)
				assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
				assert.NotErrorIs(t, err, context.DeadlineExceeded, "that would be the caller's")
				assert.ErrorContains(t, err, "Timeouts.")
				var failed *Error
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, stall.phase, failed.Phase)
				var timings Timings // the other phases take no time here
				timings[stall.phase] = defaults[stall.phase]
				assert.Equal(t, timings, failed.Timings)
				var timeout interface{ Timeout() bool }
				require.True(t, errors.As(err, &timeout))
				assert.True(t, timeout.Timeout())
				time.Sleep(2 * time.Second) // until the peer has noticed
			})
		})
	}
}

func TestAContextThatEndsEndsTheNegotiationAtOnce(t *testing.T) {
	own, peer := newTubs(t)
	shutdown := errors.New("the Tub is shutting down")
	for name, stall := range stalls {
		t.Run(name, func(t *testing.T) {
			for name, test := range map[string]struct {
				context func(context.Context) (context.Context, func())
				want    []error
			}{
				"cancelled": {func(ctx context.Context) (context.Context, func()) {
					ctx, cancel := context.WithCancelCause(ctx)
					time.AfterFunc(10*time.Second+1, func() { cancel(shutdown) })
					return ctx, func() { cancel(nil) }
				}, []error{context.Canceled, shutdown}},
				"past its deadline": {func(ctx context.Context) (context.Context, func()) {
					ctx, cancel := context.WithTimeout(ctx, 10*time.Second+1)
					return ctx, cancel
				}, []error{context.DeadlineExceeded, ErrTimeout}},
			} {
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						ctx, cancel := test.context(t.Context())
						defer cancel()
						start := time.Now()
						err := stall.run(ctx, restarted(t, own), restarted(t, peer), drip)
						assert.Equal(t, 10*time.Second+1, time.Since(start))
						for _, want := range test.want {
							assert.ErrorIs(t, err, want)
						}
						assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
						var failed *Error
						require.ErrorAs(t, err, &failed)
						assert.Equal(t, stall.phase, failed.Phase)
						time.Sleep(2 * time.Second) // until the peer has noticed
					})
				})
			}
		})
	}
}

func TestAContextThatIsOverIsNoStart(t *testing.T) {
	own, peer := newTubs(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a, b := unbuffered(t)
	atClient, atServer := meet(ctx, a, b, ClientConfig{Local: own, Target: peer.tubID}, ServerConfig{Find: answering(peer)})
	assert.ErrorIs(t, atClient.err, context.Canceled)
	assert.ErrorIs(t, atServer.err, context.Canceled)
}

func TestTheContextHasNoInfluenceOnAConnectionOnceItIsThere(t *testing.T) {
	own, peer := newTubs(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a, b := unbuffered(t)
		atClient, atServer := meet(ctx, a, b, ClientConfig{Local: own, Target: peer.tubID}, ServerConfig{Find: answering(peer)})
		require.NoError(t, atClient.err)
		require.NoError(t, atServer.err)
		cancel()
		time.Sleep(time.Hour)
		requireTalk(t, atClient.Result, atServer.Result)
	})
}

func TestTimeoutsAreSetForEachPhase(t *testing.T) {
	own, peer := newTubs(t)
	synctest.Test(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			timeouts Timeouts
			want     time.Duration
			option   string
		}{
			"the phase's":                 {Timeouts{Plaintext: 7 * time.Second}, 7 * time.Second, "Timeouts.Plaintext"},
			"the whole's, if it is less":  {Timeouts{Plaintext: 7 * time.Second, Total: 3 * time.Second}, 3 * time.Second, "Timeouts.Total"},
			"and that has a bound itself": {Timeouts{Plaintext: time.Hour, Total: time.Hour}, 120 * time.Second, "Timeouts.Total"},
		} {
			a, b := net.Pipe()
			start := time.Now()
			_, err := Client(t.Context(), a, ClientConfig{Local: own, Target: peer.tubID, Timeouts: test.timeouts})
			assert.Equal(t, test.want, time.Since(start), name)
			assert.ErrorContains(t, err, test.option, name)
			b.Close()
		}
		for option, phase := range map[string]Phase{"Plaintext": PhasePlaintext, "TLS": PhaseTLS, "Hello": PhaseHello, "Decision": PhaseDecision} {
			limit, name := Timeouts{Plaintext: 1, TLS: 1, Hello: 1, Decision: 1}.of(phase)
			assert.EqualValues(t, 1, limit)
			assert.Equal(t, option, name)
		}
	})
}

func TestARefusalDoesNotWaitForAPeerThatDoesNotRead(t *testing.T) {
	own, peer := newTubs(t)
	for name, test := range map[string]struct {
		heard int    // of our hello
		said  string // then
		want  error
	}{
		"what we say to its hello": {len(helloOf(own).encode()), "nonsense\r\n\r\n", ErrMalformed},
		"not even our hello":       {0, "nonsense\r\n\r\n", ErrMalformed},
		"but half of our hello":    {40, "nonsense\r\n\r\n", ErrMalformed},
		"and sends too much":       {0, string(make([]byte, maxBlock+1)), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				defer a.Close()
				go func() {
					io.ReadFull(a, make([]byte, test.heard))
					io.WriteString(a, test.said)
				}()
				start := time.Now()
				_, err := Server(t.Context(), b, ServerConfig{Local: own, Peer: peer.tls.Certificates[0].Leaf})
				assert.ErrorIs(t, err, test.want)
				assert.NotErrorIs(t, err, ErrTimeout, "that is not why")
				assert.Equal(t, farewell, time.Since(start))
			})
		})
	}
}

func TestAContextThatEndsCutsAFarewellShort(t *testing.T) {
	own, peer := newTubs(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a, b := net.Pipe()
		defer a.Close()
		go io.WriteString(a, "nonsense\r\n\r\n")
		start := time.Now()
		_, err := Server(ctx, b, ServerConfig{Local: own, Peer: peer.tls.Certificates[0].Leaf})
		assert.ErrorIs(t, err, ErrMalformed)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
	})
}

// stubborn is a stream whose Close ends reads and writes, and then does not
// return.
type stubborn struct {
	net.Conn
	release chan struct{}
}

func (s *stubborn) Close() error {
	s.Conn.Close()
	<-s.release
	return nil
}

func newStubborn(t *testing.T, conn net.Conn) *stubborn {
	s := &stubborn{conn, make(chan struct{})}
	t.Cleanup(func() { close(s.release) })
	return s
}

func TestNobodyWaitsForTheCloseOfAStream(t *testing.T) {
	own, peer := newTubs(t)
	leaf := peer.tls.Certificates[0].Leaf
	for name, test := range map[string]struct {
		client ClientConfig
		said   []byte // by the peer
		want   error
		after  time.Duration
	}{
		"when the context ends before TLS":        {ClientConfig{}, nil, context.DeadlineExceeded, time.Second},
		"when the context ends in TLS":            {ClientConfig{}, []byte(response), context.DeadlineExceeded, time.Second},
		"when the context ends in the hello slot": {ClientConfig{Peer: leaf, HelloSlot: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}, nil, context.DeadlineExceeded, time.Second},
		"when the context ends behind TLS":        {ClientConfig{Peer: leaf}, nil, context.DeadlineExceeded, time.Second},
		"when a phase lasts too long":             {ClientConfig{Peer: leaf, Timeouts: Timeouts{Hello: time.Second / 2}}, nil, ErrTimeout, time.Second / 2},
		// Only to hang up in good order there is some time.
		"when the peer is refused": {ClientConfig{Peer: leaf}, []byte("nonsense\r\n\r\n"), ErrMalformed, time.Second},
		"when the peer refuses":    {ClientConfig{Peer: leaf}, errorBlock(textInternal), ErrRemote, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				a, b := net.Pipe()
				defer a.Close()
				go io.Copy(io.Discard, a)
				go a.Write(test.said)
				test.client.Local, test.client.Target = restarted(t, own), peer.tubID
				start := time.Now()
				_, err := Client(ctx, newStubborn(t, b), test.client)
				assert.ErrorIs(t, err, test.want)
				assert.Equal(t, test.after, time.Since(start))
			})
		})
	}
	t.Run("when a newer connection takes over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			slave, master := restarted(t, own), restarted(t, peer)
			a, b := net.Pipe()
			_, first := meet(t.Context(), a, newStubborn(t, b),
				ClientConfig{Local: slave, Target: master.tubID, Peer: leaf},
				ServerConfig{Local: master, Peer: own.tls.Certificates[0].Leaf})
			require.NoError(t, first.err)
			start := time.Now()
			_, second := dial(t, restarted(t, own), master)
			assert.NoError(t, second.err)
			assert.ErrorIs(t, first.Link.Attach(nil), ErrReplaced)
			_, err := a.Read(make([]byte, 1))
			assert.Error(t, err, "the old stream is closed")
			assert.Zero(t, time.Since(start))
		})
	})
}
