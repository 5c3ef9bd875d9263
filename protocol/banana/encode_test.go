package banana

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIntegersTakeTheFormThatPythonChooses(t *testing.T) {
	for v, want := range map[int64]string{
		0: "0081", 1: "0181", 127: "7f81", 128: "000181", math.MaxInt32: "7f7f7f7f0781",
		math.MaxInt32 + 1: "048580000000", math.MaxInt64: "08857fffffffffffffff",
		-1: "0183", math.MinInt32: "000000000883", math.MinInt32 - 1: "048680000001", math.MinInt64: "08868000000000000000",
	} {
		assert.Equal(t, want, hex.EncodeToString(AppendInt(nil, v)), v)
		assert.Equal(t, want, hex.EncodeToString(appendBig(nil, big.NewInt(v))), v)
		if v >= 0 {
			assert.Equal(t, want, hex.EncodeToString(appendUint(nil, uint64(v))), v)
		}
	}
	assert.Equal(t, "0885ffffffffffffffff", hex.EncodeToString(appendUint(nil, math.MaxUint64)))
	assert.Equal(t, "0985010000000000000000", hex.EncodeToString(appendBig(nil, bigInt("0x10000000000000000"))))
	assert.Equal(t, "0986010000000000000000", hex.EncodeToString(appendBig(nil, bigInt("-0x10000000000000000"))))
}

func TestCutTextEndsWhereACharacterEnds(t *testing.T) {
	for _, test := range []struct {
		in   string
		max  int
		want string
	}{
		{"abc", 3, "abc"}, {"abc", 2, "ab"}, {"abc", 0, ""}, {"aé", 2, "a"}, {"aé", 3, "aé"}, {"€€", 5, "€"}, {"😀", 3, ""}, {"😀", 2, ""}, {"😀x", 4, "😀"},
		{strings.Repeat("\x80", 10), 5, strings.Repeat("\x80", 5)},
	} {
		assert.Equal(t, test.want, CutText(test.in, test.max), "%q", test.in)
	}
	out := AppendError(nil, strings.Repeat("é", 501))
	assert.Equal(t, []byte{0x68, 0x07, byte(TypeError)}, out[:3])
	assert.Len(t, out, 3+1000)
}

func TestWhatCannotBeEncodedSaysWhere(t *testing.T) {
	type T struct {
		Items []map[string]any
	}
	cyclic := Tuple{nil}
	cyclic[0] = cyclic
	deeper := Tuple{nil}
	deeper[0] = Tuple{1, Tuple{deeper}}
	type recursive []any
	slice := recursive{nil, 2}
	slice[0] = slice
	deep := any(make(chan int))
	for range 30 {
		deep = []any{deep}
	}
	for _, test := range []struct {
		value any
		text  string
	}{
		{"\xff", "cannot encode: a text that is not valid UTF-8; send it as bytes"},
		{"\xed\xa0\x80", "cannot encode: a text that is not valid UTF-8; send it as bytes"},
		{[]string{"a", "\xff"}, "cannot encode [1]: a text that is not valid UTF-8; send it as bytes"},
		{map[string]int{"\xff": 1}, "cannot encode key: a text that is not valid UTF-8; send it as bytes"},
		{NewDict("\xff", 1), "cannot encode key: a text that is not valid UTF-8; send it as bytes"},
		{NewDict("a", "\xff"), `cannot encode ["a"]: a text that is not valid UTF-8; send it as bytes`},
		{Decimal("abc"), `cannot encode: "abc" is not a decimal number`},
		{Decimal(""), `cannot encode: "" is not a decimal number`},
		{[]Decimal{"1", "1e"}, `cannot encode [1]: "1e" is not a decimal number`},
		{make(chan int), "cannot encode: type chan int has no form in Banana"},
		{[]any{1, func() {}}, "cannot encode [1]: type func() has no form in Banana"},
		{T{[]map[string]any{{"a": 1}, {"b": []any{0, make(chan int)}}}}, `cannot encode .items[1]["b"][1]: type chan int has no form in Banana`},
		{NewList(Tuple{NewDict(5, NewSet(1)), NewDict([]byte("k"), errors.New)}), `cannot encode [0][1]["k"]: type func(string) error has no form in Banana`},
		{NewDict("a", 1, []byte("b"), 2), "cannot encode: a dict with keys that Python cannot sort together: text and bytes"},
		{NewDict(nil, 1, 5, 2), "cannot encode: a dict with keys that Python cannot sort together: none and integer"},
		{map[any]int{"a": 1, 5: 2}, "cannot encode: a dict with keys that Python cannot sort together: integer and text"},
		{NewList(map[any]int{Decimal("NaN"): 1, 5: 2}), "cannot encode [0]: a dict with keys that Python cannot sort together: decimal and integer"},
		{map[any]int{1: 1, true: 2}, "a map with keys that are equal in Python: "},
		{map[any]struct{}{1: {}, 1.0: {}}, "a map with keys that are equal in Python: "},
		{map[Decimal]int{"1": 1, "1.0": 2}, "a map with keys that are equal in Python: "},
		{map[any]int{[2]int{}: 1}, "cannot encode: [2]int cannot be a key or a member of a set"},
		{map[point]int{{}: 1}, "cannot encode: banana.point cannot be a key or a member of a set"},
		{map[[2]int]struct{}{{}: {}}, "cannot encode: [2]int cannot be a key or a member of a set"},
		{cyclic, "cannot encode [0]: a tuple that contains itself"},
		{deeper, "cannot encode [0][1][0]: a tuple that contains itself"},
		{pending{}, "cannot encode: a tuple that is not complete"},
		{deep, "cannot encode [0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]…: type chan int has no form in Banana"},
	} {
		out, err := encode(test.value)
		var e *EncodeError
		require.ErrorAs(t, err, &e, "%T", test.value)
		assert.Contains(t, err.Error(), test.text)
		assert.Nil(t, out)
	}
	// A list may contain itself, and so may a slice that has an identity.
	_, err := encode(slice)
	assert.NoError(t, err)
}

