package tor

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cretz/bine/control"

	"github.com/foolscap-go/foolscap/handlers"
)

// ErrControlRefused says that tor's control port did not let us in. The error
// that wraps it says why, and also wraps handlers.ErrProxyRefused.
var ErrControlRefused = errors.New("tor's control port does not let us in")

// controlTimeout is how long tor may take for an answer. It takes milliseconds
// unless it has stopped, or is about to.
var controlTimeout = 20 * time.Second

// maxGreeting bounds what is read before tor has proven to be the one that is
// trusted with everything anyway, in bytes.
const maxGreeting = 64 << 10

// An address is where a port of tor is.
type address struct{ network, text string }

func (a address) String() string {
	if a.network == "unix" {
		return "unix:" + a.text
	}
	return a.text
}

// onlyHere reports whether the address means something else, or nothing, on another
// machine.
func (a address) onlyHere() bool {
	at, err := netip.ParseAddrPort(a.text)
	return a.network == "unix" || err == nil && (at.Addr().Unmap().IsLoopback() || at.Addr().IsUnspecified())
}

// controller is an authenticated connection to the control port of a tor. Its
// methods may be called concurrently.
//
// The library parses what tor says. It is not left to read while nothing is asked:
// one line that it does not expect then would keep it busy for ever.
type controller struct {
	conn net.Conn
	text *textproto.Conn
	tor  *control.Conn
	take func(control.Event)

	asking  sync.Mutex             // held during a request
	asked   chan struct{}          // has room for one, which stands for a request without an answer
	answers chan *control.Response // has room for one
	done    chan struct{}          // closed when the connection has ended
}

// openController connects and authenticates. take is called with the events that
// are asked for, and must not wait for the controller.
func openController(ctx context.Context, at address, password string, take func(control.Event)) (*controller, error) {
	limited, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(limited, at.network, at.text)
	if err != nil && handlers.Ended(limited) != nil {
		return nil, unanswered(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: tor's control port: %w", handlers.ErrProxyUnreachable, err)
	}
	greeting := &limitedConn{Conn: conn, left: maxGreeting}
	text := textproto.NewConn(greeting)
	c := &controller{
		conn:    conn,
		text:    text,
		tor:     control.NewConn(text),
		take:    take,
		asked:   make(chan struct{}, 1),
		answers: make(chan *control.Response, 1),
		done:    make(chan struct{}),
	}
	stop := context.AfterFunc(limited, func() { conn.Close() })
	err = authenticate(c.tor, password)
	if !stop() {
		return nil, unanswered(ctx)
	}
	if err != nil {
		conn.Close()
		if errors.Is(err, ErrControlRefused) {
			return nil, fmt.Errorf("%w: %w", handlers.ErrProxyRefused, err)
		}
		return nil, fmt.Errorf("%w: what answers at %v does not behave like a control port of tor: %w", handlers.ErrProxyUnreachable, at, err)
	}
	greeting.left = -1
	go c.read()
	return c, nil
}

// unanswered is the error of a wait for the control port that has ended with ctx
// or, if that goes on, after controlTimeout.
func unanswered(ctx context.Context) error {
	switch end := handlers.Ended(ctx); {
	case end == nil:
		return fmt.Errorf("%w: tor's control port has not answered for %v", handlers.ErrProxyUnreachable, controlTimeout)
	case errors.Is(end, context.DeadlineExceeded):
		return fmt.Errorf("%w: tor's control port does not answer: %w", handlers.ErrProxyUnreachable, end)
	default:
		return end
	}
}

// limitedConn ends after some bytes, unless left is negative. The field belongs
// to who reads.
type limitedConn struct {
	net.Conn
	left int
}

func (c *limitedConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errors.New("it sends too much")
	}
	if c.left > 0 && len(p) > c.left {
		p = p[:c.left]
	}
	n, err := c.Conn.Read(p)
	if c.left > 0 {
		c.left -= n
	}
	return n, err
}

