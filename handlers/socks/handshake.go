package socks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"

	"golang.org/x/net/proxy"

	"github.com/foolscap-go/foolscap/handlers"
)

// The bytes of a proxy that are looked at (RFC 1928, RFC 1929).
const (
	version5         = 5
	methodNone       = 0
	methodPassword   = 2
	methodRefused    = 0xff
	passwordAccepted = 0
)

// dial connects to a target through the proxy. When it returns, all that it has
// started is over. The phase is the one in which it failed: PhaseDial until the
// proxy is ready to take the request, then PhaseProxy.
func (d *Dialer) dial(ctx context.Context, host string, port uint16, report func(handlers.Phase, string)) (net.Conn, handlers.Phase, error) {
	if end := handlers.Ended(ctx); end != nil {
		return nil, handlers.PhaseDial, end
	}
	target := net.JoinHostPort(host, strconv.Itoa(int(port)))
	report(handlers.PhaseDial, "connecting to the proxy "+d.address)
	conn, err := d.forward.DialContext(ctx, d.network, d.address)
	if err != nil {
		return nil, handlers.PhaseDial, orEnded(ctx, handlers.PhaseDial, unreachable(wayError{err}))
	}
	auth := d.credentials(handlers.IsolationFromContext(ctx))
	h := &handshake{
		Conn:     conn,
		offered:  auth != nil,
		required: d.isolate,
		ready:    func() { report(handlers.PhaseProxy, "waiting for the proxy to connect to "+target) },
	}

	// Given ctx, the library would set deadlines from a goroutine that nobody
	// waits for, and that is of no use where a connection knows no deadlines.
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.Close()
		close(interrupted)
	})
	err = h.run(auth, target)
	if !stop() {
		<-interrupted
	}
	if err == nil && handlers.Ended(ctx) == nil {
		return conn, "", nil
	}
	conn.Close()
	return nil, h.phase(), orEnded(ctx, h.phase(), d.classify(h, err))
}

// handshake is the connection to the proxy as the library sees it. It keeps the
// first bytes of the proxy, since the library tells what they say in words only,
// and puts right where the library is too lenient.
type handshake struct {
	net.Conn
	offered  bool   // we offer a user name and password
	required bool   // and the proxy has to look at them
	ready    func() // called before the request goes out

	answer    [6]byte // choice of method (2), outcome of authentication (0 or 2), version and reply
	n         int     // how much of it there is
	requested bool
}

// run performs the handshake and returns the library's error, or Read's.
func (h *handshake) run(auth *proxy.Auth, target string) error {
	// The library's only use for the proxy's address is to dial it through h.
	dialer, err := proxy.SOCKS5("tcp", "", auth, h)
	if err != nil {
		return err
	}
	_, err = dialer.(proxy.ContextDialer).DialContext(context.Background(), "tcp", target)
	if op, ok := err.(*net.OpError); ok { // the library's own; we have better words
		err = op.Err
	}
	return err
}

// Dial and DialContext give the library h itself.
func (h *handshake) Dial(string, string) (net.Conn, error) { return h, nil }

func (h *handshake) DialContext(context.Context, string, string) (net.Conn, error) { return h, nil }

func (h *handshake) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	chosen := h.n >= 2
	h.n += copy(h.answer[h.n:], p[:n])
	if !chosen && h.n >= 2 && h.answer[0] == version5 {
		if fault := h.methodFault(h.answer[1]); fault != nil {
			return 0, fault // with n, the library would not look at the error
		}
	}
	return n, err
}

// methodFault says why the method that the proxy has chosen will not do.
func (h *handshake) methodFault(method byte) error {
	switch {
	case method == methodNone && h.required:
		return refusal{ErrNotIsolated}
	case method == methodRefused, method == methodPassword && !h.offered:
		return refusal{ErrCredentials}
	case method != methodNone && method != methodPassword:
		return fmt.Errorf("it chose the authentication method %d, which was not offered", method)
	default:
		return nil
	}
}

func (h *handshake) Write(p []byte) (int, error) {
	if !h.requested && h.n >= h.replyAt() {
		h.requested = true
		h.ready()
	}
	return h.Conn.Write(p)
}

// replyAt is where the reply begins in answer.
func (h *handshake) replyAt() int {
	if h.answer[1] == methodPassword {
		return 4
	}
	return 2
}

func (h *handshake) phase() handlers.Phase {
	if h.requested {
		return handlers.PhaseProxy
	}
	return handlers.PhaseDial
}

// classify says what it means that a handshake has failed with err.
func (d *Dialer) classify(h *handshake, err error) error {
	at := h.replyAt()
	switch {
	case errors.As(err, new(refusal)):
		return err
	case h.n > 0 && h.answer[0] != version5:
		return unreachable(fmt.Errorf("what answers at %s is not a SOCKS5 proxy: its first byte is 0x%02x", d.address, h.answer[0]))
	case !h.requested && at == 4 && h.n == at && h.answer[3] != passwordAccepted:
		return refusal{ErrCredentials}
	case h.requested && h.n >= at+2 && h.answer[at] == version5 && h.answer[at+1] != byte(Succeeded):
		return &ReplyError{Proxy: d.address, Code: ReplyCode(h.answer[at+1])}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return unreachable(fmt.Errorf("%s hung up during the handshake: %w", d.address, err))
	default:
		return unreachable(fmt.Errorf("the handshake with %s: %w", d.address, err))
	}
}

// orEnded returns err, or why ctx ended if that is what stopped the dial. A
// deadline is held against the proxy as long as it has not even taken the request.
func orEnded(ctx context.Context, phase handlers.Phase, err error) error {
	end := handlers.Ended(ctx)
	switch {
	case end == nil:
		return err
	case phase == handlers.PhaseDial && errors.Is(end, context.DeadlineExceeded):
		return unreachable(end)
	default:
		return end
	}
}

func unreachable(err error) error {
	return fmt.Errorf("%w: %w", handlers.ErrProxyUnreachable, err)
}

// refusal is a way in which the proxy says no.
type refusal struct{ error }

func (r refusal) Unwrap() []error { return []error{r.error, handlers.ErrProxyRefused} }

// wayError is why the proxy could not be reached, from the way to it. That may be
// another proxy, whose word about this one must not be taken for one about the
// peer: the sentinels that would say so are hidden.
type wayError struct{ err error }

func (e wayError) Error() string { return e.err.Error() }

func (e wayError) Is(target error) bool {
	switch target {
	case handlers.ErrUnreachable, handlers.ErrInvalidHint, handlers.ErrNameNotResolved:
		return false
	default:
		return errors.Is(e.err, target)
	}
}

func (e wayError) As(target any) bool { return errors.As(e.err, target) }
