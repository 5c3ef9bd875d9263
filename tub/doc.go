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
// [Call] waits for the result, [Start] and [Send] do not, and [Promise] lets calls
// build on a result that is not there yet. Beside [Tub.Connect] there is
// [Tub.Ref], whose reference connects when it is called, and [Tub.Reconnect],
// which keeps one alive.
//
// # Order and concurrency
//
// The methods that one connection calls start in the order in which they were
// sent, and each keeps the next ones waiting until it returns, waits for a
// remote call that it made with its context, or calls [Yield]; a method that
// is declared [Concurrent] never keeps anybody waiting. Methods called over
// different connections run at the same time.
//
// # What travels, and how
//
//   - Plain values go by copy: numbers, texts, bytes, lists, maps and structs, as
//     package banana says.
//   - So do types of the program's own which peers know by the name of a class, with
//     [CopyOf] and [CopyAs] in [Options.Copies].
//   - By reference go objects, references, and functions: see [Func]; also values
//     of Go interfaces that have a [Stub] in [Options.Stubs]. A reference to an
//     object of a third Tub is an introduction: [Options.Introductions].
//   - A [FURL] goes as itself, which Foolscap calls a SturdyRef.
//   - An io.Reader, received as an io.Reader or io.ReadCloser, goes in pieces as
//     it is read: docs/streams.md says how long it lives.
//
// [Tub.Serialize] keeps values with references in files.
//
// # Interfaces
//
// A Go interface, with constraints in tags, can be the one source of what goes over
// the wire: "foolscap gen" makes typed calls, objects and stubs of it, with
// [InterfaceOf], [Implements] and [Ref.Assume], which can be used by hand. What does
// not fit is refused before it is sent, and before a method sees it:
// docs/interfaces.md.
//
// # Giving less away
//
// Who has a reference can call the object. [Facet] gives fewer methods away, and
// [Forward] until it is taken back. A Tub with [Options.Hidden] gives nobody the
// address of its machine. [Options.Limits] and [Options.Memory] bound what peers can
// make it hold.
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