func TestTheErrorOfAPartSticksToTheMessage(t *testing.T) {
	for _, bad := range []any{map[any]int{1: 1, true: 2}, NewDict("a", 1, 2, 2), "\xff", make(chan int), map[string]any{"a": []any{func() {}}}} {
		e := NewEncoder(plainEncoder, false)
		e.Open("answer")
		e.Int(1)
		first := e.Value(bad)
		require.Error(t, first)
		e.Value("good")
		e.Int(2)
		e.Name("x")
		e.Bytes([]byte("y"))
		e.Text("z")
		e.Open("list")
		e.Close()
		e.Close()
		m, held, err := e.Finish()
		assert.Nil(t, m)
		assert.Empty(t, held)
		assert.Same(t, first, err)
	}
}

func TestSequencesMustBeClosed(t *testing.T) {
	e := NewEncoder(plainEncoder, false)
	e.Open("answer")
	e.Open("list")
	e.Close()
	_, _, err := e.Finish()
	assert.EqualError(t, err, "cannot encode: 1 sequences have not been closed")
	e = NewEncoder(plainEncoder, false)
	assert.Error(t, e.Close())
	_, _, err = e.Finish()
	assert.EqualError(t, err, "cannot encode: no sequence is open that could be closed")
}

func TestNilPointersAreNone(t *testing.T) {
	for _, v := range []any{nil, (*List)(nil), (*Dict)(nil), (*Set)(nil), (*FrozenSet)(nil), (*big.Int)(nil), (*object)(nil), (*int)(nil), (*point)(nil)} {
		assert.Equal(t, answer("(none)"), mustEncode(t, v), "%T", v)
	}
	for v, want := range map[any]string{
		&[]any{nil}: "(list (none))", &[]int{}: "(list)", new([]int): "(list)", new(map[string]int): "(dict)", new(map[int]struct{}): "(set)", new([]byte): `""`, new(Tuple): "(tuple)",
	} {
		assert.Equal(t, answer(want), mustEncode(t, v), "%T", v)
	}
}

func TestNaNKeysOfGoMapsAreSent(t *testing.T) {
	out := mustEncode(t, map[float64]int{math.NaN(): 1, 2.5: 1})
	v := mustDecode(t, out).(*Dict)
	assert.Equal(t, 2, v.Len())
	one, found := v.Get(2.5)
	assert.True(t, found)
	assert.Equal(t, int64(1), one)
	var m map[float64]int
	require.NoError(t, decodeInto(out, &m))
	assert.Len(t, m, 2)
}

func TestManySharedValuesAreFoundAgain(t *testing.T) {
	for _, n := range []int{1, manySeen - 1, manySeen, manySeen + 1, 1000} {
		lists := make([]any, n)
		for i := range lists {
			lists[i] = NewList(int64(i))
		}
		v := mustDecode(t, mustEncode(t, NewList(append(lists, lists...)...))).(*List)
		for i := range n {
			require.Equal(t, NewList(int64(i)), v.Items[i])
			require.Same(t, v.Items[i], v.Items[n+i])
		}
	}
}

