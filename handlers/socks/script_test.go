package socks_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/socks"
)

// The messages of a handshake.
var (
	greeting         = []byte{5, 1, 0}
	passwordGreeting = []byte{5, 2, 0, 2}
	noPassword       = []byte{5, 0}
	wantsPassword    = []byte{5, 2}
	passwordRight    = []byte{1, 0}
	toExample        = request("a.example", 80)
	done             = []byte{5, 0, 0, 1, 192, 0, 2, 7, 1, 2}
)

// request asks for a name and a port.
func request(name string, port uint16) []byte {
	return append(append([]byte{5, 1, 0, 3, byte(len(name))}, name...), byte(port>>8), byte(port))
}

func credentials(user, password string) []byte {
	return append(append([]byte{1, byte(len(user))}, user...), append([]byte{byte(len(password))}, password...)...)
}

// A step of a scripted proxy. It ends the script when it returns an error.
type step func(net.Conn) error

// gets waits for these bytes.
func gets(want []byte) step {
	return func(c net.Conn) error {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(c, got); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("the proxy got %q instead of %q", got, want)
		}
		return nil
	}
}

// says sends bytes at once, dribbles one after the other.
func says(b []byte) step { return func(c net.Conn) error { _, err := c.Write(b); return err } }

func dribbles(b []byte) step {
	return func(c net.Conn) error {
		for i := range b {
			if _, err := c.Write(b[i : i+1]); err != nil {
				return err
			}
		}
		return nil
	}
}

func hangsUp(c net.Conn) error { return c.Close() }

// isLeft waits until the other side is gone; what it sends is an error.
func isLeft(c net.Conn) error {
	n, _ := c.Read(make([]byte, 1))
	if n > 0 {
		return errors.New("the proxy got something more")
	}
	return nil
}

// scripted is the way to a proxy that follows its script on every connection.
type scripted struct {
	t        *testing.T
	script   []step
	exposure handlers.Exposure

	running sync.WaitGroup
	mu      sync.Mutex
	dialled []string
	conns   []*watched
}

func proxyThat(t *testing.T, script ...step) *scripted { return &scripted{t: t, script: script} }

func (s *scripted) Exposure() handlers.Exposure { return s.exposure }

func (s *scripted) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ours, theirs := net.Pipe()
	conn := &watched{Conn: ours}
	s.mu.Lock()
	s.dialled = append(s.dialled, network+" "+address)
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	s.running.Go(func() {
		defer theirs.Close()
		for _, step := range s.script {
			if err := step(theirs); err != nil {
				gone := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe)
				assert.True(s.t, gone, "a script fails only when the client goes away, not because %v", err)
				return
			}
		}
	})
	return conn, nil
}

// wait ends when all connections have played their script.
func (s *scripted) wait() { s.running.Wait() }

func (s *scripted) only(t *testing.T) *watched {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Len(t, s.conns, 1)
	return s.conns[0]
}

// watched knows no deadlines, as connections inside others often do not.
type watched struct {
	net.Conn
	mu     sync.Mutex
	closed bool
}

func (c *watched) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return c.Conn.Close()
}

func (c *watched) SetDeadline(time.Time) error { return os.ErrNoDeadline }

func (c *watched) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func newDialer(t *testing.T, way handlers.ContextDialer, opts ...socks.Option) *socks.Dialer {
	t.Helper()
	d, err := socks.NewDialer("tcp", "192.0.2.1:1080", append([]socks.Option{socks.WithForward(way)}, opts...)...)
	require.NoError(t, err)
	return d
}
