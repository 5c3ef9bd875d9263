//go:build unix

package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Listener accepts connections on a Unix socket. Make one with Listen or ListenAs.
type Listener struct {
	listener  *net.UnixListener
	hint      furl.Hint
	closeOnce sync.Once
	closed    chan struct{}
}

var _ handlers.Acceptor = (*Listener)(nil)

// Listen listens on a socket and advertises its name, for handlers of the same
// directory. Who may connect is decided by the mode of the directory; a Tub asks
// everybody for more than that. A socket that nobody listens on any more is
// replaced, any other file is an error.
func Listen(ctx context.Context, path string) (*Listener, error) {
	name := filepath.Base(path)
	if err := CheckName(name); err != nil {
		return nil, fmt.Errorf("unixsock: %w", err)
	}
	return ListenAs(ctx, path, furl.Hint(Type+":"+name))
}

// ListenAs listens on a socket and advertises a hint of another type, whose
// transport leads to the socket.
func ListenAs(ctx context.Context, path string, hint furl.Hint) (*Listener, error) {
	// One program at a time, or each of two could take the other's new socket for
	// the stale one that both have found.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("unixsock: %w", err)
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("unixsock: %w", os.NewSyscallError("flock", err))
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) && isStale(ctx, path) {
		os.Remove(path)
		l, err = config.Listen(ctx, "unix", path)
	}
	if err != nil {
		return nil, fmt.Errorf("unixsock: %w", err)
	}
	return &Listener{listener: l.(*net.UnixListener), hint: hint, closed: make(chan struct{})}, nil
}

// isStale reports whether a socket was left by a program that ended without
// closing it.
func isStale(ctx context.Context, path string) bool {
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != fs.ModeSocket {
		return false // other files refuse connections, too
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// Accept waits for the next connection. It goes on when the system was out of
// files for a moment.
func (l *Listener) Accept() (handlers.Stream, error) {
	for {
		conn, err := l.listener.Accept()
		switch {
		case err == nil:
			return handlers.Stream{Conn: conn}, nil
		case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ECONNABORTED):
			select {
			case <-time.After(100 * time.Millisecond):
			case <-l.closed:
			}
		default:
			return handlers.Stream{}, fmt.Errorf("unixsock: %w", err) // net.ErrClosed after Close
		}
	}
}

// Hints returns the hint until Close.
func (l *Listener) Hints() ([]furl.Hint, <-chan struct{}) {
	select {
	case <-l.closed:
		return nil, nil
	default:
		return []furl.Hint{l.hint}, l.closed
	}
}

// Exposure says what that of a Handler says.
func (l *Listener) Exposure() handlers.Exposure { return exposure }

// Close stops listening and removes the socket.
func (l *Listener) Close() error {
	var err error
	l.closeOnce.Do(func() {
		close(l.closed)
		err = l.listener.Close()
	})
	return err
}
