//go:build unix

package unixsock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
)

// Type is the type of the hints.
const Type = "unix"

// Handler dials hints of sockets in one directory. Make one with New.
type Handler struct {
	dir  string
	life context.Context // ends with Close
	end  context.CancelFunc

	mu      sync.Mutex // of the decision whether a dial may begin
	running sync.WaitGroup
}

var _ handlers.Handler = (*Handler)(nil)

// New returns a handler for the sockets in a directory.
func New(dir string) *Handler {
	h := &Handler{dir: dir}
	h.life, h.end = context.WithCancel(context.Background())
	return h
}

// Dial connects to the socket that the hint names. Its errors are
// handlers.ErrInvalidHint and ErrUnreachable.
func (h *Handler) Dial(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
	fail := func(phase handlers.Phase, err error) (handlers.Stream, error) {
		return handlers.Stream{}, &handlers.Error{Hint: req.Hint, Handler: h.Description(), Phase: phase, Err: err}
	}
	name := req.Hint.Address()
	if req.Hint.Type() != Type {
		return fail(handlers.PhaseParse, fmt.Errorf("%w: it is not a %s hint", handlers.ErrInvalidHint, Type))
	}
	if err := CheckName(name); err != nil {
		return fail(handlers.PhaseParse, fmt.Errorf("%w: %w", handlers.ErrInvalidHint, err))
	}
	ctx, done, err := h.begin(ctx)
	if err != nil {
		return fail(handlers.PhaseDial, err)
	}
	defer done()

	req.Report(handlers.PhaseDial, "connecting to the socket "+name)
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", filepath.Join(h.dir, name))
	switch {
	case err == nil:
		return handlers.Stream{Conn: conn, Host: "localhost"}, nil
	case ctx.Err() != nil:
		return fail(handlers.PhaseDial, Ended(ctx))
	default:
		return fail(handlers.PhaseDial, fmt.Errorf("%w: %w", handlers.ErrUnreachable, err))
	}
}

// Ended says why a context has ended, so that errors.Is finds the context's own
// error and its cause.
func Ended(ctx context.Context) error {
	end, cause := ctx.Err(), context.Cause(ctx)
	switch {
	case end == cause:
		return end
	case errors.Is(cause, net.ErrClosed): // by Close, not by whoever made the context
		return cause
	default:
		return fmt.Errorf("%w: %w", end, cause)
	}
}

// begin registers a dial with Close. The context it returns ends with ctx, with
// Close and with done, which must be called.
func (h *Handler) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.life.Err() != nil {
		return nil, nil, errClosed
	}
	h.running.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.life, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		h.running.Done()
	}, nil
}

var errClosed = fmt.Errorf("the unix handler has been closed: %w", net.ErrClosed)

// DialTimeout is short: the answer comes from this machine.
func (h *Handler) DialTimeout() time.Duration { return 5 * time.Second }

// Exposure says that nothing is looked up. The address is no secret to a peer on
// the same machine.
func (h *Handler) Exposure() handlers.Exposure { return exposure }

var exposure = handlers.Exposure{HidesLookups: true}

// Description returns "unix".
func (h *Handler) Description() string { return Type }

// Close ends the dials in progress.
func (h *Handler) Close() error {
	h.mu.Lock()
	h.end()
	h.mu.Unlock()
	h.running.Wait()
	return nil
}

// CheckName says why a name cannot stand in a hint of this form, if it cannot: it
// has 1 to 64 letters, digits, '.', '-' and '_', does not begin with a '.', and is
// not a number, since "unix:80" is an old way of writing "tcp:unix:80".
func CheckName(name string) error {
	const digits, others = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_"
	switch {
	case name == "" || len(name) > 64:
		return errors.New("the name must have 1 to 64 characters")
	case strings.Trim(name, digits+others) != "":
		return errors.New("the name may only contain letters, digits, '.', '-' and '_'")
	case name[0] == '.':
		return errors.New("the name may not begin with a '.'")
	case strings.Trim(name, digits) == "":
		return errors.New("the name may not be a number")
	}
	return nil
}
