package quic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/quic-go/quic-go"

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

// race connects to the addresses in their order, a new attempt starting whenever
// the last one has failed or has been running for attemptDelay. It returns the
// first connection; what comes later is closed by its attempt, for which Close
// waits and not the caller.
func (h *Handler) race(ctx context.Context, req handlers.DialRequest, addrs []netip.Addr, port uint16) (handlers.Stream, error) {
	attempts, cancel := context.WithCancel(ctx)
	defer cancel()

	type outcome struct {
		attempt int
		stream  *stream
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
		h.running.Go(func() {
			s, err := h.connect(attempts, req, address)
			select {
			case outcomes <- outcome{attempt, s, err}:
			case <-attempts.Done():
				if err == nil {
					s.conn.CloseWithError(quic.ApplicationErrorCode(CloseUnwanted), "")
					s.endpoint.leave()
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
				peer := o.stream.conn.ConnectionState().TLS.PeerCertificates[0]
				return handlers.Stream{Conn: o.stream, Peer: peer}, nil
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
			return handlers.Stream{}, fmt.Errorf("%w: %w", end, failures)
		}
		if len(failures) == len(addrs) {
			if answered(failures) || errors.Is(failures, handlers.ErrTimeout) {
				return handlers.Stream{}, failures
			}
			return handlers.Stream{}, fmt.Errorf("%w: %w", handlers.ErrUnreachable, failures)
		}
		if started < len(addrs) {
			start()
			next.Reset(attemptDelay)
		}
	}
}

// answered reports whether there was a peer, which was the wrong one or did not
// agree with us.
func answered(err error) bool {
	return slices.ContainsFunc([]error{handlers.ErrWrongTub, ErrCertificate, ErrVersion, ErrBusy},
		func(target error) bool { return errors.Is(err, target) })
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
