package socks

import (
	"errors"
	"fmt"

	"github.com/foolscap-go/foolscap/handlers"
)

// ErrCredentials says that the proxy did not let us in: it refused the user name
// and password, or wants some where none are set. The error that wraps it also
// wraps handlers.ErrProxyRefused.
var ErrCredentials = errors.New("the proxy does not accept the user name and password, or wants some and has been given none; check WithCredentials")

// ErrNotIsolated says that the proxy does not look at credentials, so that
// WithIsolation cannot keep connections apart. The error that wraps it also wraps
// handlers.ErrProxyRefused.
var ErrNotIsolated = errors.New("the proxy takes no credentials, so it cannot keep connections apart by them; use another proxy, or do without WithIsolation")

// ReplyCode is what a proxy answers to the request for a connection.
type ReplyCode byte

// The codes of RFC 1928 section 6. Others exist; those of Tor are in 0xF0..0xF7.
const (
	Succeeded               ReplyCode = 0
	GeneralFailure          ReplyCode = 1
	NotAllowed              ReplyCode = 2
	NetworkUnreachable      ReplyCode = 3
	HostUnreachable         ReplyCode = 4
	ConnectionRefused       ReplyCode = 5
	TTLExpired              ReplyCode = 6
	CommandNotSupported     ReplyCode = 7
	AddressTypeNotSupported ReplyCode = 8
)

// String says what the code means.
func (c ReplyCode) String() string {
	switch c {
	case Succeeded:
		return "succeeded"
	case GeneralFailure:
		return "general failure"
	case NotAllowed:
		return "not allowed by its rules"
	case NetworkUnreachable:
		return "network unreachable"
	case HostUnreachable:
		return "host unreachable"
	case ConnectionRefused:
		return "connection refused"
	case TTLExpired:
		return "TTL expired"
	case CommandNotSupported:
		return "command not supported"
	case AddressTypeNotSupported:
		return "address type not supported"
	default:
		return fmt.Sprintf("unknown code 0x%02X", byte(c))
	}
}

// ReplyError says that the proxy was asked for a connection and said no. It wraps
// handlers.ErrUnreachable if the code speaks of the peer (NetworkUnreachable,
// HostUnreachable, ConnectionRefused, TTLExpired) and handlers.ErrProxyRefused if
// it speaks of the proxy, or is unknown.
type ReplyError struct {
	Proxy string // its address, to tell the proxies of a chain apart
	Code  ReplyCode
}

func (e *ReplyError) Error() string {
	return fmt.Sprintf("the proxy %s answered: %v (reply %d)", e.Proxy, e.Code, byte(e.Code))
}

// Unwrap returns the sentinel of package handlers that fits.
func (e *ReplyError) Unwrap() error {
	switch e.Code {
	case NetworkUnreachable, HostUnreachable, ConnectionRefused, TTLExpired:
		return handlers.ErrUnreachable
	default:
		return handlers.ErrProxyRefused
	}
}