// authenticate does what tor asks for. The library is not left to choose, as it
// prefers a cookie that cannot be read over a password that is given.
//
// The method COOKIE, to show the cookie, is not used: the file is what the other
// side says it is, and whoever listens there could have any file of that size
// shown to him. Every tor that is not ancient has SAFECOOKIE, too.
func authenticate(tor *control.Conn, password string) error {
	refused := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrControlRefused, fmt.Errorf(format, args...))
	}
	// The connection may also just have been lost.
	judged := func(err error) error {
		var refusal *textproto.Error
		if errors.As(err, &refusal) || errors.Is(err, errWrongProof) {
			return refused("%w", err)
		}
		return err
	}
	info, err := tor.ProtocolInfo()
	if err != nil {
		return err
	}
	var secret []byte
	switch {
	case info.HasAuthMethod("NULL"):
	case password != "" && info.HasAuthMethod("HASHEDPASSWORD"):
		secret = []byte(password)
	case info.HasAuthMethod("SAFECOOKIE"):
		cookie, err := readCookie(info.CookieFile)
		if err != nil {
			return refused("its cookie cannot be read: %w; let this user read it, or set a password on both sides", err)
		}
		if secret, err = proveCookie(tor, cookie); err != nil {
			return judged(err)
		}
	case info.HasAuthMethod("HASHEDPASSWORD"):
		return refused("it wants a password, and none is given")
	default:
		return refused("it wants one of %q, none of which is used here; set a password on both sides", info.AuthMethods)
	}
	command := "AUTHENTICATE"
	if len(secret) > 0 {
		command += " " + hex.EncodeToString(secret)
	}
	_, err = tor.SendRequest("%s", command)
	return judged(err)
}

var errWrongProof = errors.New("it does not know the cookie in the file that it names")

// proveCookie returns the proof that we know the cookie (method SAFECOOKIE). Tor has
// to prove first that it knows it.
func proveCookie(tor *control.Conn, cookie []byte) ([]byte, error) {
	nonce := make([]byte, 32)
	rand.Read(nonce)
	response, err := tor.SendRequest("AUTHCHALLENGE SAFECOOKIE %x", nonce)
	if err != nil {
		return nil, err
	}
	var proof, itsNonce []byte
	if _, err := fmt.Sscanf(response.Reply, "AUTHCHALLENGE SERVERHASH=%x SERVERNONCE=%x", &proof, &itsNonce); err != nil {
		return nil, fmt.Errorf("the answer to AUTHCHALLENGE: %w", err)
	}
	over := func(key string) []byte {
		mac := hmac.New(sha256.New, []byte("Tor safe cookie authentication "+key))
		for _, part := range [][]byte{cookie, nonce, itsNonce} {
			mac.Write(part)
		}
		return mac.Sum(nil)
	}
	if !hmac.Equal(proof, over("server-to-controller hash")) {
		return nil, errWrongProof
	}
	return over("controller-to-server hash"), nil
}

func readCookie(path string) ([]byte, error) {
	const size = 32
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() != size {
		return nil, fmt.Errorf("%s is no cookie, which has %d bytes", path, size)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cookie := make([]byte, size)
	_, err = io.ReadFull(f, cookie)
	return cookie, err
}

// read takes what tor says, until the connection ends. An answer to nothing ends
// it: whose answers the next ones are could not be known.
func (c *controller) read() {
	defer close(c.done)
	defer c.conn.Close()
	for {
		response, err := c.tor.ReadResponse()
		if err != nil {
			return
		}
		if response.IsAsync() {
			code, data, _ := strings.Cut(response.Reply, " ") // all that we ask for have one line
			c.take(control.ParseEvent(control.EventCode(code), data, nil))
			continue
		}
		select {
		case <-c.asked:
			c.answers <- response
		default:
			return
		}
	}
}

// request sends a command and returns the answer. When tor does not take the
// command the error wraps a *textproto.Error, when ctx ends it is that of ctx, and
// otherwise it wraps handlers.ErrProxyUnreachable. The connection outlives only the
// first.
func (c *controller) request(ctx context.Context, command string) (*control.Response, error) {
	limited, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	c.asking.Lock()
	defer c.asking.Unlock()
	lost := fmt.Errorf("%w: the control connection has been lost", handlers.ErrProxyUnreachable)
	select {
	case c.asked <- struct{}{}:
	case <-c.done:
		return nil, lost
	}
	stop := context.AfterFunc(limited, func() { c.conn.Close() })
	if err := c.text.PrintfLine("%s", command); err != nil {
		c.conn.Close()
	}
	var response *control.Response
	select {
	case response = <-c.answers:
	case <-c.done:
		select {
		case response = <-c.answers: // the last thing that it said
		default:
		}
	}
	switch {
	case !stop():
		return nil, unanswered(ctx)
	case response == nil:
		return nil, lost
	case !response.IsOk():
		return nil, response.Err
	}
	return response, nil
}

// close ends the connection and waits for what belongs to it.
func (c *controller) close() {
	c.conn.Close()
	<-c.done
}
