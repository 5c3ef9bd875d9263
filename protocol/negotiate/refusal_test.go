package negotiate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestATubDoesNotDialItself(t *testing.T) {
	self := newLocal(t, p256(t))
	stream := feeding()
	_, err := Client(t.Context(), stream, ClientConfig{Local: self, Target: self.tubID})
	assert.ErrorIs(t, err, ErrSelf)
	assert.Empty(t, stream.output(), "nothing is sent")
	assert.True(t, stream.isClosed())
}

func TestATubThatIsDialledByItselfRefuses(t *testing.T) {
	// By another implementation, or another process with the same key: neither
	// side would be master.
	self := newLocal(t, p256(t))
	for name, first := range map[string]bool{"over TLS": false, "on an authenticated stream": true} {
		t.Run(name, func(t *testing.T) {
			a, b := loopback(t)
			client := make(chan error, 1)
			go func() {
				n := begin(t.Context(), a, Timeouts{}, nil, PhasePlaintext)
				n.local, n.target, n.client = self, self.tubID, true
				if first {
					n.identify(leafOf(t, self))
				} else if err := n.startTLSAsClient(""); err != nil {
					client <- n.fail(err)
					return
				}
				client <- n.fail(n.agree())
			}()
			cfg := ServerConfig{Find: answering(self)}
			if first {
				cfg = ServerConfig{Local: self, Peer: leafOf(t, self)}
			}
			_, err := Server(t.Context(), b, cfg)
			assert.ErrorIs(t, err, ErrSelf)
			err = <-client
			var remote *RemoteError
			require.ErrorAs(t, err, &remote)
			assert.Equal(t, textInternal, remote.Text)
		})
	}
}

func TestTubsThatNeverWereAndThatAreNoMoreAreRefusedAlike(t *testing.T) {
	gone, here := newLocal(t, p256(t)), newLocal(t, p256(t))
	for name, find := range map[string]func(furl.TubID) *Local{
		"nobody listens":         func(furl.TubID) *Local { return nil },
		"another Tub is here":    answering(here),
		"the Tub has just ended": func() func(furl.TubID) *Local { attached := []*Local{gone}[:0]; return answering(attached...) }(),
	} {
		t.Run(name, func(t *testing.T) {
			stream := feeding(appendRequest(nil, gone.tubID, "h"))
			_, err := Server(t.Context(), stream, ServerConfig{Find: find})
			assert.ErrorIs(t, err, ErrUnknownTub)
			assert.Equal(t, "HTTP/1.1 500 Internal Server Error: unknown TubID "+string(gone.tubID)+"\r\n\r\n", stream.output())
			var failed *Error
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, Error{Phase: PhasePlaintext, Target: gone.tubID, Timings: failed.Timings, Err: failed.Err}, *failed)
		})
	}
}

func TestTheClientLearnsThatTheTubIsNotThere(t *testing.T) {
	client, server := newTubs(t)
	a, b := loopback(t)
	atClient, atServer := meet(t.Context(), a, b,
		ClientConfig{Local: client, Target: server.tubID},
		ServerConfig{Find: func(furl.TubID) *Local { return nil }})
	assert.ErrorIs(t, atServer.err, ErrUnknownTub)
	assert.ErrorIs(t, atClient.err, ErrUnknownTub)
	assert.ErrorIs(t, atClient.err, ErrRemote)
	var remote *RemoteError
	require.ErrorAs(t, atClient.err, &remote)
	assert.Equal(t, "unknown TubID "+string(server.tubID), remote.Text)
}

