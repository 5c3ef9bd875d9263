package banana

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nested is a value that begins with inner and in which each of n further
// levels holds the one below twice; open and again write a level around what
// it holds, and inner is OPEN 1+n.
func nested(n int, inner, open, again string) string {
	return strings.Repeat("("+open+" ", n) + inner + func() string {
		var b strings.Builder
		for level := n; level > 0; level-- {
			fmt.Fprintf(&b, " %s(reference %d))", again, level+1)
		}
		return b.String()
	}()
}

// Values of about a kilobyte that stand for 2⁶⁰ parts.
var sharedValues = map[string]string{
	"lists":                  nested(60, "(list 1)", "list", ""),
	"tuples":                 nested(60, "(tuple 1)", "tuple", ""),
	"dicts":                  nested(60, "(dict 1 1)", "dict 1", "2 "),
	"sets in lists in dicts": nested(60, "(set 1)", "list", ""),
}

func TestSharedValuesAreAsSmallAsTheirMessage(t *testing.T) {
	for name, value := range sharedValues {
		t.Run(name, func(t *testing.T) {
			in := answer(value)
			require.Less(t, len(in), 1400)
			account := NewAccount("Test", 1<<20, nil)
			d := NewDecoder(strings.NewReader(string(in)), nil, &DecoderConfig{Vocab: 1, Account: account})
			var v any
			require.NoError(t, answerValue(d, func() (err error) {
				v, err = d.Value(nil)
				return err
			}))
			assert.Less(t, account.Used(), int64(64<<10))

			limited := &EncoderConfig{Vocab: 1, Limits: Limits{MaxMessage: 4 << 10, MaxTokens: 2000}}
			e := NewEncoder(limited, false)
			e.Open("answer")
			e.Int(1)
			e.Value(v)
			e.Close()
			m, _, err := e.Finish()
			require.NoError(t, err)
			m.Free()
			assert.Equal(t, in, mustEncode(t, v))
		})
	}
}

func TestSharedValuesInTypedTargetsAreNotExponential(t *testing.T) {
	type list []list
	type dict map[int]dict
	type twice struct {
		A, B *twice `foolscap:",optional"`
	}
	type both struct {
		_    struct{} `foolscap:",tuple"`
		A, B *both
	}
	// The levels that a value of the type would have if it were written out.
	for _, test := range []struct {
		name   string
		value  string
		target any
		grows  bool // our encoder is allowed to write copies
	}{
		{"recursive slices", nested(60, "(list)", "list", ""), new(list), false},
		{"recursive slices from tuples", nested(60, "(tuple)", "tuple", ""), new(list), false},
		{"recursive maps", nested(60, "(dict)", "dict 1", "2 "), new(dict), false},
		{"pointers", nested(60, "(dict)", `dict "a"`, `"b" `), new(*twice), false},
		{"pointers to tuples", nested(60, "(tuple (none) (none))", "tuple", ""), new(*both), false},
		{"a struct around pointers", nested(60, "(dict)", `dict "a"`, `"b" `), new(twice), false},
		{"slices of any", nested(60, "(list)", "list", ""), new([]any), false},
		{"maps of any", nested(60, "(dict)", "dict 1", "2 "), new(map[int]any), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := answer(test.value)
			require.NoError(t, decodeInto(in, test.target))
			out, err := encode(test.target)
			require.NoError(t, err)
			assert.Less(t, len(out), 2*len(in))
			again, err := decodeAny(out)
			require.NoError(t, err)
			out, err = encode(again)
			require.NoError(t, err)
			assert.Less(t, len(out), 2*len(in))
		})
	}
}

