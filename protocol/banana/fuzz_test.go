package banana

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// fuzzLimits keep one input from taking long.
var fuzzLimits = Limits{MaxMessage: 1 << 20, MaxToken: 64 << 10, MaxTokens: 20000}

func seeds(f *testing.F) {
	for _, v := range vectors(f, "value", "call", "answer", "malformed", "malformed-answer", "gift", "token") {
		f.Add(v.bytes)
	}
	for _, v := range typedValues {
		f.Add(answer(v.value))
	}
	for _, v := range sharedValues {
		f.Add(answer(v))
	}
	f.Add(conversation)
}

// FuzzTokens feeds a connection: whatever comes, the decoder ends or goes on,
// and its account is balanced.
func FuzzTokens(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		account := NewAccount("Test", 2<<20, nil)
		p := newPeer(bytes.NewReader(in), 1)
		p.d.cfg.Limits, p.d.cfg.Account = fuzzLimits, account
		p.d.SetLimits(fuzzLimits)
		err := p.run()
		var protocol *ProtocolError
		var remote *RemoteError
		if err != nil && !errors.As(err, &protocol) && !errors.As(err, &remote) {
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
		p.d.Release()
		require.Zero(t, account.Used())

		// Scan sees the same stream; it stops at the same fault or later.
		var size int64
		var scanned error
		for tok, err := range Scan(bytes.NewReader(in), 1) {
			if err != nil {
				scanned = err
				break
			}
			require.Equal(t, size, tok.Offset)
			size += tok.Size
			require.NotEmpty(t, tok.Annotation())
		}
		if err == nil {
			require.NoError(t, scanned)
			require.Equal(t, int64(len(in)), size)
		}
	})
}

// FuzzValue decodes a value, encodes what it has got, and decodes that.
func FuzzValue(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		read := func(in []byte) (any, error) {
			d := NewDecoder(bytes.NewReader(in), nil, &DecoderConfig{Vocab: 1, Limits: fuzzLimits, External: references})
			var v any
			err := answerValue(d, func() (err error) { v, err = d.Value(nil); return err })
			return v, err
		}
		v, err := read(in)
		if err != nil {
			return
		}
		out, err := encode(v)
		if err != nil { // keys that a Python peer could not sort
			var e *EncodeError
			require.ErrorAs(t, err, &e)
			require.Contains(t, err.Error(), "cannot sort together")
			return
		}
		// What the first decoder had room for may be a little larger in the
		// second: an empty tuple that was shared is written twice.
		again, err := decodeAny(out)
		require.NoError(t, err)
		twice, err := encode(again)
		require.NoError(t, err)
		require.Equal(t, len(out), len(twice))
		// Sets have no order, and so NaNs in them have none; apart from that
		// the bytes are the same.
		if !bytes.Contains(out, []byte{7, byte(TypeVocab)}) && !bytes.Contains(out, []byte{6, byte(TypeVocab)}) {
			require.Equal(t, out, twice)
		}
	})
}

