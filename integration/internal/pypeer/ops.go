package pypeer

// The objects that a peer can make; peers/objects.py has their methods.
const (
	// KindRoot has a method for everything that can be done with values, failures, order and references.
	KindRoot = "root"
	// KindChild is what a root gives references to: name, echo, fail.
	KindChild = "child"
	// KindSource has read(size), for 3 MiB of PatternBytes.
	KindSource = "source"
	// KindPeer enforces a schema; its interface is RIPeer.foolscap-go.
	KindPeer = "peer"
	// KindVisitor has the interface RIVisitor.foolscap-go, with the one method meet(name).
	KindVisitor = "visitor"
	// KindCopier sends and receives values by copy; peers/copies.py has their classes.
	KindCopier = "copier"
)

// Register returns the FURL of an object of the peer, which is made if there is none of that name. The name is also the
// last part of the FURL.
func (p *Peer) Register(name, kind string) string {
	p.t.Helper()
	var furl string
	p.Do("register", Params{"name": name, "kind": kind}, &furl)
	return furl
}

// Make makes an object without publishing it, and returns what stands for it among the arguments of a call.
func (p *Peer) Make(name, kind string) Value {
	p.t.Helper()
	p.Do("make", Params{"name": name, "kind": kind}, nil)
	return Object(name)
}

// State is what a root counts.
type State struct {
	Held    int // references
	Waiting int // calls of block
	Logged  int // values, by log
	Notes   int // calls of note
}

// State returns what an object has counted.
func (p *Peer) State(object string) State {
	p.t.Helper()
	var state State
	p.Do("state", Params{"object": object}, &state)
	return state
}

// WaitState waits until everything has been counted at least as often as in atLeast, and returns the counts.
func (p *Peer) WaitState(object string, atLeast State) State {
	p.t.Helper()
	var state State
	p.Do("wait_state", Params{
		"object":  object,
		"held":    atLeast.Held,
		"waiting": atLeast.Waiting,
		"logged":  atLeast.Logged,
		"notes":   atLeast.Notes,
	}, &state)
	return state
}

// Logged returns the values that an object was given by calls of log, in the order in which they came.
func (p *Peer) Logged(object string) []Value {
	p.t.Helper()
	var values []Value
	p.Do("logged", Params{"object": object}, &values)
	return values
}

// TakeLogged is Logged, and the object forgets the values.
func (p *Peer) TakeLogged(object string) []Value {
	p.t.Helper()
	var values []Value
	p.Do("logged", Params{"object": object, "take": true}, &values)
	return values
}

// Release answers all calls of block(key) with a value, and returns how many there were. The key "" stands for calls
// without one.
func (p *Peer) Release(object, key string, value Value) int {
	p.t.Helper()
	params := Params{"object": object, "value": value}
	if key != "" {
		params["key"] = key
	}
	var released int
	p.Do("release", params, &released)
	return released
}

// Errors returns the last hundred errors that were logged in the peer.
func (p *Peer) Errors() []string {
	p.t.Helper()
	var errors []string
	p.Do("errors", nil, &errors)
	return errors
}

// Ref is a reference that a peer holds to an object of another Tub.
type Ref struct {
	peer   *Peer
	handle string
}

// Ref returns the reference that the peer holds under a handle.
func (p *Peer) Ref(handle string) Ref { return Ref{p, handle} }

// GetReference connects to the object of a FURL.
func (p *Peer) GetReference(furl string) (Ref, error) {
	value, err := p.Begin("get_reference", Params{"furl": furl}).Value()
	return Ref{p, value.Handle()}, err
}

// MustGetReference is a GetReference that has to succeed.
func (p *Peer) MustGetReference(furl string) Ref {
	p.t.Helper()
	ref, err := p.GetReference(furl)
	if err != nil {
		p.t.Fatalf("getReference: %v", err)
	}
	return ref
}

// Value returns what stands for the reference among the arguments of a call.
func (r Ref) Value() Value { return Remote(r.handle) }

// Handle returns the name under which the peer keeps the reference.
func (r Ref) Handle() string { return r.handle }

// Begin sends a call of a method. Bound methods have no name to give.
func (r Ref) Begin(method string, args ...Value) *Pending {
	return r.BeginKeywords(method, nil, args...)
}

// BeginKeywords is Begin with keyword arguments beside the positional ones.
func (r Ref) BeginKeywords(method string, keywords map[string]Value, args ...Value) *Pending {
	return r.peer.Begin("call", r.call(method, keywords, args))
}

// Call calls a method with positional arguments. When it fails in Python, here or there, the error is an [*Error].
func (r Ref) Call(method string, args ...Value) (Value, error) {
	return r.Begin(method, args...).Value()
}

// MustCall is a Call that has to succeed.
func (r Ref) MustCall(method string, args ...Value) Value {
	r.peer.t.Helper()
	value, err := r.Call(method, args...)
	if err != nil {
		r.peer.t.Fatalf("calling %s: %v", method, err)
	}
	return value
}

// CallKeywords calls a method with keyword arguments beside the positional ones.
func (r Ref) CallKeywords(method string, keywords map[string]Value, args ...Value) (Value, error) {
	return r.BeginKeywords(method, keywords, args...).Value()
}

// CallUnchecked calls a method although the interface of the reference might forbid it.
func (r Ref) CallUnchecked(method string, args ...Value) (Value, error) {
	params := r.call(method, nil, args)
	params["use_schema"] = false
	return r.peer.Begin("call", params).Value()
}

// CallOnly calls a method without asking for an answer.
func (r Ref) CallOnly(method string, args ...Value) {
	r.peer.t.Helper()
	r.peer.Do("call_only", r.call(method, nil, args), nil)
}

