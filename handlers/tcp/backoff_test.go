package tcp

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sickListener fails a number of times, then gives one connection, then waits
// until it is closed.
type sickListener struct {
	started time.Time
	err     error
	closed  chan struct{}

	mu       sync.Mutex
	failures int
	calls    []time.Duration // since started
}

func (l *sickListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, time.Since(l.started))
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	default:
	}
	if l.failures > 0 {
		l.failures--
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", l.err)}
	}
	ours, theirs := net.Pipe()
	theirs.Close()
	return ours, nil
}

func (l *sickListener) Close() error   { close(l.closed); return nil }
func (l *sickListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func newSick(err error, failures int) (*sickListener, *Listener, *strings.Builder) {
	sick := &sickListener{started: time.Now(), err: err, failures: failures, closed: make(chan struct{})}
	var log strings.Builder
	l := &Listener{listener: sick, closed: make(chan struct{})}
	WithLogger(slog.New(slog.NewTextHandler(&log, nil)))(l)
	return sick, l, &log
}

func TestAcceptTriesAgainWhenResourcesAreShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick, l, log := newSick(syscall.EMFILE, 10)
		stream, err := l.Accept()
		require.NoError(t, err)
		stream.Close()
		ms := time.Millisecond
		assert.Equal(t, []time.Duration{0, 5 * ms, 15 * ms, 35 * ms, 75 * ms, 155 * ms, 315 * ms, 635 * ms, 1275 * ms, 2275 * ms, 3275 * ms}, sick.calls)
		assert.Equal(t, 1, strings.Count(log.String(), "level=WARN"), "one warning for all of them: %s", log)
		assert.Contains(t, log.String(), "too many open files")
	})
}

func TestCloseEndsAnAcceptThatIsWaitingToTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick, l, _ := newSick(syscall.ENFILE, 1000)
		time.AfterFunc(10*time.Second, func() { l.Close() })
		_, err := l.Accept()
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.Equal(t, 10*time.Second, time.Since(sick.started))
	})
}

func TestOtherErrorsOfAcceptAreFinal(t *testing.T) {
	cause := errors.New("the device is gone")
	sick, l, _ := newSick(cause, 1)
	_, err := l.Accept()
	assert.ErrorIs(t, err, cause)
	assert.NotErrorIs(t, err, net.ErrClosed)
	assert.Len(t, sick.calls, 1)
}