// shape makes a well-formed (answer 1 VALUE) of any bytes: they choose what
// comes next. Its references lead to any list, tuple, dict or set there is.
func shape(data []byte) []byte {
	out := wire("(answer 1")
	stack := []uint64{0}
	opens := uint64(1)
	open := func(opentype string) {
		out = AppendWord(AppendToken(out, TypeOpen, opens), 1, opentype)
		stack = append(stack, opens)
		opens++
	}
	end := func() {
		out = AppendToken(out, TypeClose, stack[len(stack)-1])
		stack = stack[:len(stack)-1]
	}
	var targets []uint64
	next := func() (b byte) {
		if len(data) > 0 {
			b, data = data[0], data[1:]
		}
		return b
	}
	leaf := func(opentype string, body func()) {
		open(opentype)
		body()
		end()
	}
	keys := []string{"a", "b", "c", "d", "e", "m", "x", "y", "up", "next", "value", "children", "names"}
	for values := 0; len(data) > 0 && (values == 0 || len(stack) > 1); values++ {
		b := next()
		switch what := b % 24; {
		case what < 10 && len(stack) < 20:
			targets = append(targets, opens)
			open([]string{"list", "tuple", "dict", "list", "tuple", "dict", "set", "immutable-set", "list", "dict"}[what])
		case what < 14:
			if len(stack) > 1 {
				end()
			}
		case what == 14:
			out = AppendInt(out, int64(int8(next()))<<(next()%57))
		case what == 15:
			out = AppendString(out, keys[int(next())%len(keys)])
		case what < 18:
			leaf("unicode", func() { out = AppendWord(out, 1, keys[int(next())%len(keys)]) })
		case what == 18:
			leaf("boolean", func() { out = AppendInt(out, int64(next()%2)) })
		case what == 19:
			out = appendFloat(out, []float64{0, 1, 0.5, math.NaN(), math.Inf(-1)}[next()%5])
		case what == 20:
			leaf("none", func() {})
		case what == 21:
			leaf("my-reference", func() { out = AppendInt(out, int64(next())) })
		case what == 22:
			leaf("decimal", func() { out = AppendString(out, []string{"1", "0.5", "1E+400", "NaN", "-0"}[next()%5]) })
		case len(targets) > 0:
			leaf("reference", func() { out = AppendToken(out, TypeInt, targets[int(next())%len(targets)]) })
		}
	}
	for len(stack) > 0 {
		end()
	}
	return out
}

// FuzzShapes is FuzzValue and FuzzTyped for messages that are well formed.
func FuzzShapes(f *testing.F) {
	for i := range 40 {
		data := make([]byte, 60)
		for j := range data {
			data[j] = byte(i*97 + j*j*(i+3))
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		in := shape(data)
		opens := decoderOpens(t, in)
		known := wireFrom(opens, "(answer 1 (list 7))")
		stream := append(bytes.Clone(in), known...)

		try := func(target any) bool {
			account := NewAccount("Test", 2<<20, nil)
			skipped := 0
			d := NewDecoder(bytes.NewReader(stream), nil, &DecoderConfig{
				Vocab: 1, Limits: fuzzLimits, Account: account,
				External: func(d *Decoder, opentype string, t Taster) (any, bool, error) {
					if opentype == "my-reference" {
						skipped++
					}
					return references(d, opentype, t)
				},
				Skipped: func(d *Decoder, opentype string) error {
					if opentype == "my-reference" {
						skipped++
					}
					return nil
				},
			})
			err := answerValue(d, func() error { return decodeTarget(d, target, nil) })
			switch outcome(err) {
			case "DROP":
				return false
			case "VIOLATION":
				require.NoError(t, d.Skip())
			}
			// Each reference was received or seen when it was skipped.
			require.Equal(t, bytes.Count(in, []byte{15, byte(TypeVocab)}), skipped)
			var next any
			require.NoError(t, answerValue(d, func() error { return decodeTarget(d, &next, nil) }))
			require.Equal(t, NewList(int64(7)), next)
			d.Release()
			require.Zero(t, account.Used())
			return err == nil
		}

		var v any
		if try(&v) {
			if out, err := encode(v); err == nil {
				again, err := decodeAny(out)
				require.NoError(t, err)
				twice, err := encode(again)
				require.NoError(t, err)
				require.Equal(t, len(out), len(twice))
			} else {
				require.ErrorContains(t, err, "cannot sort together")
			}
		}
		for i, target := range fuzzTargets() {
			if !try(target) {
				continue
			}
			if out, err := encode(target); err == nil {
				require.NoError(t, decodeInto(out, fuzzTargets()[i]))
				_, err := decodeAny(out)
				require.NoError(t, err)
			}
		}
	})
}