func TestVocabulary0SendsWords(t *testing.T) {
	e := NewEncoder(&EncoderConfig{}, false)
	e.Open("answer")
	e.Int(1)
	e.Value([]any{"list", []byte("none"), true})
	e.Close()
	m, _, err := e.Finish()
	require.NoError(t, err)
	out, _ := new(Numberer).Append(nil, m, math.MaxInt, nil)
	assert.NotContains(t, string(out), "\x87")
	d := NewDecoder(bytes.NewReader(out), nil, &DecoderConfig{})
	require.NoError(t, answerValue(d, func() error {
		v, err := d.Value(nil)
		assert.Equal(t, NewList("list", []byte("none"), true), v)
		return err
	}))
	// and takes no others
	d = NewDecoder(bytes.NewReader(answer("1")), nil, &DecoderConfig{})
	_, err = d.Begin()
	requireProtocolError(t, err, "VOCAB 13 is not in table 0")
	assert.Equal(t, "04826c697374", hex.EncodeToString(AppendWord(nil, 0, "list")))
	assert.Equal(t, "0487", hex.EncodeToString(AppendWord(nil, 1, "list")))
	assert.Equal(t, "0482666f6f6f", hex.EncodeToString(AppendWord(nil, 1, "fooo")))
}

// The message is borrowed where it can be, and what it looks like does not
// depend on that.
func messageOf(t testing.TB, borrow bool, v any) *Message {
	t.Helper()
	e := NewEncoder(plainEncoder, borrow)
	e.Open("answer")
	e.Int(1)
	e.Value(v)
	e.Close()
	m, _, err := e.Finish()
	require.NoError(t, err)
	return m
}

func longValue() (v any, text []byte) {
	text = bytes.Repeat([]byte("0123456789"), 500)
	refs := make([]any, 20)
	for i := range refs {
		refs[i] = &object{int64(i)}
	}
	shared := NewList(int64(1), text)
	return NewList(shared, text, refs, strings.Repeat("é", 3000), NewDict("a", shared), shared, text[:borrowSize], text[:borrowSize-1]), text
}

func TestAMessageIsTheSameInPiecesOfAnySize(t *testing.T) {
	v, _ := longValue()
	var whole []byte
	for _, borrow := range []bool{false, true} {
		m := messageOf(t, borrow, v)
		w := Numberer{opens: 1000}
		out, done := w.Append([]byte("before"), m, math.MaxInt, appendReference)
		require.True(t, done)
		require.True(t, bytes.HasPrefix(out, []byte("before")))
		out = out[len("before"):]
		assert.InDelta(t, len(out), m.Size(), 2000)
		if whole != nil {
			require.Equal(t, whole, out)
		}
		whole = out
		m.Free()
	}
	limits := []int{101, 999, 1000, 4096, 5003, 20000}
	for limit := 1; limit < 40; limit++ {
		limits = append(limits, limit)
	}
	for _, limit := range limits {
		for _, own := range []int{-1, 0, 3, 40} {
			m := messageOf(t, true, v)
			w := Numberer{opens: 1000}
			assert.False(t, m.Started())
			var all []byte
			for round := 0; ; round++ {
				if round == own {
					m.Own()
				}
				piece, done := w.Append(nil, m, limit, appendReference)
				assert.True(t, m.Started())
				require.NotEmpty(t, piece)
				require.Less(t, len(piece), limit+16, "one token more than the limit at most")
				if all = append(all, piece...); done {
					break
				}
			}
			require.True(t, bytes.Equal(whole, all), "limit %d, own %d", limit, own)
			m.Free()
		}
	}
}

func TestAFullBufferTakesNothing(t *testing.T) {
	m := messageOf(t, false, []any{&object{1}, &object{2}})
	var w Numberer
	full := make([]byte, 10)
	out, done := w.Append(full, m, 10, appendReference)
	assert.False(t, done)
	assert.Len(t, out, 10)
	out, done = w.Append(full, m, 11, appendReference)
	assert.False(t, done)
	assert.Greater(t, len(out), 10)
}

func TestOwnLetsTheCallerChangeWhatWasLent(t *testing.T) {
	for _, sent := range []int{0, 1, 20, 4000, 5200, 9000, 12000} {
		v, text := longValue()
		m := messageOf(t, true, v)
		want, _ := new(Numberer).Append(nil, messageOf(t, false, v), math.MaxInt, appendReference)
		var w Numberer
		var out []byte
		if sent > 0 {
			out, _ = w.Append(nil, m, sent, appendReference)
		}
		m.Own()
		m.Own()
		clear(text)
		rest, done := w.Append(nil, m, math.MaxInt, appendReference)
		require.True(t, done)
		require.Equal(t, want, append(out, rest...), "after %d bytes", sent)
	}
}

func TestWithdrawnMessagesLeaveNoGapInTheNumbers(t *testing.T) {
	var w Numberer
	var out []byte
	for i := range 4 {
		m := messageOf(t, false, NewList(NewList(), int64(i)))
		if i%2 == 1 {
			m.Free() // withdrawn before it went out
			continue
		}
		out, _ = w.Append(out, m, math.MaxInt, nil)
		m.Free()
	}
	want := append(wire("(answer 1 (list (list) 0))"), wireFrom(3, "(answer 1 (list (list) 2))")...)
	assert.Equal(t, want, out)
	assert.Equal(t, uint64(6), w.opens)
}

