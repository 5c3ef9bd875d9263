package negotiate

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

func TestBlocksAreByteForByteThoseOfPythonFoolscap(t *testing.T) {
	python := vectors(t, "handshake")
	own := connID{"feedfacecafebeef", 1}
	client := hello{
		tubID:       "33333333333333333333333333333333",
		incarnation: "9ad7874800b2befc",
		last:        &noConnection,
		vocab:       numberRange{0, 1},
	}
	again := client
	again.last = &own
	server := hello{
		tubID:       "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
		incarnation: "ffdcd620d89c54c5",
		vocab:       numberRange{0, 1},
	}
	decided := decision{current: connID{"ffdcd620d89c54c5", 1}, vocabIndex: 1}
	decided0 := decision{current: connID{"ffdcd620d89c54c5", 2}, vocabIndex: 0}

	ours := map[string][]byte{
		"client-GET":             appendRequest(nil, "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", "127.0.0.1"),
		"server-101":             []byte(response),
		"client-hello":           client.encode(),
		"client-hello-reconnect": again.encode(),
		"server-hello":           server.encode(),
		"decision":               decided.encode(),
		"decision-vocab0":        decided0.encode(),
		"error-duplicate":        errorBlock(textDuplicate),
	}
	for name, v := range python {
		assert.Equal(t, string(v.bytes), string(ours[name]), name)
	}
	assert.Len(t, python, len(ours), "every vector has been compared")

	for name, want := range map[string]hello{"client-hello": client, "client-hello-reconnect": again, "server-hello": server} {
		got, err := parseHello(withoutEnd(t, python[name].bytes))
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}
	for name, want := range map[string]decision{"decision": decided, "decision-vocab0": decided0} {
		got, err := parseDecision(withoutEnd(t, python[name].bytes), client)
		require.NoError(t, err, name)
		assert.Equal(t, want, got, name)
	}
	id, err := parseRequest(withoutEnd(t, python["client-GET"].bytes))
	require.NoError(t, err)
	assert.EqualValues(t, "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", id)
	assert.NoError(t, parseResponse(withoutEnd(t, python["server-101"].bytes)))
	_, err = parseHello(withoutEnd(t, python["error-duplicate"].bytes))
	assert.ErrorIs(t, err, ErrDuplicate)
}

func withoutEnd(t *testing.T, b []byte) []byte {
	require.Equal(t, string(endOfBlock), string(b[len(b)-4:]))
	return b[:len(b)-4]
}

func TestVocabularyHashesAreThoseOfPythonFoolscap(t *testing.T) {
	python := vectors(t, "vocabhash")
	require.Len(t, python, 2)
	assert.Equal(t, python["0"].Hash, banana.VocabHash(0))
	assert.Equal(t, python["1"].Hash, banana.VocabHash(1))
}

// Every input of which it is known how Python Foolscap reacts to it gets the
// same reaction from us, with one difference: a client that is not answered by
// a Foolscap server hangs up without a word.
func TestReactionsAreThoseOfPythonFoolscap(t *testing.T) {
	type side int
	const (
		serverPlain side = iota
		clientPlain
		helloTo
		decisionTo
	)
	tests := map[string]struct {
		to   side
		want error
	}{
		"unknown-tub":            {serverPlain, ErrUnknownTub},
		"browser":                {serverPlain, ErrMalformed},
		"too-long":               {serverPlain, ErrMalformed},
		"4096-ok":                {serverPlain, nil},
		"client-500":             {clientPlain, ErrUnknownTub},
		"client-101-no-upgrade":  {clientPlain, ErrMalformed},
		"client-101-lowercase":   {clientPlain, ErrMalformed},
		"hello-no-range":         {helloTo, ErrVersion},
		"hello-range-1-2":        {helloTo, ErrVersion},
		"hello-no-cert-no-tubid": {helloTo, ErrWrongTub},
		"hello-no-cert-tubid":    {helloTo, ErrWrongTub},
		"hello-no-colon":         {helloTo, ErrMalformed},
		"decision-error":         {decisionTo, ErrDuplicate},
		"decision-no-version":    {decisionTo, ErrMalformed},
		"decision-vocab-2":       {decisionTo, ErrVocab},
		"decision-version-4":     {decisionTo, ErrVersion},
	}
	python := vectors(t, "handshake-in")
	assert.Len(t, python, len(tests), "every vector is tested")

	slave, master := newTubs(t)
	for name, v := range python {
		t.Run(name, func(t *testing.T) {
			test, ok := tests[name]
			require.True(t, ok)
			var stream *feed
			var err error
			want := v.reply(t)
			switch test.to {
			case serverPlain:
				stream = feeding(v.bytes)
				_, err = Server(t.Context(), stream, ServerConfig{Find: answering(slave)})
			case clientPlain:
				stream = feeding(v.bytes)
				_, err = Client(t.Context(), stream, ClientConfig{Local: slave, Target: master.tubID, Host: "h"})
				want = string(appendRequest(nil, master.tubID, "h"))
			case helloTo:
				stream = feeding(v.bytes)
				_, err = Server(t.Context(), stream, ServerConfig{Local: slave, Peer: leafOf(t, master)})
				want = string(helloOf(slave).encode()) + want
			case decisionTo:
				stream = feeding(helloOf(master).encode(), v.bytes)
				_, err = Server(t.Context(), stream, ServerConfig{Local: slave, Peer: leafOf(t, master)})
				want = string(helloOf(slave).encode()) + want
			}
			if test.want == nil { // Python waits for more, of which there is none here
				assert.ErrorContains(t, err, "hung up")
			} else {
				assert.ErrorIs(t, err, test.want)
			}
			assert.Equal(t, want, stream.output())
			assert.True(t, stream.isClosed())
		})
	}
}

// helloOf is what a Tub says as a server.
func helloOf(l *Local) hello {
	return hello{tubID: l.tubID, incarnation: l.ledger.incarnation, vocab: l.vocab, extensions: l.extensions}
}
