package negotiate

import "net"

// A stream is what TLS runs on: the bytes that were read too far come first,
// and while the peer is not known to be in earnest there is a bound on what it
// may send.
type stream struct {
	net.Conn
	prefix []byte // already read from Conn
	budget int    // bytes that may still be read; negative for no bound
}

func (s *stream) Read(p []byte) (int, error) {
	if s.budget == 0 && len(p) > 0 {
		return 0, refuse(ErrMalformed, "it sent more than it may before the negotiation is over")
	}
	if s.budget > 0 && len(p) > s.budget {
		p = p[:s.budget]
	}
	n, err := 0, error(nil)
	if len(s.prefix) > 0 {
		n = copy(p, s.prefix)
		if s.prefix = s.prefix[n:]; len(s.prefix) == 0 {
			s.prefix = nil // lets go of the buffer
		}
	} else {
		n, err = s.Conn.Read(p)
	}
	if s.budget > 0 {
		s.budget -= n
	}
	return n, err
}
