// Package relay puts a network between two ends of a test: a relay on the loopback interface that passes TCP connections
// on to a target, and can delay them, count what they carry, let them go dead, or cut them.
package relay

import (
	"errors"
	"io"
	"math"
	"net"
	"sync"
	"testing"
	"time"
)

const (
	// chunkSize and queueLength bound what a relay holds for one direction of a connection: 2 MiB. When the receiver does
	// not read, the sender is held up once that is full.
	chunkSize   = 32 << 10
	queueLength = 64
)

// Relay passes connections on to its target. All methods may be called concurrently.
type Relay struct {
	listener net.Listener
	running  sync.WaitGroup

	mu        sync.Mutex
	target    string
	toTarget  time.Duration
	toClient  time.Duration
	swallow   bool
	cutAfter  [2]int64
	gates     [2]gate
	closed    bool
	conns     []*Conn
	connected chan struct{} // closed and replaced when there is a new connection
}

// Start runs a relay until the test ends. The target is a TCP address; it may be empty as long as nobody connects, see
// SetTarget.
func Start(t testing.TB, target string) *Relay {
	t.Helper()
	r, err := Listen(target)
	if err != nil {
		t.Fatalf("starting a relay: %v", err)
	}
	t.Cleanup(func() { _ = r.Close() }) // the listener is ours alone, closing it cannot fail in a way that matters
	return r
}

// Listen runs a relay, on a port of its own on 127.0.0.1, until it is closed.
func Listen(target string) (*Relay, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{listener: listener, target: target, connected: make(chan struct{})}
	r.running.Go(r.accept)
	return r, nil
}

// Addr returns the address to connect to.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Port returns the port to connect to.
func (r *Relay) Port() int { return r.listener.Addr().(*net.TCPAddr).Port }

// Hint returns the connection hint of the relay, for the location of a Tub behind it.
func (r *Relay) Hint() string { return "tcp:" + r.Addr() }

// SetTarget makes later connections go to another address.
func (r *Relay) SetTarget(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
}

// SetDelay makes later connections take these times from one end to the other; the order and the spacing of what they
// carry stay as they were. TCP's own handshake cannot be delayed by a relay, so its round trip is added afterwards: what
// the client sends before it would have been over is sent on as if it had been sent right then. The time from the start
// of a dial to anything later is thus the one that a real network with these delays would show.
func (r *Relay) SetDelay(toTarget, toClient time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.toTarget, r.toClient = toTarget, toClient
}

// SetSwallow makes later connections dead from the start, as Freeze does: they are accepted, and nothing else happens.
func (r *Relay) SetSwallow(swallow bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.swallow = swallow
}

// SetCutAfter makes later connections end, as Cut does, once they have carried as many bytes in one of the directions; 0
// stands for no end. The last of these bytes is delivered, or was about to be: a reset may overtake it.
func (r *Relay) SetCutAfter(toTarget, toClient int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cutAfter = [2]int64{atTarget: toTarget, atClient: toClient}
}

// Conns returns all connections there have been, the oldest first.
func (r *Relay) Conns() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Conn(nil), r.conns...)
}

// WaitConn waits until there have been that many connections and returns the last of them: WaitConn(t, 1) the first one.
func (r *Relay) WaitConn(t testing.TB, number int) *Conn {
	t.Helper()
	for {
		r.mu.Lock()
		conns, connected := r.conns, r.connected
		r.mu.Unlock()
		if len(conns) >= number {
			return conns[number-1]
		}
		select {
		case <-connected:
		case <-t.Context().Done():
			t.Fatalf("%d connections through the relay instead of %d: %v", len(conns), number, t.Context().Err())
		}
	}
}

// Freeze makes the connections there are at the moment dead: nothing is read from them or written to them any more, and
// neither end hears that the other one has closed. Both have to find out by themselves. Later connections are not
// affected.
func (r *Relay) Freeze() {
	for _, c := range r.Conns() {
		c.Freeze()
	}
}

// Cut resets the connections there are at the moment, at both ends.
func (r *Relay) Cut() {
	for _, c := range r.Conns() {
		c.Cut()
	}
}

// A Hold keeps what the connections of a relay carry in one direction from arriving.
type Hold struct {
	held, released chan struct{}
	hold, release  sync.Once
}

// Held is closed once something is held, if only that its sender has closed.
func (h *Hold) Held() <-chan struct{} { return h.held }

// Release lets everything arrive that is held, and what comes later.
func (h *Hold) Release() { h.release.Do(func() { close(h.released) }) }

