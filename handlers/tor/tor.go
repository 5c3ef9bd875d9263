package tor

import (
	"context"
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cretz/bine/control"
	"github.com/cretz/bine/torutil"

	"github.com/foolscap-go/foolscap/handlers"
)

// ErrNoControl says that an onion service, or a client key, was asked of a tor of
// which only the SOCKS port is known.
var ErrNoControl = errors.New("this needs a tor whose control port is known; use Control or Launch instead of SOCKS")

// The ports of a tor that runs as a system service, and of the one in a Tor
// Browser.
var usualSOCKS = []address{{"tcp", "127.0.0.1:9050"}, {"tcp", "127.0.0.1:9150"}}

const usualControl = "127.0.0.1:9051"

// A Tor says which tor program to use. Nothing is contacted or started before a
// Handler dials or a Listener is made. Those that share a Tor share what it has
// started; it ends with the last of them that is closed. Make one with SOCKS,
// Control or Launch.
type Tor struct {
	err         error // of what it was made with
	description string
	fixed       []address // SOCKS ports that are given
	keys        []clientKey
	ours        bool                                 // it is launched
	connect     func(context.Context) (*link, error) // nil if there is no control port
	status      status

	// lives is held while the first user comes or the last one goes.
	lives sync.Mutex
	users int // under lives

	mu      sync.Mutex
	ctx     context.Context // of the users; nil while there are none
	cancel  context.CancelFunc
	running sync.WaitGroup // grows from zero only under mu while ctx goes on
	current *attempt
	given   map[string]bool // onions whose client keys tor has from us
}

// SOCKS uses a running tor by its SOCKS port: "host:port", where the host must be
// an IP address, or "unix:" and the path of a socket. "" stands for the usual
// places, 127.0.0.1:9050 and then 127.0.0.1:9150. It is good for dialling alone.
func SOCKS(at string) *Tor {
	if at == "" {
		return &Tor{fixed: usualSOCKS, description: "tor"}
	}
	parsed, err := parseAddress(at, 1)
	return &Tor{err: err, fixed: []address{parsed}, description: "tor via " + parsed.String()}
}

// ControlConfig says how to use the control port of a running tor. The zero value
// means the usual place and a cookie.
type ControlConfig struct {
	// Address is "host:port", where the host must be an IP address, or "unix:"
	// and the path of a socket; default 127.0.0.1:9051.
	Address string
	// Password is shown to tor if it wants one. Without it tor's cookie is, whose
	// file must be readable.
	Password string
	// SOCKS is tor's SOCKS port, in the form of Address; default: tor is asked
	// for it.
	SOCKS string
	// ClientKeys has our keys for onion services that admit authorised clients
	// only, by their onion address. Tor forgets them when the Tor ends, unless
	// the control connection has been lost by then and not been needed again.
	ClientKeys map[string]*ecdh.PrivateKey
}

// Control uses a running tor by its control port. Handlers and Listeners outlive
// its restart.
func Control(c ControlConfig) *Tor {
	if c.Address == "" {
		c.Address = usualControl
	}
	at, err := parseAddress(c.Address, 1)
	t := &Tor{err: err, description: "tor via control port " + at.String()}
	if c.SOCKS != "" {
		fixed, err := parseAddress(c.SOCKS, 1)
		t.fixed, t.err = []address{fixed}, errors.Join(t.err, err)
	}
	t.setKeys(c.ClientKeys)
	t.connect = func(ctx context.Context) (*link, error) {
		t.status.set("connecting to tor's control port " + at.String())
		return t.link(ctx, at, c.Password)
	}
	return t
}

