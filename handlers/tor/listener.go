package tor

import (
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cretz/bine/control"
	"github.com/cretz/bine/torutil"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// ListenOption sets an option of a Listener.
type ListenOption func(*Listener)

// WithKeyFile keeps the key of the onion service in a file, for its owner only, so
// that the address stays the same; the file is made if missing. It has one line as
// the command ADD_ONION takes it, "ED25519-V3:" and base64. Without this option
// the address is a new one each time.
func WithKeyFile(path string) ListenOption { return func(l *Listener) { l.keyFile = path } }

// WithLocalAddress makes tor hand connections over at "host:port", where the host
// must be an IP address of this machine, or at "unix:" and the path of a socket
// that does not exist yet. By default it is a free port of 127.0.0.1, to which
// every user of this machine can connect, and for a tor that is launched a socket
// that only this user can use. An address that other machines can reach, which a
// tor on another machine needs, reveals where the Listener is, and Exposure says so.
func WithLocalAddress(at string) ListenOption { return func(l *Listener) { l.localAddress = at } }

// WithAuthorizedClients admits only clients that have the private key to one of
// these X25519 keys. Others cannot even find out whether the service is up.
func WithAuthorizedClients(keys ...*ecdh.PublicKey) ListenOption {
	return func(l *Listener) { l.clients = append(l.clients, keys...) }
}

// ProofOfWork is the defence of an onion service against floods: the more clients
// want in, the more work each has to show. Zero values mean those of tor.
type ProofOfWork struct {
	QueueRate  int // connections that are let in per second
	QueueBurst int // and how many at once
}

// WithProofOfWork switches the defence on. Tor needs to be 0.4.9 or newer and
// built with it; otherwise Listen fails.
func WithProofOfWork(p ProofOfWork) ListenOption { return func(l *Listener) { l.work = &p } }

// WithLogger reports to logger what tor waits for and when the service is
// published, and as warnings what keeps it from that. By default nothing is
// logged.
func WithLogger(logger *slog.Logger) ListenOption { return func(l *Listener) { l.logger = logger } }

// Listener is an onion service. It implements handlers.Acceptor; its methods may
// be called concurrently. Make one with Listen.
type Listener struct {
	tor          *Tor
	port         uint16
	keyFile      string
	localAddress string
	clients      []*ecdh.PublicKey
	work         *ProofOfWork
	logger       *slog.Logger

	key    *control.ED25519Key
	name   string // the onion address without .onion
	local  net.Listener
	socket string // the directory of a socket of our own, or ""

	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	closeOnce sync.Once

	mu         sync.Mutex
	advertised bool
	changed    chan struct{} // closed when advertised changes
	uploads    *uploads      // since the service was last handed to tor
}

var _ handlers.Acceptor = (*Listener)(nil)

// Listen makes an onion service that is reached at a port of its address. It
// returns when tor has taken the service, after starting tor if need be; ctx
// governs only that. Its hint appears when the service is published, seconds later.
//
// From then on the Listener sees to it that tor has the service: should tor end or
// the control connection be lost, it tries again for as long as it takes. The hint
// stays meanwhile, as the address does.
//
// It fails with ErrNoControl if via is made by SOCKS, with the error and the cause of
// ctx when that is cancelled, with an error that wraps handlers.ErrProxyUnreachable or
// handlers.ErrProxyRefused (see ErrControlRefused) if tor cannot be talked to, and
// otherwise says what tor does not like.
func Listen(ctx context.Context, via *Tor, port uint16, opts ...ListenOption) (_ *Listener, err error) {
	l := &Listener{
		tor:     via,
		port:    port,
		logger:  slog.New(slog.DiscardHandler),
		changed: make(chan struct{}),
	}
	for _, opt := range opts {
		opt(l)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("tor: cannot make an onion service: %w", err)
		}
	}()
	switch {
	case via.err == nil && via.connect == nil:
		return nil, ErrNoControl
	case port == 0:
		return nil, errors.New("its port must be in 1..65535")
	case ctx.Err() != nil:
		return nil, handlers.Ended(ctx)
	}
	for _, client := range l.clients {
		if client == nil || client.Curve() != ecdh.X25519() {
			return nil, errors.New("a key of an authorised client is not one of X25519")
		}
	}
	if l.keyFile != "" {
		l.key, err = loadOrCreateKey(l.keyFile, l.logger)
	} else {
		l.key, err = newKey()
	}
	if err != nil {
		return nil, err
	}
	l.name = torutil.OnionServiceIDFromPrivateKey(l.key.KeyPair)
	if err := via.acquire(); err != nil {
		return nil, err
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if err = l.listen(ctx); err == nil {
		var c *controller
		if c, err = l.publish(ctx); err == nil {
			l.wg.Go(func() { l.keep(c) })
			return l, nil
		}
	}
	l.Close()
	return nil, err
}

// listen opens the local end.
func (l *Listener) listen(ctx context.Context) error {
	at := address{"tcp", "127.0.0.1:0"}
	switch {
	case l.localAddress != "":
		var err error
		if at, err = parseAddress(l.localAddress, 0); err != nil {
			return err
		}
	case l.tor.ours && runtime.GOOS != "windows":
		// The path must be short, so the data directory is no place for it.
		dir, err := os.MkdirTemp("", "foolscap-onion-") // mode 0700
		if err != nil {
			return err
		}
		l.socket = dir
		at = address{"unix", filepath.Join(dir, "socket")}
	}
	if strings.ContainsAny(at.text, " \t\r\n\"") {
		return fmt.Errorf("the control protocol has no way to say %q", at.text)
	}
	var config net.ListenConfig
	local, err := config.Listen(ctx, at.network, at.text)
	l.local = local
	return err
}

// publish hands the service to tor, over a control connection of its own: tor
// takes the service back when that ends.
func (l *Listener) publish(ctx context.Context) (*controller, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	link, err := l.tor.open(ctx, l.waiting)
	if err != nil {
		return nil, err
	}
	u := newUploads(l.advertise, l.rejected)
	c, err := openController(ctx, link.at, link.password, func(event control.Event) {
		if e, ok := event.(*control.HSDescEvent); ok && e.Address == l.name {
			u.take(e)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := l.add(ctx, c); err != nil {
		u.stop()
		c.close()
		return nil, err
	}
	l.mu.Lock()
	if l.uploads != nil {
		l.uploads.stop()
	}
	l.uploads = u
	l.mu.Unlock()
	l.wg.Go(func() { _ = link.waitReady(l.ctx, l.waiting) }) // it only tells
	return c, nil
}

// add makes tor take the service.
func (l *Listener) add(ctx context.Context, c *controller) error {
	// Before the service exists, or the news that it is published could be missed.
	if _, err := c.request(ctx, "SETEVENTS "+string(control.EventCodeHSDesc)); err != nil {
		return refusedCommand(err, "let a filter before it pass SETEVENTS HS_DESC")
	}
	response, err := c.request(ctx, l.addOnion())
	if err != nil {
		return l.explain(err)
	}
	if !slices.Contains(response.Data, "ServiceID="+l.name) {
		return fmt.Errorf("tor has made a service with another address than %s of its key", l.Onion())
	}
	return nil
}

// waiting is told what keeps tor from publishing the service.
func (l *Listener) waiting(text string) {
	l.logger.Info("waiting for tor: "+text, slog.String("onion", l.Onion()))
}

// addOnion returns the command that makes the service. It contains the key.
func (l *Listener) addOnion() string {
	var b strings.Builder
	fmt.Fprintf(&b, "ADD_ONION %s:%s", l.key.Type(), l.key.Blob())
	if len(l.clients) > 0 {
		b.WriteString(" Flags=V3Auth")
	}
	if l.work != nil {
		b.WriteString(" PoWDefensesEnabled=1")
		if l.work.QueueRate > 0 {
			fmt.Fprintf(&b, " PoWQueueRate=%d", l.work.QueueRate)
		}
		if l.work.QueueBurst > 0 {
			fmt.Fprintf(&b, " PoWQueueBurst=%d", l.work.QueueBurst)
		}
	}
	target := l.local.Addr().String()
	if l.local.Addr().Network() == "unix" {
		target = "unix:" + target
	}
	fmt.Fprintf(&b, " Port=%d,%s", l.port, target)
	for _, client := range l.clients {
		b.WriteString(" ClientAuthV3=" + base32Keys.EncodeToString(client.Bytes()))
	}
	return b.String()
}

// explain turns tor's answer to ADD_ONION into something for a person.
func (l *Listener) explain(err error) error {
	var refusal *textproto.Error
	if !errors.As(err, &refusal) {
		return err
	}
	err = withoutSecret(err, l.key.Blob())
	if strings.Contains(refusal.Msg, "collision") {
		return fmt.Errorf("tor runs a service with this key already; another program, or another Listener, uses the key file: %w", err)
	}
	return fmt.Errorf("tor does not take it; an older tor may not know all of it: %w", err)
}

// keep hands the service to tor again whenever the control connection has ended.
func (l *Listener) keep(c *controller) {
	delay := time.Duration(0)
	for {
		began := time.Now()
		select {
		case <-c.done:
			c.close()
		case <-l.ctx.Done():
			l.remove(c)
			return
		}
		l.logger.Warn("tor has ended, or has closed the control connection; publishing the onion service again", slog.String("onion", l.Onion()))
		delay = nextDelay(delay, time.Since(began))
		for failed := false; ; delay = nextDelay(delay, 0) {
			retry := time.NewTimer(delay)
			select {
			case <-retry.C:
			case <-l.ctx.Done():
				retry.Stop()
				return
			}
			var err error
			if c, err = l.publish(l.ctx); err == nil {
				break
			}
			if l.ctx.Err() != nil {
				return
			}
			if !failed {
				l.logger.Warn("the onion service cannot be published for now; trying again", slog.String("onion", l.Onion()), slog.String("error", err.Error()))
				failed = true
			}
		}
	}
}

// nextDelay returns how long to wait before the service is handed to tor again, after
// the delay before, if any, and a connection that has lived for some time. One that
// is soon lost counts as a failure: tor may take the service and end each time.
func nextDelay(last, lived time.Duration) time.Duration {
	const first, longest, stable = 250 * time.Millisecond, 5 * time.Second, 30 * time.Second
	if last == 0 || lived >= stable {
		return first
	}
	return min(2*last, longest)
}

// remove takes the service back and ends the control connection. The latter alone
// would do, but not in any order with what another connection asks for.
func (l *Listener) remove(c *controller) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	_, _ = c.request(ctx, "DEL_ONION "+l.name)
	c.close()
}

// advertise is called when the service has been published.
func (l *Listener) advertise() {
	l.logger.Info("the onion service is published", slog.String("onion", l.Onion()))
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.advertised && l.ctx.Err() == nil {
		l.advertised = true
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// rejected is called when a directory has not taken the descriptor of the service.
func (l *Listener) rejected(reason string) {
	l.logger.Warn("a directory does not take the descriptor of the onion service; clients may not find it", slog.String("onion", l.Onion()), slog.String("reason", reason))
}

// Onion returns the address of the service, which ends in ".onion".
func (l *Listener) Onion() string { return withOnion(l.name) }

// Addr returns the local address to which tor connects.
func (l *Listener) Addr() net.Addr { return l.local.Addr() }

// Hints returns the hint of the service once it is published, and until Close.
func (l *Listener) Hints() ([]furl.Hint, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ctx.Err() != nil:
		return nil, nil
	case !l.advertised:
		return nil, l.changed
	default:
		return []furl.Hint{furl.StreamHint("tor", l.Onion(), l.port)}, l.changed
	}
}

// Exposure says that nothing is revealed, unless WithLocalAddress has opened the
// local end to other machines.
func (l *Listener) Exposure() handlers.Exposure {
	if at, ok := l.local.Addr().(*net.TCPAddr); ok && !at.IP.IsLoopback() {
		return handlers.Exposure{}
	}
	return handlers.Exposure{HidesAddress: true, HidesLookups: true}
}

// Accept waits for the next connection. When the system lacks the means to
// accept one it tries again, after 5 ms at first and a second at most. After Close
// it reports an error that wraps net.ErrClosed.
func (l *Listener) Accept() (handlers.Stream, error) {
	const firstDelay, maxDelay = 5 * time.Millisecond, time.Second
	for delay := firstDelay; ; delay = min(2*delay, maxDelay) {
		conn, err := l.local.Accept()
		if err == nil {
			return handlers.Stream{Conn: conn}, nil
		}
		if l.ctx.Err() != nil {
			return handlers.Stream{}, fmt.Errorf("tor: the listener has been closed: %w", net.ErrClosed)
		}
		if !passing(err) {
			return handlers.Stream{}, fmt.Errorf("tor: %w", err)
		}
		if delay == firstDelay {
			l.logger.Warn("cannot accept connections for now; trying again", slog.String("error", err.Error()))
		}
		retry := time.NewTimer(delay)
		select {
		case <-retry.C:
		case <-l.ctx.Done():
			retry.Stop()
		}
	}
}

// passing reports whether an error of accept is about one connection or about
// resources that come back.
func passing(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.ECONNRESET} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Close takes the service back, ends tor if it is our own and nothing else uses
// it, and waits for that. Streams that Accept has returned stay open as long as
// tor lives.
func (l *Listener) Close() error {
	l.closeOnce.Do(func() {
		l.mu.Lock()
		l.cancel()
		close(l.changed)
		if l.uploads != nil {
			l.uploads.stop()
		}
		l.mu.Unlock()
		if l.local != nil {
			l.local.Close()
		}
		l.wg.Wait()
		l.tor.release()
		if l.socket != "" {
			os.RemoveAll(l.socket)
		}
	})
	return nil
}
