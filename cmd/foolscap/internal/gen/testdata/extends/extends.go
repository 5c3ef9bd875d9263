// The remote interfaces of the Python module extends, as "foolscap gen --from-python" has read them.

package extends

import (
	"context"

	"github.com/foolscap-go/foolscap/tub"
)

//go:generate go tool foolscap gen $GOFILE

// Root is RIRoot of extends.
//
//foolscap:interface RIRoot
type Root interface {
	Text(ctx context.Context, a RootTextArgs) (string, error)
}

// RootTextArgs are the arguments of [Root.Text].
type RootTextArgs struct {
	A int64 `schema:"int"`
}

// Same is RISame of extends.
//
//foolscap:interface RISame
type Same interface {
	Text(ctx context.Context, a SameTextArgs) (string, error)
}

// SameTextArgs are the arguments of [Same.Text].
type SameTextArgs struct {
	A int64 `schema:"int"`
}

// Left is RILeft of extends.
//
//foolscap:interface RILeft
type Left interface {
	Root
	//foolscap:method leftHand
	LeftHand(ctx context.Context, a tub.None) (bool, error)
}

// Right is RIRight of extends.
//
//foolscap:interface RIRight
type Right interface {
	Root
	Right(ctx context.Context, a tub.None) (bool, error)
}

// Diamond is RIDiamond of extends.
//
//foolscap:interface RIDiamond
type Diamond interface {
	Left
	Right
	//foolscap:method left_hand
	LeftHand2(ctx context.Context, a tub.None) (bool, error)
}

// Redefined is RIRedefined of extends.
//
//foolscap:interface RIRedefined
type Redefined interface {
	Text(ctx context.Context, a RedefinedTextArgs) ([]byte, error)
}

// RedefinedTextArgs are the arguments of [Redefined.Text].
type RedefinedTextArgs struct {
	A int64 `schema:"int"`
}

// Foreign is RIForeign of extends.
//
//foolscap:interface RIForeign
type Foreign interface {
	Text(ctx context.Context, a ForeignTextArgs) (string, error)
	Unsubscribe(ctx context.Context, a tub.None) (tub.None, error)
}

// ForeignTextArgs are the arguments of [Foreign.Text].
type ForeignTextArgs struct {
	A int64 `schema:"int"`
}

// Twice is RITwice of extends.
//
//foolscap:interface RITwice
type Twice interface {
	Root
}

// LeftClient2 is RILeftClient of extends.
//
//foolscap:interface RILeftClient
type LeftClient2 interface {
	Text(ctx context.Context, a LeftClient2TextArgs) (string, error)
}

// LeftClient2TextArgs are the arguments of [LeftClient2.Text].
type LeftClient2TextArgs struct {
	A int64 `schema:"int"`
}
