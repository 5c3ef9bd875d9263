package tub

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// A hidden Tub is one whose address nobody is to learn, by whatever it does.
// What could reveal it is refused here, when it is added; and at every dial,
// whoever asks for it, by Tub.handler.

// An ExposureError says what a Tub has refused because it would reveal too
// much. It wraps [handlers.ErrRefusedByPolicy].
type ExposureError struct {
	// What was refused, in words.
	What string
	// Exposure is what it reveals.
	Exposure handlers.Exposure
	// Reason is why that is too much.
	Reason string
}

func (e *ExposureError) Error() string {
	return fmt.Sprintf("foolscap: %s %s; %s", e.What, e.Exposure, e.Reason)
}

// Unwrap returns handlers.ErrRefusedByPolicy.
func (e *ExposureError) Unwrap() error { return handlers.ErrRefusedByPolicy }

const reasonHidden = "this Tub is hidden: it takes only what reveals neither the address nor the names that it looks up"

// ErrTwoFaces: a Tub that can be reached at an address and by way of a network
// that hides it shows to everybody that both are the same machine.
var ErrTwoFaces = errors.New("foolscap: this listener hides the address and another one of this Tub reveals it, so everybody could tell that both are one; give each an identity of its own, or set the option TwoFaces")

// ErrSharedListener: who reaches two Tubs by one listener knows that they are
// on one machine.
var ErrSharedListener = errors.New("foolscap: a hidden Tub shares its listener with no other")

// hide applies the option Hidden.
func (o *Options) hide() {
	if o.Hidden {
		o.NoHandlers = true
		o.Anonymity = AnonymityRequired
		o.Introductions = cmp.Or(o.Introductions, IntroductionsLazy)
	}
}

// admitsHandler objects to a handler that reveals too much. It runs code of
// the handler, so mu is not held.
func (t *Tub) admitsHandler(h handlers.Handler) error {
	if e := h.Exposure(); t.opts.Hidden && !e.Hidden() {
		return &ExposureError{What: "the handler " + h.Description(), Exposure: e, Reason: reasonHidden}
	}
	return nil
}

// admitsListener objects to a listener that reveals too much, with others or
// alone. mu is held.
func (t *Tub) admitsListener(l *Listener) error {
	e := l.exposure
	if t.opts.Hidden && !e.Hidden() {
		return &ExposureError{What: "the listener", Exposure: e, Reason: reasonHidden}
	}
	if t.opts.TwoFaces {
		return nil
	}
	for _, other := range t.listeners {
		if other != l && other.exposure.HidesAddress != e.HidesAddress {
			return ErrTwoFaces
		}
	}
	return nil
}

// admitsHint objects to a location that would tell where the machine is.
func (t *Tub) admitsHint(h furl.Hint) error {
	if !t.opts.Hidden {
		return nil
	}
	host, _, err := h.HostPort()
	if err != nil {
		host = h.Address()
		if h.Type() != "tcp" && h.Type() != "quic" && !strings.ContainsAny(host, ".:[/") {
			return nil // it has no host; its acceptor answers for what it has
		}
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	for _, hides := range []string{".onion", ".i2p"} {
		if strings.HasSuffix(name, hides) {
			return nil
		}
	}
	return &ExposureError{What: "the location " + string(h), Reason: reasonHidden}
}

// errDiscreet stands for an error that is not told.
var errDiscreet = errors.New("an error that this Tub does not describe to others")

var errPanicked = errors.New("the method panicked")

// discreet replaces errors that may say where this machine is, or what is on
// it: those of connections, of the network and of files. A method that wants to
// tell more returns an error of its own, or one that is a [TypedError].
func discreet(err error) error {
	var (
		typed   TypedError
		call    *CallError
		dial    *DialError
		hint    *handlers.Error
		network *net.OpError
		name    *net.DNSError
		address *net.AddrError
		file    *fs.PathError
		link    *os.LinkError
		system  *os.SyscallError
		program *exec.Error
		request *url.Error
	)
	if errors.As(err, &typed) {
		return typed // and not what it is joined with
	}
	var panicked interface{ Panicked() bool }
	if errors.As(err, &panicked) {
		return errPanicked
	}
	for _, way := range []error{handlers.ErrNoHandler, handlers.ErrInvalidHint, handlers.ErrRefusedByPolicy, handlers.ErrNameNotResolved,
		handlers.ErrProxyUnreachable, handlers.ErrProxyRefused, handlers.ErrUnreachable, handlers.ErrTimeout} {
		if errors.Is(err, way) {
			return errDiscreet
		}
	}
	for _, local := range []any{&call, &dial, &hint, &network, &name, &address, &file, &link, &system, &program, &request} {
		if errors.As(err, local) {
			return errDiscreet
		}
	}
	return err
}
