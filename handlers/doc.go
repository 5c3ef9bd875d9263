// Package handlers is the contract between a Tub and its transports: how a
// connection hint is dialled, how connections are accepted, what either reveals
// about the machine it runs on, and how it fails.
//
// A transport lives in a package of its own and implements [Handler] for
// dialling, [Acceptor] for listening, or both. A Tub owns the handlers and
// acceptors it was given: each belongs to one Tub, which closes it.
//
// A transport only produces a byte stream, or a stream that it has already
// authenticated. It does not negotiate, speak Banana, choose among hints or
// apply policy; the Tub does. Whatever a Tub must know of a transport is a method
// of the interface or a field of a struct here, never a further interface to be
// found by type assertion, so that a wrapper (for metrics, for tests, for
// limits) cannot lose it.
//
// This package imports the standard library and protocol/furl only, and opens
// no connection itself.
package handlers
