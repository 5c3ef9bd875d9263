package quic

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/quic-go/quic-go"

	"github.com/foolscap-go/foolscap/handlers"
)

// What a dial, or a stream, can fail of besides the errors of package handlers.
// The texts are for the person who has to do something about it.
var (
	// ErrCertificate: one side cannot accept the certificate of the other. If it
	// is ours that was refused, the stream tells, since a dial is over when the
	// server has not judged yet.
	ErrCertificate = errors.New("one side does not accept the certificate of the other; check the kind and the size of the Tubs' keys")

	// ErrVersion: what answers speaks QUIC, but no version of it, or not the
	// protocol on top of it, that we know.
	ErrVersion = errors.New("the peer speaks another version of QUIC, or another protocol than ours over it; one of the two programs is too old, or the hint leads to some other service")

	// ErrBusy: the peer takes no more connections at the moment.
	ErrBusy = errors.New("the peer takes no more connections at the moment; try again later")

	// ErrSilent ends a stream of whose peer nothing was heard for two minutes.
	ErrSilent = errors.New("nothing was heard of the peer for too long; it, or the network, is gone")
)

// CloseError ends a stream whose peer has closed the connection for a reason,
// other than CloseDone, which is io.EOF.
type CloseError struct{ Code CloseCode }

func (e *CloseError) Error() string { return "the peer has ended the connection: " + e.Code.String() }

// The TLS alerts (RFC 8446 section 6) that are about certificates, and the one
// about ALPN, as error codes of QUIC (RFC 9001 section 4.8).
const (
	alertBadCertificate     = 0x100 + 42
	alertUnknownAuthority   = 0x100 + 48
	alertAccessDenied       = 0x100 + 49
	alertCertificateMissing = 0x100 + 116
	alertNoProtocol         = 0x100 + 120
)

// translate says in our terms what ended a connection. Those of quic-go all claim
// to be net.ErrClosed, whoever has closed, so they go no further than this. Texts
// of the peer are left out.
func translate(err error) error {
	var wrong *wrongTubError
	var transport *quic.TransportError
	var application *quic.ApplicationError
	var handshake *quic.HandshakeTimeoutError
	var idle *quic.IdleTimeoutError
	var version *quic.VersionNegotiationError
	var reset *quic.StatelessResetError
	var stream *quic.StreamError
	switch {
	case errors.As(err, &wrong):
		return wrong
	case errors.As(err, &application) && application.Remote:
		if code := CloseCode(application.ErrorCode); code != CloseDone {
			return &CloseError{Code: code}
		}
		return io.EOF
	case errors.As(err, &application):
		return net.ErrClosed
	case errors.As(err, &handshake):
		return fmt.Errorf("%w: the QUIC handshake was not over in time", handlers.ErrTimeout)
	case errors.As(err, &idle):
		return ErrSilent
	case errors.As(err, &version):
		return ErrVersion
	case errors.As(err, &reset):
		return errors.New("the peer has lost the connection; it was probably restarted")
	case errors.As(err, &stream):
		return errors.New("the peer has broken off the stream")
	case errors.As(err, &transport):
		return translateTransport(transport)
	case errors.Is(err, quic.ErrTransportClosed):
		var errno syscall.Errno
		if errors.As(err, &errno) {
			return fmt.Errorf("the UDP socket has failed: %w", errno)
		}
		return errors.New("the UDP socket is gone")
	}
	return err
}

func translateTransport(err *quic.TransportError) error {
	by := "the peer"
	if !err.Remote {
		by = "this side"
	}
	switch code := err.ErrorCode; {
	case code == alertNoProtocol:
		return ErrVersion
	case alertBadCertificate <= code && code <= alertUnknownAuthority, code == alertAccessDenied, code == alertCertificateMissing:
		return fmt.Errorf("%w (refused by %s)", ErrCertificate, by)
	case code == quic.ConnectionRefused && err.Remote:
		return ErrBusy
	default:
		return fmt.Errorf("%s has ended the QUIC connection: %v", by, code)
	}
}
