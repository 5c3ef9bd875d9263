package banana

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// conversation is a stream with everything in it that a peer can send.
var conversation = bytes.Join([][]byte{
	wireFrom(0, `(call 1 1 "echo" (arguments 2 (list 1 "bytes" (reference 2)) (unicode "text") "kw" (dict 1 (my-reference 5))))`),
	wireFrom(7, `(answer 3 (tuple 1.5 (boolean 1) (none) 99999999999999999999999999 (decimal "1.5")))`),
	wireFrom(12, `(call 4 1 "x" (arguments 1 (strange 1 (my-reference 6) "body")))`),
	wireFrom(16, `(error 5 (copyable "twisted.python.failure.Failure" "value" "v" "type" "t" "traceback" "tb" "parents" (list "p")))`),
	wireFrom(19, `(ignored 5 (list))`),
	wireFrom(21, `(call 0 1 "none" (arguments 0))`),
}, nil)

// boundaries returns where the tokens of a stream begin, and its end.
func boundaries(t *testing.T, in []byte) (at []int64, tokens []Scanned) {
	t.Helper()
	for tok, err := range Scan(bytes.NewReader(in), 1) {
		require.NoError(t, err)
		at = append(at, tok.Offset)
		tokens = append(tokens, tok)
	}
	return append(at, int64(len(in))), tokens
}

func insert(in []byte, at int64, what []byte) []byte {
	return append(append(bytes.Clone(in[:at]), what...), in[at:]...)
}

func TestPingsAndPongsMayStandBetweenAnyTwoTokens(t *testing.T) {
	plain := newPeer(bytes.NewReader(conversation), 1)
	require.NoError(t, plain.run())
	require.Len(t, plain.seen, 6)
	assert.Equal(t, []int64{6}, plain.skips)
	for _, number := range [][]byte{nil, {5}, bytes.Repeat([]byte{0x7f}, 64), append(make([]byte, 63), 1)} {
		ping := AppendPing(nil, number)
		pong := AppendPong(nil, number)
		at, _ := boundaries(t, conversation)
		for _, where := range at {
			in := insert(conversation, where, append(append(bytes.Clone(ping), pong...), ping...))
			p := newPeer(bytes.NewReader(in), 1)
			require.NoError(t, p.run(), "at %d", where)
			// Values that contain themselves are compared by their bytes.
			require.Equal(t, transcript(t, plain), transcript(t, p), "at %d", where)
			require.Len(t, p.pongs, 2)
			for _, answered := range p.pongs {
				require.Equal(t, ping, AppendPing(nil, answered))
			}
			assert.Equal(t, plain.skips, p.skips)
		}
		// and at all of them at once, read byte by byte
		var all []byte
		last := int64(0)
		for _, where := range at {
			all = append(append(all, conversation[last:where]...), ping...)
			last = where
		}
		p := newPeer(iotest.OneByteReader(bytes.NewReader(all)), 1)
		require.NoError(t, p.run())
		assert.Equal(t, transcript(t, plain), transcript(t, p))
		assert.Len(t, p.pongs, len(at))
	}
}

// transcript is what a peer has understood, in a form that can be compared.
func transcript(t *testing.T, p *peer) []string {
	t.Helper()
	var out []string
	for _, m := range p.seen {
		text := m.opentype + outcome(m.err)
		if m.err == nil {
			var opens Numberer
			b, err := m.write(1, &opens)
			require.NoError(t, err)
			text += string(b)
		}
		out = append(out, text)
	}
	return out
}

func TestAPingThatIsTooLongIsNoToken(t *testing.T) {
	in := append(bytes.Repeat([]byte{1}, 65), byte(TypePing))
	_, err := decoderFor(in).Begin()
	requireProtocolError(t, err, "more than 64 bytes")
}

func TestAnErrorOfPingEndsTheReading(t *testing.T) {
	enough := errors.New("enough")
	d := NewDecoder(bytes.NewReader(insert(answer("(list 1)"), 4, AppendPing(nil, nil))), nil, &DecoderConfig{
		Vocab: 1, Ping: func([]byte) error { return enough },
	})
	_, err := d.Begin()
	require.NoError(t, err)
	_, err = d.Int("x")
	assert.ErrorIs(t, err, enough)
	// Without a hook they are passed over.
	d = decoderFor(insert(insert(answer("7"), 4, AppendPing(nil, nil)), 4, AppendPong(nil, []byte{9})))
	var n int
	require.NoError(t, answerValue(d, func() error { return decodeTarget(d, &n, nil) }))
}

