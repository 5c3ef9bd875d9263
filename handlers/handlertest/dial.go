package handlertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// A dialling is a dial in progress.
type dialling struct {
	hint     furl.Hint
	progress *progress
	done     chan struct{} // closed when it is over

	// Once done.
	stream   handlers.Stream
	err      error
	took     time.Duration
	panicked string
}

// outcome is what a dial came to. There is an error if there is no stream.
type outcome struct {
	stream   handlers.Stream
	err      error
	took     time.Duration
	progress *progress
}

// What a dial came to that broke the contract, which has been reported.
var (
	errNoReturn = errors.New("the dial did not return")
	errPanic    = errors.New("the dial panicked")
	errNothing  = errors.New("the dial returned neither a stream nor an error")
)

// start calls the handler as it is, without what the function handlers.Dial
// mends.
func (k *kit) start(ctx context.Context, h handlers.Handler, req handlers.DialRequest) *dialling {
	p := &progress{told: make(chan struct{})}
	req.Progress = p.take
	return k.startTelling(ctx, h, req, p)
}

// startTelling is start for somebody who may not want to hear of progress.
func (k *kit) startTelling(ctx context.Context, h handlers.Handler, req handlers.DialRequest, p *progress) *dialling {
	d := &dialling{hint: req.Hint, progress: p, done: make(chan struct{})}
	if req.Target == "" {
		req.Target = k.server.tubID()
	}
	if req.Identity == nil {
		req.Identity = k.client.cert
	}
	go func() {
		started := time.Now()
		defer func() {
			if r := recover(); r != nil {
				d.panicked = fmt.Sprintf("%v\n%s", r, debug.Stack())
			}
			d.took = time.Since(started)
			close(d.done)
		}()
		d.stream, d.err = h.Dial(ctx, req)
		d.progress.dialHasReturned()
	}()
	return d
}

// wait returns what a dial that has to be over within a time came to, and reports
// what breaks the contract.
func (d *dialling) wait(t *testing.T, within time.Duration, because string) outcome {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-d.done:
	case <-timer.C:
		t.Errorf("Dial of %q has not returned after %v: %s", d.hint, within, because)
		go func() {
			if <-d.done; d.stream.Conn != nil {
				d.stream.Close()
			}
		}()
		return outcome{err: errNoReturn, took: within, progress: d.progress}
	}
	o := outcome{stream: d.stream, err: d.err, took: d.took, progress: d.progress}
	switch {
	case d.panicked != "":
		t.Errorf("Dial of %q panicked: %s", d.hint, d.panicked)
		o.err = errPanic
	case d.err != nil:
		checkError(t, d.hint, d.err)
		if d.stream.Conn != nil {
			t.Errorf("Dial of %q returned a stream beside the error %q: exactly one may be set", d.hint, d.err)
			d.stream.Close()
			o.stream = handlers.Stream{}
		}
	case d.stream.Conn == nil:
		t.Errorf("Dial of %q returned neither a stream nor an error", d.hint)
		o.err = errNothing
	}
	return o
}

// dial dials and waits.
func (k *kit) dial(ctx context.Context, t *testing.T, h handlers.Handler, req handlers.DialRequest) outcome {
	t.Helper()
	return k.start(ctx, h, req).wait(t, k.cfg.Timeout+atOnce, "nothing keeps it waiting (see Config.Timeout)")
}

// request is how the client dials the station.
func (k *kit) request() handlers.DialRequest {
	return handlers.DialRequest{Hint: k.station.hint, Isolation: "handlertest"}
}

// handler makes a handler that is closed with the test.
func (k *kit) handler(t *testing.T) handlers.Handler {
	return closing(t, k.cfg.NewHandler(t))
}

func closing(t *testing.T, h handlers.Handler) handlers.Handler {
	t.Cleanup(func() { closeIt(t, "the handler", h.Close) })
	return h
}

// closeIt calls a Close that has nothing to wait for.
func closeIt(t *testing.T, what string, shut func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- fmt.Errorf("it panicked: %v\n%s", r, debug.Stack())
			}
		}()
		done <- shut()
	}()
	select {
	case err := <-done:
		assert.NoError(t, err, "Close of %s", what)
	case <-time.After(2 * atOnce): // there is time for some manners
		t.Errorf("Close of %s has not returned after %v", what, 2*atOnce)
	}
}

