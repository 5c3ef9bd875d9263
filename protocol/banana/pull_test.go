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

// begun returns a decoder that stands behind the type of (x ITEMS).
func begun(t *testing.T, items string) *Decoder {
	t.Helper()
	d := decoderFor(wire("(x " + items + ")"))
	opentype, err := d.Begin()
	require.NoError(t, err)
	require.Equal(t, "x", opentype)
	return d
}

func TestReadingIntegersOfTheProtocol(t *testing.T) {
	for items, want := range map[string]int64{"5": 5, "-5": -5, "#0081": 0, "#81": 0, "#7f7f7f7f7f7f7f7f7f81": 1<<63 - 1} {
		got, err := begun(t, items).Int("it")
		require.NoError(t, err)
		assert.Equal(t, want, got)
		got, end, err := begun(t, items).NextInt("it")
		require.NoError(t, err)
		assert.False(t, end)
		assert.Equal(t, want, got)
	}
	for items, text := range map[string]string{
		`"x"`: "STRING(1) where it should be an INT", "1.5": "FLOAT where it", "(list)": "OPEN(1) where it", "": "CLOSE(0) where it",
		"2147483648": "LONGINT(4) where it", "#0000000000000000000281": "INT(more than 64 bits) where it", "#0000000000000000000181": "INT(9223372036854775808) where it",
	} {
		_, err := begun(t, items).Int("it")
		requireProtocolError(t, err, text)
		if items != "" {
			_, _, err = begun(t, items).NextInt("it")
			requireProtocolError(t, err, text)
		}
	}
	_, end, err := begun(t, "").NextInt("it")
	require.NoError(t, err)
	assert.True(t, end)
}

