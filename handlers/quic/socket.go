package quic

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/quic-go/quic-go"
)

// A socket is a UDP socket as quic-go is to see it.
type socket struct {
	*net.UDPConn

	// steady is set once the peer is known to be there. From then on a packet
	// that the system does not send is one that the network has lost: the
	// interface may be changing, and QUIC gives up by itself after a while.
	steady atomic.Bool

	sized bool // belongs to quic-go's initialisation
}

// quic-go writes to standard error if it cannot have the socket buffers that it
// wants, which is not a library's business. It does not look after them if it
// cannot get at the descriptor at that point. Afterwards it needs that, for
// batches and ECN.
var errNotSized = errors.New("quic: the descriptor is not available before the size of both buffers is set")

func (s *socket) SyscallConn() (syscall.RawConn, error) {
	if !s.sized {
		return nil, errNotSized
	}
	return s.UDPConn.SyscallConn()
}

// SetReadBuffer asks for a size. What the system gives is good enough.
func (s *socket) SetReadBuffer(bytes int) error {
	growBuffer(s.UDPConn, bytes, true)
	return nil
}

// SetWriteBuffer is SetReadBuffer for the other direction, and what quic-go sets
// last.
func (s *socket) SetWriteBuffer(bytes int) error {
	growBuffer(s.UDPConn, bytes, false)
	s.sized = true
	return nil
}

func (s *socket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = s.UDPConn.WriteMsgUDP(b, oob, addr)
	if err != nil && s.steady.Load() && passing(err) {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// passing reports whether a packet could not be sent for a reason that may go
// away. Errors from which quic-go learns something, such as EMSGSIZE, are none.
func passing(err error) bool {
	return slices.ContainsFunc([]syscall.Errno{
		syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.EHOSTUNREACH,
		syscall.EADDRNOTAVAIL, syscall.ECONNREFUSED, syscall.ENOBUFS, syscall.EPERM,
	}, func(errno syscall.Errno) bool { return errors.Is(err, errno) })
}

// An endpoint is a socket and the connections over it: those of a listener, or
// the one of a dial. It is shut when nobody uses it any more.
type endpoint struct {
	socket    *socket
	transport *quic.Transport
	onShut    func() // or nil
	shutting  sync.Once
	lingerers sync.WaitGroup

	mu        sync.Mutex
	users     int  // listener, dial and open streams
	lingering int  // streams that were closed and whose peers have not read all
	retired   bool // lingering counts no more
}

// newEndpoint takes over a socket, for one user.
func newEndpoint(conn *net.UDPConn, key *quic.StatelessResetKey, onShut func()) *endpoint {
	s := &socket{UDPConn: conn}
	return &endpoint{
		socket: s,
		transport: &quic.Transport{
			Conn:               s,
			ConnectionIDLength: idLength,
			StatelessResetKey:  key,
		},
		onShut: onShut,
		users:  1,
	}
}

// join adds a user, called by one.
func (e *endpoint) join() { e.count(1, 0) }

// leave ends what join or newEndpoint began.
func (e *endpoint) leave() { e.count(-1, 0) }

// maxLingering bounds the streams that wait for peers who read nothing: nobody
// counts them any more.
const maxLingering = 64

// linger makes of a user one that waits, in f, for its peer to read the rest. It
// returns false, and does nothing, when too many do already.
func (e *endpoint) linger(f func()) bool {
	e.mu.Lock()
	full := e.lingering >= maxLingering
	e.mu.Unlock()
	if full {
		return false
	}
	e.lingerers.Go(func() {
		f()
		e.count(0, -1)
	})
	if e.count(-1, 1) {
		e.lingerers.Wait()
	}
	return true
}

// count reports whether it has shut the endpoint.
func (e *endpoint) count(users, lingering int) bool {
	e.mu.Lock()
	e.users += users
	e.lingering += lingering
	unused := e.users == 0 && (e.retired || e.lingering == 0)
	e.mu.Unlock()
	if unused {
		e.shut()
	}
	return unused
}

// retire cuts lingering short, now and later. Peers are not told: they have, or
// can no more get, what was written, and to be told would make them drop what they
// have not read.
func (e *endpoint) retire() {
	e.mu.Lock()
	e.retired = true
	unused := e.users == 0
	e.mu.Unlock()
	if unused {
		e.shut()
		e.lingerers.Wait()
	}
}

func (e *endpoint) shut() {
	e.shutting.Do(func() {
		e.transport.Close()
		e.socket.Close()
		if e.onShut != nil {
			e.onShut()
		}
	})
}