func TestRequestsThatAreRefusedBeforeTLS(t *testing.T) {
	const internal = "HTTP/1.1 500 Internal Server Error: internal server error, see logs\r\n\r\n"
	local := newLocal(t, p256(t))
	id := string(local.tubID)
	for name, test := range map[string]struct {
		request string
		reply   string
		want    error
	}{
		"no TubID": {"GET /id/ HTTP/1.1\r\n\r\n", "HTTP/1.1 500 Internal Server Error: secure Tubs require encryption\r\n\r\n", ErrUnknownTub},
		"a TubID in capitals is another": {"GET /id/" + strings.ToUpper(id) + " HTTP/1.1\r\n\r\n",
			"HTTP/1.1 500 Internal Server Error: unknown TubID " + strings.ToUpper(id) + "\r\n\r\n", ErrUnknownTub},
		"a longer TubID is another": {"GET /id/" + id + "a HTTP/1.1\r\n\r\n",
			"HTTP/1.1 500 Internal Server Error: unknown TubID " + id + "a\r\n\r\n", ErrUnknownTub},
		"a TubID that would garble our answer": {"GET /id/a\x1b[2J HTTP/1.1\r\n\r\n", internal, ErrMalformed},
		"a TubID that is too long to repeat":   {"GET /id/" + strings.Repeat("a", 300) + " HTTP/1.1\r\n\r\n", internal, ErrMalformed},
		"another method":                       {"POST /id/" + id + " HTTP/1.1\r\n\r\n", internal, ErrMalformed},
		"lower case":                           {"get /id/" + id + " HTTP/1.1\r\n\r\n", internal, ErrMalformed},
		"two fields":                           {"GET /id/" + id + "\r\n\r\n", internal, ErrMalformed},
		"four fields":                          {"GET /id/" + id + " HTTP/1.1 now\r\n\r\n", internal, ErrMalformed},
		"another path":                         {"GET /" + id + " HTTP/1.1\r\n\r\n", internal, ErrMalformed},
		"nothing but a blank line":             {"\r\n\r\n", internal, ErrMalformed},
		"lines that end in LF never end":       {"GET /id/" + id + " HTTP/1.1\n\n", "", io.ErrUnexpectedEOF},
		"TLS from the first byte":              {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			stream := feeding([]byte(test.request))
			_, err := Server(t.Context(), stream, ServerConfig{Find: answering(local)})
			assert.ErrorIs(t, err, test.want)
			assert.Equal(t, test.reply, stream.output())
			assert.True(t, stream.isClosed())
		})
	}
}

func TestARequestIsRecognisedByItsFirstLineAlone(t *testing.T) {
	id := furl.TubID(strings.Repeat("a", 32))
	for _, request := range []string{
		"GET /id/" + string(id) + " HTTP/1.1",
		"GET /id/" + string(id) + " anything\r\nno: upgrade\r\nno colon",
		"GET   /id/" + string(id) + "\tHTTP/1.0\r\nUpgrade: TLS/1.0",
	} {
		got, err := parseRequest([]byte(request))
		assert.NoError(t, err)
		assert.Equal(t, id, got)
	}
}

func TestAnswersThatAreNotFoolscap(t *testing.T) {
	slave, master := newTubs(t)
	for name, test := range map[string]struct {
		answer string
		want   error
		text   string
	}{
		"a web server":           {"HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\n<html>", ErrRemote, "404 Not Found"},
		"a redirect":             {"HTTP/1.1 303 See Other\r\nLocation: pb://elsewhere\r\n\r\n", ErrRemote, "303 See Other"},
		"another service":        {"SSH-2.0-OpenSSH_9.2\r\n\r\n", ErrMalformed, `"SSH-2.0-OpenSSH_9.2"`},
		"an empty answer":        {"\r\n\r\n", ErrMalformed, ""},
		"an endless answer":      {strings.Repeat("x", 10_000), ErrMalformed, "more than 4096 bytes"},
		"nothing":                {"", io.ErrUnexpectedEOF, "hung up"},
		"half an answer":         {response[:20], io.ErrUnexpectedEOF, "hung up"},
		"terminal controls":      {"HTTP/1.1 500 \x1b[2J\u202e\x00\r\n\r\n", ErrRemote, "500 \ufffd[2J\ufffd\ufffd"},
		"no TLS behind the 101":  {response + "hello, who is there?", ErrMalformed, "does not look like a TLS handshake"},
		"a Banana ERROR token":   {string(banana.AppendError(nil, "go away")), ErrRemote, "go away"},
		"consent in lower case":  {strings.ToLower(response), ErrMalformed, ""},
		"101 without any header": {"HTTP/1.1 101 Switching Protocols\r\n\r\n", ErrMalformed, "another protocol than TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			stream := feeding([]byte(test.answer))
			_, err := Client(t.Context(), stream, ClientConfig{Local: slave, Target: master.tubID, Host: "h"})
			assert.ErrorIs(t, err, test.want)
			assert.ErrorContains(t, err, test.text)
			assert.True(t, stream.isClosed())
			rest, ok := strings.CutPrefix(stream.output(), string(appendRequest(nil, master.tubID, "h")))
			assert.True(t, ok)
			if !strings.HasPrefix(test.answer, response) {
				assert.Empty(t, rest, "no word to somebody who is not a Tub")
			}
		})
	}
}

