package tub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
)

// ListenerOptions bound what strangers can make a Listener do. The zero value
// of a field means its default.
type ListenerOptions struct {
	// MaxNegotiations is the number of connections that may be in
	// negotiation. A further one takes the place of the oldest that has not
	// yet said which Tub it wants; if there is no such, it is closed at once.
	// Default 64.
	MaxNegotiations int
	// MaxConnections is the number of connections that may be open,
	// negotiations included; further ones are closed at once. Default 4096.
	MaxConnections int
	// Timeouts bound the phases of a negotiation.
	Timeouts negotiate.Timeouts
}

// A Listener takes what an acceptor accepts to the Tubs that are attached to
// it. Several Tubs can share one; a peer has to name the Tub that it wants,
// and cannot tell whether a Tub that is not attached exists.
type Listener struct {
	acceptor handlers.Acceptor
	exposure handlers.Exposure // of the acceptor
	opts     ListenerOptions
	gate     *negotiate.Gate
	owner    *Tub // that has made it by Listen, or nil

	mu     sync.Mutex
	closed bool
	tubs   map[furl.TubID]*Tub
	open   int

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// NewListener starts to accept. opts may be nil. The Listener owns the
// acceptor; Close closes it.
func NewListener(a handlers.Acceptor, opts *ListenerOptions) *Listener {
	l := newListener(a, opts)
	l.start()
	return l
}

func newListener(a handlers.Acceptor, opts *ListenerOptions) *Listener {
	l := &Listener{acceptor: a, exposure: a.Exposure(), tubs: make(map[furl.TubID]*Tub)}
	if opts != nil {
		l.opts = *opts
	}
	if l.opts.MaxConnections <= 0 {
		l.opts.MaxConnections = 4096
	}
	l.gate = negotiate.NewGate(l.opts.MaxNegotiations)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *Listener) start() {
	_, changed := l.acceptor.Hints()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.wg.Go(l.accept)
	if changed != nil {
		l.wg.Go(func() { l.watch(changed) })
	}
}

// Hints returns what the acceptor advertises now.
func (l *Listener) Hints() []furl.Hint {
	hints, _ := l.acceptor.Hints()
	return hints
}

// watch tells the Tubs when the acceptor's hints change.
func (l *Listener) watch(changed <-chan struct{}) {
	for changed != nil {
		select {
		case <-changed:
		case <-l.ctx.Done():
			return
		}
		_, changed = l.acceptor.Hints()
		for _, t := range l.attached() {
			t.hintsChanged()
		}
		if l.ctx.Err() != nil {
			return
		}
	}
}

func (l *Listener) attached() []*Tub {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*Tub, 0, len(l.tubs))
	for _, t := range l.tubs {
		all = append(all, t)
	}
	return all
}

func (l *Listener) accept() {
	for {
		s, err := l.acceptor.Accept()
		if err == nil && s.Conn == nil {
			err = errNoStream
		}
		if err != nil {
			if l.ctx.Err() == nil {
				for _, t := range l.attached() {
					t.log.Error("a listener has stopped accepting", "error", err)
				}
			}
			return
		}
		ctx, place := l.enter()
		if place == nil {
			s.Close()
			continue
		}
		l.wg.Go(func() { l.serve(ctx, place, s) })
	}
}

// errNoStream is what a Tub says to an Acceptor that breaks its contract.
var errNoStream = errors.New("its Accept has returned no stream, and no error")

// enter makes room for one more connection, whose negotiation runs in the
// context, or returns nil.
func (l *Listener) enter() (context.Context, *negotiate.Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.open >= l.opts.MaxConnections {
		return nil, nil
	}
	ctx, place := l.gate.TryEnter(l.ctx)
	if place != nil {
		l.open++
	}
	return ctx, place
}

func (l *Listener) leave() {
	l.mu.Lock()
	l.open--
	l.mu.Unlock()
}

// serve negotiates with a peer and hands the connection to the Tub it wants.
func (l *Listener) serve(ctx context.Context, place *negotiate.Place, s handlers.Stream) {
	var t *Tub
	cfg := negotiate.ServerConfig{
		Timeouts: l.opts.Timeouts,
		Progress: place.Progress,
		Peer:     s.Peer,
		Find: func(id furl.TubID) *negotiate.Local {
			l.mu.Lock()
			defer l.mu.Unlock()
			if t = l.tubs[id]; t == nil {
				return nil
			}
			return t.local
		},
	}
	if s.Peer != nil {
		// The transport authenticates with the certificate of one Tub.
		if all := l.attached(); len(all) == 1 {
			t = all[0]
			cfg.Local = t.local
		} else {
			place.Leave()
			l.leave()
			s.Close()
			return
		}
	}
	began := now()
	conn, instant := instantly(s.Conn)
	r, err := negotiate.Server(ctx, conn, cfg)
	place.Leave()
	if t != nil {
		t.observeNegotiation(true, peerOf(r, err), began, err)
	}
	if err != nil {
		l.leave()
		if t != nil {
			t.log.Debug("a connection was not accepted", "error", err)
		}
		return
	}
	if err := t.adopt(r, instant, l, (*connection).attach, l.leave); err != nil {
		t.log.Debug("a connection was not taken", "peer", r.Peer.Short(), "error", err)
	}
}

// peerOf returns who was at the other end of a negotiation, as far as that was
// proven.
func peerOf(r *negotiate.Result, err error) furl.TubID {
	var failed *negotiate.Error
	switch {
	case err == nil:
		return r.Peer
	case errors.As(err, &failed):
		return failed.Peer
	}
	return ""
}

