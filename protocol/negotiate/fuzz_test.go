package negotiate

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// seed adds what Python Foolscap has sent or was sent.
func seed(f *testing.F, groups ...string) {
	for _, group := range groups {
		for _, v := range vectors(f, group) {
			f.Add(v.bytes)
		}
	}
}

// checkError makes sure that a parser's error is one that its caller knows, and
// has a text that can be shown and sent.
func checkError(t *testing.T, err error) {
	var r *refusal
	var remote *RemoteError
	switch {
	case errors.As(err, &remote):
		if len(remote.Text) > maxRemoteText || !isPrintable(remote.Text) {
			t.Fatalf("a foreign text was let through: %q", remote.Text)
		}
	case errors.As(err, &r):
		if len(r.tell) > maxRemoteText || !isPrintable(r.tell) {
			t.Fatalf("a text would be sent that should not: %q", r.tell)
		}
	default:
		t.Fatalf("neither our refusal nor the other side's: %v", err)
	}
}

func isPrintable(text string) bool { return printable(text, len(text)) == text }

func FuzzPlaintextServer(f *testing.F) {
	seed(f, "handshake", "handshake-in")
	f.Fuzz(func(t *testing.T, request []byte) {
		id, err := parseRequest(request)
		if err != nil {
			checkError(t, err)
			return
		}
		if !id.Valid() {
			t.Fatalf("a listener would look for %q", id)
		}
		if again, err := parseRequest(appendRequest(nil, id, "h")); err != nil || again != id {
			t.Fatalf("%q is not read from our own request", id)
		}
	})
}

func FuzzPlaintextClient(f *testing.F) {
	seed(f, "handshake", "handshake-in")
	f.Fuzz(func(t *testing.T, answer []byte) {
		if err := parseResponse(answer); err != nil {
			checkError(t, err)
		} else if !bytes.Contains(answer, []byte("101")) {
			t.Fatalf("consent was seen in %q", answer)
		}
	})
}

func FuzzHello(f *testing.F) {
	seed(f, "handshake", "handshake-in")
	f.Add([]byte("banana-negotiation-range: 1 9\r\nfoolscap-go-extensions: a b.1 c-2\r\nlast-connection: x 1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxBlock {
			return
		}
		h, err := parseHello(b)
		if err != nil {
			checkError(t, err)
			return
		}
		if len(h.incarnation) > maxIncarnation || len(h.extensions) > maxExtensions {
			t.Fatalf("too much is kept of a hello: %+v", h)
		}
		// What we have understood, we can say, and mean the same.
		again, err := parseHello(bytes.TrimSuffix(h.encode(), endOfBlock))
		if err != nil {
			t.Fatalf("not understood again: %v", err)
		}
		if again.tubID != h.tubID || again.incarnation != h.incarnation || again.vocab != h.vocab ||
			strings.Join(again.extensions, " ") != strings.Join(h.extensions, " ") ||
			(again.last == nil) != (h.last == nil) || h.last != nil && *again.last != *h.last {
			t.Fatalf("%+v became %+v", h, again)
		}
		decide(nil, h, "own", 0)
		decide(&standing{}, h, "own", 0)
	})
}

func FuzzDecision(f *testing.F) {
	seed(f, "handshake", "handshake-in")
	f.Add([]byte("banana-decision-version: 3\r\nfoolscap-go-extensions: a\r\ncurrent-connection: x 1"))
	ours := hello{vocab: numberRange{0, 1}, extensions: []string{"a", "b"}}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxBlock {
			return
		}
		ParseLateRefusal(b)
		bananaError(b)
		d, err := parseDecision(b, ours)
		if err != nil {
			checkError(t, err)
			return
		}
		if d.vocabIndex < 0 || d.vocabIndex > banana.MaxVocab {
			t.Fatalf("table %d was accepted", d.vocabIndex)
		}
		if len(inCommon(d.extensions, ours.extensions)) != len(d.extensions) {
			t.Fatalf("%q were not offered", d.extensions)
		}
	})
}

// FuzzNegotiation is a whole negotiation with a stranger who sends anything at
// all: from the first byte on, behind a request or an answer in order, or behind
// TLS.
func FuzzNegotiation(f *testing.F) {
	slave, master := newTubs(f, func(c *LocalConfig) { c.Extensions = []string{"a", "b"} })
	decided := decision{current: connID{"m", 1}, vocabIndex: 1, extensions: []string{"a"}}
	for role := range byte(6) {
		f.Add(role, appendRequest(nil, slave.tubID, "h"))
		f.Add(role, []byte(response+"\x16\x03\x01\x00\x05hello"))
		f.Add(role, append(helloOf(master).encode(), decided.encode()...))
		f.Add(role, helloOf(slave).encode())
		f.Add(role, errorBlock(textDuplicate))
		f.Add(role, banana.AppendError(nil, "x"))
	}
	leafOfSlave, leafOfMaster := leafOf(f, slave), leafOf(f, master)
	f.Fuzz(func(t *testing.T, role byte, sent []byte) {
		stream := feeding(sent)
		var res *Result
		var err error
		own := slave
		switch role % 6 {
		case 0:
			res, err = Server(t.Context(), stream, ServerConfig{Find: answering(slave)})
		case 1:
			stream = feeding(appendRequest(nil, slave.tubID, "h"), sent)
			res, err = Server(t.Context(), stream, ServerConfig{Find: answering(slave)})
		case 2:
			res, err = Client(t.Context(), stream, ClientConfig{Local: slave, Target: master.tubID})
		case 3:
			stream = feeding([]byte(response), sent)
			res, err = Client(t.Context(), stream, ClientConfig{Local: slave, Target: master.tubID})
		case 4:
			res, err = Server(t.Context(), stream, ServerConfig{Local: slave, Peer: leafOfMaster})
		case 5:
			own = master
			res, err = Client(t.Context(), stream, ClientConfig{Local: master, Target: slave.tubID, Peer: leafOfSlave})
		}
		if (res == nil) == (err == nil) {
			t.Fatal("neither a result nor an error, or both")
		}
		if stream.isClosed() == (err == nil) {
			t.Fatal("the stream is closed if and only if the negotiation has failed")
		}
		if err != nil {
			var failed *Error
			if !errors.As(err, &failed) || failed.Err == nil {
				t.Fatalf("untyped: %v", err)
			}
			if len(own.ledger.links) != 0 {
				t.Fatal("a failure has left a link")
			}
			return
		}
		if res.Local != own || !res.Peer.Valid() || res.Peer == own.tubID || furl.TubIDOf(res.PeerCertificate.Raw) != res.Peer {
			t.Fatalf("somebody else: %+v", res)
		}
		res.Link.Release()
		if len(own.ledger.links) != 0 {
			t.Fatal("a link is left")
		}
	})
}
