package schema_test

import (
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A copied is a copyable as it arrives where nobody knows its class.
type copied struct {
	class string
	state []any // names and values
}

func (c *copied) CopyableClass() string { return c.class }

func (c *copied) CopyableState() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for pair := range slices.Chunk(c.state, 2) {
			if !yield(pair[0].(string), pair[1]) {
				return
			}
		}
	}
}

// write appends the copyable.
func (c *copied) write(e *banana.Encoder) {
	e.Open("copyable")
	e.Name(c.class)
	for pair := range slices.Chunk(c.state, 2) {
		e.Name(pair[0].(string))
		e.Value(pair[1])
	}
	e.Close()
}

// readCopyable is an External hook that shows a copyable to the taster, or
// nothing but its value.
func readCopyable(shows bool) func(d *banana.Decoder, opentype string, t banana.Taster) (any, bool, error) {
	return func(d *banana.Decoder, opentype string, t banana.Taster) (any, bool, error) {
		if !shows {
			t = nil
		}
		c := new(copied)
		for first := true; ; first = false {
			name, end, err := d.NextName("the name of an attribute", 1000)
			if err != nil || end {
				return c, true, err
			}
			if t != nil {
				if err := t.Token(banana.Token{Type: banana.TypeString, N: uint64(len(name))}); err != nil {
					return nil, true, err
				}
				if err := t.Body(name); err != nil {
					return nil, true, err
				}
			}
			if first {
				c.class = string(name)
				continue
			}
			attribute := string(name)
			v, err := d.Value(t)
			if err != nil {
				return nil, true, banana.At(err, "."+attribute)
			}
			c.state = append(c.state, attribute, v)
		}
	}
}

func TestTheStateOfACopyableIsLookedAt(t *testing.T) {
	shared := list(int64(1))
	for _, test := range []struct {
		constraint string
		value      *copied
		objection  string
	}{
		{`copyable("A", x: int, y: optional(text))`, &copied{"A", []any{"x", int64(1)}}, ""},
		{`copyable("A", x: int, y: optional(text))`, &copied{"A", []any{"x", int64(1), "y", "text"}}, ""},
		{`copyable("A", x: list(int), y: list(any))`, &copied{"A", []any{"x", shared, "y", shared}}, ""},
		{`copyable("A", x: list(int), y: list(text))`, &copied{"A", []any{"x", shared, "y", shared}}, "[0]: expected text, got integer"},
		{`copyable("A", x: int)`, &copied{"B", nil}, `expected copyable "A", got copyable "B"`},
		{`copyable("A", x: int)`, &copied{"A", nil}, `missing "x"`},
		{`copyable("A", x: int)`, &copied{"A", []any{"x", "y"}}, "expected integer, got text"},
		{`copyable("A", x: int)`, &copied{"A", []any{"y", "y"}}, `unknown name "y"`},
		{`copyable("A", x: int)`, &copied{"A", []any{"x", int64(1), "x", int64(1)}}, `"x" is there twice`},
		{`copyable("A", unknown=ignore)`, &copied{"A", []any{"y", "y"}}, ""},
		{`choice(copyable("A", x: int), copyable("B", x: text), none)`, &copied{"B", []any{"x", "y"}}, ""},
		{`choice(copyable("A", x: int), copyable("B", x: text), none)`, &copied{"B", []any{"x", int64(1)}}, "expected text, got integer"},
		{`list`, &copied{"B", nil}, "expected list, got copyable"},
		{`any`, &copied{"B", nil}, ""},
	} {
		c := parse(t, test.constraint)
		want := func(way string, err error) {
			t.Helper()
			if test.objection == "" {
				assert.NoError(t, err, "%s: %s", way, c)
				return
			}
			var v *banana.Violation
			require.ErrorAs(t, err, &v, "%s: %s", way, c)
			if !strings.HasPrefix(test.constraint, "choice") || way == "decoding" {
				assert.Contains(t, v.Error(), test.objection, "%s: %s", way, c)
			}
		}
		want("checking", c.Check(test.value))
		write := func(taster banana.Taster) error {
			e := banana.NewEncoder(encoderConfig, false)
			e.Open("answer")
			from := e.Mark()
			test.value.write(e)
			e.Taste(from, taster)
			e.Close()
			m, _, err := e.Finish()
			if err == nil {
				m.Free()
			}
			return err
		}
		want("sending", write(c.Taster()))
		for _, shows := range []bool{true, false} {
			e := banana.NewEncoder(encoderConfig, false)
			e.Open("answer")
			test.value.write(e)
			e.Close()
			m, _, err := e.Finish()
			require.NoError(t, err)
			var w banana.Numberer
			in, _ := w.Append(nil, m, 1<<20, nil)
			d := banana.NewDecoder(strings.NewReader(""), in, &banana.DecoderConfig{Vocab: 1, External: readCopyable(shows)})
			_, err = d.Begin()
			require.NoError(t, err)
			_, err = d.Value(c.Taster())
			want(map[bool]string{true: "decoding", false: "decoding what is not shown"}[shows], err)
		}
	}
}