func TestNumbersGoOnBeyond32Bits(t *testing.T) {
	shared := NewList()
	m := messageOf(t, false, NewList(shared, shared, &object{1}))
	const opens = math.MaxUint32 - 1
	w := Numberer{opens: opens}
	out, _ := w.Append(nil, m, math.MaxInt, appendReference)
	d := decoderFor(out)
	d.opens = opens
	var v any
	require.NoError(t, answerValue(d, func() (err error) { v, err = d.Value(nil); return err }))
	assert.Same(t, v.(*List).Items[0], v.(*List).Items[1])
	var types []string
	for tok, err := range Scan(bytes.NewReader(out), 1) {
		require.NoError(t, err)
		types = append(types, tok.Type.String())
	}
	assert.NotContains(t, types, "LONGINT", "Python takes no LONGINT in a reference")
}

func TestHeldReferencesComeBackOnceWhenTheMessageFails(t *testing.T) {
	held := map[any]int{}
	refused := errors.New("not this one")
	cfg := &EncoderConfig{Vocab: 1, Limits: Limits{MaxTokens: 60, MaxDepth: 10, MaxMessage: 4000}, External: func(x External) (any, error) {
		if x.(*object).id < 0 {
			return nil, refused
		}
		h := &object{x.(*object).id}
		held[h]++
		return h, nil
	}}
	ok := []any{&object{1}, &object{2}}
	for name, bad := range map[string]any{
		"a refused reference": &object{-1},
		"no form":             make(chan int),
		"too deep":            NewList(NewList(NewList(NewList(NewList(NewList(NewList(NewList(NewList(&object{3}))))))))),
		"too many tokens":     []any{&object{3}, &object{4}, &object{5}, &object{6}, &object{7}, &object{8}, &object{9}, &object{10}},
		"too large":           make([]byte, 4000),
		"a tuple in itself":   func() any { v := Tuple{nil}; v[0] = v; return v }(),
	} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprint(name, first), func(t *testing.T) {
				clear(held)
				values := []any{ok, bad}
				if !first {
					values = []any{bad, ok}
				}
				e := NewEncoder(cfg, true)
				e.Open("answer")
				e.Value(values)
				e.Close()
				m, back, err := e.Finish()
				require.Error(t, err)
				assert.Nil(t, m)
				for _, h := range back {
					held[h]--
				}
				for h, n := range held {
					assert.Zero(t, n, "%v", h)
				}
				if name == "a refused reference" {
					assert.ErrorIs(t, err, refused)
				}
			})
		}
	}
	// Without a failure they stay with the message.
	e := NewEncoder(cfg, false)
	e.Open("answer")
	e.Value(ok)
	e.Close()
	m, back, err := e.Finish()
	require.NoError(t, err)
	assert.Empty(t, back)
	assert.Equal(t, ok, m.Externals())
	// And where there is no hook, there are no references.
	e = NewEncoder(&EncoderConfig{Vocab: 1}, false)
	assert.EqualError(t, e.Value(&object{1}), "cannot encode: references cannot be sent here")
	_, _, err = e.Finish()
	assert.Error(t, err)
}

func TestPooledMessagesKeepNothingOfTheLast(t *testing.T) {
	v, _ := longValue()
	for range 20 {
		m := messageOf(t, true, v)
		m.Free()
		assert.Empty(t, m.raws)
		for _, x := range m.exts[:cap(m.exts)] {
			assert.Nil(t, x)
		}
		assert.LessOrEqual(t, cap(m.buf), maxPooledBuf)
	}
	many := make([]any, 5000)
	for i := range many {
		many[i] = &object{int64(i)}
	}
	m := messageOf(t, false, many)
	m.Free()
	assert.LessOrEqual(t, cap(m.exts)*16, maxPooledBuf)
	assert.LessOrEqual(t, cap(m.marks)*12, maxPooledBuf)
	assert.Equal(t, answer("(list)"), mustEncode(t, NewList()))
}

func TestAPointerThatPointsToItselfIsRefused(t *testing.T) {
	var x any
	x = &x
	for _, v := range []any{x, &x} {
		e := NewEncoder(&EncoderConfig{Vocab: 1}, false)
		e.Open("answer")
		limit, ok := errors.AsType[*LimitError](e.Value(v))
		require.True(t, ok)
		require.Equal(t, "MaxDepth", limit.Limit)
	}
	deep := any(7)
	for range 100 {
		inner := deep
		deep = &inner
	}
	e := NewEncoder(&EncoderConfig{Vocab: 1}, false)
	e.Open("answer")
	require.NoError(t, e.Value(deep))
}