// Close closes the acceptor and ends negotiations in progress. Connections
// stay. The Tubs are detached.
func (l *Listener) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	err := l.acceptor.Close()
	l.wg.Wait()
	for _, t := range l.attached() {
		t.Detach(l)
	}
	if t := l.owner; t != nil {
		t.mu.Lock()
		delete(t.owned, l)
		t.mu.Unlock()
	}
	return err
}

// Listen accepts connections from an acceptor, for this Tub alone, and
// advertises its hints in FURLs. The Tub closes the Listener when it ends. A
// Tub can listen on several. The errors are those of Attach, or ErrTubClosed; then
// the acceptor has been closed.
func (t *Tub) Listen(a handlers.Acceptor) (*Listener, error) {
	l := newListener(a, &ListenerOptions{Timeouts: t.opts.NegotiationTimeouts})
	l.owner = t
	t.mu.Lock()
	t.owned[l] = struct{}{}
	t.mu.Unlock()
	// Peers may be waiting for this port to come back: they are not to hear
	// that there is no such Tub.
	if err := t.Attach(l); err != nil {
		l.Close()
		return nil, err
	}
	l.start()
	return l, nil
}

// Attach lets a Listener, which may serve other Tubs too, accept connections
// for this Tub, and advertises its hints. It fails with an error that wraps
// net.ErrClosed if the Listener is closed; with an *[ExposureError], ErrTwoFaces
// or ErrSharedListener if that would reveal too much.
func (t *Tub) Attach(l *Listener) error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return ErrTubClosed
	}
	if err := t.admitsListener(l); err != nil {
		t.mu.Unlock()
		return err
	}
	if !slices.Contains(t.listeners, l) {
		t.listeners = append(t.listeners, l)
	}
	t.mu.Unlock()
	l.mu.Lock()
	gone, alone := l.closed, true
	for _, other := range l.tubs {
		alone = alone && (other == t || !other.opts.Hidden && !t.opts.Hidden)
	}
	if !gone && alone {
		l.tubs[t.TubID()] = t
	}
	l.mu.Unlock()
	t.mu.Lock()
	closed := t.closed
	t.mu.Unlock()
	switch {
	case closed: // perhaps after Shutdown has detached all others
		t.Detach(l)
		return ErrTubClosed
	case !alone:
		t.Detach(l)
		return ErrSharedListener
	case gone:
		t.Detach(l)
		return fmt.Errorf("foolscap: the listener cannot be attached: %w", net.ErrClosed)
	}
	t.hintsChanged()
	return nil
}

// Detach ends what Attach began: new connections for this Tub are answered as
// if it did not exist. Those that are open stay.
func (t *Tub) Detach(l *Listener) {
	l.mu.Lock()
	if l.tubs[t.TubID()] == t {
		delete(l.tubs, t.TubID())
	}
	l.mu.Unlock()
	t.mu.Lock()
	t.listeners = slices.DeleteFunc(t.listeners, func(other *Listener) bool { return other == l })
	t.mu.Unlock()
	t.hintsChanged()
}

// hintsChanged wakes whoever waits for hints.
func (t *Tub) hintsChanged() {
	t.mu.Lock()
	close(t.hintsNew)
	t.hintsNew = make(chan struct{})
	t.mu.Unlock()
}

// Hints returns the hints that the Tub's listeners advertise now, in the order
// in which these were attached: what its FURLs contain.
func (t *Tub) Hints() []furl.Hint {
	hints, _ := t.hints()
	return hints
}

func (t *Tub) hints() ([]furl.Hint, <-chan struct{}) {
	t.mu.Lock()
	changed := t.hintsNew
	all := slices.Clone(t.listeners)
	t.mu.Unlock()
	var hints []furl.Hint
	room := maxHintsLength
	for _, l := range all {
		for _, h := range l.Hints() {
			if slices.Contains(hints, h) {
				continue
			}
			// A FURL with what does not fit, or is no hint, nobody would take;
			// some peers drop the connection that it comes over.
			if err := t.admitsHint(h); err != nil {
				t.log.Error("a location is not advertised", "error", err)
				continue
			}
			if _, err := furl.ParseHint(string(h)); err != nil || len(hints) == furl.MaxHints || len(h) >= room {
				continue
			}
			hints = append(hints, h)
			room -= len(h) + len(",")
		}
	}
	return hints, changed
}

// maxHintsLength is what all the rest of a FURL leaves for its hints, in bytes.
const maxHintsLength = furl.MaxLength - furl.MaxNameLength - 64

// WaitAdvertised waits until the Tub has at least one hint and returns its
// hints: an onion service, say, takes a while to be published. What an acceptor
// waits for meanwhile is for its own log to tell. The error wraps that of ctx
// and its cause, or is ErrTubClosed.
func (t *Tub) WaitAdvertised(ctx context.Context) ([]furl.Hint, error) {
	for {
		hints, changed := t.hints()
		if len(hints) > 0 {
			return hints, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, t.unadvertised(ctxError(ctx))
		case <-t.ctx.Done():
			return nil, ErrTubClosed
		}
	}
}

// unadvertised says what a wait for hints that has ended was waiting for.
func (t *Tub) unadvertised(end error) error {
	t.mu.Lock()
	listeners := len(t.listeners)
	t.mu.Unlock()
	if listeners == 0 {
		return fmt.Errorf("foolscap: no hint is advertised, since the Tub has no listener: %w", end)
	}
	return fmt.Errorf("foolscap: no hint is advertised yet by any of the Tub's listeners (%d): %w", listeners, end)
}
