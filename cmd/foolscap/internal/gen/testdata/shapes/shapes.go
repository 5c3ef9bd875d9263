// Package shapes has an interface with every shape that a method can have.
package shapes

import (
	"context"
	"io"
	"math/big"
	"time"

	ban "github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

// Shapes takes and gives everything.
//
//foolscap:interface RIShapes.example.org
type Shapes interface {
	None(ctx context.Context, a tub.None) (tub.None, error)
	//foolscap:method whatEver
	Raw(ctx context.Context, a tub.Args) (any, error)
	Scalars(ctx context.Context, a Scalars) (Scalars, error)
	Optionals(ctx context.Context, a Optionals) (Optionals, error)
	// Last has an argument behind optional ones.
	Last(_ context.Context, args struct {
		First bool `foolscap:",optional"`
		Last  any
	}) (any, error)
	Any(ctx context.Context, a struct{ Value any }) (any, error)
	References(ctx context.Context, a References) (Nested, error)
	Callback(ctx context.Context, a struct {
		F func(context.Context, Scalars) (int, error)
	}) (func(context.Context, tub.None) (tub.None, error), error)
	//foolscap:result list(dict(text, int), max=3)
	Maps(ctx context.Context, a struct {
		M map[string]int `schema:"dict(text(max=5), int, max=7)"`
		S map[int8]struct{}
	}) ([]map[string]int64, error)
	Imported(ctx context.Context, a struct{ D ban.Decimal }) (time.Duration, error)
	Embedded
}

// Embedded is not declared, but its methods are those of who embeds it.
type Embedded interface {
	//foolscap:method inherited
	Inner(ctx context.Context, a tub.None) (*tub.Ref, error)
}

type nested interface {
	//foolscap:method shapes
	Self(ctx context.Context, a struct{ Other Nested }) (Shapes, error)
}

// Nested refers to itself and to Shapes, which refers to it.
//
//foolscap:interface RINested.example.org
type Nested interface{ nested }

// Scalars has one of each.
type Scalars struct {
	A int8
	B uint16
	C float32
	D bool
	E string `foolscap:"theText" schema:"text(min=1, max=4)"`
	F []byte
	G *big.Int
	H [2]byte
	I []string
}

// Optionals can all be left out.
type Optionals struct {
	Bool    bool                `foolscap:",optional"`
	Int     int32               `foolscap:",optional" default:"7"`
	Float   float64             `foolscap:",optional"`
	Text    string              `foolscap:",optional"`
	Bytes   []byte              `foolscap:",optional"`
	List    []int64             `foolscap:",optional"`
	Map     map[string]struct{} `foolscap:",optional"`
	Pointer *bool               `foolscap:",optional"`
	Array   [2]int8             `foolscap:",optional"`
	Struct  Pair                `foolscap:",optional"`
	Any     any                 `foolscap:",optional"`
}

// Pair is a tuple.
type Pair struct {
	_    struct{} `foolscap:",tuple"`
	A, B int64
}

// References has what goes by reference.
type References struct {
	Ref    *tub.Ref  `schema:"choice(interface(\"RIOther.example.org\"), none)"`
	Shapes []Shapes  `schema:"list(interface(\"RIShapes.example.org\"), max=2)"`
	Nested Nested    `foolscap:",optional"`
	Reader io.Reader `foolscap:",optional"`
}

// What generated code has to get out of the way of.
var context2, tub2 = 1, 2

func init() { _, _ = context2, tub2 }