func TestAHintCannotAddLinesToTheRequest(t *testing.T) {
	slave, master := newTubs(t)
	for _, host := range []string{"a\r\nX: y", "a b", "ä.example", "a\x00", strings.Repeat("a", 256)} {
		stream := feeding()
		_, err := Client(t.Context(), stream, ClientConfig{Local: slave, Target: master.tubID, Host: host})
		assert.ErrorContains(t, err, "host of the hint")
		assert.Empty(t, stream.output())
	}
	for _, target := range []furl.TubID{"", "x", furl.TubID("\r\n\r\n")} {
		stream := feeding()
		_, err := Client(t.Context(), stream, ClientConfig{Local: slave, Target: target})
		assert.ErrorContains(t, err, "not a TubID")
		assert.Empty(t, stream.output())
	}
}

// lines makes a block of lines.
func lines(l ...string) []byte { return []byte(strings.Join(l, "\r\n") + "\r\n\r\n") }

func TestHellosThatAreRefused(t *testing.T) {
	slave, master := newTubs(t)
	valid := func(more ...string) []byte {
		return lines(append([]string{"banana-negotiation-range: 3 3", "my-tub-id: " + string(master.tubID)}, more...)...)
	}
	for name, test := range map[string]struct {
		hello []byte
		reply string
		want  error
	}{
		"too new":                  {lines("banana-negotiation-range: 4 9"), "You can't handle banana version 3", ErrVersion},
		"too old":                  {lines("banana-negotiation-range: 1 2"), "I can't handle banana version 2", ErrVersion},
		"ancient":                  {lines("banana-negotiation-version: 1"), "No valid banana-negotiation sequence seen", ErrVersion},
		"one number":               {lines("banana-negotiation-range: 3"), textInternal, ErrMalformed},
		"three numbers":            {lines("banana-negotiation-range: 3 3 3"), textInternal, ErrMalformed},
		"no numbers":               {lines("banana-negotiation-range: a b"), textInternal, ErrMalformed},
		"numbers without end":      {lines("banana-negotiation-range: 3 " + strings.Repeat("9", 100)), textInternal, ErrMalformed},
		"in another's name":        {lines("banana-negotiation-range: 3 3", "my-tub-id: "+string(slave.tubID)), textInternal, ErrWrongTub},
		"in nobody's name":         {lines("banana-negotiation-range: 3 3"), textInternal, ErrWrongTub},
		"forced":                   {valid("negotiation-forced: True"), textInternal, ErrMalformed},
		"a line without colon":     {valid("oops"), textInternal, ErrMalformed},
		"an empty block":           {[]byte("\r\n\r\n"), textInternal, ErrMalformed},
		"not UTF-8":                {valid("x: \xff"), textInternal, ErrMalformed},
		"more than 4096 bytes":     {valid("x: " + strings.Repeat("y", 4096)), textInternal, ErrMalformed},
		"a boundless incarnation":  {valid("my-incarnation: " + strings.Repeat("y", 129)), textInternal, ErrMalformed},
		"half a vocabulary range":  {valid("initial-vocab-table-range: 1"), textInternal, ErrMalformed},
		"an extension in capitals": {valid("foolscap-go-extensions: A"), textInternal, ErrMalformed},
		"no extension in the list": {valid("foolscap-go-extensions: "), textInternal, ErrMalformed},
		"two blanks in the list":   {valid("foolscap-go-extensions: a  b"), textInternal, ErrMalformed},
		"an extension twice":       {valid("foolscap-go-extensions: a b a"), textInternal, ErrMalformed},
		"17 extensions":            {valid("foolscap-go-extensions: 1 2 3 4 5 6 7 8 9 a b c d e f g h"), textInternal, ErrMalformed},
		"513 bytes of extensions":  {valid("foolscap-go-extensions: " + strings.Repeat("a", 513)), textInternal, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			stream := feeding(test.hello)
			_, err := Server(t.Context(), stream, ServerConfig{Local: slave, Peer: leafOf(t, master)})
			assert.ErrorIs(t, err, test.want)
			assert.NotErrorIs(t, err, ErrRemote)
			assert.Equal(t, string(helloOf(slave).encode())+string(errorBlock(test.reply)), stream.output())
			assert.True(t, stream.isClosed())
		})
	}
}

