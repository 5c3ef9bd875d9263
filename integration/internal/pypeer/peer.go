package pypeer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/foolscap-go/foolscap/integration/peers"
)

// patience is how long a peer may take for anything: long enough for a busy machine, short enough that a test which hangs
// ends with a message of its own.
const patience = time.Minute

// Options says what sort of Tub to start. The zero value is what Foolscap does by default, listening on a port of its
// own on 127.0.0.1.
type Options struct {
	// CertFile holds the Tub's certificate and key. It is written when it does not exist. Empty stands for an identity as
	// Foolscap makes them, with RSA; it may have been that of a peer which has ended. See also [WriteCert].
	CertFile string
	// NoListen makes a Tub that only dials.
	NoListen bool
	// Port to listen on; 0 means any.
	Port int
	// Location is what FURLs say instead of tcp:127.0.0.1:PORT, with commas between hints. "none" gives none; then
	// nothing can be registered, and references are sent without a FURL.
	Location string
	// Keepalive is the silence after which the Tub sends a PING; 0 means Foolscap's 4 minutes.
	Keepalive time.Duration
	// Disconnect is the silence after which the Tub gives a connection up; 0 means never.
	Disconnect time.Duration
	// HandleOldDuplicates is the age, in whole seconds, from which a connection gives way to a new one of a peer that
	// says nothing of incarnations; 0 leaves the option off.
	HandleOldDuplicates time.Duration
	// RefuseGifts turns accept-gifts off.
	RefuseGifts bool
	// SafeTracebacks keeps tracebacks from peers; by default Foolscap sends them.
	SafeTracebacks bool
	// HideRemoteExceptionTypes turns expose-remote-exception-types off: what fails on a peer is a RemoteException,
	// which has the rest as its cause.
	HideRemoteExceptionTypes bool
	// LogLocalFailures makes failures of the peer's own methods appear among its errors.
	LogLocalFailures bool
	// TLS12 keeps the Tub from TLS 1.3.
	TLS12 bool
	// EmptyVocabulary makes the Tub offer table 0 only.
	EmptyVocabulary bool
	// HelloWithout names keys that the Tub leaves out of its hellos.
	HelloWithout []string
	// HelloWith adds or replaces keys of its hellos.
	HelloWith map[string]string
	// Verbose puts Foolscap's own log among what is shown when the test fails.
	Verbose bool
}

func (o Options) arguments() []string {
	var arguments []string
	flag := func(name string, set bool) {
		if set {
			arguments = append(arguments, name)
		}
	}
	option := func(name string, set bool, value string) {
		if set {
			arguments = append(arguments, name+"="+value)
		}
	}
	seconds := func(name string, d time.Duration) {
		option(name, d != 0, strconv.FormatFloat(d.Seconds(), 'f', -1, 64))
	}
	option("--cert", o.CertFile != "", o.CertFile)
	flag("--no-listen", o.NoListen)
	option("--port", o.Port != 0, strconv.Itoa(o.Port))
	option("--location", o.Location != "", o.Location)
	seconds("--keepalive", o.Keepalive)
	seconds("--disconnect", o.Disconnect)
	seconds("--handle-old-duplicates", o.HandleOldDuplicates)
	flag("--refuse-gifts", o.RefuseGifts)
	flag("--safe-tracebacks", o.SafeTracebacks)
	flag("--hide-remote-exception-types", o.HideRemoteExceptionTypes)
	flag("--log-local-failures", o.LogLocalFailures)
	flag("--tls12", o.TLS12)
	option("--vocabulary", o.EmptyVocabulary, "0")
	for _, key := range o.HelloWithout {
		option("--hello-without", true, key)
	}
	for key, value := range o.HelloWith {
		option("--hello-with", true, key+"="+value)
	}
	flag("--verbose", o.Verbose)
	return arguments
}

// Tub says what a peer's Tub is.
type Tub struct {
	TubID       string
	Incarnation string
	Port        int // 0 when it does not listen
	Location    []string
	PID         int
}

// Addr returns the TCP address at which the Tub listens.
func (t Tub) Addr() string { return "127.0.0.1:" + strconv.Itoa(t.Port) }

// Peer is a running Python process with one Foolscap Tub. Its methods may be called concurrently, but those which can
// end the test only from the test's goroutine.
type Peer struct {
	Tub // constant

	t       testing.TB
	command *exec.Cmd
	stderr  tail
	dead    chan struct{} // closed when the process has been waited for

	writing sync.Mutex // held for a whole line
	stdin   io.WriteCloser

	mu       sync.Mutex
	requests int
	pending  map[int]*Pending
	events   []Event
	arrived  chan struct{} // closed and replaced when an event arrives
	expected bool          // the process may end
	err      error         // why there will be no replies
}

