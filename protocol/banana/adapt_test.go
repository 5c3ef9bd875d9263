package banana

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// standIn goes by reference in the place of something else.
type standIn struct{ v any }

func (*standIn) BananaExternal() {}

type figure interface{ Area() float64 }

type square struct{ Side float64 }

func (s square) Area() float64 { return s.Side * s.Side }

type callback = func(context.Context, struct{ N int }) (int, error)

// throughAdapters sends v and reads it into a value of target's type.
func throughAdapters[T any](t *testing.T, v any) (got T, sent []any, err error) {
	t.Helper()
	e := NewEncoder(&EncoderConfig{
		Vocab:    1,
		External: func(x External) (any, error) { return x, nil },
		Adapt: func(v any, _ reflect.Type) (External, error) {
			if _, copied := v.(square); copied {
				return nil, nil
			}
			return &standIn{v}, nil
		},
	}, false)
	e.Open("answer")
	e.Value(v)
	e.Close()
	m, _, err := e.Finish()
	require.NoError(t, err)
	sent = append(sent, m.Externals()...)
	d := m.decoder(&DecoderConfig{}, nil)
	cfg := *d.cfg
	cfg.Adapt = func(v any, t reflect.Type) (reflect.Value, error) {
		rv := reflect.ValueOf(v.(*standIn).v)
		if !rv.Type().AssignableTo(t) {
			return reflect.Value{}, errors.New("not of that kind")
		}
		return rv, nil
	}
	d.cfg = &cfg
	_, err = d.Begin()
	require.NoError(t, err)
	c, err := CodecOf(reflect.TypeFor[T]())
	require.NoError(t, err)
	return got, sent, c.Decode(d, reflect.ValueOf(&got).Elem(), nil)
}

func TestWhatStandsForAFunctionOrReaderTravels(t *testing.T) {
	double := func(_ context.Context, a struct{ N int }) (int, error) { return 2 * a.N, nil }
	f, sent, err := throughAdapters[callback](t, double)
	require.NoError(t, err)
	assert.Len(t, sent, 1)
	n, err := f(t.Context(), struct{ N int }{21})
	require.NoError(t, err)
	assert.Equal(t, 42, n)

	r, sent, err := throughAdapters[io.Reader](t, strings.NewReader("a reader"))
	require.NoError(t, err)
	assert.Len(t, sent, 1)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "a reader", string(b))

	none, sent, err := throughAdapters[io.Reader](t, nil)
	require.NoError(t, err)
	assert.Empty(t, sent)
	assert.Nil(t, none)

	_, _, err = throughAdapters[io.ReadCloser](t, strings.NewReader(""))
	var v *Violation
	require.ErrorAs(t, err, &v)
	assert.ErrorContains(t, err, "not of that kind")

	_, _, err = throughAdapters[callback](t, "text")
	assert.ErrorContains(t, err, "expected reference, got text")
}

func TestWhatAnInterfaceHoldsGoesInItsOwnForm(t *testing.T) {
	type drawing struct{ Shapes []figure }
	got, sent, err := throughAdapters[any](t, drawing{[]figure{square{3}, nil}})
	require.NoError(t, err)
	assert.Empty(t, sent)
	want := NewDict("shapes", NewList(NewDict("side", 3.0), nil))
	assert.Equal(t, want, got)
}

func TestWithoutAdaptersFunctionsAreRefused(t *testing.T) {
	_, err := encode(func(context.Context, None) (None, error) { return None{}, nil })
	assert.ErrorContains(t, err, "cannot be sent here")
	_, err = encode(struct{ R io.Reader }{strings.NewReader("")})
	assert.ErrorContains(t, err, "cannot be sent here")
}

type None = struct{}
