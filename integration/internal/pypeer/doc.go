// Package pypeer runs real Foolscap Tubs, in Python, for the integration tests.
//
// Start gives a Peer: a process with one Tub, which the test directs through requests and which reports events. What a
// peer can be told to do is listed, op by op, in peers/peer.py; the common ones have a method here and Request sends any
// of them. Values cross the control channel as Value, a notation that keeps all of Foolscap's types apart.
//
// Methods without an error result end the test when they fail, so they belong to the test's own goroutine.
package pypeer
