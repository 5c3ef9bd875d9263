// Package banana turns Go values into Banana, the serialization that Foolscap
// speaks after negotiation, and back.
//
// It knows tokens, sequences and values, and nothing of connections: a
// [Decoder] pulls tokens from an io.Reader, an [Encoder] builds a [Message],
// and a [Numberer] gives messages their OPEN numbers in the order in which
// they go out. What a call or an answer is, and what references to objects
// mean, is the broker's business; banana hands it the values that implement
// [External] and the sequences that it does not know itself. [Scan] is for
// people who want to see a stream token by token.
//
// # Values
//
//	Banana           into any      into typed targets
//	INT NEG LONG…    int64, or     every integer kind (range checked), floats when exact,
//	                 *big.Int      *big.Int, big.Int
//	FLOAT            float64       float32 and float64
//	STRING           []byte        []byte, [N]byte
//	unicode          string        string kinds
//	boolean          bool          bool kinds
//	none             nil           nil pointer, nil interface, struct{}
//	decimal          Decimal       Decimal
//	list             *List         []T, [N]T
//	tuple            Tuple         Tuple, []T, [N]T, struct marked as a tuple
//	set              *Set          map[T]struct{}
//	immutable-set    *FrozenSet    map[T]struct{}
//	dict             *Dict         map[K]V, struct
//
// Values that implement External are passed by reference. So are functions of
// the form func(context.Context, A) (R, error) and readers, if the connection
// has something that stands for them, and other values with methods for which
// it has; otherwise a value of an interface type goes in its own form.
//
// A struct stands for a dict with text keys, one for each exported field. The
// key is the field's name in snake case, or the name in the tag
// `foolscap:"name"`; `foolscap:"-"` leaves the field out, and the option
// "optional" (`foolscap:",optional"`) lets it be absent. A blank field makes
// the struct a tuple of its fields in their order:
//
//	_ struct{} `foolscap:",tuple"`
//
// Sharing and cycles survive between values of the generic types (*List,
// Tuple, *Dict, *Set) and for pointers, maps and slices whose type is
// recursive or holds interfaces. What was sent once for two targets of
// different types is copied into the form of the second: an any gets a *List
// even where the first target was a []int. Only a cycle back to a pointer or
// map that is still being read is that pointer or map in an any too.
//
// # Errors
//
// A [*Violation] is an objection to one message: the decoder can skip the
// rest of it ([Decoder.Skip]) and go on. A [*ProtocolError] means that the
// stream cannot be trusted any more, a [*RemoteError] that the peer thinks so.
// Everything else that a Decoder returns is an error of its reader.
package banana
