package banana

import (
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tasteSent encodes values behind others and returns what the Taster saw, and
// the message.
func tasteSent(cfg *EncoderConfig, r *recorder, before, v any) (*Message, error) {
	e := NewEncoder(cfg, true)
	e.Open("call")
	e.Int(1)
	e.Value(before)
	e.Open("arguments")
	from := e.Mark()
	e.Value(v)
	e.Taste(from, r)
	e.Close()
	e.Close()
	m, _, err := e.Finish()
	return m, err
}

func TestWhatWasEncodedIsTastedAsAReceiverTastesIt(t *testing.T) {
	shared := NewList(int64(1))
	cyclic := NewList(nil, "x")
	cyclic.Items[0] = Tuple{cyclic}
	type named struct {
		A int
		B []byte `foolscap:",optional"`
	}
	long := strings.Repeat("long ", 2000)
	for name, v := range map[string]any{
		"none": nil, "integer": -5, "long integer": new(big.Int).Lsh(big.NewInt(-1), 100), "63 bits": int64(1) << 40,
		"float": 1.5, "boolean": true, "bytes": []byte("some"), "a word": []byte("list"), "no bytes": []byte{}, "long bytes": []byte(long),
		"text": "grün", "long text": long, "decimal": Decimal("1.50"), "nested": NewList(Tuple{1, "a"}, NewDict("k", NewSet(1)), NewFrozenSet("f")),
		"a struct": named{A: 1, B: []byte(long)}, "long ones": NewList(long, []byte(long), []byte("end")),
		"shared": NewList(shared, shared), "a cycle": cyclic, "an object": NewList(&object{id: 3}, long, &object{id: 4}),
		"shared and objects": NewList(&object{id: 3}, shared, shared, []byte(long), &object{id: 4}),
	} {
		for vocab := range 2 {
			cfg := &EncoderConfig{Vocab: vocab, External: func(x External) (any, error) { return x, nil }}
			before := NewList(long, &object{id: 2}, shared)
			var sent, received []string
			m, err := tasteSent(cfg, &recorder{log: &sent, objectAt: -1}, before, v)
			require.NoError(t, err, name)
			var w Numberer
			wire, _ := w.Append(nil, m, 1<<30, appendPlainly)
			d := NewDecoder(strings.NewReader(""), wire, &DecoderConfig{Vocab: vocab, External: references})
			_, err = d.Begin()
			require.NoError(t, err)
			_, err = d.Int("request number")
			require.NoError(t, err)
			_, err = d.Value(nil)
			require.NoError(t, err)
			_, _, err = d.NextOpen("arguments")
			require.NoError(t, err)
			_, err = d.Value(&recorder{log: &received, objectAt: -1})
			require.NoError(t, err)
			assert.Equal(t, received, sent, name)

			// Each objection has the path that it has there.
			for at := range sent {
				var log []string
				_, err := tasteSent(cfg, &recorder{log: &log, objectAt: at, with: errTaste}, before, v)
				var e *EncodeError
				require.ErrorAs(t, err, &e, name)
				require.ErrorIs(t, err, errTaste, name)
				assert.Equal(t, sent[:at+1], log, name)
				d := NewDecoder(strings.NewReader(""), wire, &DecoderConfig{Vocab: vocab, External: references})
				d.Begin()
				d.Int("request number")
				d.Value(nil)
				d.NextOpen("arguments")
				_, want := d.Value(&recorder{log: new([]string), objectAt: at, with: errTaste})
				assert.Equal(t, want.Error(), e.Err.Error(), "%s at %s", name, sent[at])
			}
		}
	}
}

// appendPlainly writes an object without a word of a vocabulary table.
func appendPlainly(dst []byte, x any, open uint64) []byte {
	dst = AppendString(AppendToken(dst, TypeOpen, open), "my-reference")
	return AppendToken(AppendInt(dst, x.(*object).id), TypeClose, open)
}

func TestAValueThatStandsAloneIsTasted(t *testing.T) {
	shared := NewList(int64(1))
	for _, v := range []any{NewList(1, 2), NewList(shared, shared)} {
		e := NewEncoder(plainEncoder, false)
		var log []string
		e.Value(v)
		require.NoError(t, e.Taste(Mark{}, &recorder{log: &log, objectAt: -1}))
		assert.Equal(t, "open list", log[0])
		assert.Equal(t, ". close", log[len(log)-1])
		require.NoError(t, e.Taste(e.Mark(), &recorder{log: new([]string), objectAt: 0, with: errTaste}), "nothing was appended")
		require.NoError(t, e.Taste(Mark{}, nil))
		m, _, err := e.Finish()
		require.NoError(t, err)
		m.Free()
	}
}