func TestAnAbortAnywhereSpoilsItsMessageOnly(t *testing.T) {
	messages := [][]byte{
		wireFrom(0, `(call 1 1 "echo" (arguments 2 (list 1 "bytes" (reference 2)) (unicode "text") "kw" (dict 1 (my-reference 5))))`),
		wireFrom(7, `(answer 3 (tuple (my-reference 9) 1.5 (boolean 1) (none) 99999999999999999999999999 (decimal "1.5")))`),
	}
	for _, message := range messages {
		at, tokens := boundaries(t, message)
		for j, where := range at[1:] {
			other := wireFrom(50, `(answer 8 (list (list 1) (list 2)))`)
			in := append(insert(message, where, []byte{0, byte(TypeAbort)}), other...)
			p := newPeer(bytes.NewReader(in), 1)
			require.NoError(t, p.run())
			require.Len(t, p.seen, 2, "after %s", tokens[j].Annotation())
			last := j == len(tokens)-1
			if last { // behind the message there is nothing to be aborted
				assert.NoError(t, p.seen[0].err)
			} else {
				assert.ErrorIs(t, p.seen[0].err, ErrAborted)
			}
			assert.Equal(t, []any{NewList(NewList(int64(1)), NewList(int64(2)))}, p.seen[1].args)
			// The reference was counted once, unless it was given up itself.
			if tokens[j].Word != "my-reference" {
				assert.Len(t, append(p.got, p.skips...), 1, "after %s", tokens[j].Annotation())
			}
		}
	}
}

// Python sends an ABORT and a CLOSE for each level.
func TestAnAbortAsPythonSendsIt(t *testing.T) {
	in := wire(`(call 1 1 "echo" (arguments 1 (list 1 !) !) !) (answer 1 7)`)
	p := newPeer(bytes.NewReader(in), 1)
	require.NoError(t, p.run())
	require.Len(t, p.seen, 2)
	assert.ErrorIs(t, p.seen[0].err, ErrAborted)
	assert.Equal(t, int64(1), p.seen[0].req)
	assert.Equal(t, []any{int64(7)}, p.seen[1].args)
}

func TestAnErrorTokenIsReportedWhereverItStands(t *testing.T) {
	at, _ := boundaries(t, conversation)
	for _, where := range at {
		in := insert(conversation, where, AppendError(nil, "oh no"))
		err := newPeer(bytes.NewReader(in), 1).run()
		var remote *RemoteError
		require.ErrorAs(t, err, &remote, "at %d", where)
		assert.Equal(t, "oh no", remote.Text)
	}
	_, err := decoderFor(AppendError(nil, "bad \xff\xfe text")).Begin()
	assert.EqualError(t, err, `banana: the peer reports: "bad ? text"`)
	_, err = decoderFor(append(AppendToken(nil, TypeError, 1001), make([]byte, 1001)...)).Begin()
	requireProtocolError(t, err, "an ERROR token of 1001 bytes")
	_, err = decoderFor(append(AppendToken(nil, TypeError, 10), 'x')).Begin()
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestAStreamThatEndsWithinAMessageEndsUnexpectedly(t *testing.T) {
	at, _ := boundaries(t, conversation)
	between := map[int64]bool{0: true}
	for _, where := range at {
		p := newPeer(bytes.NewReader(conversation[:where]), 1)
		if p.run() == nil {
			between[where] = true
		}
	}
	assert.Len(t, between, 7)
	for end := range int64(len(conversation)) {
		err := newPeer(bytes.NewReader(conversation[:end]), 1).run()
		if between[end] {
			assert.NoError(t, err, "%d", end)
		} else {
			assert.ErrorIs(t, err, io.ErrUnexpectedEOF, "%d", end)
		}
	}
}

func TestEveryErrorOfTheReaderIsHandedUp(t *testing.T) {
	broken := errors.New("broken pipe")
	for end := range len(conversation) {
		r := io.MultiReader(bytes.NewReader(conversation[:end]), iotest.ErrReader(broken))
		assert.ErrorIs(t, newPeer(r, 1).run(), broken)
	}
	_, err := decoderForReader(stuck{}).Begin()
	assert.ErrorIs(t, err, io.ErrNoProgress)
}

func decoderForReader(r io.Reader) *Decoder { return NewDecoder(r, nil, &DecoderConfig{Vocab: 1}) }

// stuck is a reader against the rules.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestAStreamMayComeInPiecesOfAnySize(t *testing.T) {
	long := wireFrom(23, `(answer 9 (list "`+strings.Repeat("0123456789", 2000)+`" (unicode "`+strings.Repeat("é", 5000)+`")))`)
	stream := append(bytes.Clone(conversation), long...)
	plain := newPeer(bytes.NewReader(stream), 1)
	require.NoError(t, plain.run())
	want := transcript(t, plain)
	for _, r := range []io.Reader{iotest.OneByteReader(bytes.NewReader(stream)), iotest.HalfReader(bytes.NewReader(stream)), iotest.DataErrReader(bytes.NewReader(stream))} {
		p := newPeer(r, 1)
		require.NoError(t, p.run())
		assert.Equal(t, want, transcript(t, p))
	}
	// What was read before the decoder came comes first.
	for _, n := range []int{0, 1, 100, len(conversation), len(stream)} {
		p := newPeer(bytes.NewReader(nil), 1)
		p.d = NewDecoder(bytes.NewReader(stream[n:]), stream[:n], p.d.cfg)
		assert.Equal(t, n, p.d.Buffered())
		require.NoError(t, p.run())
		assert.Equal(t, want, transcript(t, p))
	}
}

func TestTextInPlaceOfBananaIsShown(t *testing.T) {
	const text = "banana-decision-version: 1\r\nerror: You can't handle banana version 3\r\n\r\n"
	_, err := decoderFor([]byte(text)).Begin()
	var p *ProtocolError
	require.ErrorAs(t, err, &p)
	assert.Equal(t, text, string(p.Raw))
}
