package negotiate

import (
	"context"
	"crypto/x509"
	"net"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// ClientConfig is for the side that has dialled.
type ClientConfig struct {
	// Local is the Tub that dials. Required.
	Local *Local

	// Target is the Tub that is to be at the other end. Required. If it is
	// Local's own, the negotiation fails with ErrSelf before anything is sent.
	Target furl.TubID

	// Host is named in the plaintext request, as the hint has it: at most 255
	// bytes of printable ASCII without spaces. Servers ignore it; it may be
	// empty.
	Host string

	// Peer is the certificate whose key the peer has proven to hold, if the
	// stream's transport has seen to that and to the stream's secrecy, and has
	// proven ours to the peer; nil otherwise. With it, the negotiation starts
	// with the hello.
	Peer *x509.Certificate

	// HelloSlot, if not nil, is called once the peer is known to be Target and
	// before our hello. It returns when the hello may go out, or the reason to
	// give up: the peer then never sees this attempt's hello. Several attempts
	// at one Target wait here for one another, and whoever runs them hands the
	// slot on when the call to Client that owns it returns or stalls. The
	// context is over when Timeouts.Total is.
	HelloSlot func(ctx context.Context) error

	// Progress, if not nil, is called at the start of each phase. It must
	// return at once.
	Progress func(Phase)

	Timeouts Timeouts
}

// ServerConfig is for the side that was dialled.
type ServerConfig struct {
	// Find returns the Tub that answers here to a TubID, which is a valid one,
	// or nil. For every nil the peer gets the same answer. Required, unless Peer
	// is set.
	Find func(furl.TubID) *Local

	// Peer is as in [ClientConfig]. There is no request then that could be for
	// one Tub or another: Local is the one whose certificate the transport has
	// used.
	Peer  *x509.Certificate
	Local *Local

	// Progress, if not nil, is called at the start of each phase. It must
	// return at once.
	Progress func(Phase)

	Timeouts Timeouts
}

// Result is a connection that both sides have agreed on.
type Result struct {
	// Conn is what Banana is spoken on: a *tls.Conn, or the very stream where
	// it was authenticated already. No deadline is set on it. Its owner reads
	// from it until an error, and then closes it at once: some peers wait for
	// that.
	Conn net.Conn

	// Buffered are bytes of Banana that have been read already. Usually nil.
	Buffered []byte

	// Local is the Tub at this end.
	Local *Local

	// Peer is the Tub at the other end, by the certificate in this handshake.
	Peer            furl.TubID
	PeerCertificate *x509.Certificate

	// Master reports whether the decision was ours.
	Master bool

	// VocabIndex is the vocabulary table in force, for both directions: 0 or 1.
	VocabIndex int

	// Extensions are in force, for both directions; in ascending order.
	Extensions []string

	// Link must be attached or released.
	Link *Link

	// TLSVersion and CipherSuite are as in crypto/tls, and zero where the
	// stream was authenticated already.
	TLSVersion, CipherSuite uint16

	Timings Timings
}

// Client negotiates as the side that has dialled conn.
//
// If a connection to the target has become current before our hello, Client gives
// up with ErrDuplicate, and the peer sees nothing of a duplicate.
//
// If it fails, conn is closed, and the error is an *[Error]. If it succeeds,
// conn belongs to the Result, and the context has no influence on it any more.
// When the context ends before that, Client closes conn and returns without
// delay. After it has returned, in any case, nothing of it goes on running but
// for the Close of conn, if that takes its time; Close must end reads and writes.
func Client(ctx context.Context, conn net.Conn, cfg ClientConfig) (*Result, error) {
	first := PhasePlaintext
	switch {
	case cfg.Peer != nil && cfg.HelloSlot != nil:
		first = PhaseSlot
	case cfg.Peer != nil:
		first = PhaseHello
	}
	n := begin(ctx, conn, cfg.Timeouts, cfg.Progress, first)
	n.local, n.target, n.client = cfg.Local, cfg.Target, true
	return n.end(n.dialled(ctx, cfg))
}

// Server negotiates as the side that was dialled. It is like [Client] otherwise.
func Server(ctx context.Context, conn net.Conn, cfg ServerConfig) (*Result, error) {
	first := PhasePlaintext
	if cfg.Peer != nil {
		first = PhaseHello
	}
	n := begin(ctx, conn, cfg.Timeouts, cfg.Progress, first)
	return n.end(n.accepted(cfg))
}
