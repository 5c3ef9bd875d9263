// The remote interfaces of the Python module every, as "foolscap gen --from-python" has read them.

package every

import (
	"context"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

//go:generate go tool foolscap gen $GOFILE

// Listener is RIListener of every.
//
//foolscap:interface RIListener.example.org
type Listener interface {
	Heard(ctx context.Context, a ListenerHeardArgs) (tub.None, error)
}

// ListenerHeardArgs are the arguments of [Listener.Heard].
type ListenerHeardArgs struct {
	What string
}

// Base is RIBase of every.
//
//foolscap:interface RIBase.example.org
type Base interface {
	//foolscap:result text(max=20)
	Name(ctx context.Context, a tub.None) (string, error)
}

// Every is RIEvery of every.
//
//foolscap:interface RIEvery.example.org
type Every interface {
	Base
	Scalars(ctx context.Context, a EveryScalarsArgs) (tub.None, error)
	Limits(ctx context.Context, a EveryLimitsArgs) (tub.None, error)
	Containers(ctx context.Context, a EveryContainersArgs) (EveryContainersResult, error)
	Choices(ctx context.Context, a EveryChoicesArgs) (*[]byte, error)
	Optional(ctx context.Context, a EveryOptionalArgs) (bool, error)
	References(ctx context.Context, a EveryReferencesArgs) (Listener, error)
	//foolscap:result attrdict(x: int, unknown=ignore)
	Attributes(ctx context.Context, a EveryAttributesArgs) (map[string]any, error)
	Local(ctx context.Context, a EveryLocalArgs) (tub.None, error)
	//foolscap:method camelCase
	CamelCase(ctx context.Context, a EveryCamelCaseArgs) (string, error)
	//foolscap:method camel_case
	//foolscap:result int
	CamelCase2(ctx context.Context, a EveryCamelCase2Args) (int64, error)
	Free(ctx context.Context, a tub.Args) (any, error)
	// Ignores: it takes arguments that are not declared, so it takes any.
	Ignores(ctx context.Context, a tub.Args) (any, error)
	// Accepts: it takes arguments that are not declared, so it takes any.
	Accepts(ctx context.Context, a tub.Args) (int64, error)
}

// EveryScalarsArgs are the arguments of [Every.Scalars].
type EveryScalarsArgs struct {
	A any
	B []byte
	S string
	I int64 `schema:"int"`
	F float64
	T bool
	N tub.None
}

// EveryLimitsArgs are the arguments of [Every.Limits].
type EveryLimitsArgs struct {
	B      []byte `schema:"bytes(min=2, max=10)"`
	S      string `schema:"text(min=2, max=10)"`
	P      string "schema:\"text(pattern=\\\"^[a-z\\\\\\\"`]+$\\\")\""
	Small  int32
	I8     int64   `schema:"int(bytes=8)"`
	I16    int64   `schema:"int(bytes=16)"`
	Huge   int64   `schema:"int(bytes=none)"`
	Number float64 `schema:"number(bytes=4)"`
	Yes    bool    `schema:"true"`
}

// EveryContainersArgsPair is a tuple.
type EveryContainersArgsPair struct {
	_     struct{} `foolscap:",tuple"`
	Item0 int64    `schema:"int"`
	Item1 string
}

// EveryContainersArgsOfItem0Item is a tuple.
type EveryContainersArgsOfItem0Item struct {
	_     struct{} `foolscap:",tuple"`
	Item0 string
	Item1 int64 `schema:"int"`
}

// EveryContainersArgsOf is a tuple.
type EveryContainersArgsOf struct {
	_     struct{} `foolscap:",tuple"`
	Item0 []EveryContainersArgsOfItem0Item
	Item1 []byte `schema:"bytes(max=5)"`
}

// EveryContainersArgsSingle is a tuple.
type EveryContainersArgsSingle struct {
	_     struct{} `foolscap:",tuple"`
	Item0 int64    `schema:"int"`
}

// EveryContainersArgsDeepValueValue is a tuple.
type EveryContainersArgsDeepValueValue struct {
	_     struct{} `foolscap:",tuple"`
	Item0 int64    `schema:"int"`
	Item1 int64    `schema:"int"`
}

// EveryContainersArgs are the arguments of [Every.Containers].
type EveryContainersArgs struct {
	Li      []int64    `schema:"list(int)"`
	Bounded []string   `schema:"list(text, min=1, max=30)"`
	Nested  [][][]byte `schema:"list(list(bytes, max=3), max=4)"`
	Pair    EveryContainersArgsPair
	Of      EveryContainersArgsOf
	Single  EveryContainersArgsSingle
	Se      map[string]struct{}
	Frozen  map[int64]struct{}                                     `schema:"frozenset(int, max=10)"`
	Mutable *banana.Set                                            `schema:"mutableset(bytes)"`
	Di      map[string]int64                                       `schema:"dict(text, int)"`
	Keys    *banana.Dict                                           `schema:"dict(bytes, list(text), max=5)"`
	Deep    map[int64]map[string]EveryContainersArgsDeepValueValue `schema:"dict(int, dict(text, tuple(int, int)))"`
}

// EveryContainersResultItem2 is a tuple.
type EveryContainersResultItem2 struct {
	_     struct{} `foolscap:",tuple"`
	Item0 bool
	Item1 tub.None
}

// EveryContainersResult is a tuple.
type EveryContainersResult struct {
	_     struct{} `foolscap:",tuple"`
	Item0 []int64  `schema:"list(int, max=10)"`
	Item1 map[string]string
	Item2 EveryContainersResultItem2
}

// EveryChoicesArgs are the arguments of [Every.Choices].
type EveryChoicesArgs struct {
	Maybe  *int64  `schema:"choice(int, none)"`
	Text   any     `schema:"choice(bytes, text)"`
	Many   any     `schema:"choice(list(int), tuple(int, int), none)"`
	Shared []int64 `schema:"list(int)"`
}

// EveryOptionalArgs are the arguments of [Every.Optional].
type EveryOptionalArgs struct {
	First   int64    `schema:"int"`
	Flag    bool     `foolscap:",optional" default:"false"`
	Limit   *int64   `foolscap:",optional" schema:"int" default:"100"`
	Since   string   `foolscap:",optional" default:"\"\""`
	Data    []byte   `foolscap:",optional" default:"b\"x\""`
	Ratio   *float64 `foolscap:",optional" schema:"number" default:"0.5"`
	Nothing *string  `foolscap:",optional"`
	// Items: its default, [], is left out.
	Items []int64 `foolscap:",optional" schema:"list(int)"`
	// Last: its default, (1, 2), is left out.
	Last any `foolscap:",optional"`
}

// EveryReferencesArgs are the arguments of [Every.References].
type EveryReferencesArgs struct {
	Listener Listener
	AnyOf    []Listener
	Maybe    Listener `schema:"choice(interface(\"RIListener.example.org\"), none)"`
	Base     Base
}

// EveryAttributesArgs are the arguments of [Every.Attributes].
type EveryAttributesArgs struct {
	D map[string]any `schema:"attrdict(x: int, y: optional(text, default=\"\"))"`
}

// EveryLocalArgs are the arguments of [Every.Local].
type EveryLocalArgs struct {
	// What: no value that is sent satisfies ILocal, an interface of Python objects.
	What any
}

// EveryCamelCaseArgs are the arguments of [Every.CamelCase].
type EveryCamelCaseArgs struct {
	FirstArg  int64 `foolscap:"firstArg" schema:"int"`
	SecondArg int64 `schema:"int"`
	Type      string
	AB        int64 `foolscap:"a__b" schema:"int"`
	Ab        int64 `schema:"int"`
	AB2       int64 `foolscap:"a_b" schema:"int"`
	ID        int64 `foolscap:"ID" schema:"int"`
	TubID     string
}

// EveryCamelCase2Args are the arguments of [Every.CamelCase2].
type EveryCamelCase2Args struct {
	B int64   `schema:"int"`
	A *string `foolscap:",optional" schema:"text" default:"\"s\""`
}
