package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// ErrClosedReader: the reader was closed. One that is an argument is, when its
// method has returned.
var ErrClosedReader = errors.New("this reader was closed; one that is an argument lives until its method has returned")

// A Reader reads what a reader at the other side reads: as a stream if both sides
// know the extension [Streams], otherwise by calls of its method "read", of which
// one at a time is made, the next one while the bytes of the last are used. It is
// for one goroutine at a time, but Close may be called from any.
//
// An error of the other reader is that of Read, as the *Failure in a *CallError. The
// object is released at the end, by Close, and when the Reader is not reachable any
// more. Read and WriteTo give up the turn of the method that they are called in.
type Reader struct {
	resolve func(context.Context) (*Remote, error)
	release func()
	ctx     readerContext
	cancel  context.CancelFunc
	closed  atomic.Bool

	mu   sync.Mutex // of who reads
	from transfer
	err  error
}

// readerContext ends with the Reader and has the turn of who reads.
type readerContext struct {
	context.Context
	of context.Context // whose turn it is, nil for nobody's
}

func (c readerContext) Value(key any) any {
	if v := c.Context.Value(key); v != nil || c.of == nil {
		return v
	}
	return c.of.Value(key)
}

// transfer is how the bytes come. It is used by one goroutine at a time.
type transfer interface {
	// next waits for bytes.
	next(ctx context.Context) ([]byte, error)
	// used says that the first n of them are not needed any more.
	used(n int)
	close()
}

// NewReader returns a Reader of the object that resolve finds when it is read
// first; release releases that.
func NewReader(resolve func(context.Context) (*Remote, error), release func()) *Reader {
	r := &Reader{resolve: resolve, release: release}
	r.ctx.Context, r.cancel = context.WithCancel(context.Background())
	return r
}

// adopt is Host.Adopt, for the Decoder.
func (b *Broker) adopt(v any, t reflect.Type) (reflect.Value, error) {
	return b.adopted(&b.readers, v, t)
}

// adopted keeps the Readers that are made.
func (b *Broker) adopted(made *[]*Reader, v any, t reflect.Type) (reflect.Value, error) {
	rv, err := b.cfg.Host.Adopt(v, t)
	if err == nil {
		if r, ok := rv.Interface().(*Reader); ok {
			*made = append(*made, r)
		}
	}
	return rv, err
}

// takeReaders returns the Readers of the message that was read.
func (b *Broker) takeReaders() []*Reader {
	all := b.readers
	b.readers = nil
	return all
}

// forCall says in whose turn Readers are read.
func forCall(ctx context.Context, all []*Reader) {
	for _, r := range all {
		r.ctx.of = ctx
	}
}

// Read returns ErrClosedReader after Close.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := r.next()
	n := copy(p, b)
	r.used(n)
	return n, err
}

// WriteTo is for io.Copy: it spares one copy of the bytes.
func (r *Reader) WriteTo(w io.Writer) (written int64, err error) {
	for {
		b, err := r.next()
		if err == io.EOF {
			return written, nil
		}
		if err != nil {
			return written, err
		}
		n, err := w.Write(b)
		if n < 0 || n > len(b) {
			n, err = 0, errors.Join(err, fmt.Errorf("a %T that has written %d of %d bytes", w, n, len(b)))
		}
		r.used(n)
		written += int64(n)
		if err == nil && n < len(b) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return written, err
		}
	}
}

// Close releases the reader at the other side, which closes it. A Read that waits
// returns. Close always returns nil.
func (r *Reader) Close() error {
	r.cancel()
	if !r.closed.Swap(true) {
		r.release()
	}
	r.tidy()
	return nil
}

// tidy ends the transfer of a Reader that was closed, unless somebody reads, who
// does it then.
func (r *Reader) tidy() {
	if r.closed.Load() && r.mu.TryLock() {
		defer r.mu.Unlock()
		if r.from != nil {
			r.from.close()
			r.from = nil
		}
	}
}

func (r *Reader) next() (b []byte, err error) {
	r.mu.Lock()
	defer func() {
		if err != nil && r.err == nil {
			if r.closed.Load() {
				err = ErrClosedReader
			}
			r.err = err
		}
		r.mu.Unlock()
		if err != nil {
			r.Close()
		}
	}()
	switch {
	case r.err != nil:
		return nil, r.err
	case r.closed.Load():
		return nil, ErrClosedReader
	case r.from == nil:
		if err := r.begin(); err != nil {
			return nil, err
		}
	}
	return r.from.next(r.ctx)
}

func (r *Reader) used(n int) {
	r.mu.Lock()
	if r.from != nil && n > 0 {
		r.from.used(n)
	}
	r.mu.Unlock()
	r.tidy()
}

// begin begins the transfer. mu is held.
func (r *Reader) begin() error {
	remote, err := r.resolve(r.ctx)
	if err != nil {
		return err
	}
	if !remote.b.flows || remote.Interface() != sourceInterface {
		r.from = &pulled{remote: remote}
		return nil
	}
	f, err := remote.b.openFlow(r.ctx, remote)
	if err != nil {
		return err
	}
	r.from = f
	runtime.AddCleanup(r, (*inflow).close, f)
	return nil
}

// pulled is a transfer by calls.
type pulled struct {
	remote *Remote
	left   []byte
	ahead  *Pending // of the next bytes
	bytes  []byte   // which come here
}

var bytesCodec, _ = banana.CodecOf(reflect.TypeFor[[]byte]())

func (p *pulled) start(ctx context.Context) (err error) {
	p.bytes = nil
	p.ahead, err = p.remote.start(ctx, "read", Args{Positional: []any{maxBlock}}, &p.bytes, bytesCodec)
	return err
}

func (p *pulled) next(ctx context.Context) ([]byte, error) {
	if len(p.left) > 0 {
		return p.left, nil
	}
	if p.ahead == nil {
		if err := p.start(ctx); err != nil {
			return nil, err
		}
	}
	err := p.ahead.wait(ctx)
	p.ahead = nil
	if err != nil {
		return nil, err
	}
	if p.left = p.bytes; len(p.left) == 0 {
		return nil, io.EOF
	}
	if p.start(ctx) != nil {
		p.ahead = nil // the next one has the error
	}
	return p.left, nil
}

func (p *pulled) used(n int) { p.left = p.left[n:] }

func (p *pulled) close() {
	if p.ahead != nil {
		if _, cancelled := p.ahead.cancel(); !cancelled { // it is answered
			<-p.ahead.done
			p.ahead.unsetCharge()
		}
		p.ahead = nil
	}
}