// parseAddress reads an address with a port that is not below lowest. A name would
// have to be looked up.
func parseAddress(text string, lowest uint64) (address, error) {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if path == "" {
			return address{}, fmt.Errorf("tor: the address %q has no path", text)
		}
		return address{"unix", path}, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return address{}, fmt.Errorf("tor: the address %q: %w", text, err)
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return address{}, fmt.Errorf("tor: the address %q: the host must be an IP address, since nothing is looked up", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n < lowest {
		return address{}, fmt.Errorf("tor: the address %q: the port must be a number in %d..65535", text, lowest)
	}
	return address{"tcp", text}, nil
}

// clientKey is a key for one onion service.
type clientKey struct {
	onion string // without .onion
	key   *ecdh.PrivateKey
}

func (t *Tor) setKeys(keys map[string]*ecdh.PrivateKey) {
	for onion, key := range keys {
		name, _ := onionName(withOnion(onion))
		err := checkOnion(name)
		if err == nil && (key == nil || key.Curve() != ecdh.X25519()) {
			err = errors.New("the key is not one of X25519")
		}
		if err != nil {
			t.err = errors.Join(t.err, fmt.Errorf("tor: a client key for %q: %w", onion, err))
		}
		t.keys = append(t.keys, clientKey{name, key})
	}
}

// acquire makes the caller a user, who has to call release.
func (t *Tor) acquire() error {
	if t.err != nil {
		return t.err
	}
	t.lives.Lock()
	defer t.lives.Unlock()
	t.users++
	if t.users == 1 {
		t.mu.Lock()
		t.ctx, t.cancel = context.WithCancel(context.Background())
		t.mu.Unlock()
	}
	return nil
}

// release ends with the last user all that was started, and waits for it.
func (t *Tor) release() {
	t.lives.Lock()
	defer t.lives.Unlock()
	t.users--
	if t.users > 0 {
		return
	}
	t.mu.Lock()
	t.cancel()
	t.ctx, t.current = nil, nil
	t.mu.Unlock()
	t.running.Wait()
}

// attempt is the making of a link, which all who need one wait for.
type attempt struct {
	done chan struct{}
	link *link // once done
	err  error // once done
}

// over reports whether somebody who needs a link has to make a new attempt.
func (a *attempt) over() bool {
	select {
	case <-a.done:
		return a.err != nil || a.link.ended()
	default:
		return false
	}
}

// open returns the link to a tor with a control port. What it waits for is told
// to report, from the caller's goroutine. It returns when ctx ends; making the
// link goes on nevertheless.
func (t *Tor) open(ctx context.Context, report func(string)) (*link, error) {
	t.mu.Lock()
	if t.ctx == nil {
		t.mu.Unlock()
		return nil, net.ErrClosed
	}
	if t.current == nil || t.current.over() {
		a, life := &attempt{done: make(chan struct{})}, t.ctx
		t.current = a
		t.status.set("")
		t.running.Go(func() {
			defer close(a.done)
			a.link, a.err = t.connect(life)
			if a.err == nil {
				t.running.Add(1) // not from zero
				go func() {
					defer t.running.Done()
					a.link.keep(life)
				}()
			}
		})
	}
	a := t.current
	t.mu.Unlock()
	if err := t.status.follow(ctx, report, a.done); err != nil {
		return nil, err
	}
	return a.link, a.err
}

// A link is a control connection to a running tor, and what is known of that.
type link struct {
	tor        *Tor
	controller *controller
	at         address // of the control port
	password   string
	socks      []address
	socksErr   error         // why there are none
	ready      chan struct{} // closed when tor can build circuits
	stop       func()        // ends a tor that is ours, once the connection has ended
}

// link connects to a control port, tells tor our client keys and asks it for its
// SOCKS port.
func (t *Tor) link(ctx context.Context, at address, password string) (*link, error) {
	l := &link{tor: t, at: at, password: password, ready: make(chan struct{}), stop: func() {}}
	var once sync.Once
	progress := func(text string) {
		percent := bootstrapProgress.FindStringSubmatch(text)
		switch {
		case percent == nil:
		case percent[1] == "100":
			once.Do(func() {
				t.status.set("")
				close(l.ready)
			})
		default:
			t.status.set("bootstrap " + percent[1] + "%")
		}
	}
	c, err := openController(ctx, at, password, func(event control.Event) {
		if status, ok := event.(*control.StatusEvent); ok && status.Action == "BOOTSTRAP" {
			progress(status.Raw)
		}
	})
	if err != nil {
		return nil, err
	}
	l.controller = c
	if err := l.prepare(ctx, progress); err != nil {
		l.forgetKeys()
		c.close()
		return nil, err
	}
	return l, nil
}

func (l *link) prepare(ctx context.Context, progress func(string)) error {
	for _, k := range l.tor.keys {
		secret := base64.StdEncoding.EncodeToString(k.key.Bytes())
		response, err := l.controller.request(ctx, "ONION_CLIENT_AUTH_ADD "+k.onion+" x25519:"+secret)
		var unusual *textproto.Error
		if errors.As(err, &unusual) && unusual.Code == statusDecrypted {
			l.tor.give(k.onion, true)
			continue
		}
		if err != nil {
			return refusedCommand(fmt.Errorf("the client key for %s.onion: %w", k.onion, withoutSecret(err, secret)),
				"compare the address and the version of tor")
		}
		// Otherwise tor has had one before, from us or from somebody else.
		if response.Err.Code == control.StatusOk {
			l.tor.give(k.onion, true)
		}
	}
	l.socks = l.tor.fixed
	if l.socks == nil {
		if err := l.askSOCKS(ctx); err != nil {
			return err
		}
	}
	_, err := l.controller.request(ctx, "SETEVENTS "+string(control.EventCodeStatusClient))
	if err != nil {
		return refusedCommand(err, "let a filter before it pass SETEVENTS STATUS_CLIENT")
	}
	response, err := l.controller.request(ctx, "GETINFO status/bootstrap-phase")
	if err != nil {
		return refusedCommand(err, "let a filter before it pass GETINFO status/bootstrap-phase")
	}
	progress(strings.Join(response.Data, " "))
	return nil
}

// refusedCommand makes an error of a request one of handlers.ErrProxyRefused, if it
// is that tor, or a filter before it, does not take the command.
func refusedCommand(err error, advice string) error {
	var refusal *textproto.Error
	if errors.As(err, &refusal) {
		return fmt.Errorf("%w: tor's control port does not take a command that is needed; %s: %w", handlers.ErrProxyRefused, advice, err)
	}
	return err
}

// statusDecrypted is tor's answer to a client key by which it can read what it has
// heard of the service already, from an attempt without the key.
const statusDecrypted = 252

// give notes whether tor has our client key for an onion service. That outlives a
// link, as tor's memory does.
func (t *Tor) give(onion string, given bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.given == nil {
		t.given = make(map[string]bool)
	}
	t.given[onion] = given
}

// forgetKeys takes the client keys back.
func (l *link) forgetKeys() {
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	l.tor.mu.Lock()
	given := maps.Clone(l.tor.given)
	l.tor.mu.Unlock()
	for onion, ours := range given {
		if !ours {
			continue
		}
		if _, err := l.controller.request(ctx, "ONION_CLIENT_AUTH_REMOVE "+onion); err == nil {
			l.tor.give(onion, false)
		}
	}
}

var bootstrapProgress = regexp.MustCompile(`BOOTSTRAP PROGRESS=(\d+) `)

// askSOCKS asks tor for its SOCKS ports and takes the first that can be reached
// from here. An onion service needs none.
func (l *link) askSOCKS(ctx context.Context) error {
	response, err := l.controller.request(ctx, "GETINFO net/listeners/socks")
	if err != nil {
		return refusedCommand(err, "let a filter before it pass GETINFO net/listeners/socks, or say in SOCKS what it would answer")
	}
	var reported []string
	for _, quoted := range quotedStrings.FindAllString(strings.Join(response.Data, " "), -1) {
		if text, err := torutil.UnescapeSimpleQuotedString(quoted); err == nil {
			reported = append(reported, text)
		}
	}
	if at, ok := firstSOCKS(reported, l.at); ok {
		l.socks = []address{at}
	} else if len(reported) > 0 {
		l.socksErr = fmt.Errorf("%w: tor reports the SOCKS ports %q, none of which can be used from this machine; say in SOCKS which can", handlers.ErrProxyUnreachable, reported)
	} else {
		l.socksErr = fmt.Errorf("%w: this tor has no SOCKS port; add SocksPort to its torrc", handlers.ErrProxyUnreachable)
	}
	return nil
}

var quotedStrings = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// firstSOCKS returns the first of the SOCKS ports of a tor whose control port is at
// control. Unless that is on this machine, sockets and addresses such as 127.0.0.1
// are those of another one: here, who knows what is there.
func firstSOCKS(reported []string, control address) (address, bool) {
	for _, text := range reported {
		at, err := parseAddress(text, 1)
		if err == nil && (control.onlyHere() || !at.onlyHere()) {
			return at, true
		}
	}
	return address{}, false
}

// waitReady waits until tor can build circuits.
func (l *link) waitReady(ctx context.Context, report func(string)) error {
	if err := l.tor.status.follow(ctx, report, l.ready, l.controller.done); err != nil {
		return err
	}
	if l.ended() {
		return fmt.Errorf("%w: tor has ended, or has closed the control connection", handlers.ErrProxyUnreachable)
	}
	return nil
}

func (l *link) ended() bool {
	select {
	case <-l.controller.done:
		return true
	default:
		return false
	}
}

// keep waits for the end of the connection or of ctx, and cleans up.
func (l *link) keep(ctx context.Context) {
	select {
	case <-l.controller.done:
	case <-ctx.Done():
		l.forgetKeys()
	}
	l.controller.close()
	l.stop()
}

// goodbyeTimeout is how long tor may take to forget what it was told.
const goodbyeTimeout = 2 * time.Second

// withoutSecret keeps what tor echoes out of its answer.
func withoutSecret(err error, secret string) error {
	var refusal *textproto.Error
	if errors.As(err, &refusal) {
		return &textproto.Error{Code: refusal.Code, Msg: strings.ReplaceAll(refusal.Msg, secret, "(secret)")}
	}
	return err
}

// status is what a tor is doing, for whoever waits for it.
type status struct {
	mu      sync.Mutex
	text    string
	changed chan struct{} // closed when text changes; nil if nobody waits
}

func (s *status) set(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = text
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

func (s *status) get() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.text, s.changed
}

// follow tells report what happens until one of the channels is closed, or ctx
// ends; then its error says what was waited for, and also wraps
// handlers.ErrProxyUnreachable if time has run out.
func (s *status) follow(ctx context.Context, report func(string), until ...<-chan struct{}) error {
	either := until[len(until)-1]
	for {
		select {
		case <-until[0]:
			return nil
		case <-either:
			return nil
		default:
		}
		text, changed := s.get()
		if text != "" {
			report(text)
		}
		select {
		case <-until[0]:
			return nil
		case <-either:
			return nil
		case <-changed:
		case <-ctx.Done():
			err := fmt.Errorf("%w while waiting for tor (%s)", handlers.Ended(ctx), text)
			if errors.Is(err, context.DeadlineExceeded) {
				err = fmt.Errorf("%w: %w", handlers.ErrProxyUnreachable, err)
			}
			return err
		}
	}
}
