// Package broker runs one live connection: calls and answers in both
// directions, the tables of references, turns, the send queue, keepalive. It
// begins where negotiation has ended and knows nothing of FURLs, hints or
// transports; those are the Tub's business, which it reaches through [Host].
package broker