// fuzzed is a target with something of everything.
type fuzzed struct {
	A int8                `foolscap:",optional"`
	B []float32           `foolscap:",optional"`
	C map[string][]byte   `foolscap:",optional"`
	D *fuzzed             `foolscap:",optional"`
	E []any               `foolscap:",optional"`
	F map[any]*node       `foolscap:",optional"`
	G pair                `foolscap:",optional"`
	H [2]map[int]struct{} `foolscap:",optional"`
	I Tuple               `foolscap:",optional"`
	J *object             `foolscap:",optional"`
	K []fuzzed            `foolscap:",optional"`
	L map[string]*fuzzed  `foolscap:",optional"`
	M any                 `foolscap:",optional"`
}

func fuzzTargets() []any {
	return []any{
		new(fuzzed), new(*fuzzed), new([]fuzzed), new(map[string]*fuzzed), new(int8), new(uint64), new(float32), new(string), new([4]byte), new([]*[]int),
		new([][]any), new(map[any]any), new(*tree), new(*node), new(pair), new([]*pair), new(*Dict), new([]*Set), new(Decimal), new(map[pair]int),
	}
}

func FuzzTyped(f *testing.F) {
	for _, v := range vectors(f, "value") {
		f.Add(v.bytes, uint8(1))
	}
	for i, v := range typedValues {
		f.Add(answer(v.value), uint8(i))
	}
	for _, value := range []string{
		`(dict "d" (dict "m" (reference 1)) "e" (list (reference 1) (reference 2)) "k" (list (dict) (reference 2)) "l" (dict (unicode "x") (reference 1)))`,
		`(dict "b" (list 1 2) "e" (reference 2) "m" (reference 2) "i" (tuple) "g" (tuple (unicode "x") 1))`,
	} {
		f.Add(answer(value), uint8(0))
		f.Add(answer(value), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, which uint8) {
		targets := fuzzTargets()
		target := targets[int(which)%len(targets)]
		account := NewAccount("Test", 2<<20, nil)
		d := NewDecoder(bytes.NewReader(in), nil, &DecoderConfig{Vocab: 1, Limits: fuzzLimits, External: references, Account: account})
		err := answerValue(d, func() error { return decodeTarget(d, target, nil) })
		d.Release()
		require.Zero(t, account.Used())
		if err != nil {
			return
		}
		out, err := encode(target)
		if err != nil {
			var e *EncodeError
			require.ErrorAs(t, err, &e)
			return
		}
		require.NoError(t, decodeInto(out, fuzzTargets()[int(which)%len(targets)]))
	})
}

// FuzzSkip gives up a message after some tokens and looks whether the next is
// read as it should be.
func FuzzSkip(f *testing.F) {
	for _, v := range vectors(f, "value", "call", "answer") {
		f.Add(v.bytes, uint16(3), true)
		f.Add(v.bytes, uint16(100), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, limit uint16, deep bool) {
		// How many OPENs are in it, if it is one whole message?
		d := decoderFor(in)
		if _, err := d.Begin(); err != nil {
			return
		}
		if err := d.Skip(); err != nil || d.Buffered() > 0 {
			return
		}
		opens := d.opens
		limits := Limits{MaxTokens: int(limit)}
		if deep {
			limits = Limits{MaxDepth: int(limit%8) + 1}
		}
		known := wireFrom(opens, "(answer 1 (list 7))")
		p := newPeer(bytes.NewReader(append(bytes.Clone(in), known...)), 1)
		p.d.SetLimits(limits)
		_, err := p.message()
		switch {
		case outcome(err) == "DROP":
			return
		case err != nil:
			require.NoError(t, p.d.Skip())
		}
		require.Equal(t, opens, p.d.opens)
		require.Zero(t, p.d.depth())
		p.d.SetLimits(Limits{})
		m, err := p.message()
		require.NoError(t, err)
		require.Equal(t, []any{NewList(int64(7))}, m.args)
	})
}
