package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
)

const (
	// attemptDelay is how long an attempt has to itself before the next address
	// is tried beside it: the Connection Attempt Delay of RFC 8305 section 8.
	attemptDelay = 250 * time.Millisecond

	// maxAddresses bounds what one name can make us dial, since whoever writes
	// the FURL also chooses the name and may serve its zone.
	maxAddresses = 16
)

// order returns the addresses to try, in the order to try them: IPv6 and IPv4 in
// turn, beginning with IPv6, each family in the order of the resolver, which
// has sorted it by preference (RFC 8305 section 4).
func order(addrs []netip.Addr) []netip.Addr {
	var six, four []netip.Addr
	seen := make(map[netip.Addr]bool)
	for _, addr := range addrs {
		addr = addr.Unmap()
		if !addr.IsValid() || seen[addr] {
			continue
		}
		seen[addr] = true
		if addr.Is4() {
			four = append(four, addr)
		} else {
			six = append(six, addr)
		}
	}
	var ordered []netip.Addr
	for len(six)+len(four) > 0 && len(ordered) < maxAddresses {
		if len(six) > 0 {
			ordered, six = append(ordered, six[0]), six[1:]
		}
		if len(four) > 0 && len(ordered) < maxAddresses {
			ordered, four = append(ordered, four[0]), four[1:]
		}
	}
	return ordered
}

// race connects to the addresses in their order, a new attempt starting whenever
// the last one has failed or has been running for attemptDelay. It returns the
// first connection; what comes later is closed by its attempt, for which Close
// waits and not the caller.
func (h *Handler) race(ctx context.Context, req handlers.DialRequest, addrs []netip.Addr, port uint16) (net.Conn, error) {
	attempts, cancel := context.WithCancel(ctx)
	defer cancel()

	type outcome struct {
		attempt int
		conn    net.Conn
		err     error
	}
	// Unbuffered: an attempt knows whether its connection was taken.
	outcomes := make(chan outcome)
	running := make([]bool, len(addrs))
	started := 0
	start := func() {
		attempt, address := started, netip.AddrPortFrom(addrs[started], port).String()
		running[attempt] = true
		started++
		req.Report(handlers.PhaseDial, fmt.Sprintf("connecting to %s (address %d of %d)", address, started, len(addrs)))
		h.running.Go(func() {
			conn, err := h.dial(attempts, "tcp", address)
			select {
			case outcomes <- outcome{attempt, conn, err}:
			case <-attempts.Done():
				if err == nil {
					conn.Close()
				}
			}
		})
	}

	var failures attemptErrors
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
		if end := ended(ctx); end != nil {
			for attempt := range started {
				if running[attempt] {
					failures = append(failures, fmt.Errorf("%v: %w", addrs[attempt], errNoAnswer))
				}
			}
			return nil, fmt.Errorf("%w: %w", end, failures)
		}
		if len(failures) == len(addrs) {
			return nil, fmt.Errorf("%w: %w", handlers.ErrUnreachable, failures)
		}
		if started < len(addrs) {
			start()
			next.Reset(attemptDelay)
		}
	}
}

var errNoAnswer = errors.New("no answer yet")

// attemptErrors are the errors of the attempts at several addresses.
type attemptErrors []error

func (e attemptErrors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e attemptErrors) Unwrap() []error { return e }
