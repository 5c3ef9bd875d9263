// The remote interfaces of the Python module objects, as "foolscap gen --from-python" has read them.

package remote

import (
	"context"

	"github.com/foolscap-go/foolscap/tub"
)

//go:generate go tool foolscap gen $GOFILE

// Visitor is RIVisitor of objects.
//
//foolscap:interface RIVisitor.foolscap-go
type Visitor interface {
	Meet(ctx context.Context, a VisitorMeetArgs) (string, error)
}

// VisitorMeetArgs are the arguments of [Visitor.Meet].
type VisitorMeetArgs struct {
	Name string
}

// Peer is RIPeer of objects.
//
//foolscap:interface RIPeer.foolscap-go
type Peer interface {
	//foolscap:result int
	Add(ctx context.Context, a PeerAddArgs) (int64, error)
	Greet(ctx context.Context, a PeerGreetArgs) (string, error)
	//foolscap:result int
	Short(ctx context.Context, a PeerShortArgs) (int64, error)
	Int32(ctx context.Context, a PeerInt32Args) (int32, error)
	Names(ctx context.Context, a PeerNamesArgs) ([]string, error)
	Welcome(ctx context.Context, a PeerWelcomeArgs) (string, error)
	Visitor(ctx context.Context, a tub.None) (Visitor, error)
	//foolscap:result int
	WrongResult(ctx context.Context, a tub.None) (int64, error)
	Anything(ctx context.Context, a PeerAnythingArgs) (any, error)
	Repeat(ctx context.Context, a PeerRepeatArgs) (string, error)
}

// PeerAddArgs are the arguments of [Peer.Add].
type PeerAddArgs struct {
	A int64 `schema:"int"`
	B int64 `schema:"int"`
}

// PeerGreetArgs are the arguments of [Peer.Greet].
type PeerGreetArgs struct {
	Name string
}

// PeerShortArgs are the arguments of [Peer.Short].
type PeerShortArgs struct {
	Data []byte `schema:"bytes(max=10)"`
}

// PeerInt32Args are the arguments of [Peer.Int32].
type PeerInt32Args struct {
	Value int32
}

// PeerNamesArgs are the arguments of [Peer.Names].
type PeerNamesArgs struct {
	Ages map[string]int64 `schema:"dict(text, int)"`
}

// PeerWelcomeArgs are the arguments of [Peer.Welcome].
type PeerWelcomeArgs struct {
	Visitor Visitor
	Name    string
}

// PeerAnythingArgs are the arguments of [Peer.Anything].
type PeerAnythingArgs struct {
	Value any
}

// PeerRepeatArgs are the arguments of [Peer.Repeat].
type PeerRepeatArgs struct {
	Text  string
	End   *string `foolscap:",optional" schema:"text" default:"\".\""`
	Times *int64  `foolscap:",optional" schema:"int" default:"1"`
}
