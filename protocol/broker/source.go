package broker

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A reader that is sent goes as an Object that is announced as sourceInterface.
// Its methods are "read", for everybody, and "stream", for those who know the
// extension Streams: docs/streams.md.

const sourceInterface = "RIReader.foolscap-go"

// What one read returns at most, and one chunk holds.
const (
	maxBlock = 256 << 10
	maxChunk = 64 << 10
)

// source is the reader behind such an Object.
type source struct {
	r io.Reader

	mu      sync.Mutex
	held    int             // by how many connections
	reading bool            // somebody reads
	waiting []chan struct{} // who reads next, in order
	why     error           // nothing more is read: io.EOF, the reader's error, or why it was stopped
	gone    chan struct{}   // closed with that
	closed  sync.Once
}

// NewSource returns an Object that stands for a reader. The reader is read by one
// goroutine at a time, and closed, if it is an io.Closer, when it has ended or
// failed, or nobody holds the Object any more, since it was released or the
// connection is lost. Close may be called during Read.
func NewSource(r io.Reader) *Object {
	s := &source{r: r, gone: make(chan struct{})}
	o := NewObject(sourceInterface, r, NewMethod("read", s.pull), NewMethod("stream", s.stream))
	o.source = s
	return o
}

// Reader returns what NewSource was given, or nil if the object is of another kind.
func (o *Object) Reader() io.Reader {
	if o.source == nil {
		return nil
	}
	return o.source.r
}

// stop makes sure that nothing more is read.
func (s *source) stop(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		s.why = why
		close(s.gone)
	}
}

func (s *source) hold() {
	s.mu.Lock()
	s.held++
	s.mu.Unlock()
}

// unhold reports whether nobody holds it any more.
func (s *source) unhold() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	return s.held == 0
}

func (s *source) isHeld() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held > 0
}

// close closes the reader, and returns when that has been done.
func (s *source) close() {
	s.closed.Do(func() {
		if c, ok := s.r.(io.Closer); ok {
			c.Close()
		}
	})
}

// stopSource ends the use of a source, from wherever no code of users may run.
func (b *Broker) stopSource(s *source, why error) {
	s.stop(why)
	if _, ok := s.r.(io.Closer); !ok {
		return
	}
	closing := func(context.Context) {
		defer func() {
			if v := recover(); v != nil {
				b.panicked("a reader", "Close", v)
			}
		}()
		s.close()
	}
	if !b.cfg.Host.Go(closing) {
		go closing(nil)
	}
}

// ended returns why nothing more is read, or nil.
func (s *source) ended() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// queue waits until those who have come before have read. The place in the queue
// is taken within the turn of ctx, so that reads go by the order of the calls.
func (s *source) queue(ctx context.Context) (leave func(), err error) {
	mine := make(chan struct{})
	s.mu.Lock()
	if s.reading {
		s.waiting = append(s.waiting, mine)
	} else {
		s.reading = true
		close(mine)
	}
	s.mu.Unlock()
	ReleaseTurn(ctx)
	select {
	case <-mine:
		return s.leave, nil
	case <-s.gone:
		err = s.ended()
	case <-ctx.Done(): // who is before may be of another connection
		err = context.Cause(ctx)
	}
	s.mu.Lock()
	i := slices.Index(s.waiting, mine)
	if i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 {
		s.leave()
	}
	return nil, err
}

// leave lets the next one read.
func (s *source) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reading = len(s.waiting) > 0; s.reading {
		close(s.waiting[0])
		s.waiting = slices.Delete(s.waiting, 0, 1)
	}
}

// read is for the first in the queue. It returns at least one byte or an error.
func (s *source) read(p []byte) (int, error) {
	if err := s.ended(); err != nil {
		return 0, err
	}
	var n int
	var err error
	for tries := 0; n == 0 && err == nil; tries++ {
		if tries == 100 {
			err = io.ErrNoProgress
			break
		}
		n, err = s.r.Read(p)
	}
	if n < 0 || n > len(p) {
		n, err = 0, fmt.Errorf("a %T that has read %d bytes into %d", s.r, n, len(p))
	}
	if err != nil {
		s.stop(err)
		s.close()
	}
	if n > 0 {
		return n, nil
	}
	return 0, s.ended() // if it was stopped, that is why it has failed
}

// outOfRange is the error of an argument.
type outOfRange string

func (e outOfRange) Error() string { return string(e) }
func (outOfRange) RemoteType() (string, []string) {
	return "builtins.ValueError", []string{"builtins.ValueError", "builtins.Exception"}
}