// Start runs a peer until the test ends, and waits for its Tub to be ready. It requires Python Foolscap: see [Require].
// When the test has failed, what the peer wrote to its standard error is logged; a peer that ends by itself makes the
// test fail.
func Start(t testing.TB, options Options) *Peer {
	t.Helper()
	interpreter := Require(t)
	program := filepath.Join(t.TempDir(), "peer")
	if err := os.CopyFS(program, peers.Files); err != nil {
		t.Fatalf("writing the peer program: %v", err)
	}
	if options.CertFile == "" {
		options.CertFile = borrowCert(t)
	}

	p := &Peer{
		t:       t,
		dead:    make(chan struct{}),
		pending: make(map[int]*Pending),
		arrived: make(chan struct{}),
	}
	// -u: standard error must not lag behind what it explains.
	p.command = exec.Command(interpreter, append([]string{"-u", filepath.Join(program, "peer.py")}, options.arguments()...)...)
	p.command.Stderr = &p.stderr
	p.command.WaitDelay = patience
	stdin, err := p.command.StdinPipe()
	if err != nil {
		t.Fatalf("starting a peer: %v", err)
	}
	p.stdin = stdin
	stdout, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatalf("starting a peer: %v", err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatalf("starting a peer: %v", err)
	}
	go p.read(stdout)
	t.Cleanup(p.stop)

	ready := p.WaitEvent("ready", nil)
	if err := json.Unmarshal(ready.Raw, &p.Tub); err != nil {
		t.Fatalf("a peer's first line: %v", err)
	}
	return p
}

// read distributes what the process writes until it ends.
func (p *Peer) read(stdout io.Reader) {
	defer close(p.dead)
	reader := bufio.NewReader(stdout)
	var broken error
	for broken == nil {
		var line []byte
		if line, broken = reader.ReadBytes('\n'); broken == nil {
			broken = p.receive(line)
		}
	}
	if !errors.Is(broken, io.EOF) {
		_ = p.command.Process.Kill() // it may have ended meanwhile
	}
	err := p.command.Wait()

	p.mu.Lock()
	p.err = &EndedError{Status: p.command.ProcessState.String()}
	pending := p.pending
	p.pending = nil
	expected := p.expected
	close(p.arrived)
	p.mu.Unlock()
	for _, request := range pending {
		request.finish(nil, p.err)
	}
	switch {
	case !errors.Is(broken, io.EOF):
		p.t.Errorf("a Python peer: %v", broken)
	case !expected:
		p.t.Errorf("a Python peer has ended by itself: %v, %v", p.command.ProcessState, err)
	}
}

func (p *Peer) receive(line []byte) error {
	var message struct {
		ID     int
		OK     bool
		Result json.RawMessage
		Error  *Error
		Event  string
	}
	if err := json.Unmarshal(line, &message); err != nil {
		return fmt.Errorf("it wrote %q: %w", line, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if message.Event != "" {
		p.events = append(p.events, Event{Name: message.Event, Raw: bytes.Clone(line)})
		close(p.arrived)
		p.arrived = make(chan struct{})
		return nil
	}
	request := p.pending[message.ID]
	delete(p.pending, message.ID)
	switch {
	case request == nil:
		return fmt.Errorf("it answered the request %d, which is not open", message.ID)
	case message.OK:
		request.finish(message.Result, nil)
	default:
		request.finish(nil, message.Error)
	}
	return nil
}

// stop ends the process and leaves what it had to say in the test's log, if that is of interest.
func (p *Peer) stop() {
	p.mayEnd()
	p.writing.Lock()
	_ = p.stdin.Close() // the process takes it as the request to end
	p.writing.Unlock()
	select {
	case <-p.dead:
	case <-time.After(5 * time.Second):
		_ = p.command.Process.Kill()
		<-p.dead
	}
	if p.t.Failed() {
		p.t.Logf("standard error of the Python peer %s:\n%s", p.TubID, p.stderr.String())
	}
}

func (p *Peer) mayEnd() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expected = true
}

// Kill ends the process as kill -9 does, and waits until it is gone.
func (p *Peer) Kill() {
	p.t.Helper()
	p.mayEnd()
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatalf("killing a peer: %v", err)
	}
	<-p.dead
}

// Exit makes the process end by itself, without closing anything first, and waits until it is gone.
func (p *Peer) Exit(code int) {
	p.mayEnd()
	p.Begin("exit", Params{"code": code})
	<-p.dead
}

// Running reports whether the process has not ended yet.
func (p *Peer) Running() bool {
	select {
	case <-p.dead:
		return false
	default:
		return true
	}
}

// Stderr returns the last that the peer has written to its standard error, 64 KiB at most.
func (p *Peer) Stderr() string { return p.stderr.String() }

// Event is something that a peer reports by itself.
type Event struct {
	Name string
	// Raw is the whole event as JSON.
	Raw json.RawMessage
}

// Is reports whether the event has a member with this value, which is compared as JSON.
func (e Event) Is(member string, value any) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(e.Raw, &members) != nil {
		return false
	}
	wanted, err := json.Marshal(value)
	return err == nil && bytes.Equal(members[member], wanted)
}

// Get stores a member of the event in target, as encoding/json does.
func (e Event) Get(member string, target any) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(e.Raw, &members); err != nil {
		return err
	}
	return json.Unmarshal(members[member], target)
}

