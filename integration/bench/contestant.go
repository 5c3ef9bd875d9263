package main

import "context"

// An implementation is one way in which two Go programs call each other over
// mutual TLS. Every contestant that is written in Go satisfies this interface
// in a file of its own; everything that measures is written against it, so
// that all of them are put to the same work.
//
// The work is two methods. sink takes a byte string and answers its length;
// echo takes a byte string and answers it.
type implementation interface {
	// serve starts a server for sink and echo on a free port of 127.0.0.1. It
	// serves for the rest of the life of the process.
	serve() (endpoint, error)

	// newClient prepares everything that exists before a connection does:
	// the identity, its key, the configuration. None of it counts as the
	// cost of a connection.
	newClient() (client, error)
}

// An endpoint says where a server is.
type endpoint struct {
	// addr is the host and port on which the server accepts.
	addr string
	// target is what a client needs to dial. It contains addr literally, so
	// that a relay can put its own address in that place.
	target string
}

// A client dials from one identity. It holds at most one connection at any
// time: dial is called again only after the last connection has been closed.
type client interface {
	// dial returns when the connection is ready for a call. Nothing of an
	// earlier connection, a TLS session for one, may be resumed.
	dial(ctx context.Context, target string) (connection, error)
}

// A connection carries calls. sink and echo may be called by many goroutines
// at the same time unless the connection is a streamer.
type connection interface {
	sink(ctx context.Context, data []byte) (int, error)
	echo(ctx context.Context, data []byte) ([]byte, error)
	close() error
}

// A streamer is a connection that knows no calls and carries bulk data as a
// plain stream instead. It has one user at any time.
type streamer interface {
	// stream sends count blocks of size bytes one way, and returns when the
	// other end has said that it has all of them.
	stream(size, count int) error
}

// implementations are what the processes of this command can act as.
var implementations = map[string]implementation{
	"tls":           bareTLS{},
	"answered":      answeredTLS{},
	"netrpc":        netRPC{},
	"grpc":          gRPC{},
	"foolscap":      foolscap{},
	"quic":          bareQUIC{},
	"foolscap-quic": foolscapQUIC{},
}

// python names the program of Python Foolscap that stands beside the
// implementations.
const python = "python"

// A contestant is a client and a server that are measured together.
type contestant struct {
	// name selects it on the command line and marks it in the JSON.
	name string
	// title heads its column.
	title string
	// client and server are keys of implementations, or python.
	client, server string
}

// The contestants that the targets speak of.
const (
	baselineTLS    = "tls"
	answeredName   = "answered"
	baselineNetRPC = "netrpc"
	baselineGRPC   = "grpc"
	ours           = "foolscap"
)

var contestants = []contestant{
	{baselineTLS, "bare TLS", "tls", "tls"},
	{answeredName, "TLS, answered", "answered", "answered"},
	{baselineNetRPC, "net/rpc", "netrpc", "netrpc"},
	{baselineGRPC, "gRPC-go", "grpc", "grpc"},
	{ours, "Go to Go", "foolscap", "foolscap"},
	{"quic", "bare QUIC", "quic", "quic"},
	{"foolscap-quic", "Go by QUIC", "foolscap-quic", "foolscap-quic"},
	{"foolscap-python", "Go to Python", "foolscap", python},
	{"python-foolscap", "Python to Go", python, "foolscap"},
	{"python", "Python to Python", python, python},
}

func (c contestant) needsPython() bool { return c.client == python || c.server == python }

// overUDP reports whether the relay, and what reads off it, is of no use.
func (c contestant) overUDP() bool { return c.client == "quic" || c.client == "foolscap-quic" }

// allGo reports whether both ends are Go, so that figures of the Go runtime
// can be had from both.
func (c contestant) allGo() bool { return c.client != python && c.server != python }

// selectContestants returns those whose names are in the comma separated
// list, in the order of the table; all of them when the list is empty.
func selectContestants(list string) ([]contestant, error) {
	return selected("contestant", contestants, contestant.label, list)
}

func (c contestant) label() string { return c.name }