// pull returns the next bytes, none at the end.
func (s *source) pull(ctx context.Context, a struct{ Size int }) ([]byte, error) {
	if a.Size <= 0 {
		return nil, outOfRange(fmt.Sprintf("a read of %d bytes", a.Size))
	}
	leave, err := s.queue(ctx)
	if err == nil {
		defer leave()
		account, size := FromContext(ctx).account, min(a.Size, maxBlock)
		if err := account.Reserve(int64(size)); err != nil {
			return nil, err
		}
		defer account.Release(int64(size))
		buf := make([]byte, size)
		var n int
		if n, err = s.read(buf); err == nil {
			return buf[:n], nil
		}
	}
	if err == io.EOF {
		return []byte{}, nil
	}
	return nil, err
}

// outflow is a stream that we send. mu is held.
type outflow struct {
	credit int64
	more   chan struct{} // when there is some again
}

// stream sends everything to the peer, as its credit allows.
func (s *source) stream(ctx context.Context, a struct{ Credit int64 }) (none struct{}, err error) {
	in, _ := ctx.Value(turnKey{}).(*inbound)
	if in == nil || !in.b.flows || in.req == 0 {
		return none, &noMethod{"stream"}
	}
	if a.Credit <= 0 || a.Credit > maxCredit {
		return none, outOfRange(fmt.Sprintf("a credit of %d bytes", a.Credit))
	}
	b, f := in.b, &outflow{credit: a.Credit, more: make(chan struct{}, 1)}
	if err := b.addOutflow(in.req, f); err != nil {
		return none, err
	}
	defer b.removeOutflow(in.req)
	leave, err := s.queue(ctx)
	if err == nil {
		defer leave()
		err = s.copyTo(b, in.req, f)
	}
	if err == io.EOF {
		err = nil
	}
	return none, err
}

// addOutflow makes room for one more stream.
func (b *Broker) addOutflow(req int64, f *outflow) error {
	limit, max := "MaxStreams", b.cfg.Limits.MaxStreams
	if b.stranger.Load() {
		limit, max = "StrangerReferences", min(max, b.cfg.Limits.StrangerReferences)
	}
	if err := b.account.Reserve(maxChunk); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch n := len(b.outflows); {
	case n >= max:
		b.account.Release(maxChunk)
		return &banana.LimitError{Limit: limit, Max: int64(max), Asked: int64(n + 1)}
	case b.outflows[req] != nil:
		b.account.Release(maxChunk)
		return outOfRange(fmt.Sprintf("there is a stream %d already", req))
	case b.outflows == nil:
		b.outflows = make(map[int64]*outflow)
	}
	b.outflows[req] = f
	return nil
}

func (b *Broker) removeOutflow(req int64) {
	b.mu.Lock()
	delete(b.outflows, req)
	b.mu.Unlock()
	b.account.Release(maxChunk)
}

// copyTo sends chunks until the source ends. There is one in the send queue at a
// time, so that calls and other streams come in between.
func (s *source) copyTo(b *Broker, req int64, f *outflow) error {
	largest := min(maxChunk, b.cfg.Limits.MaxMessage/2)
	buf := make([]byte, min(largest, 4<<10))
	out := item{kind: chunkItem, gone: make(chan struct{}, 1)}
	for {
		credit, err := s.credit(b, f)
		if err != nil {
			return err
		}
		n, err := s.read(buf[:min(int64(len(buf)), credit)])
		if err != nil {
			return err
		}
		if err := b.sendChunk(&out, req, f, buf[:n]); err != nil {
			return err
		}
		if n == len(buf) && n < largest { // there is more than a little
			buf = make([]byte, largest)
		}
	}
}

// credit waits until the peer takes more bytes.
func (s *source) credit(b *Broker, f *outflow) (int64, error) {
	for {
		b.mu.Lock()
		credit := f.credit
		b.mu.Unlock()
		if credit > 0 {
			return credit, nil
		}
		select {
		case <-f.more:
		case <-s.gone:
			return 0, s.ended()
		case <-b.ctx.Done():
			return 0, context.Cause(b.ctx)
		}
	}
}

// sendChunk sends bytes, and returns when they may be changed.
func (b *Broker) sendChunk(out *item, req int64, f *outflow, p []byte) error {
	e := banana.NewEncoder(&b.encC, true)
	e.Open(chunkType)
	e.Int(req)
	e.Block(p)
	e.Close()
	m, _, err := e.Finish()
	if err != nil {
		return err
	}
	out.m = m
	if err := b.lockAlive(); err != nil {
		out.free()
		return err
	}
	f.credit -= int64(len(p))
	b.send.push(out)
	b.writeHere()
	b.unlock()
	select {
	case <-out.gone:
		return nil
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	}
}

// keepReaders leaves the readers in a message open, if it will be made anew.
func keepReaders(m *banana.Message, err error) {
	if err != errSettled && err != errWait {
		return
	}
	for _, s := range sources(m.Externals()) {
		s.closed.Do(func() {})
	}
}

// sources are those among what a message holds.
func sources(held []any) (all []*source) {
	for _, x := range held {
		if out, ok := x.(*outRef); ok && out.obj != nil && out.obj.source != nil {
			all = append(all, out.obj.source)
		}
	}
	return all
}