// The same value for two targets of different types is copied, but only once.
func TestCopiesOfSharedValuesAreBoundedByTheMessage(t *testing.T) {
	type list []list
	shared := nested(40, "(list)", "list", "")
	t.Run("generic and typed", func(t *testing.T) {
		var v struct {
			A any
			B list
			C []any
			D list
			E any
		}
		in := answer(`(dict "a" ` + strings.ReplaceAll(shared, "(reference ", "(reference 1") + `)`)
		require.Error(t, decodeInto(in, &v)) // the numbers are those of another place

		value := nestedFrom(2, 40)
		in = answer(`(dict "a" ` + value + ` "b" (reference 2) "c" (reference 2) "d" (reference 2) "e" (reference 2))`)
		account := NewAccount("Test", 1<<20, nil)
		d := NewDecoder(strings.NewReader(string(in)), nil, &DecoderConfig{Vocab: 1, Account: account})
		require.NoError(t, answerValue(d, func() error { return decodeTarget(d, &v, nil) }))
		assert.Same(t, v.A, v.E)
		out, err := encode(&v)
		require.NoError(t, err)
		assert.Less(t, len(out), 6*len(in))
	})
	t.Run("many references to what has another type", func(t *testing.T) {
		// A list of 500 numbers, and 2000 references to it.
		value := "(list " + strings.Repeat("7 ", 500) + ")"
		many := strings.Repeat("(reference 2) ", 2000)
		account := NewAccount("Test", 4<<20, nil)
		for _, target := range []any{
			new(struct {
				A []int
				B []any
			}),
			new(struct {
				A *List
				B [][]int
			}),
			new(struct {
				A []int
				B []*List
			}),
		} {
			in := answer(`(dict "a" ` + value + ` "b" (list ` + many + `))`)
			d := NewDecoder(strings.NewReader(string(in)), nil, &DecoderConfig{Vocab: 1, Account: account})
			require.NoError(t, answerValue(d, func() error { return decodeTarget(d, target, nil) }))
			d.Release()
			assert.Zero(t, account.Used())
		}
	})
	t.Run("copies that have to be made each time are charged", func(t *testing.T) {
		value := "(list " + strings.Repeat("7 ", 500) + ")"
		many := strings.Repeat("(reference 2) ", 20000)
		var v struct {
			A []int
			B [][500]int16
		}
		in := answer(`(dict "a" ` + value + ` "b" (list ` + many + `))`)
		d := NewDecoder(strings.NewReader(string(in)), nil, &DecoderConfig{Vocab: 1, Limits: Limits{MaxMessage: 4 << 20}})
		err := answerValue(d, func() error { return decodeTarget(d, &v, nil) })
		var limit *LimitError
		require.ErrorAs(t, err, &limit)
		assert.Equal(t, "MaxMessage", limit.Limit)
	})
}

// nestedFrom is nested for lists, with the outermost as the given OPEN.
func nestedFrom(open, n int) string {
	var b strings.Builder
	b.WriteString(strings.Repeat("(list ", n) + "(list)")
	for level := n - 1; level >= 0; level-- {
		fmt.Fprintf(&b, " (reference %d))", open+level+1)
	}
	return b.String()
}

func TestSharedTuplesAsKeys(t *testing.T) {
	t.Run("that are small", func(t *testing.T) {
		in := answer("(dict " + strings.Replace(nestedTuples(2, 8), "(tuple)", "(tuple 1)", 1) + " 1)")
		v := mustDecode(t, in)
		assert.Equal(t, in, mustEncode(t, v))
		for k := range v.(*Dict).All() {
			_, found := v.(*Dict).Get(k)
			assert.True(t, found)
		}
	})
	t.Run("that are huge when written out are charged before they are made", func(t *testing.T) {
		for _, value := range []string{
			"(dict " + nestedTuples(2, 60) + " 1)",
			"(set " + nestedTuples(2, 60) + ")",
			"(immutable-set " + nestedTuples(2, 60) + ")",
			"(list " + nestedTuples(2, 60) + " (set (reference 2)))",
		} {
			_, err := decodeAny(answer(value))
			var limit *LimitError
			require.ErrorAs(t, err, &limit)
			assert.Equal(t, "MaxMessage", limit.Limit)
		}
	})
	t.Run("each of many", func(t *testing.T) {
		// Each key costs a few bytes and stands for 2¹⁴ parts.
		var b strings.Builder
		b.WriteString("(list " + nestedTuples(2, 14) + " (set")
		for i := range 1000 {
			fmt.Fprintf(&b, " (tuple (reference 2) %d)", i)
		}
		b.WriteString("))")
		_, err := decodeAny(answer(b.String()))
		var limit *LimitError
		require.ErrorAs(t, err, &limit)
		assert.Equal(t, "MaxMessage", limit.Limit)
	})
	t.Run("long strings in them", func(t *testing.T) {
		text := `"` + strings.Repeat("x", 1<<20) + `"`
		value := strings.Replace(nestedTuples(2, 10), "(tuple)", "(tuple "+text+")", 1)
		_, err := decodeAny(answer("(set " + value + ")"))
		var limit *LimitError
		require.ErrorAs(t, err, &limit)
	})
}

func nestedTuples(open, n int) string {
	return strings.ReplaceAll(nestedFrom(open, n), "(list", "(tuple")
}

func TestFrozenSetsAreWrittenEachTime(t *testing.T) {
	s := NewFrozenSet(int64(5))
	assert.Equal(t, answer("(list (immutable-set 5) (immutable-set 5))"), mustEncode(t, NewList(s, s)))
	// and cannot be used to make a small value into a large message
	deep := NewFrozenSet(int64(1))
	for range 12 {
		deep = NewFrozenSet(deep, NewFrozenSet(deep))
	}
	e := NewEncoder(&EncoderConfig{Vocab: 1, Limits: Limits{MaxMessage: 16 << 10}}, false)
	e.Open("answer")
	e.Value(deep)
	e.Close()
	_, _, err := e.Finish()
	var limit *LimitError
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, "MaxMessage", limit.Limit)
}