// HoldToTarget holds what all connections carry to the target, later connections included, and HoldToClient what
// they carry to the client. There is one hold for each direction at a time.
func (r *Relay) HoldToTarget() *Hold { return r.gates[atTarget].close() }

// HoldToClient is HoldToTarget for the other direction.
func (r *Relay) HoldToClient() *Hold { return r.gates[atClient].close() }

// gate is where what goes to one end can be held.
type gate struct {
	mu   sync.Mutex
	hold *Hold
}

func (g *gate) close() *Hold {
	h := &Hold{held: make(chan struct{}), released: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = h
	return h
}

// pass waits until something may go through to an end, and reports whether the connection can go on.
func (c *Conn) pass(end int) bool {
	g := &c.gates[end]
	g.mu.Lock()
	h := g.hold
	g.mu.Unlock()
	if h == nil {
		return true
	}
	select {
	case <-h.released:
		return true
	default:
		h.hold.Do(func() { close(h.held) })
	}
	select {
	case <-h.released:
		return true
	case <-c.frozen:
	case <-c.cut:
	}
	return false
}

// Close stops listening, cuts all connections and waits until nothing is running.
func (r *Relay) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	err := r.listener.Close()
	r.Cut()
	r.running.Wait()
	return err
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // that connection has not come to be
		}
		r.mu.Lock()
		if r.closed {
			r.mu.Unlock()
			_ = client.Close()
			return
		}
		c := newConn(client.(*net.TCPConn), r.target, r.toTarget, r.toClient)
		c.cutAfter, c.gates = r.cutAfter, &r.gates
		if r.swallow {
			c.Freeze()
		}
		r.conns = append(r.conns, c)
		close(r.connected)
		r.connected = make(chan struct{})
		r.running.Go(c.run)
		r.mu.Unlock()
	}
}

// Stats says what a connection has carried as far as the other end.
type Stats struct {
	// ToTarget and ToClient count bytes.
	ToTarget, ToClient int64
	// Flights is the length of the longest chain in which each delivery came after one in the other direction had
	// arrived where it was sent. Two are a round trip. A request and its answer are two flights in however many pieces
	// they travel; two ends that talk to each other at the same time, neither waiting for the other, need one. The count
	// is exact as long as both ends take less time to react than the delay; the two flights of TCP's own handshake are
	// not counted.
	Flights int
}

// Conn is one connection through a relay.
type Conn struct {
	client   *net.TCPConn
	target   string
	toTarget time.Duration
	toClient time.Duration
	gates    *[2]gate
	cutAfter [2]int64 // bytes that have arrived at an end, 0 for never

	frozen   chan struct{} // closed by Freeze
	cut      chan struct{} // closed at the end of Cut
	finished chan struct{} // closed when both ends are closed

	mu     sync.Mutex
	server *net.TCPConn
	stats  Stats
	// depth is the length of the longest chain that has arrived at the target and at the client.
	depth [2]int
}

// The ends of a connection, as indices of depth.
const (
	atTarget = iota
	atClient
)

func newConn(client *net.TCPConn, target string, toTarget, toClient time.Duration) *Conn {
	return &Conn{
		client:   client,
		target:   target,
		toTarget: toTarget,
		toClient: toClient,
		frozen:   make(chan struct{}),
		cut:      make(chan struct{}),
		finished: make(chan struct{}),
	}
}

// Stats returns what the connection has carried until now.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Done is closed when both ends have been closed.
func (c *Conn) Done() <-chan struct{} { return c.finished }

// Freeze makes the connection dead: see [Relay.Freeze].
func (c *Conn) Freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.frozen:
		return
	default:
		close(c.frozen)
	}
	// Whoever is reading or writing stops. What is lost then would have been on its way.
	past := time.Unix(1, 0)
	_ = c.client.SetDeadline(past)
	if c.server != nil {
		_ = c.server.SetDeadline(past)
	}
}

// Cut resets the connection at both ends.
func (c *Conn) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.cut:
		return
	default:
	}
	reset(c.client)
	if c.server != nil {
		reset(c.server)
	}
	close(c.cut) // only now: whoever waits for it closes what it has in the ordinary way
}

