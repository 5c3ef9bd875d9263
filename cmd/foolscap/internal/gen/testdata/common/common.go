// The remote interfaces of the Python module foolscap.test.common, as "foolscap gen --from-python" has read them.

package common

import (
	"context"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

//go:generate go tool foolscap gen $GOFILE

// Helper is RIHelper of foolscap.test.common.
//
//foolscap:interface RIHelper
type Helper interface {
	Set(ctx context.Context, a HelperSetArgs) (bool, error)
	Set2(ctx context.Context, a HelperSet2Args) (bool, error)
	Append(ctx context.Context, a HelperAppendArgs) (any, error)
	Get(ctx context.Context, a tub.None) (any, error)
	Echo(ctx context.Context, a HelperEchoArgs) (any, error)
	Defer(ctx context.Context, a HelperDeferArgs) (any, error)
	Hang(ctx context.Context, a tub.None) (any, error)
	Megaschema(ctx context.Context, a HelperMegaschemaArgs) (tub.None, error)
	Mega3(ctx context.Context, a HelperMega3Args) (tub.None, error)
	Choice1(ctx context.Context, a HelperChoice1Args) (tub.None, error)
}

// HelperSetArgs are the arguments of [Helper.Set].
type HelperSetArgs struct {
	Obj any
}

// HelperSet2Args are the arguments of [Helper.Set2].
type HelperSet2Args struct {
	Obj1 any
	Obj2 any
}

// HelperAppendArgs are the arguments of [Helper.Append].
type HelperAppendArgs struct {
	Obj any
}

// HelperEchoArgs are the arguments of [Helper.Echo].
type HelperEchoArgs struct {
	Obj any
}

// HelperDeferArgs are the arguments of [Helper.Defer].
type HelperDeferArgs struct {
	Obj any
}

// HelperMegaschemaArgsObj2 is a tuple.
type HelperMegaschemaArgsObj2 struct {
	_     struct{}           `foolscap:",tuple"`
	Item0 map[int64]struct{} `schema:"set(int)"`
	Item1 []int64            `schema:"list(int)"`
	Item2 map[int64]string   `schema:"dict(int, text)"`
}

// HelperMegaschemaArgs are the arguments of [Helper.Megaschema].
type HelperMegaschemaArgs struct {
	Obj1 *banana.Dict `schema:"dict(bytes, list(tuple(mutableset(int, max=10), bytes, bool, int, int, number, none, text, bytes, any, number, int(min=-2147483648, max=2147483647), bytes(min=90, max=100)), max=20), max=5)"`
	Obj2 HelperMegaschemaArgsObj2
}

// HelperMega3ArgsObj1Item is a tuple.
type HelperMega3ArgsObj1Item struct {
	_     struct{} `foolscap:",tuple"`
	Item0 int64    `schema:"int"`
	Item1 int64    `schema:"int"`
}

// HelperMega3Args are the arguments of [Helper.Mega3].
type HelperMega3Args struct {
	Obj1 []HelperMega3ArgsObj1Item
}

// HelperChoice1Args are the arguments of [Helper.Choice1].
type HelperChoice1Args struct {
	Obj1 any `schema:"choice(bytes(max=2000), int)"`
}

// MyTarget is RIMyTarget of foolscap.test.common.
//
//foolscap:interface RIMyTarget
type MyTarget interface {
	//foolscap:result int
	Add1(ctx context.Context, a MyTargetAdd1Args) (int64, error)
	Free(ctx context.Context, a tub.Args) (any, error)
	//foolscap:result int
	Add(ctx context.Context, a MyTargetAddArgs) (int64, error)
	Join(ctx context.Context, a MyTargetJoinArgs) ([]byte, error)
	//foolscap:method getName
	GetName(ctx context.Context, a tub.None) ([]byte, error)
	//foolscap:result int
	Disputed(ctx context.Context, a MyTargetDisputedArgs) (int64, error)
	Fail(ctx context.Context, a tub.None) (string, error)
	Failstring(ctx context.Context, a tub.None) (string, error)
}

// MyTargetAdd1Args are the arguments of [MyTarget.Add1].
type MyTargetAdd1Args struct {
	A int64 `schema:"int"`
	B int64 `schema:"int"`
}

// MyTargetAddArgs are the arguments of [MyTarget.Add].
type MyTargetAddArgs struct {
	A int64 `schema:"int"`
	B int64 `schema:"int"`
}

// MyTargetJoinArgs are the arguments of [MyTarget.Join].
type MyTargetJoinArgs struct {
	A []byte
	B []byte
	C int64 `schema:"int"`
}

// MyTargetDisputedArgs are the arguments of [MyTarget.Disputed].
type MyTargetDisputedArgs struct {
	A int64 `schema:"int"`
}

// MyTarget2 is RIMyTarget2 of foolscap.test.common.
//
//foolscap:interface RIMyTargetInterface2
type MyTarget2 interface {
	//foolscap:result int
	Sub(ctx context.Context, a MyTarget2SubArgs) (int64, error)
}

// MyTarget2SubArgs are the arguments of [MyTarget2.Sub].
type MyTarget2SubArgs struct {
	A int64 `schema:"int"`
	B int64 `schema:"int"`
}

// Types is RITypes of foolscap.test.common.
//
//foolscap:interface RITypes
type Types interface {
	ReturnsNone(ctx context.Context, a TypesReturnsNoneArgs) (tub.None, error)
	TakesRemoteinterface(ctx context.Context, a TypesTakesRemoteinterfaceArgs) (string, error)
	//foolscap:result interface("RIDummy")
	ReturnsRemoteinterface(ctx context.Context, a TypesReturnsRemoteinterfaceArgs) (*tub.Ref, error)
	TakesInterface(ctx context.Context, a TypesTakesInterfaceArgs) (string, error)
	// ReturnsInterface: no value that is sent satisfies IFoo, an interface of Python objects.
	ReturnsInterface(ctx context.Context, a TypesReturnsInterfaceArgs) (any, error)
}

// TypesReturnsNoneArgs are the arguments of [Types.ReturnsNone].
type TypesReturnsNoneArgs struct {
	Work bool
}

// TypesTakesRemoteinterfaceArgs are the arguments of [Types.TakesRemoteinterface].
type TypesTakesRemoteinterfaceArgs struct {
	A *tub.Ref `schema:"interface(\"RIDummy\")"`
}

// TypesReturnsRemoteinterfaceArgs are the arguments of [Types.ReturnsRemoteinterface].
type TypesReturnsRemoteinterfaceArgs struct {
	Work int64 `schema:"int"`
}

// TypesTakesInterfaceArgs are the arguments of [Types.TakesInterface].
type TypesTakesInterfaceArgs struct {
	// A: no value that is sent satisfies IFoo, an interface of Python objects.
	A any
}

// TypesReturnsInterfaceArgs are the arguments of [Types.ReturnsInterface].
type TypesReturnsInterfaceArgs struct {
	Work bool
}