// handlerPhases are those that a handler goes through, in their order.
var handlerPhases = []handlers.Phase{
	handlers.PhaseParse, handlers.PhaseResolve, handlers.PhaseDial, handlers.PhaseProxy, handlers.PhaseTransport,
}

// sentinels are those that a handler may use, and the phases in which each makes
// sense.
var sentinels = []struct {
	err    error
	phases []handlers.Phase
}{
	{handlers.ErrInvalidHint, []handlers.Phase{handlers.PhaseParse}},
	{handlers.ErrNameNotResolved, []handlers.Phase{handlers.PhaseResolve, handlers.PhaseProxy}},
	{handlers.ErrProxyUnreachable, []handlers.Phase{handlers.PhaseResolve, handlers.PhaseDial, handlers.PhaseProxy}},
	{handlers.ErrProxyRefused, []handlers.Phase{handlers.PhaseDial, handlers.PhaseProxy}},
	{handlers.ErrUnreachable, []handlers.Phase{handlers.PhaseDial, handlers.PhaseProxy, handlers.PhaseTransport}},
	{handlers.ErrWrongTub, []handlers.Phase{handlers.PhaseTransport}},
	{handlers.ErrNoHandler, nil},
	{handlers.ErrRefusedByPolicy, nil},
}

// checkError reports what is wrong with the form of a dial's error.
func checkError(t *testing.T, hint furl.Hint, err error) {
	t.Helper()
	failure, ok := err.(*handlers.Error)
	switch {
	case !ok:
		t.Errorf("the error of dialling %q is a %T and no *handlers.Error: %v", hint, err, err)
		return
	case failure == nil || failure.Err == nil:
		t.Errorf("the *handlers.Error of dialling %q has no Err", hint)
		return
	case !slices.Contains(handlerPhases, failure.Phase):
		t.Errorf("the error of dialling %q is in the phase %q, which is none of a handler's: %v", hint, failure.Phase, failure.Err)
		return
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) && !slices.Contains(s.phases, failure.Phase) {
			t.Errorf("the error of dialling %q cannot occur in the phase %q: %v", hint, failure.Phase, failure.Err)
		}
	}
}

// phaseOf returns the phase of a dial's error, or "".
func phaseOf(err error) handlers.Phase {
	var failure *handlers.Error
	if errors.As(err, &failure) && failure != nil {
		return failure.Phase
	}
	return ""
}

// progress is what one dial reports.
type progress struct {
	told chan struct{} // closed with the first report

	mu          sync.Mutex
	reports     []handlers.Status
	late        []handlers.Status // those after Dial had returned
	returned    bool
	inProgress  int
	overlapping bool
}

func (p *progress) take(s handlers.Status) {
	p.mu.Lock()
	p.inProgress++
	p.overlapping = p.overlapping || p.inProgress > 1
	if len(p.reports) == 0 && !p.returned {
		close(p.told)
	}
	if p.returned {
		p.late = append(p.late, s)
	} else {
		p.reports = append(p.reports, s)
	}
	p.mu.Unlock()
	for range 10 { // so that another report can overlap this one
		runtime.Gosched()
	}
	p.mu.Lock()
	p.inProgress--
	p.mu.Unlock()
}

func (p *progress) dialHasReturned() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.returned = true
}

// check reports what is wrong with the reports of a dial, once nothing that it
// has started is running any more.
func (p *progress) check(t *testing.T, wanted bool) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if wanted {
		assert.NotEmpty(t, p.reports, "a dial that waits says what for, see DialRequest.Report")
	}
	for _, s := range p.reports {
		assert.NotEmpty(t, s.Text, "a report says nothing")
		assert.Contains(t, handlerPhases, s.Phase, "a report is in a phase that is none of a handler's: %q", s.Text)
	}
	assert.Empty(t, p.late, "reports came after Dial had returned")
	assert.False(t, p.overlapping, "two goroutines reported at a time: %v", p.reports)
}

// inOrder checks the reports of a dial that has succeeded.
func (p *progress) inOrder(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.True(t, slices.IsSortedFunc(p.reports, func(a, b handlers.Status) int {
		return slices.Index(handlerPhases, a.Phase) - slices.Index(handlerPhases, b.Phase)
	}), "the phases went backwards: %v", fmt.Sprint(p.reports))
}

// isClosed reports whether err is what a closed handler or acceptor returns.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
