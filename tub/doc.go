// Package tub is Foolscap for Go programs: object-capability RPC.
//
// A [Tub] has an identity and connections to other Tubs. It publishes objects
// under unguessable FURLs, and calls the objects of others, over whatever
// transport the hints of a FURL name and a registered handler can dial.
// Connections are shared: between two Tubs there is one, whoever has opened
// it, and both sides can call over it.
//
//	id, err := tub.NewIdentity()
//	t, err := tub.New(id, nil)
//	l, err := tcp.Listen(ctx, "127.0.0.1:0")
//	_, err = t.Listen(l)
//	f, err := t.Register(tub.NewObject(
//		tub.Method("add", func(ctx context.Context, a struct{ A, B int }) (int, error) {
//			return a.A + a.B, nil
//		}),
//	))
//	fmt.Println(f.Reveal()) // whoever has this text can call the object
//
// and on the other side
//
//	ref, err := t.Connect(ctx, f)
//	sum, err := tub.Call[int](ctx, ref, "add", 1, 2)
//
// Values are those of package banana: what goes by copy and how it looks in
// Go is said there. Types of the program's own, which peers know by a name, do
// so with [CopyOf] and [CopyAs]; a FURL is what Foolscap calls a SturdyRef.
// Objects and references go by reference, and so do functions, see [Func], and
// values of interfaces that have a [Stub]. Less than an object is given away with
// [Facet], and for a time with [Forward]. An io.Reader as an argument or result,
// received as an io.Reader or io.ReadCloser, goes in pieces as it is read:
// docs/streams.md says how long it lives.
//
// # Order and concurrency
//
// The methods that one connection calls start in the order in which they were
// sent, and each keeps the next ones waiting until it returns, waits for a
// remote call that it made with its context, or calls [Yield]; a method that
// is declared [Concurrent] never keeps anybody waiting. Methods called over
// different connections run at the same time.
//
// # Errors
//
// A failed call is a *[CallError]: it says whether the call has reached the
// network, and wraps the cause, a *[Failure] if that is what the remote method
// returned. errors.Is with a [RemoteType] matches it by the name of its class,
// which [Raise] chooses on the other side. A failed connection attempt is a
// *[DialError] with the fate of every hint. No error, log or String method
// shows the secret of a FURL.
package tub
