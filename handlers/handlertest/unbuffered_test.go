package handlertest_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/handlertest"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// A transport may have streams without a buffer, dials that report nothing since they
// need not wait for long, and hints that are names in a directory.
func TestAnUnbufferedTransportPasses(t *testing.T) {
	d := &directory{listening: make(map[furl.Hint]*pipes)}
	handlertest.Run(t, handlertest.Config{
		NewHandler:  func(*testing.T) handlers.Handler { return &pipeHandler{directory: d} },
		NewAcceptor: func(*testing.T, *tls.Certificate) handlers.Acceptor { return d.listen() },
		Failures: map[string]handlertest.Failure{
			"nobody has this name": {
				Dial: func(*testing.T) (handlers.Handler, handlers.DialRequest) {
					return &pipeHandler{directory: d}, handlers.DialRequest{Hint: "pipe:end-0"}
				},
				Phase: handlers.PhaseResolve, Err: handlers.ErrNameNotResolved,
			},
		},
		Bulk: 1 << 20,
	})
}

// directory has who listens.
type directory struct {
	mu        sync.Mutex
	count     int
	listening map[furl.Hint]*pipes
}

func (d *directory) listen() *pipes {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	p := &pipes{directory: d, hint: furl.Hint(fmt.Sprint("pipe:end-", d.count)), dialled: make(chan net.Conn), closed: make(chan struct{})}
	d.listening[p.hint] = p
	return p
}

func (d *directory) find(hint furl.Hint) *pipes {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.listening[hint]
}

// pipes accepts net.Pipes.
type pipes struct {
	directory *directory
	hint      furl.Hint
	dialled   chan net.Conn
	closing   sync.Once
	closed    chan struct{}
}

func (p *pipes) Accept() (handlers.Stream, error) {
	select {
	case conn := <-p.dialled:
		return handlers.Stream{Conn: conn}, nil
	case <-p.closed:
		return handlers.Stream{}, net.ErrClosed
	}
}

func (p *pipes) Hints() ([]furl.Hint, <-chan struct{}) {
	select {
	case <-p.closed:
		return nil, nil
	default:
		return []furl.Hint{p.hint}, p.closed
	}
}

func (p *pipes) Exposure() handlers.Exposure { return handlers.Exposure{} }

func (p *pipes) Close() error {
	p.closing.Do(func() {
		p.directory.mu.Lock()
		defer p.directory.mu.Unlock()
		delete(p.directory.listening, p.hint)
		close(p.closed)
	})
	return nil
}

type pipeHandler struct {
	directory *directory
	dials     handlers.Dials
}

func (h *pipeHandler) Dial(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
	number, ok := strings.CutPrefix(string(req.Hint), "pipe:end-")
	if _, err := strconv.ParseUint(number, 10, 8); err != nil || !ok {
		return failing(req, handlers.PhaseParse, handlers.ErrInvalidHint)
	}
	ctx, done, err := h.dials.Begin(ctx)
	if err == nil {
		defer done()
		err = handlers.Ended(ctx)
	}
	if err != nil {
		return failing(req, handlers.PhaseDial, err)
	}
	listening := h.directory.find(req.Hint)
	if listening == nil {
		return failing(req, handlers.PhaseResolve, handlers.ErrNameNotResolved)
	}
	ours, theirs := net.Pipe()
	select {
	case listening.dialled <- theirs:
		return handlers.Stream{Conn: ours}, nil
	case <-listening.closed:
		return failing(req, handlers.PhaseDial, handlers.ErrUnreachable)
	case <-ctx.Done():
		return failing(req, handlers.PhaseDial, handlers.Ended(ctx))
	}
}

func (h *pipeHandler) DialTimeout() time.Duration  { return 0 }
func (h *pipeHandler) Exposure() handlers.Exposure { return handlers.Exposure{} }
func (h *pipeHandler) Description() string         { return "pipe" }
func (h *pipeHandler) Close() error                { h.dials.Close(); return nil }
