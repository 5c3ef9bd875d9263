//go:build unix

package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/foolscap-go/foolscap/examples/transports/unixsock"
	"github.com/foolscap-go/foolscap/handlers"
)

// Type is the type of the hints.
const Type = "exec"

// Ready is what the child says first, once it has reached the peer.
const Ready = "foolscap stream ready\n"

// Handler dials hints by running commands. Make one with New.
type Handler struct {
	commands map[string][]string
	life     context.Context // ends with Close
	end      context.CancelFunc

	mu      sync.Mutex // of the decision whether a dial may begin
	running sync.WaitGroup
}

var _ handlers.Handler = (*Handler)(nil)

// New returns a handler that runs these commands: the program and its arguments
// by the name in the hint. For example,
//
//	"office": {"ssh", "-T", "me@office.example", "transports", "relay", "/run/user/1000/tub"}
func New(commands map[string][]string) *Handler {
	h := &Handler{commands: maps.Clone(commands)}
	h.life, h.end = context.WithCancel(context.Background())
	return h
}

// Dial runs the command that the hint names. Its errors are
// handlers.ErrInvalidHint, ErrProxyUnreachable if the command cannot be run or says
// something else than Ready, and ErrProxyRefused if it ends before it has said so.
func (h *Handler) Dial(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
	fail := func(phase handlers.Phase, err error) (handlers.Stream, error) {
		return handlers.Stream{}, &handlers.Error{Hint: req.Hint, Handler: h.Description(), Phase: phase, Err: err}
	}
	name := req.Hint.Address()
	if req.Hint.Type() != Type {
		return fail(handlers.PhaseParse, fmt.Errorf("%w: it is not an %s hint", handlers.ErrInvalidHint, Type))
	}
	command := h.commands[name]
	if len(command) == 0 {
		return fail(handlers.PhaseParse, fmt.Errorf("%w: no command has this name here", handlers.ErrInvalidHint))
	}
	ctx, done, err := h.begin(ctx)
	if err != nil {
		return fail(handlers.PhaseDial, err)
	}
	defer done()
	if ctx.Err() != nil {
		return fail(handlers.PhaseDial, unixsock.Ended(ctx))
	}

	req.Report(handlers.PhaseDial, "starting "+command[0])
	s, err := start(command)
	if err != nil {
		return fail(handlers.PhaseDial, fmt.Errorf("%w: %w", handlers.ErrProxyUnreachable, err))
	}
	req.Report(handlers.PhaseProxy, "waiting for "+command[0]+" to reach the peer")
	stop := context.AfterFunc(ctx, func() { s.SetReadDeadline(time.Unix(1, 0)) }) // ends what waits for the first line
	err = s.awaitReady(ctx)
	if !stop() {
		h.running.Go(s.discard)
		return fail(handlers.PhaseProxy, unixsock.Ended(ctx))
	}
	if err != nil {
		s.discard()
		return fail(handlers.PhaseProxy, err)
	}
	return handlers.Stream{Conn: s, Host: name}, nil
}

// begin registers a dial with Close. The context it returns ends with ctx, with
// Close and with done, which must be called.
func (h *Handler) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.life.Err() != nil {
		return nil, nil, errClosed
	}
	h.running.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.life, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		h.running.Done()
	}, nil
}

var errClosed = fmt.Errorf("the exec handler has been closed: %w", net.ErrClosed)

// DialTimeout leaves ssh time to log in.
func (h *Handler) DialTimeout() time.Duration { return 30 * time.Second }

// Exposure returns the zero value: what commands do is not known here.
func (h *Handler) Exposure() handlers.Exposure { return handlers.Exposure{} }

// Description returns "exec".
func (h *Handler) Description() string { return Type }

// Close ends the dials in progress, and their children. Those of streams go on.
func (h *Handler) Close() error {
	h.mu.Lock()
	h.end()
	h.mu.Unlock()
	h.running.Wait()
	return nil
}

// stream is the connection with a child. The child's end of it is a socket as
// well, since pipes know no deadlines on some systems.
type stream struct {
	*net.UnixConn
	command *exec.Cmd
	says    *tail // on standard error
	exited  chan struct{}
	err     error // once exited
}

// start runs a command.
func start(command []string) (*stream, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	s := &stream{UnixConn: ours, command: exec.Command(command[0], command[1:]...), says: new(tail), exited: make(chan struct{})}
	s.command.Stdin, s.command.Stdout, s.command.Stderr = theirs, theirs, s.says
	// A session of its own keeps it from the terminal, where ssh would ask for a
	// password, and makes a process group, so that kill gets its descendants, too.
	s.command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	s.command.WaitDelay = time.Second // for those that keep standard error open all the same
	if err := s.command.Start(); err != nil {
		ours.Close()
		return nil, err
	}
	go func() { // until discard at the latest
		s.err = s.command.Wait()
		close(s.exited)
	}()
	return s, nil
}

// socketPair makes a connection whose other end can be given to a child.
func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // no child that others start now may inherit them
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(ends[0])
		syscall.CloseOnExec(ends[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(ends[1]), "child")
	file := os.NewFile(uintptr(ends[0]), "parent")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// awaitReady waits for the first line. What follows it is left unread.
func (s *stream) awaitReady(ctx context.Context) error {
	line := make([]byte, len(Ready))
	n, err := io.ReadFull(s, line)
	switch {
	case !bytes.HasPrefix([]byte(Ready), line[:n]):
		return fmt.Errorf("%w: it says %q, and not that it is ready", handlers.ErrProxyUnreachable, line[:n])
	case err == nil:
		return nil
	}
	// It has closed its end, and has ended or is about to.
	select {
	case <-s.exited:
		err = s.err
	case <-time.After(endTime):
		err = errors.New("it has closed its standard output")
	case <-ctx.Done():
		err = ctx.Err()
	}
	return fmt.Errorf("%w: %w%s", handlers.ErrProxyRefused, err, s.says)
}

// endTime is how long a child may take to end when it has closed its standard
// output, and lingerTime when it still has to pass on what was written.
const (
	endTime    = time.Second
	lingerTime = time.Minute
)

// Close tells the child that nothing more will come. It then has lingerTime to
// pass on what it was given.
func (s *stream) Close() error {
	err := s.UnixConn.Close()
	if err == nil { // and so the first time
		go func() {
			select {
			case <-s.exited:
			case <-time.After(lingerTime):
				s.discard()
			}
		}()
	}
	return err
}

// discard ends the child, and what it has started, without manners.
func (s *stream) discard() {
	exited := false
	select {
	case <-s.exited:
		exited = true
	default:
	}
	// The number of a child that has exited may be another's by now, but not as long
	// as there is anybody in its group: whoever holds the other end.
	if !exited || s.held() {
		syscall.Kill(-s.command.Process.Pid, syscall.SIGKILL)
	}
	s.UnixConn.Close()
	<-s.exited
}

// held reports whether anybody has the other end open.
func (s *stream) held() bool {
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	held := false
	raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		held = n > 0 || err == syscall.EAGAIN
	})
	return held
}

// tail keeps the end of what is written.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (l *tail) Write(p []byte) (int, error) {
	const most = 500
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p[max(0, len(p)-most):]...)
	l.text = l.text[max(0, len(l.text)-most):]
	return len(p), nil
}

// String returns the last line as an addition to an error, or "".
func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := bytes.TrimSpace(l.text)
	last := text[bytes.LastIndexByte(text, '\n')+1:]
	if len(last) == 0 {
		return ""
	}
	return fmt.Sprintf(" (it said %q)", last)
}