// WaitEvent waits for an event of that name which match accepts (nil accepts all) and takes it: no event is returned
// twice. The events are: attached and detached, when a connection begins and ends; disconnected, for a reference after
// the op notify_disconnect; negotiation_failed; hello_held.
func (p *Peer) WaitEvent(name string, match func(Event) bool) Event {
	p.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		event, arrived, err := p.takeEvent(name, match)
		if arrived == nil {
			return event
		}
		if err != nil {
			p.t.Fatalf("waiting for the event %s of a peer: %v", name, err)
		}
		select {
		case <-arrived:
		case <-timeout.C:
			p.t.Fatalf("no event %s of a peer after %v", name, patience)
		}
	}
}

// takeEvent returns a nil channel with an event; otherwise a channel that is closed when another event has arrived.
func (p *Peer) takeEvent(name string, match func(Event) bool) (Event, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, event := range p.events {
		if event.Name == name && (match == nil || match(event)) {
			p.events = slices.Delete(p.events, i, i+1)
			return event, nil, nil
		}
	}
	return Event{}, p.arrived, p.err
}

// Events returns the events of that name that nobody has taken yet.
func (p *Peer) Events(name string) []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	var events []Event
	for _, event := range p.events {
		if event.Name == name {
			events = append(events, event)
		}
	}
	return events
}

// Params are the parameters of an op.
type Params map[string]any

// Pending is a request that has been sent.
type Pending struct {
	op     string
	done   chan struct{}
	result json.RawMessage
	err    error
}

func (r *Pending) finish(result json.RawMessage, err error) {
	r.result, r.err = result, err
	close(r.done)
}

// Done is closed when there is a result.
func (r *Pending) Done() <-chan struct{} { return r.done }

// Result waits for the reply, at most a minute, and stores it in target as encoding/json does, unless target is nil.
// What failed in Python is an [*Error], a peer that has ended an [*EndedError].
func (r *Pending) Result(target any) error {
	select {
	case <-r.done:
	case <-time.After(patience):
		return fmt.Errorf("the op %s of a peer has not been answered after %v", r.op, patience)
	}
	if r.err != nil || target == nil {
		return r.err
	}
	return json.Unmarshal(r.result, target)
}

// Value is Result for an op that gives a value.
func (r *Pending) Value() (Value, error) {
	var value Value
	err := r.Result(&value)
	return value, err
}

// Begin sends a request. Requests are begun by the peer in the order in which they were sent; it does not wait for one
// to be done before it begins the next.
func (p *Peer) Begin(op string, params Params) *Pending {
	request := &Pending{op: op, done: make(chan struct{})}
	message := Params{"op": op}
	for name, value := range params {
		message[name] = value
	}

	p.writing.Lock()
	defer p.writing.Unlock()
	p.mu.Lock()
	p.requests++
	id := p.requests
	message["id"] = id
	err := p.err
	if err == nil {
		p.pending[id] = request
	}
	p.mu.Unlock()
	if err != nil {
		request.finish(nil, err)
		return request
	}

	line, err := json.Marshal(message)
	if err == nil {
		_, err = p.stdin.Write(append(line, '\n'))
	}
	if err != nil {
		p.mu.Lock()
		_, open := p.pending[id]
		delete(p.pending, id)
		p.mu.Unlock()
		if open { // otherwise the end of the process has finished it
			request.finish(nil, fmt.Errorf("the op %s cannot be sent: %w", op, err))
		}
	}
	return request
}

// Request performs an op and stores its result in target, unless that is nil.
func (p *Peer) Request(op string, params Params, target any) error {
	return p.Begin(op, params).Result(target)
}

// Do performs an op that has to succeed.
func (p *Peer) Do(op string, params Params, target any) {
	p.t.Helper()
	if err := p.Request(op, params, target); err != nil {
		p.t.Fatalf("%s: %v", op, err)
	}
}

// Error is an exception in a peer.
type Error struct {
	// Type is the dotted name of its class.
	Type string
	Text string
	// Parents are the classes of the exception, beginning with its own.
	Parents []string
	// Traceback is what the peer knows of it.
	Traceback string
	// Remote says that it did not happen in the peer but was sent to it.
	Remote bool
	// Cause is the remote exception in a RemoteException.
	Cause *Error
}

func (e *Error) Error() string {
	where := ""
	if e.Remote {
		where = " (remote)"
	}
	if e.Cause != nil {
		return fmt.Sprintf("%s%s: %v", e.Type, where, e.Cause)
	}
	return fmt.Sprintf("%s%s: %s", e.Type, where, e.Text)
}

// EndedError says that a peer has ended.
type EndedError struct {
	// Status is what is known of the end, for example "signal: killed".
	Status string
}

func (e *EndedError) Error() string { return "the peer has ended: " + e.Status }

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	data []byte
}

const longestTail = 64 << 10

func (t *tail) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, data...)
	if excess := len(t.data) - longestTail; excess > 0 {
		t.data = slices.Delete(t.data, 0, excess)
	}
	return len(data), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}
