package quic

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Protocol is the ALPN identifier by which the two ends agree that they speak
// what docs/quic.md specifies.
const Protocol = "foolscap-quic/1"

// opening is the first byte of the stream, sent by the side that dials: a stream
// without bytes is one that the other side cannot see.
const opening = 0x00

// CloseCode is why the other side has ended a connection: an application error
// code of QUIC.
type CloseCode uint64

// The codes and their numbers on the wire.
const (
	// CloseDone: everything was said, by both sides.
	CloseDone CloseCode = 0
	// CloseUnread: the side that had closed has waited long enough for the
	// other to read the rest. What was not read by then is lost.
	CloseUnread CloseCode = 1
	// CloseProtocol: the stream does not begin as it has to.
	CloseProtocol CloseCode = 2
	// CloseSilent: no stream was opened in time.
	CloseSilent CloseCode = 3
	// CloseUnwanted: the connection was made, but nobody wants it any more:
	// the listener has been closed, or another address was faster.
	CloseUnwanted CloseCode = 4
)

func (c CloseCode) String() string {
	switch c {
	case CloseDone:
		return "done"
	case CloseUnread:
		return "the rest was not read"
	case CloseProtocol:
		return "not the protocol"
	case CloseSilent:
		return "no stream in time"
	case CloseUnwanted:
		return "not wanted any more"
	}
	return fmt.Sprintf("code %d", uint64(c))
}

// Variables for tests only.
var (
	// idleTimeout is how long nothing may be heard of the peer. Until then a
	// connection survives a network that is away.
	idleTimeout = 2 * time.Minute

	// keepAlive is more often than the half minute after which many a NAT
	// forgets a UDP flow.
	keepAlive = 20 * time.Second
)

const (
	// firstWindow is what a peer may send before we read: what a stranger can
	// make us hold. It doubles while we read as fast as the peer sends, up to
	// maxWindow, which is 80 MB/s over 100 ms.
	firstWindow = 512 << 10
	maxWindow   = 8 << 20

	// packetSize is the least that QUIC allows, since the larger default does
	// not pass tunnels with an MTU of 1280. A larger size is found soon.
	packetSize = 1200

	// idLength makes connection IDs long enough that nobody can collect the
	// reset tokens of all.
	idLength = 8
)

// transportConfig is what both ends have in common. The peer may open as many
// streams as streams says, in all.
func transportConfig(streams int64, handshakeIdle time.Duration) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           handshakeIdle,
		MaxIdleTimeout:                 idleTimeout,
		KeepAlivePeriod:                keepAlive,
		InitialStreamReceiveWindow:     firstWindow,
		MaxStreamReceiveWindow:         maxWindow,
		InitialConnectionReceiveWindow: firstWindow,
		MaxConnectionReceiveWindow:     maxWindow,
		MaxIncomingStreams:             streams,
		MaxIncomingUniStreams:          -1,
		RequireStreamCreditRelease:     true, // or another stream could follow the first
		InitialPacketSize:              packetSize,
	}
}

// tlsConfig is what both ends have in common.
func tlsConfig(identity *tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{*identity},
		// Not by Certificates: a server's list of certificate authorities must
		// not keep us from showing the only identity we have.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return identity, nil },
		// The peer's identity is the digest of its certificate. What else stands
		// in there is nobody's claim.
		InsecureSkipVerify: true,
		ClientAuth:         tls.RequireAnyClientCert,
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{Protocol},
		// Identity comes from the certificates of this very handshake.
		SessionTicketsDisabled: true,
	}
}

// expecting returns a check, made before our own certificate goes out, that the
// server is a certain Tub.
func expecting(target furl.TubID) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if got := furl.TubIDOf(s.PeerCertificates[0].Raw); got != target {
			return &wrongTubError{got: got}
		}
		return nil
	}
}

// wrongTubError is handlers.ErrWrongTub with the Tub that has answered.
type wrongTubError struct{ got furl.TubID }

func (e *wrongTubError) Error() string {
	return fmt.Sprintf("%v: the certificate is that of Tub %s", handlers.ErrWrongTub, e.got)
}

func (e *wrongTubError) Unwrap() error { return handlers.ErrWrongTub }

// checkIdentity makes sure that TLS can use a certificate, for crypto/tls says so
// only to the peer.
func checkIdentity(identity *tls.Certificate) error {
	if identity == nil || len(identity.Certificate) == 0 || identity.PrivateKey == nil {
		return errors.New("QUIC needs the Tub's certificate and key")
	}
	return nil
}

// resetKey is the same whenever the same Tub listens. So the peers of one that
// was restarted learn of it with the next packet they send.
func resetKey(identity *tls.Certificate) *quic.StatelessResetKey {
	der, err := x509.MarshalPKCS8PrivateKey(identity.PrivateKey)
	if err != nil {
		return nil // the key is not in our memory; peers wait for the idle timeout
	}
	mac := hmac.New(sha256.New, der)
	mac.Write([]byte(Protocol + " stateless reset"))
	return (*quic.StatelessResetKey)(mac.Sum(nil))
}