func (r Ref) call(method string, keywords map[string]Value, args []Value) Params {
	params := Params{"ref": r.handle, "method": method}
	if len(args) > 0 {
		params["args"] = args
	}
	if len(keywords) > 0 {
		params["kwargs"] = keywords
	}
	return params
}

// Flood is what became of many calls.
type Flood struct {
	// Answers is how many calls succeeded, Unexpected how many of those answered something else than was expected.
	Answers, Unexpected int
	// Failures counts the others by the type of their exception.
	Failures map[string]int
	// InOrder says that no answer overtook another.
	InOrder bool `json:"in_order"`
}

// Flood calls a method many times, without waiting for an answer before the next call. [Index] may be used in the
// arguments and in the expected answer; None expects nothing.
func (r Ref) Flood(count int, method string, expect Value, args ...Value) Flood {
	r.peer.t.Helper()
	params := r.call(method, nil, args)
	params["count"] = count
	params["expect"] = expect
	var flood Flood
	r.peer.Do("flood", params, &flood)
	return flood
}

// FloodOnly is Flood without answers.
func (r Ref) FloodOnly(count int, method string, args ...Value) {
	r.peer.t.Helper()
	params := r.call(method, nil, args)
	params["count"] = count
	params["only"] = true
	r.peer.Do("flood", params, nil)
}

// Reference is what Foolscap knows of a reference.
type Reference struct {
	FURL      string // empty when the owner has sent none
	TubID     string // of the owner
	CLID      int    // negative for a bound method
	Interface string // its name, as the owner sent it
	Received  int    // how often it has been received
	Connected bool
}

// Describe returns what the peer knows of the reference.
func (r Ref) Describe() Reference {
	r.peer.t.Helper()
	var reference Reference
	r.peer.Do("describe", Params{"ref": r.handle}, &reference)
	return reference
}

// NotifyDisconnect asks for the event disconnected, whose member ref is the reference's handle.
func (r Ref) NotifyDisconnect() {
	r.peer.t.Helper()
	r.peer.Do("notify_disconnect", Params{"ref": r.handle}, nil)
}

// Drop makes the peer forget the reference; unless something else holds it, Foolscap releases it then.
func (r Ref) Drop() {
	r.peer.t.Helper()
	r.peer.Do("drop", Params{"refs": []string{r.handle}}, nil)
}

// DropAll makes the peer forget all references that the test has asked it to hold.
func (p *Peer) DropAll() {
	p.t.Helper()
	p.Do("drop", nil, nil)
}

// Connection describes a live connection of a peer.
type Connection struct {
	// Connection is its number: the peer counts them from 1.
	Connection int
	TubID      string
	Outbound   bool
	// Master says that the peer made the decision, Seqnum with which number; nil otherwise.
	Master bool
	Seqnum *int
	// LastConnection is what the peer, as the one which is not the master, remembers for the next time: an incarnation
	// and a number, as text.
	LastConnection []string `json:"last_connection"`
	// Vocabulary is the number of words in the table for sending.
	Vocabulary int
	// OpensSent and OpensReceived count OPEN tokens.
	OpensSent     int `json:"opens_sent"`
	OpensReceived int `json:"opens_received"`
	// PingsSent and PingsReceived count PING tokens; PONGs are not counted.
	PingsSent     int    `json:"pings_sent"`
	PingsReceived int    `json:"pings_received"`
	BytesReceived int    `json:"bytes_received"`
	TLS           string // "TLSv1.3", for example
	Cipher        string
}

// Connections returns the connections that are in use.
func (p *Peer) Connections() []Connection {
	p.t.Helper()
	var connections []Connection
	p.Do("connections", nil, &connections)
	return connections
}

// WaitConnections waits until that many connections are in use.
func (p *Peer) WaitConnections(count int) {
	p.t.Helper()
	p.Do("wait_connections", Params{"count": count}, nil)
}

// Tables are the sizes of the tables of one connection.
type Tables struct {
	Connection int
	TubID      string
	// Mine counts the peer's objects that the other side may refer to, MineSent how often they have been sent to it
	// without having been released.
	Mine     int
	MineSent int `json:"mine_sent"`
	// Yours counts the other side's objects that are known here, YoursReceived how often they have been received
	// without having been released.
	Yours         int
	YoursReceived int `json:"yours_received"`
	// Gifts counts introductions that have not been acknowledged.
	Gifts int
	// Waiting counts calls without an answer yet, Active those of the other side that are being worked on, Queued those
	// that have not started.
	Waiting, Active, Queued int
}

// Tables returns the tables of each live connection, after a garbage collection.
func (p *Peer) Tables() []Tables {
	p.t.Helper()
	var tables []Tables
	p.Do("tables", nil, &tables)
	return tables
}

// WaitTables waits until the tables of the only connection have these sizes; their names are Python's: mine, mine_sent,
// yours, yours_received, gifts, waiting, active, queued, and connection to choose one of several.
func (p *Peer) WaitTables(sizes Params) Tables {
	p.t.Helper()
	var tables Tables
	if err := p.Request("wait_tables", sizes, &tables); err != nil {
		p.t.Fatalf("waiting for tables with %v: %v; they are %+v", sizes, err, p.Tables())
	}
	return tables
}

// Negotiation is one that got as far as the other side's hello.
type Negotiation struct {
	Outbound bool
	// Hello is what the other side sent.
	Hello map[string]string
	// Decision is the other side's; nil when the peer decided, or when it did not come to that.
	Decision map[string]string
	// Error is why it failed.
	Error *Error
}

// Negotiations returns all of them, in the order of the hellos.
func (p *Peer) Negotiations() []Negotiation {
	p.t.Helper()
	var negotiations []Negotiation
	p.Do("negotiations", nil, &negotiations)
	return negotiations
}