func TestHellosThatAreAccepted(t *testing.T) {
	master, greater := newTubs(t)
	_ = greater
	for name, test := range map[string]struct {
		hello []byte
		want  hello
	}{
		"the least": {lines("banana-negotiation-range: 3 3"), hello{}},
		"a wide range, keys in capitals, blanks in front": {lines("BANANA-Negotiation-Range: \t 1 9", "MY-TUB-ID:x"),
			hello{tubID: "x"}},
		"of a repeated key the last": {lines("banana-negotiation-range: 1 1", "banana-negotiation-range: 3 3"), hello{}},
		"unknown keys":               {lines("banana-negotiation-range: 3 3", "colour: blue", ": "), hello{}},
		"blanks behind a value stay": {lines("banana-negotiation-range: 3 3 ", "my-incarnation: a "), hello{incarnation: "a "}},
		"extensions in any order": {lines("banana-negotiation-range: 3 3", "foolscap-go-extensions: b.2 a-1 0"),
			hello{extensions: []string{"0", "a-1", "b.2"}}},
		"16 extensions of 512 bytes": {lines("banana-negotiation-range: 3 3", "foolscap-go-extensions: 1 2 3 4 5 6 7 8 9 a b c d e f "+strings.Repeat("g", 482)),
			hello{extensions: append(strings.Split("123456789abcdef", ""), strings.Repeat("g", 482))}},
		"a last connection":            {lines("banana-negotiation-range: 3 3", "last-connection: m 7"), hello{last: &connID{"m", 7}}},
		"a last connection below zero": {lines("banana-negotiation-range: 3 3", "last-connection: m -7"), hello{last: &connID{"m", 0}}},
		"a last connection beyond 64 bits": {lines("banana-negotiation-range: 3 3", "last-connection: m 18446744073709551616"),
			hello{last: &connID{"m", math.MaxUint64}}},
		"a last connection that makes no sense": {lines("banana-negotiation-range: 3 3", "last-connection: m m"), hello{last: &garbledConnection}},
		"not forced":                            {lines("banana-negotiation-range: 3 3", "negotiation-forced: False"), hello{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseHello(test.hello[:len(test.hello)-4])
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
	require.NotNil(t, master)
}

func TestDecisionsThatAreRefused(t *testing.T) {
	slave, master := newTubs(t, func(c *LocalConfig) { c.Extensions = []string{"a"} })
	for name, test := range map[string]struct {
		decision []byte
		reply    string
		want     error
	}{
		"no version":                 {lines("initial-vocab-table-index: 1 bb33"), textNoDecision, ErrMalformed},
		"an empty version":           {lines("banana-decision-version: "), textNoDecision, ErrMalformed},
		"version 0":                  {lines("banana-decision-version: 0"), textInternal, ErrVersion},
		"version 4":                  {lines("banana-decision-version: 4"), textInternal, ErrVersion},
		"no number of a version":     {lines("banana-decision-version: three"), textInternal, ErrVersion},
		"table 2":                    {lines("banana-decision-version: 3", "initial-vocab-table-index: 2 0000"), "I can't handle initial vocab table index 2", ErrVocab},
		"table -1":                   {lines("banana-decision-version: 3", "initial-vocab-table-index: -1 0000"), "I can't handle initial vocab table index -1", ErrVocab},
		"another table 1":            {lines("banana-decision-version: 3", "initial-vocab-table-index: 1 cafe"), "Our hash for vocab-table-index 1 (bb33) does not match your hash (cafe)", ErrVocab},
		"a hash with controls":       {lines("banana-decision-version: 3", "initial-vocab-table-index: 1 \x1b[2J"), "Our hash for vocab-table-index 1 (bb33) does not match your hash (\ufffd[2J)", ErrVocab},
		"a table without hash":       {lines("banana-decision-version: 3", "initial-vocab-table-index: 0"), textInternal, ErrMalformed},
		"no number of a table":       {lines("banana-decision-version: 3", "initial-vocab-table-index: one bb33"), textInternal, ErrMalformed},
		"half a connection":          {lines("banana-decision-version: 3", "current-connection: m"), textInternal, ErrMalformed},
		"an extension not offered":   {lines("banana-decision-version: 3", "foolscap-go-extensions: a b"), textInternal, ErrMalformed},
		"a malformed extension":      {lines("banana-decision-version: 3", "foolscap-go-extensions: a,b"), textInternal, ErrMalformed},
		"4097 bytes and no end":      {bytes.Repeat([]byte("x"), 5000), textInternal, ErrMalformed},
		"another hello":              {helloOf(master).encode(), textNoDecision, ErrMalformed},
		"a line that is not a block": {[]byte("oops\r\n\r\n"), textInternal, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			stream := feeding(helloOf(master).encode(), test.decision)
			_, err := Server(t.Context(), stream, ServerConfig{Local: slave, Peer: leafOf(t, master)})
			assert.ErrorIs(t, err, test.want)
			assert.Equal(t, string(helloOf(slave).encode())+string(banana.AppendError(nil, test.reply)), stream.output(),
				"a slave that has taken the hello refuses in Banana")
			assert.True(t, stream.isClosed())
			assert.Nil(t, slave.ledger.Current(master.tubID))
		})
	}
}

func TestDecisionsThatAreAccepted(t *testing.T) {
	ours := hello{vocab: numberRange{0, 1}, extensions: []string{"a", "b"}}
	for name, test := range map[string]struct {
		decision []byte
		want     decision
	}{
		"version 1 and no more":          {lines("banana-decision-version: 1"), decision{}},
		"version 2":                      {lines("banana-decision-version: 2", "initial-vocab-table-index: 1 bb33"), decision{vocabIndex: 1}},
		"table 0, whatever the hash":     {lines("banana-decision-version: 3", "initial-vocab-table-index: 0 xxxx"), decision{}},
		"an extension that was offered":  {lines("banana-decision-version: 3", "foolscap-go-extensions: b"), decision{extensions: []string{"b"}}},
		"a connection":                   {lines("banana-decision-version: 3", "current-connection: m 12"), decision{current: connID{"m", 12}}},
		"a connection that is left open": {lines("banana-decision-version: 3", "current-connection: "), decision{}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseDecision(test.decision[:len(test.decision)-4], ours)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func TestTheOtherSidesRefusalIsUnderstoodWhereverItComes(t *testing.T) {
	slave, master := newTubs(t)
	const text = "You can't handle banana version 3"
	for name, stream := range map[string]*feed{
		"in place of the hello":              feeding(errorBlock(text)),
		"in place of the decision":           feeding(helloOf(master).encode(), errorBlock(text)),
		"in Banana in place of the hello":    feeding(banana.AppendError(nil, text)),
		"in Banana in place of the decision": feeding(helloOf(master).encode(), banana.AppendError(nil, text)),
		"in a decision without a version":    feeding(helloOf(master).encode(), lines("error: "+text)),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Server(t.Context(), stream, ServerConfig{Local: slave, Peer: leafOf(t, master)})
			var remote *RemoteError
			require.ErrorAs(t, err, &remote)
			assert.Equal(t, text, remote.Text)
			assert.ErrorIs(t, err, ErrRemote)
			assert.ErrorIs(t, err, ErrVersion)
			assert.NotErrorIs(t, err, ErrVocab)
			assert.NotContains(t, stream.output(), "error", "there is nobody to answer to")
		})
	}
}

func TestALateRefusalIsRecognisedInWhole(t *testing.T) {
	for name, test := range map[string]struct {
		read string
		text string
		ok   bool
	}{
		"a duplicate":                     {string(errorBlock(textDuplicate)), textDuplicate, true},
		"with Banana behind it":           {string(errorBlock(textDuplicate)) + "\x00\x88error: x", textDuplicate, true},
		"cut":                             {string(errorBlock(textInternal))[:60], textInternal[:25], true},
		"as short as it can be":           {"banana-decision-version:", "", true},
		"with control characters":         {"banana-decision-version: 1\r\nerror: a\x1bb\r\n\r\n", "a\ufffdb", true},
		"a token":                         {"\x00\x88\x0b\x87", "", false},
		"nothing":                         {"", "", false},
		"another key":                     {"banana-negotiation-range: 3 3\r\n\r\n", "", false},
		"less than makes it sure":         {"banana-decision-ver", "", false},
		"a text that is longer than kept": {"banana-decision-version: 1\r\nerror: " + strings.Repeat("x", 600) + "\r\n\r\n", strings.Repeat("x", 500), true},
	} {
		t.Run(name, func(t *testing.T) {
			text, ok := ParseLateRefusal([]byte(test.read))
			assert.Equal(t, test.ok, ok)
			assert.Equal(t, test.text, text)
		})
	}
}

func TestForeignTextsAreBoundedAndPrintable(t *testing.T) {
	for name, text := range map[string]string{
		"controls":        "a\r\nb\x00\x1b[31m\u0085",
		"wrong direction": "abc\u202edef",
		"not UTF-8":       "a\xff\xfe",
		"long":            strings.Repeat("ä", 10_000),
	} {
		err := remoteError(text)
		assert.LessOrEqual(t, len(err.Text), maxRemoteText, name)
		assert.True(t, utf8.ValidString(err.Text), name)
		for _, r := range err.Text {
			assert.False(t, r < ' ' || r == 0x7f || r == 0x85 || r == 0x202e, name)
		}
	}
}

func TestRefusalsKeepToTheirLine(t *testing.T) {
	assert.Equal(t, "HTTP/1.1 500 Internal Server Error: a  b\r\n\r\n", string(appendPlainRefusal(nil, "a\r\nb")))
	assert.Equal(t, "banana-decision-version: 1\r\nerror: a  b\r\n\r\n", string(errorBlock("a\r\nb")))
}

func TestErrorsSayWhoAndWhere(t *testing.T) {
	cause := io.ErrNoProgress
	target, peer := furl.TubID(strings.Repeat("t", 32)), furl.TubID(strings.Repeat("p", 32))
	assert.EqualError(t, &Error{Phase: PhasePlaintext, Err: cause}, "negotiate: plaintext: "+cause.Error())
	assert.EqualError(t, &Error{Phase: PhaseTLS, Target: target, Err: cause}, "negotiate: TLS for Tub "+string(target)+": "+cause.Error())
	assert.EqualError(t, &Error{Phase: PhaseDecision, Target: target, Peer: peer, Err: cause}, "negotiate: decision with Tub "+string(peer)+": "+cause.Error())
	assert.ErrorIs(t, &Error{Err: cause}, cause)
	assert.Equal(t, "unknown phase", Phase(200).String())
}

func TestAStrangerMaySendOnlySoMuch(t *testing.T) {
	local := newLocal(t, p256(t))
	t.Run("in the handshake", func(t *testing.T) {
		// A ClientHello that announces 64 KiB of itself, which crypto/tls would
		// wait for.
		record := append([]byte{0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff}, make([]byte, 0x4000-4)...)
		stream := feeding(appendRequest(nil, local.tubID, ""), bytes.Repeat(record, 5))
		_, err := Server(t.Context(), stream, ServerConfig{Find: answering(local)})
		assert.ErrorIs(t, err, ErrMalformed)
		assert.ErrorContains(t, err, "more than it may")
		assert.Equal(t, response, stream.output())
	})
	t.Run("and what it may is counted", func(t *testing.T) {
		s := &stream{Conn: feeding(make([]byte, 100)), prefix: []byte("abc"), budget: 10}
		got, err := io.ReadAll(s)
		assert.Equal(t, append([]byte("abc"), make([]byte, 7)...), got)
		assert.ErrorIs(t, err, ErrMalformed)
		s.budget = -1
		got, err = io.ReadAll(s)
		assert.NoError(t, err)
		assert.Len(t, got, 93)
	})
}

func TestABlockHas4096BytesWithItsBlankLine(t *testing.T) {
	slave, master := newTubs(t)
	fill := func(b []byte, size int) []byte { // to size, with a line before the blank one
		return append(b[:len(b)-2], "x: "+strings.Repeat("y", size-len(b)-5)+"\r\n\r\n"...)
	}
	decided := decision{current: connID{"m", 1}, vocabIndex: 1}
	for name, test := range map[string]struct {
		run   func(size int) error
		phase Phase // when it is too much
		next  Phase // when it is not, and nothing follows
	}{
		"a request": {func(size int) error {
			_, err := Server(t.Context(), feeding(fill(appendRequest(nil, slave.tubID, "h"), size)), ServerConfig{Find: answering(slave)})
			return err
		}, PhasePlaintext, PhaseTLS},
		"an answer": {func(size int) error {
			_, err := Client(t.Context(), feeding(fill([]byte(response), size)), ClientConfig{Local: slave, Target: master.tubID})
			return err
		}, PhasePlaintext, PhaseTLS},
		"a hello": {func(size int) error {
			_, err := Server(t.Context(), feeding(fill(helloOf(master).encode(), size)), ServerConfig{Local: slave, Peer: leafOf(t, master)})
			return err
		}, PhaseHello, PhaseDecision},
		"a decision": {func(size int) error {
			_, err := Server(t.Context(), feeding(helloOf(master).encode(), fill(decided.encode(), size)), ServerConfig{Local: slave, Peer: leafOf(t, master)})
			return err
		}, PhaseDecision, numPhases},
	} {
		t.Run(name, func(t *testing.T) {
			var failed *Error
			err := test.run(maxBlock)
			if test.next == numPhases {
				require.NoError(t, err)
			} else {
				require.ErrorAs(t, err, &failed)
				assert.Equal(t, test.next, failed.Phase)
			}
			err = test.run(maxBlock + 1)
			assert.ErrorIs(t, err, ErrMalformed)
			assert.ErrorContains(t, err, "more than 4096 bytes")
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, test.phase, failed.Phase)
		})
	}
}

func TestARefusalArrivesHoweverMuchTheClientHasSent(t *testing.T) {
	local := newLocal(t, p256(t))
	unknown := appendRequest(nil, furl.TubIDOf([]byte("nobody")), "h")
	for name, sent := range map[string][]byte{
		"more than a request":   append(unknown, make([]byte, 10_000)...),
		"no end of a request":   bytes.Repeat([]byte("x"), 30_000),
		"just the request":      unknown,
		"as much as is read on": append(unknown, make([]byte, maxUnheard)...),
	} {
		t.Run(name, func(t *testing.T) {
			a, b := loopback(t)
			served := make(chan error, 1)
			go func() {
				_, err := Server(t.Context(), b, ServerConfig{Find: answering(local)})
				served <- err
			}()
			_, err := a.Write(sent)
			require.NoError(t, err)
			answer, err := io.ReadAll(a)
			assert.NoError(t, err, "the end, and not a reset")
			assert.Contains(t, string(answer), "HTTP/1.1 500 ")
			select {
			case err := <-served:
				t.Error("the server did not wait for the client: ", err)
			default:
			}
			a.Close()
			assert.Error(t, <-served)
		})
	}

	t.Run("but not without end", func(t *testing.T) {
		stream := feeding(unknown, make([]byte, 2*maxUnheard))
		_, err := Server(t.Context(), stream, ServerConfig{Find: answering(local)})
		assert.ErrorIs(t, err, ErrUnknownTub)
		assert.Greater(t, len(stream.unread), maxUnheard/2)
		assert.True(t, stream.isClosed())
	})
	t.Run("and not for long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := net.Pipe()
			go func() {
				a.Write(unknown)
				io.ReadFull(a, make([]byte, len(appendPlainRefusal(nil, textUnknownTub+strings.Repeat("x", 32)))))
				drip(a)
			}()
			start := time.Now()
			_, err := Server(t.Context(), b, ServerConfig{Find: answering(local)})
			assert.ErrorIs(t, err, ErrUnknownTub)
			assert.Equal(t, farewell, time.Since(start))
			time.Sleep(2 * time.Second) // until the peer has noticed
		})
	})
}

