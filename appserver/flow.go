package appserver

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/foolscap-go/foolscap/tub"
)

const (
	// piece is how much of a stream goes in one call, in bytes.
	piece = 64 << 10
	// window is how many calls of a stream may wait for their answers. With pieces of
	// that size it is what a route with a second of latency needs for 1 MiB/s.
	window = 16
	// A peer that does not wait for answers, as Python programs do not, may be ahead
	// of what takes its stream by this much. Beyond it the stream is given up: the
	// Tub's own limits, which are higher, would make holes in it.
	maxAheadBytes  = 16 << 20
	maxAheadPieces = 2000
)

// An outlet is a stream to a peer, by calls of a method that takes bytes. Each call is
// answered when its bytes were used, so that a slow reader makes Write wait; the peer
// need not know more than the method. It is for one goroutine.
type outlet struct {
	ctx     context.Context
	ref     *tub.Ref
	method  string
	pending []*tub.Pending[any]
}

func (o *outlet) Write(p []byte) (int, error) {
	if len(o.pending) == window {
		if err := o.wait(); err != nil {
			return 0, err
		}
	}
	call, err := tub.Start[any](o.ctx, o.ref, o.method, p)
	if err != nil {
		return 0, err
	}
	o.pending = append(o.pending, call)
	return len(p), nil
}

// wait waits for the oldest call.
func (o *outlet) wait() error {
	call := o.pending[0]
	o.pending = o.pending[1:]
	_, err := call.Wait(o.ctx)
	return err
}

// flush waits until everything is used.
func (o *outlet) flush() error {
	for len(o.pending) > 0 {
		if err := o.wait(); err != nil {
			return err
		}
	}
	return nil
}

// readFrom sends what is read, as soon as it can be read, until the end.
func (o *outlet) readFrom(r io.Reader, see func(p []byte)) error {
	buf := make([]byte, piece)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			see(buf[:n])
			if _, err := o.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return o.flush()
		}
		if err != nil {
			return errors.Join(err, o.flush())
		}
	}
}

// errFlood: a peer does not wait for its stream to be used.
var errFlood = errors.New("it came faster than it could be used, from a program that does not wait")

// A funnel is the other side of an outlet: methods bring pieces, which are written in
// the order in which the methods were called. None of them keeps its turn meanwhile.
type funnel struct {
	w io.Writer

	mu            sync.Mutex
	last          <-chan struct{} // of the piece before; nil for none
	pieces, bytes int             // that wait
	err           error           // nothing is written any more
}

// write is what a method calls first of all. It returns when p is written.
func (f *funnel) write(ctx context.Context, p []byte) error {
	return f.then(ctx, len(p), func() error {
		_, err := f.w.Write(p)
		return err
	})
}

// close runs end behind everything that is to be written.
func (f *funnel) close(ctx context.Context, end func() error) error { return f.then(ctx, 0, end) }

func (f *funnel) then(ctx context.Context, size int, do func() error) error {
	before, done, err := f.enter(size)
	if err != nil {
		return err
	}
	defer f.leave(size, done)
	tub.Yield(ctx)
	if before != nil {
		<-before
	}
	f.mu.Lock()
	err = f.err
	f.mu.Unlock()
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		f.fail(err)
		return err
	}
	return nil
}

func (f *funnel) enter(size int) (before <-chan struct{}, done chan struct{}, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && (f.pieces == maxAheadPieces || f.bytes+size > maxAheadBytes) {
		f.err = errFlood
	}
	if f.err != nil {
		return nil, nil, f.err
	}
	before, done = f.last, make(chan struct{})
	f.last = done
	f.pieces++
	f.bytes += size
	return before, done, nil
}

func (f *funnel) leave(size int, done chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pieces--
	f.bytes -= size
	close(done)
}

// fail lets nothing more be written, and everybody else fail who wants to.
func (f *funnel) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}
