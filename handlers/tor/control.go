package tor

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"sync"
	"time"

	"github.com/cretz/bine/control"

	"github.com/foolscap-go/foolscap/handlers"
)

// ErrControlRefused says that tor's control port did not let us in. The error
// that wraps it says why, and also wraps handlers.ErrProxyRefused.
var ErrControlRefused = errors.New("tor's control port does not let us in")

const (
	// controlTimeout is how long tor may take for an answer. It takes milliseconds
	// unless it has stopped, or is about to.
	controlTimeout = 20 * time.Second

	// maxGreeting bounds what is read before tor has proven to be the one that
	// is trusted with everything anyway, in bytes.
	maxGreeting = 64 << 10
)

// An address is where a port of tor is.
type address struct{ network, text string }

func (a address) String() string {
	if a.network == "unix" {
		return "unix:" + a.text
	}
	return a.text
}

// controller is an authenticated connection to the control port of a tor. Its
// methods may be called concurrently.
type controller struct {
	conn net.Conn
	tor  *control.Conn

	// asking is held during a request: the library would mix up the answers of
	// two.
	asking sync.Mutex
	over   bool // under asking: there will be no more answers

	events chan control.Event
	done   chan struct{} // closed when the connection has ended
	wg     sync.WaitGroup
}

// openController connects and authenticates.
func openController(ctx context.Context, at address, password string) (*controller, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, at.network, at.text)
	if end := handlers.Ended(ctx); err != nil && end != nil {
		return nil, end
	}
	if err != nil {
		return nil, fmt.Errorf("%w: tor's control port: %w", handlers.ErrProxyUnreachable, err)
	}
	limited := &limitedConn{Conn: conn, left: maxGreeting}
	c := &controller{
		conn:   conn,
		tor:    control.NewConn(textproto.NewConn(limited)),
		events: make(chan control.Event, 64),
		done:   make(chan struct{}),
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err = authenticate(c.tor, password)
	if !stop() {
		err = handlers.Ended(ctx)
	}
	if err != nil {
		conn.Close()
		if errors.Is(err, ErrControlRefused) {
			return nil, fmt.Errorf("%w: %w", handlers.ErrProxyRefused, err)
		}
		return nil, fmt.Errorf("%w: what answers at %v does not behave like a control port of tor: %w", handlers.ErrProxyUnreachable, at, err)
	}
	limited.left = -1
	c.wg.Go(c.read)
	return c, nil
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
func authenticate(tor *control.Conn, password string) error {
	refused := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrControlRefused, fmt.Errorf(format, args...))
	}
	info, err := tor.ProtocolInfo()
	if err != nil {
		return err
	}
	withCookie := info.HasAuthMethod("SAFECOOKIE") || info.HasAuthMethod("COOKIE")
	secret := password
	switch {
	case info.HasAuthMethod("NULL"):
		secret = ""
	case password != "" && info.HasAuthMethod("HASHEDPASSWORD"):
	case withCookie:
		// The file is what the other side says it is, so it must not be just any.
		cookie, err := readCookie(info.CookieFile)
		if err != nil {
			return refused("its cookie cannot be read: %w; let this user read it, or set a password on both sides", err)
		}
		if info.HasAuthMethod("SAFECOOKIE") {
			// Tor has to prove first that it knows the cookie.
			if err := tor.Authenticate(""); err != nil {
				return refused("%w", err)
			}
			return nil
		}
		secret = string(cookie)
	case info.HasAuthMethod("HASHEDPASSWORD"):
		return refused("it wants a password, and none is given")
	default:
		return refused("it wants one of %q, none of which is known here", info.AuthMethods)
	}
	command := "AUTHENTICATE"
	if secret != "" {
		command += " " + hex.EncodeToString([]byte(secret))
	}
	if _, err := tor.SendRequest("%s", command); err != nil {
		return refused("%w", err)
	}
	return nil
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

// read takes what comes unasked, until the connection ends.
func (c *controller) read() {
	for c.tor.HandleNextEvent() == nil {
	}
	c.conn.Close()
	close(c.done)
	c.asking.Lock() // a request may be handing over an event
	defer c.asking.Unlock()
	c.over = true
	close(c.events)
}

// subscribe makes handle be called with the events of these kinds, one after the
// other. It can be used once.
func (c *controller) subscribe(ctx context.Context, handle func(control.Event), kinds ...control.EventCode) error {
	c.wg.Go(func() {
		for event := range c.events {
			handle(event)
		}
	})
	_, err := c.ask(ctx, func() (*control.Response, error) { return nil, c.tor.AddEventListener(c.events, kinds...) })
	return err
}

// request sends a command and returns the answer. An error of tor's wraps a
// *textproto.Error. When ctx ends first, the connection is closed.
func (c *controller) request(ctx context.Context, command string) (*control.Response, error) {
	return c.ask(ctx, func() (*control.Response, error) { return c.tor.SendRequest("%s", command) })
}

func (c *controller) ask(ctx context.Context, f func() (*control.Response, error)) (*control.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	c.asking.Lock()
	defer c.asking.Unlock()
	if c.over {
		return nil, fmt.Errorf("%w: the control connection has been lost", handlers.ErrProxyUnreachable)
	}
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	response, err := f()
	if !stop() {
		return nil, fmt.Errorf("tor's control port does not answer: %w", handlers.Ended(ctx))
	}
	var refusal *textproto.Error
	if err != nil && !errors.As(err, &refusal) {
		err = fmt.Errorf("%w: the control connection has been lost: %w", handlers.ErrProxyUnreachable, err)
	}
	return response, err
}

// close ends the connection and waits for what belongs to it.
func (c *controller) close() {
	c.conn.Close()
	c.wg.Wait()
}