func TestTheHelloWaitsForItsSlot(t *testing.T) {
	slave, master := newTubs(t)
	t.Run("and is not sent by a loser", func(t *testing.T) {
		lost := errors.New("another hint was faster")
		a, b := loopback(t)
		atClient, atServer := meet(t.Context(), a, b,
			ClientConfig{Local: slave, Target: master.tubID, HelloSlot: func(context.Context) error { return lost }},
			ServerConfig{Find: answering(master)})
		assert.ErrorIs(t, atClient.err, lost)
		var failed *Error
		require.ErrorAs(t, atClient.err, &failed)
		assert.Equal(t, PhaseSlot, failed.Phase)
		assert.Equal(t, master.tubID, failed.Peer, "the slot is only for those who know who the peer is")
		for phase, spent := range failed.Timings {
			assert.Equal(t, phase <= int(PhaseSlot), spent > 0, Phase(phase))
		}
		assert.ErrorIs(t, atServer.err, io.ErrUnexpectedEOF)
		assert.Nil(t, master.ledger.Current(slave.tubID))
	})
	t.Run("which a stranger never gets", func(t *testing.T) {
		stranger := newLocal(t, p256(t))
		a, b := loopback(t)
		go func() {
			answerRequest(b)
			newHandshake(b, stranger)
			b.Close()
		}()
		_, err := Client(t.Context(), a, ClientConfig{
			Local: slave, Target: master.tubID,
			HelloSlot: func(context.Context) error { t.Error("the slot was asked for"); return nil },
		})
		assert.ErrorIs(t, err, ErrWrongTub)
	})
}

func TestAFailedStreamIsReportedAsItIs(t *testing.T) {
	slave, master := newTubs(t)
	a, b := loopback(t)
	b.(*net.TCPConn).SetLinger(0)
	b.Close() // resets
	_, err := Client(t.Context(), a, ClientConfig{Local: slave, Target: master.tubID, Timeouts: Timeouts{Total: time.Minute}})
	require.Error(t, err)
	var op *net.OpError
	assert.True(t, errors.As(err, &op) || errors.Is(err, io.ErrUnexpectedEOF))
	assert.NotErrorIs(t, err, ErrTimeout)
}
