// Package schema says what values may be: constraints on arguments and
// results, and the remote interfaces that hold them.
//
// A constraint is enforced while a value arrives, token by token, before
// anything of it is built: Constraint.Taster returns what a banana.Decoder
// shows the tokens to. The same Taster sees what is about to be sent
// (banana.Encoder.Taste), and Constraint.Check looks at a value that is there
// already. All of them come to the same verdict.
//
// Constraints and interfaces have a text form, which docs/interfaces.md describes:
// [Parse] and [ParseInterface] read it, String writes it. They can be derived from
// Go types, too: [ForType], [ArgsOf]. [Compare] says what a new version of an
// interface breaks. Most programs need none of this: they declare a Go interface, and
// "foolscap gen" and package tub do the rest.
//
// The package knows nothing of connections: what stands for an object is any
// banana.External, and says by itself which interface it has.
package schema
