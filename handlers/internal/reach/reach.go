// Package reach is what transports have in common that connect to an address
// themselves: hosts of hints, their look-up, and the race of their addresses.
package reach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

const (
	// attemptDelay is how long an attempt has to itself before the next address
	// is tried beside it: the Connection Attempt Delay of RFC 8305 section 8.
	attemptDelay = 250 * time.Millisecond

	// maxAddresses bounds what one name can make us dial, since whoever writes
	// the FURL also chooses the name and may serve its zone.
	maxAddresses = 16
)

// Resolver looks up the addresses of a name; network is always "ip".
// *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Parse takes a hint of the type apart and refuses names that must not be looked
// up.
func Parse(hint furl.Hint, typ string) (host string, port uint16, err error) {
	if hint.Type() != typ {
		return "", 0, fmt.Errorf("%w: it is not a %s hint", handlers.ErrInvalidHint, typ)
	}
	host, port, err = hint.HostPort()
	if err != nil {
		return "", 0, fmt.Errorf("%w: %w", handlers.ErrInvalidHint, err)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	for _, private := range []string{"onion", "i2p"} {
		if name == private || strings.HasSuffix(name, "."+private) {
			return "", 0, fmt.Errorf("%w: names below .%s cannot be reached by %s and must not be looked up", handlers.ErrInvalidHint, private, typ)
		}
	}
	return host, port, nil
}

// Resolve returns the address that host is, or those that it has by name, in
// the order in which they are to be tried.
func Resolve(ctx context.Context, r Resolver, req handlers.DialRequest, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, nil
	}
	req.Report(handlers.PhaseResolve, "looking up "+host)
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		if end := handlers.Ended(ctx); end != nil {
			return nil, fmt.Errorf("looking up %s: %w", host, end)
		}
		return nil, fmt.Errorf("%w: %w", handlers.ErrNameNotResolved, err)
	}
	if addrs = order(addrs); len(addrs) == 0 {
		return nil, fmt.Errorf("%w: %w", handlers.ErrNameNotResolved, errors.New("the resolver knows no address of "+host))
	}
	return addrs, nil
}

// order returns the addresses to try, in the order to try them: IPv6 and IPv4 in
// turn, beginning with IPv6, each family in the order of the resolver, which
// has sorted it by preference (RFC 8305 section 4).
func order(addrs []netip.Addr) []netip.Addr {
	var six, four, ordered []netip.Addr
	seen := make(map[netip.Addr]bool)
	for _, addr := range addrs {
		addr = addr.Unmap()
		switch {
		case !addr.IsValid() || seen[addr]:
		case addr.Is4():
			four = append(four, addr)
		default:
			six = append(six, addr)
		}
		seen[addr] = true
	}
	for i := range max(len(six), len(four)) {
		ordered = append(ordered, six[min(i, len(six)):min(i+1, len(six))]...)
		ordered = append(ordered, four[min(i, len(four)):min(i+1, len(four))]...)
	}
	return ordered[:min(len(ordered), maxAddresses)]
}

// Race connects to the addresses in their order, a new attempt starting whenever
// the last one has failed or has been running for attemptDelay. It returns the
// first connection; what comes later is given to discard, for which dials.Close
// waits and not the caller. If all fail, the error is an AttemptErrors.
func Race[C any](ctx context.Context, dials *handlers.Dials, req handlers.DialRequest, addrs []netip.Addr, port uint16,
	connect func(context.Context, netip.AddrPort) (C, error), discard func(C)) (C, error) {
	var none C
	attempts, cancel := context.WithCancel(ctx)
	defer cancel()

	type outcome struct {
		attempt int
		conn    C
		err     error
	}
	// Unbuffered: an attempt knows whether its connection was taken.
	outcomes := make(chan outcome)
	running := make([]bool, len(addrs))
	started := 0
	start := func() {
		attempt, address := started, netip.AddrPortFrom(addrs[started], port)
		running[attempt] = true
		started++
		req.Report(handlers.PhaseDial, fmt.Sprintf("connecting to %s (address %d of %d)", address, started, len(addrs)))
		dials.Go(func() {
			conn, err := connect(attempts, address)
			select {
			case outcomes <- outcome{attempt, conn, err}:
			case <-attempts.Done():
				if err == nil {
					discard(conn)
				}
			}
		})
	}

	var failures AttemptErrors
	next := time.NewTimer(attemptDelay)
	defer next.Stop()
	start()
	for {
		select {
		case o := <-outcomes:
			if o.err == nil {
				return o.conn, nil
			}
			running[o.attempt] = false
			failures = append(failures, fmt.Errorf("%v: %w", addrs[o.attempt], o.err))
		case <-next.C:
		case <-ctx.Done():
		}
		if end := handlers.Ended(ctx); end != nil {
			for attempt := range started {
				if running[attempt] {
					failures = append(failures, fmt.Errorf("%v: %w", addrs[attempt], errNoAnswer))
				}
			}
			return none, fmt.Errorf("%w: %w", end, failures)
		}
		if len(failures) == len(addrs) {
			return none, failures
		}
		if started < len(addrs) {
			start()
			next.Reset(attemptDelay)
		}
	}
}

var errNoAnswer = errors.New("no answer yet")

// AttemptErrors are the errors of the attempts at several addresses.
type AttemptErrors []error

func (e AttemptErrors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns them all.
func (e AttemptErrors) Unwrap() []error { return e }
