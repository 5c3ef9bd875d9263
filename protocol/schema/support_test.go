package schema_test

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	. "github.com/foolscap-go/foolscap/protocol/schema"
)

// An object goes by reference, as one of its own or as an introduction.
type object struct {
	iface    string
	opentype string
}

func (*object) BananaExternal()     {}
func (o *object) Interface() string { return o.iface }

var encoderConfig = &banana.EncoderConfig{
	Vocab:    1,
	External: func(x banana.External) (any, error) { return x, nil },
	OpenType: func(x banana.External) string { return x.(*object).opentype },
}

func encode(v any, t banana.Taster) (*banana.Message, error) {
	e := banana.NewEncoder(encoderConfig, true)
	e.Open("answer")
	from := e.Mark()
	e.Value(v)
	e.Taste(from, t)
	e.Close()
	m, _, err := e.Finish()
	return m, err
}

// wire returns the encoded value within (answer VALUE), and what is in it by
// reference.
func wire(t testing.TB, v any) ([]byte, []any) {
	t.Helper()
	m, err := encode(v, nil)
	require.NoError(t, err)
	var w banana.Numberer
	out, _ := w.Append(nil, m, math.MaxInt32, func(dst []byte, x any, open uint64) []byte {
		dst = banana.AppendString(banana.AppendToken(dst, banana.TypeOpen, open), openType(x.(*object)))
		return banana.AppendToken(dst, banana.TypeClose, open)
	})
	return out, m.Externals()
}

func openType(o *object) string {
	if o.opentype == "" {
		return "my-reference"
	}
	return o.opentype
}

func decoder(in []byte, externals []any) *banana.Decoder {
	return banana.NewDecoder(strings.NewReader(""), in, &banana.DecoderConfig{
		Vocab: 1,
		External: func(d *banana.Decoder, opentype string, t banana.Taster) (any, bool, error) {
			switch opentype {
			case "my-reference", "your-reference", "their-reference":
				if len(externals) == 0 {
					return &object{iface: "RIFoo", opentype: opentype}, true, d.Close(opentype)
				}
				x := externals[0]
				externals = externals[1:]
				return x, true, d.Close(opentype)
			}
			return nil, false, nil
		},
	})
}

// decode reads the value of (answer VALUE) into an any, or a target.
func decode(in []byte, externals []any, target any, taster banana.Taster) (v any, err error) {
	d := decoder(in, externals)
	if _, err := d.Begin(); err != nil {
		return nil, err
	}
	if target == nil {
		v, err = d.Value(taster)
	} else {
		rv := reflect.ValueOf(target).Elem()
		c, cerr := banana.CodecOf(rv.Type())
		if cerr != nil {
			return nil, cerr
		}
		err = c.Decode(d, rv, taster)
		v = rv.Interface()
	}
	if err != nil {
		return nil, err
	}
	return v, d.Close("answer")
}

func parse(t testing.TB, text string) Constraint {
	t.Helper()
	c, err := Parse(text)
	require.NoError(t, err, text)
	return c
}