func reset(conn *net.TCPConn) {
	// Neither can fail in another way than that the connection is closed, which is what is wanted.
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

func (c *Conn) run() {
	defer close(c.finished)
	established := time.Now().Add(c.toTarget + c.toClient)
	// The client's first bytes take as long again as they would behind the handshake, and they are what tells the
	// target of the connection.
	if !c.wait(established.Add(c.toTarget)) {
		c.hold()
		return
	}
	dialed, err := net.Dial("tcp", c.target)
	if err != nil {
		c.end()
		c.hold()
		return
	}
	server := dialed.(*net.TCPConn)
	if !c.setServer(server) {
		c.hold()
		reset(server)
		return
	}

	var directions sync.WaitGroup
	directions.Go(func() {
		c.forward(direction{c.client, server, c.toTarget, established, atClient, atTarget})
	})
	directions.Go(func() {
		c.forward(direction{server, c.client, c.toClient, time.Time{}, atTarget, atClient})
	})
	directions.Wait()
	c.hold()
	_ = c.client.Close() // both have been shut down already, or reset
	_ = server.Close()
}

// setServer reports whether the connection can go on.
func (c *Conn) setServer(server *net.TCPConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.frozen:
		return false
	case <-c.cut:
		return false
	default:
		c.server = server
		return true
	}
}

// hold keeps a frozen connection open until it is cut.
func (c *Conn) hold() {
	select {
	case <-c.frozen:
		<-c.cut
	default:
	}
}

// wait waits for a time to come and reports whether the connection can go on.
func (c *Conn) wait(until time.Time) bool {
	if delay := time.Until(until); delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.frozen:
		case <-c.cut:
		}
	}
	select {
	case <-c.frozen:
		return false
	case <-c.cut:
		return false
	default:
		return true
	}
}

// direction is one way of a connection.
type direction struct {
	from, to *net.TCPConn
	delay    time.Duration
	earliest time.Time // nothing has been sent before
	here     int       // the sender, as an index of depth
	there    int       // the receiver
}

type chunk struct {
	data  []byte
	due   time.Time
	depth int
}

// forward carries one direction until its sender has closed it or the connection cannot go on.
func (c *Conn) forward(d direction) {
	queue := make(chan chunk, queueLength)
	stopped := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(queue)
		c.read(d, queue, stopped)
	})
	if c.deliver(d, queue) {
		// Only the sender has closed: the receiver may still have something to say.
		_ = d.to.CloseWrite()
	} else {
		close(stopped)
		c.end()
	}
	reader.Wait()
}

// read puts what the sender sends into the queue, with an empty chunk when it has closed its side.
func (c *Conn) read(d direction, queue chan<- chunk, stopped <-chan struct{}) {
	for {
		data := make([]byte, chunkSize)
		n, err := d.from.Read(data)
		now := time.Now()
		if now.Before(d.earliest) {
			now = d.earliest
		}
		next := chunk{data[:n], now.Add(d.delay), c.sent(d.here)}
		if n > 0 {
			select {
			case queue <- next:
			case <-stopped:
				return
			}
		}
		if errors.Is(err, io.EOF) {
			next.data = nil
			select {
			case queue <- next:
			case <-stopped:
			}
			return
		}
		if err != nil {
			return
		}
	}
}

// deliver writes what is in the queue when it is due. It reports whether that ended because the sender closed its side.
func (c *Conn) deliver(d direction, queue <-chan chunk) bool {
	for next := range queue {
		if !c.wait(next.due) || !c.pass(d.there) {
			return false
		}
		if len(next.data) == 0 {
			return true
		}
		left := c.left(d.there)
		if left < int64(len(next.data)) {
			next.data = next.data[:left]
		}
		// What is being delivered counts before the receiver can answer it.
		c.arrives(d.there, next)
		if _, err := d.to.Write(next.data); err != nil || left == int64(len(next.data)) {
			return false
		}
	}
	return false
}

// end resets the connection, unless it is one that has to look alive.
func (c *Conn) end() {
	select {
	case <-c.frozen:
	default:
		c.Cut()
	}
}

// sent returns the length of the chain that something sent from an end now belongs to.
func (c *Conn) sent(end int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.depth[end] + 1
}

// left returns how many bytes may still arrive at an end.
func (c *Conn) left(end int) int64 {
	if c.cutAfter[end] == 0 {
		return math.MaxInt64
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	arrived := c.stats.ToTarget
	if end == atClient {
		arrived = c.stats.ToClient
	}
	return c.cutAfter[end] - arrived
}

func (c *Conn) arrives(end int, delivered chunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.depth[end] = max(c.depth[end], delivered.depth)
	c.stats.Flights = max(c.stats.Flights, delivered.depth)
	if end == atTarget {
		c.stats.ToTarget += int64(len(delivered.data))
	} else {
		c.stats.ToClient += int64(len(delivered.data))
	}
}
