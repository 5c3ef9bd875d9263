// Package negotiate takes a fresh stream between two Tubs and makes of it a
// connection on which Banana can be spoken: it asks for a Tub by its TubID,
// starts TLS with certificates on both sides, checks who the peer is, agrees on
// the protocol's parameters, and decides which of several connections between
// the same two Tubs is to live.
//
// [Client] and [Server] do this for the two ends of a stream. Everything that
// one Tub contributes is in a [Local], and its memory of connections in a
// [Ledger]. The package never dials, never listens, speaks no Banana beyond an
// ERROR token and starts no goroutine that outlives the call, but for the closing
// of a stream that has failed.
//
// # Phases
//
// Plaintext: the client asks for the target by TubID in an HTTP-like request,
// and waits for the complete answer before it goes on. Nothing but the TubID
// selects among the Tubs behind a listener; no server name is sent in TLS.
//
// TLS: version 1.2 or later, both sides must present a certificate. Names,
// signatures and dates in certificates count for nothing: a peer is its TubID,
// which is a digest of the certificate whose key it has just proven to hold. The
// client checks the server's before it shows its own.
//
// Hello: both sides send what they offer, at once, without waiting for each
// other. The side whose TubID is greater, compared as text, is the master.
//
// Decision: the master decides, or refuses, and says so in a block of its own;
// what follows it is Banana. A stream whose transport has authenticated the peer
// already starts at the hello.
//
// # Bounds
//
// A peer may send 4096 bytes in the plaintext phase, 16 KiB in the TLS
// handshake, and 4096 bytes of each block thereafter. Each phase has its
// timeout, and the whole of it one more; see [Timeouts]. A [Gate] bounds how
// many negotiations a listener lets run at the same time. What a peer says of
// itself is kept only while there is a connection to it, but for two bounded lists
// of the last connections that masters have told us of; see [LedgerConfig].
//
// # The extension key
//
// Implementations in Go agree on extensions of the protocol through one
// additional key of the hello and decision blocks. Peers that do not know the
// key ignore it. Its definition:
//
//	extensions-line = "foolscap-go-extensions: " token *( SP token ) CRLF
//	token           = 1*( %x61-7A / %x30-39 / "." / "-" )     ; a-z 0-9 . -
//
// A token names one version of one extension; its meaning is fixed where the
// extension is specified and never changes. A value has between 1 and 16 tokens,
// each different, and at most 512 bytes. Senders list tokens in ascending order
// of their bytes; receivers accept any order.
//
// In a hello, sent by both sides, the line offers what the sender can do. A side
// that offers nothing leaves the line out. In a decision, the master lists the
// tokens that both hellos offered; if there are none, it leaves the line out.
// From the byte after the decision on, exactly the extensions listed in the
// decision are in force, for both sides.
//
// A value of another form, in either block, ends the negotiation as a malformed
// block does; so does a decision that lists what its receiver did not offer.
// Unknown tokens in a hello are ignored. As with every key of a block, the key
// is compared without regard to case, and of several lines with this key the
// last counts.
package negotiate