func TestReadingNamesOfTheProtocol(t *testing.T) {
	long := strings.Repeat("n", 3*readBuffer)
	for items, want := range map[string]string{`"abc"`: "abc", `"list"`: "list", `""`: "", `"` + long + `"`: long} {
		got, err := begun(t, items).Name("it", len(long))
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	// in pieces
	d := NewDecoder(iotest.HalfReader(bytes.NewReader(wire(`(x "abcdefgh" "`+long+`")`))), nil, &DecoderConfig{Vocab: 1})
	_, err := d.Begin()
	require.NoError(t, err)
	for _, want := range []string{"abcdefgh", long} {
		got, end, err := d.NextName("it", len(long))
		require.NoError(t, err)
		assert.False(t, end)
		assert.Equal(t, want, string(got))
	}
	require.NoError(t, d.Close("x"))

	_, err = begun(t, `"abcd"`).Name("it", 3)
	requireViolation(t, err, "it has 4 bytes, 3 are allowed")
	_, err = begun(t, "").Name("it", 3)
	requireProtocolError(t, err, "CLOSE where it should be")
	_, err = begun(t, "5").Name("it", 3)
	requireProtocolError(t, err, "INT(5) where it should be a STRING")
	_, end, err := begun(t, "").NextName("it", 3)
	require.NoError(t, err)
	assert.True(t, end)
	// A name is charged when it does not fit the buffer.
	d = begun(t, `"`+long+`"`)
	d.SetLimits(Limits{MaxMessage: 1000})
	_, err = d.Name("it", len(long))
	requireLimit(t, err, "MaxMessage")
	require.NoError(t, d.Skip())
	requireEnd(t, d)
}

func TestReadingSequencesOfTheProtocol(t *testing.T) {
	opentype, end, err := begun(t, "(strange)").NextOpen("list")
	require.NoError(t, err)
	assert.False(t, end)
	assert.Equal(t, "strange", opentype)
	_, end, err = begun(t, "").NextOpen("list")
	require.NoError(t, err)
	assert.True(t, end)
	_, _, err = begun(t, "5").NextOpen("list")
	requireViolation(t, err, "expected list, got INT(5)")
	requireProtocolError(t, begun(t, "5").Close("x"), "INT(5) in a x sequence that should end")
	_, _, err = begun(t, `#01880500810189`).NextOpen("list")
	requireViolation(t, err, "the type of a sequence is INT(5), expected STRING or VOCAB")
	_, _, err = begun(t, `(sixteen-letters-)`).NextOpen("list")
	requireViolation(t, err, "the type of a sequence has 16 bytes, no known one has more than 15")
}

func TestBeginSkipsWhatIsLeftOfAMessage(t *testing.T) {
	var skipped []string
	d := NewDecoder(bytes.NewReader(append(wire("(call 1 (list (my-reference 5) (unicode \"x\")))"), wireFrom(10, "(answer 7)")...)), nil, &DecoderConfig{
		Vocab: 1, Skipped: func(_ *Decoder, opentype string) error { skipped = append(skipped, opentype); return nil },
	})
	_, err := d.Begin()
	require.NoError(t, err)
	opentype, err := d.Begin()
	require.NoError(t, err)
	assert.Equal(t, "answer", opentype)
	assert.Equal(t, []string{"list", "my-reference", "unicode"}, skipped)
	d = decoderFor([]byte{0, byte(TypeOpen), 0xff})
	_, err = d.Begin()
	require.Error(t, err)
	_, err = d.Begin()
	assert.Error(t, err, "there is nothing behind it")
}

func TestSkippedIsShownEachSequenceOnce(t *testing.T) {
	for _, test := range []struct {
		name string
		read func(d *Decoder) error
	}{
		{"at once", func(*Decoder) error { return nil }},
		{"after the type was read", func(d *Decoder) error { _, _, err := d.NextOpen("it"); return err }},
		{"when the target does not fit", func(d *Decoder) error { return decodeTarget(d, new(int), nil) }},
		{"when External does not know it", func(d *Decoder) error { _, err := d.Value(nil); return err }},
		{"when a taster objects", func(d *Decoder) error {
			var log []string
			_, err := d.Value(&recorder{log: &log, objectAt: 0, with: errTaste})
			return err
		}},
		{"when it is too deep", func(d *Decoder) error { d.SetLimits(Limits{MaxDepth: 1}); _, err := d.Value(nil); return err }},
		{"when there are too many tokens", func(d *Decoder) error { d.SetLimits(Limits{MaxTokens: 3}); _, err := d.Value(nil); return err }},
	} {
		for _, vocab := range []bool{true, false} {
			type shown struct {
				opentype string
				n        int64
				ok       bool
			}
			var all []shown
			in := wire(`(x (my-reference 5 "i") (my-reference "y") (my-reference) (strange 7) (my-reference (list)))`)
			if !vocab {
				in = bytes.ReplaceAll(in, []byte{15, byte(TypeVocab)}, AppendString(nil, "my-reference"))
			}
			d := NewDecoder(bytes.NewReader(in), nil, &DecoderConfig{
				Vocab: 1,
				Skipped: func(d *Decoder, opentype string) error {
					n, ok, err := d.SkippedInt()
					all = append(all, shown{opentype, n, ok})
					return err
				},
			})
			_, err := d.Begin()
			require.NoError(t, err)
			if err := test.read(d); err != nil {
				require.Equal(t, "VIOLATION", outcome(err), test.name)
			}
			require.NoError(t, d.Skip(), test.name)
			// What Skipped has read of a sequence it is not shown again: the
			// list within the last reference is its own business.
			require.Equal(t, []shown{{"my-reference", 5, true}, {"my-reference", 0, false}, {"my-reference", 0, false}, {"strange", 7, true}, {"my-reference", 0, false}, {"list", 0, false}},
				all, test.name)
			requireEnd(t, d)
		}
	}
	// Its errors end the reading.
	enough := errors.New("enough")
	d := NewDecoder(bytes.NewReader(wire("(x (y))")), nil, &DecoderConfig{Vocab: 1, Skipped: func(*Decoder, string) error { return enough }})
	_, err := d.Begin()
	require.NoError(t, err)
	assert.ErrorIs(t, d.Skip(), enough)
	d = NewDecoder(bytes.NewReader(wire("(x (y))")), nil, &DecoderConfig{Vocab: 1, Skipped: func(*Decoder, string) error { return enough }})
	_, err = d.Begin()
	require.NoError(t, err)
	_, err = d.Value(nil)
	require.Error(t, err)
	assert.ErrorIs(t, d.Skip(), enough)
}

func TestExternalMayDecodeValuesWithin(t *testing.T) {
	box := func(d *Decoder, opentype string, t Taster) (any, bool, error) {
		if opentype != "box" {
			return nil, false, nil
		}
		v, err := d.Value(t)
		if err != nil {
			return nil, true, At(err, ".content")
		}
		return &holder{A: v}, true, d.Close(opentype)
	}
	read := func(value string, target any) error {
		d := NewDecoder(bytes.NewReader(answer(value)), nil, &DecoderConfig{Vocab: 1, External: box})
		return answerValue(d, func() error { return decodeTarget(d, target, nil) })
	}
	var v any
	require.NoError(t, read("(list (box (list 1 2)) (reference 3))", &v))
	l := v.(*List)
	assert.Same(t, l.Items[0].(*holder).A, l.Items[1])
	require.NoError(t, read("(list (box (reference 1)))", &v))
	assert.Same(t, v, v.(*List).Items[0].(*holder).A)
	requireViolation(t, read("(list (box (strange)))", &v), `[0].content: unknown type of sequence "strange"`)
	requireViolation(t, read("(tuple (box (reference 1)))", &v), "[0].content: expected a value, got a tuple within itself")
	requireProtocolError(t, read("(list (box))", &v), "CLOSE where a value should be")
	requireProtocolError(t, read("(list (box 1 2))", &v), "INT(2) in a box sequence")
	requireProtocolError(t, read("(list (box 1) (reference 2))", &v), "cannot be referred to")
}

func TestTopLevelHoldsSequencesOnly(t *testing.T) {
	for in, text := range map[string]string{
		"#0581": "INT(5) at top level", "#84" + strings.Repeat("00", 8): "FLOAT at top level", "#0489": "CLOSE without OPEN", "#018261": "STRING(1) at top level",
		"#0487": "VOCAB(4) at top level", "#6387": "VOCAB 99 is not in table 1", "#00880088": "OPEN followed by OPEN", "#00880089": "OPEN followed by CLOSE",
		"#008804870189":           "lost sync: CLOSE 1 where 0 was expected",
		"#7f7f7f7f7f7f7f7f7f7f88": "OPEN with a number of more than 64 bits",
	} {
		_, err := decoderFor(wire(in)).Begin()
		if err == nil {
			d := decoderFor(wire(in))
			_, _ = d.Begin()
			err = d.Skip()
		}
		requireProtocolError(t, err, text)
	}
	// An ABORT has nothing to give up.
	d := decoderFor(append(wire("#008a #058a"), wire("(x)")...))
	opentype, err := d.Begin()
	require.NoError(t, err)
	assert.Equal(t, "x", opentype)
	_, err = decoderFor(nil).Begin()
	assert.ErrorIs(t, err, io.EOF)
}
