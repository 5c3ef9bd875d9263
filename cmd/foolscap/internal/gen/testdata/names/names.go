// Package names has names that generated code would use.
package names

import (
	"context"
	. "math/big"

	impl "github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

type (
	a       struct{ X int }
	c       struct{ X int }
	ctx     struct{ X int }
	named   struct{ X int }
	reflect int
	parts   struct {
		Optional struct{ A int } `foolscap:",optional"`
		Rest     reflect         `foolscap:",optional"`
	}
	generic[T any] interface {
		//foolscap:method typeOf
		Type(ctx context.Context, a struct{ V T }) (T, error)
	}
)

// Größe has methods with such types.
//
//foolscap:interface RIGröße.example.org
type größe interface {
	A(ctx context.Context, a a) (c, error)
	Close(context.Context, tub.None) (tub.None, error)
	Context(ctx context.Context, _ ctx) (named, error)
	Parts(ctx context.Context, a parts) (impl.Decimal, error)
	generic[Int]
}
