package banana

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/big"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wire assembles tokens from a text in which a sequence looks like this:
//
//	(list 1 -2 1.5 "bytes" (unicode "text") (reference 0) !)
//
// OPENs are numbered from 0. Integers and strings take the shortest token
// (VOCAB for the words of table 1), a number with a point is a FLOAT, ! is an
// ABORT, #0581 stands for these bytes.
func wire(src string) []byte { return wireFrom(0, src) }

func wireFrom(opens uint64, src string) []byte {
	var out []byte
	var stack []uint64
	word := func(s string) {
		if i, ok := vocab1Index[s]; ok {
			out = AppendToken(out, TypeVocab, uint64(i))
		} else {
			out = AppendString(out, s)
		}
	}
	for src = strings.TrimSpace(src); src != ""; src = strings.TrimSpace(src) {
		end := strings.IndexAny(src[1:], " \n\t()\"") + 1
		if end == 0 {
			end = len(src)
		}
		switch c := src[0]; {
		case c == '(':
			out = AppendToken(out, TypeOpen, opens)
			stack = append(stack, opens)
			opens++
			if end > 1 {
				word(src[1:end])
			}
		case c == ')':
			end = 1
			out = AppendToken(out, TypeClose, stack[len(stack)-1])
			stack = stack[:len(stack)-1]
		case c == '"':
			quoted, err := strconv.QuotedPrefix(src)
			if err != nil {
				panic(err)
			}
			end = len(quoted)
			s, err := strconv.Unquote(quoted)
			if err != nil {
				panic(err)
			}
			word(s)
		case c == '!':
			end = 1
			out = AppendToken(out, TypeAbort, stack[len(stack)-1])
		case c == '#':
			out = fmt.Append(out, string(unhex(src[1:end])))
		case strings.Contains(src[:end], "."):
			f, err := strconv.ParseFloat(src[:end], 64)
			if err != nil {
				panic(err)
			}
			out = appendFloat(out, f)
		default:
			n, ok := new(big.Int).SetString(src[:end], 10)
			if !ok {
				panic("wire: " + src)
			}
			out = appendBig(out, n)
		}
		src = src[end:]
	}
	return out
}

func unhex(s string) []byte {
	b := make([]byte, len(s)/2)
	if _, err := fmt.Sscanf(s, "%x", &b); err != nil && s != "" {
		panic(err)
	}
	return b
}

// An object stands for what goes by reference. It is written as
// (my-reference id).
type object struct{ id int64 }

func (*object) BananaExternal() {}

// references is an External hook that makes objects of my-references.
func references(d *Decoder, opentype string, _ Taster) (any, bool, error) {
	if opentype != "my-reference" {
		return nil, false, nil
	}
	id, err := d.Int("clid")
	if err != nil {
		return nil, true, err
	}
	return &object{id}, true, d.Close(opentype)
}

func appendReference(dst []byte, x any, open uint64) []byte {
	dst = AppendToken(dst, TypeOpen, open)
	dst = AppendToken(dst, TypeVocab, uint64(vocab1Index["my-reference"]))
	dst = AppendInt(dst, x.(*object).id)
	return AppendToken(dst, TypeClose, open)
}

func decoderFor(in []byte) *Decoder {
	return NewDecoder(bytes.NewReader(in), nil, &DecoderConfig{Vocab: 1, External: references})
}

// answerValue reads answer(1, VALUE) by means of read.
func answerValue(d *Decoder, read func() error) error {
	opentype, err := d.Begin()
	if err != nil {
		return err
	}
	if opentype != "answer" {
		return fmt.Errorf("not an answer: %s", opentype)
	}
	if _, err := d.Int("request number"); err != nil {
		return err
	}
	if err := read(); err != nil {
		return err
	}
	return d.Close("answer")
}

// decodeAny decodes the value within (answer 1 VALUE).
func decodeAny(in []byte) (v any, err error) {
	d := decoderFor(in)
	err = answerValue(d, func() error {
		v, err = d.Value(nil)
		return err
	})
	return v, err
}

// decodeInto is decodeAny for a target.
func decodeInto(in []byte, target any) error {
	d := decoderFor(in)
	return answerValue(d, func() error { return decodeTarget(d, target, nil) })
}

func decodeTarget(d *Decoder, target any, t Taster) error {
	v := reflect.ValueOf(target).Elem()
	c, err := CodecOf(v.Type())
	if err != nil {
		return err
	}
	return c.Decode(d, v, t)
}

var plainEncoder = &EncoderConfig{Vocab: 1, External: func(x External) (any, error) { return x, nil }}

// answerMessage is the message (answer 1 VALUE).
func answerMessage(v any) (*Message, error) {
	e := NewEncoder(plainEncoder, false)
	e.Open("answer")
	e.Int(1)
	e.Value(v)
	e.Close()
	m, _, err := e.Finish()
	return m, err
}

// encode returns answer(1, v) as the first message of a connection.
func encode(v any) ([]byte, error) {
	m, err := answerMessage(v)
	if err != nil {
		return nil, err
	}
	defer m.Free()
	var w Numberer
	out, done := w.Append(nil, m, 1<<30, appendReference)
	if !done {
		return nil, errors.New("the message is not complete")
	}
	return out, nil
}

func mustEncode(t testing.TB, v any) []byte {
	t.Helper()
	out, err := encode(v)
	require.NoError(t, err)
	return out
}

func mustDecode(t testing.TB, in []byte) any {
	t.Helper()
	v, err := decodeAny(in)
	require.NoError(t, err)
	return v
}

// answer is (answer 1 VALUE) on the wire.
func answer(value string) []byte { return wire("(answer 1 " + value + ")") }

func requireViolation(t testing.TB, err error, text string) {
	t.Helper()
	var v *Violation
	require.ErrorAs(t, err, &v)
	require.Equal(t, text, v.Error())
}

func requireProtocolError(t testing.TB, err error, text string) {
	t.Helper()
	var p *ProtocolError
	require.ErrorAs(t, err, &p)
	require.Contains(t, p.Error(), text)
}

// requireEnd makes sure that the stream ends here, between two messages.
func requireEnd(t testing.TB, d *Decoder) {
	t.Helper()
	_, err := d.Begin()
	require.ErrorIs(t, err, io.EOF)
}

// newOf returns a pointer to a new value of v's type.
func newOf(v any) any { return reflect.New(reflect.TypeOf(v)).Interface() }
