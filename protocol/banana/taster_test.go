package banana

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A recorder is a Taster that notes what it sees, and objects to one thing.
type recorder struct {
	log *[]string
	// objectAt is the entry of the log that it objects to; -1 is none.
	objectAt int
	with     error
	level    string
}

var errTaste = errors.New("not to my taste")

func (r *recorder) note(format string, args ...any) error {
	*r.log = append(*r.log, r.level+fmt.Sprintf(format, args...))
	if len(*r.log)-1 == r.objectAt {
		return r.with
	}
	return nil
}

func (r *recorder) Token(t Token) error { return r.note("%s", t) }
func (r *recorder) Body(b []byte) error { return r.note("body %q", b) }
func (r *recorder) Close() error        { return r.note("close") }

func (r *recorder) Value(v any, growing func(any) bool) error {
	if growing(v) {
		return r.note("growing")
	}
	switch v := v.(type) {
	case *object:
		return r.note("object %d", v.id)
	case *List:
		return r.note("list of %d", len(v.Items))
	}
	return r.note("value %T", v)
}

func (r *recorder) Open(opentype string) (Taster, error) {
	err := r.note("open %s", opentype)
	inner := *r
	inner.level += ". "
	return &inner, err
}

// taste decodes into a target and returns what the Taster saw.
func taste(in []byte, target any) (log []string, err error) {
	d := decoderFor(in)
	err = answerValue(d, func() error { return decodeTarget(d, target, &recorder{log: &log, objectAt: -1}) })
	return log, err
}

func TestATasterSeesEverythingInTheOrderOfTheWire(t *testing.T) {
	log, err := taste(answer(`(list 1 -2 18446744073709551616 1.5 "abc" "list" (unicode "café") (none) (boolean 1) (decimal "1.5")
		(tuple 1 (tuple)) (set 1) (immutable-set "x") (dict "k" (list) 5 (none)) (reference 6) (my-reference 7) (boolean) (list (reference 10))
		(tuple (list (reference 19))) #0081)`), new(any))
	require.NoError(t, err)
	assert.Equal(t, strings.Split(strings.TrimSpace(`
open list
. INT(1)
. NEG(2)
. LONGINT(9)
. body "\x01\x00\x00\x00\x00\x00\x00\x00\x00"
. FLOAT
. STRING(3)
. body "abc"
. STRING(4)
. body "list"
. open unicode
. . STRING(5)
. . body "café"
. . close
. open none
. . close
. open boolean
. . INT(1)
. . close
. open decimal
. . STRING(3)
. . body "1.5"
. . close
. open tuple
. . INT(1)
. . open tuple
. . . close
. . close
. open set
. . INT(1)
. . close
. open immutable-set
. . STRING(1)
. . body "x"
. . close
. open dict
. . STRING(1)
. . body "k"
. . open list
. . . close
. . INT(5)
. . open none
. . . close
. . close
. open reference
. . INT(6)
. . value banana.Tuple
. . close
. open my-reference
. . object 7
. . close
. open boolean
. . close
. open list
. . open reference
. . . INT(10)
. . . value *banana.Dict
. . . close
. . close
. open tuple
. . open list
. . . open reference
. . . . INT(19)
. . . . growing
. . . . close
. . . close
. . close
. INT(0)
. close`), "\n"), log)
}

// A schema must not depend on what a program decodes into.
func TestATasterSeesTheSameWhateverTheTarget(t *testing.T) {
	for _, test := range typedValues {
		in := answer(test.value)
		if _, ok := test.want.(holder); ok {
			in = answer(`(dict (unicode "a") ` + test.value + `)`)
		}
		inAny, err := taste(in, new(any))
		require.NoError(t, err, test.name)
		typed, err := taste(in, newLike(test.want))
		require.NoError(t, err, test.name)
		assert.Equal(t, inAny, typed, test.name)
	}
	// References too, which show the value in its generic form.
	type twice struct {
		A, B []int
		C    *[]int
		D    any
		E    [1]int
		F    map[int]struct{} `foolscap:",optional"`
	}
	in := answer(`(dict "a" (list 1) "b" (reference 2) "c" (reference 2) "d" (reference 2) "e" (reference 2))`)
	inAny, err := taste(in, new(any))
	require.NoError(t, err)
	typed, err := taste(in, new(twice))
	require.NoError(t, err)
	assert.Equal(t, inAny, typed)
	assert.Contains(t, typed, ". . list of 1")
}

func newLike(v any) any {
	switch v.(type) {
	case holder:
		return new(holder)
	}
	return newOf(v)
}

func TestEachObjectionIsAViolationAndTheConnectionLives(t *testing.T) {
	type target struct {
		A []any
		B map[string]int
		C string
		D *object
		E []byte
		F []any
		G pair
	}
	in := answer(`(dict "a" (list 1 (none) "bytes") "b" (dict (unicode "x") 1) "c" (unicode "text") "d" (my-reference 3) "e" "bytes" "f" (reference 2) "g" (tuple (unicode "n") 5))`)
	all, err := taste(in, new(target))
	require.NoError(t, err)
	require.Greater(t, len(all), 40)
	// The second message tells whether the decoder has kept count.
	opens := decoderOpens(t, in)
	known := wireFrom(opens, fmt.Sprintf("(answer 1 (list (list 7) (reference %d)))", opens+2))

	own := &Violation{Reason: "my own", Path: []string{"deep inside"}}
	for _, objection := range []error{errTaste, own} {
		for at := range all {
			for _, typed := range []bool{true, false} {
				var log []string
				var skipped []int64
				d := NewDecoder(bytes.NewReader(append(bytes.Clone(in), known...)), nil, &DecoderConfig{
					Vocab: 1, External: references,
					Skipped: func(d *Decoder, opentype string) error {
						if opentype != "my-reference" {
							return nil
						}
						n, ok, err := d.SkippedInt()
						require.True(t, ok)
						skipped = append(skipped, n)
						return err
					},
				})
				taster := &recorder{log: &log, objectAt: at, with: objection}
				err := answerValue(d, func() error {
					if typed {
						return decodeTarget(d, new(target), taster)
					}
					_, err := d.Value(taster)
					return err
				})
				var v *Violation
				require.ErrorAs(t, err, &v, all[at])
				assert.Equal(t, all[:at+1], log)
				if objection == errTaste {
					assert.ErrorIs(t, err, errTaste)
				} else {
					assert.NotSame(t, own, v, "the taster's own is not touched")
					assert.Contains(t, err.Error(), "deep inside: my own")
				}
				require.NoError(t, d.Skip())
				if strings.Contains(strings.Join(log, ""), "object 3") {
					assert.Empty(t, skipped, "it was received")
				} else {
					assert.Equal(t, []int64{3}, skipped, "it was skipped: %s", all[at])
				}
				var next []*[]int
				require.NoError(t, answerValue(d, func() error { return decodeTarget(d, &next, nil) }), all[at])
				require.Len(t, next, 2)
				assert.Equal(t, &[]int{7}, next[1])
				requireEnd(t, d)
			}
		}
	}
	assert.Equal(t, []string{"deep inside"}, own.Path)
}

// decoderOpens returns the number of OPENs in a message.
func decoderOpens(t testing.TB, in []byte) uint64 {
	t.Helper()
	d := decoderFor(in)
	_, err := d.Begin()
	require.NoError(t, err)
	require.NoError(t, d.Skip())
	return d.opens
}

func TestNothingIsAllocatedForWhatATasterRefuses(t *testing.T) {
	const size = 10 << 20
	for _, head := range [][]byte{AppendToken(nil, TypeString, size), AppendToken(nil, TypeLongInt, size)} {
		for _, target := range []any{new(any), new([]byte), new([]any)} {
			r := &endless{data: append(wire("(answer 1"), head...), n: size, then: append([]byte{0, byte(TypeClose)}, wireFrom(1, "(answer 1 7)")...)}
			d := NewDecoder(r, nil, &DecoderConfig{Vocab: 1})
			var log []string
			var err error
			allocs := allocated(func() {
				err = answerValue(d, func() error {
					return decodeTarget(d, target, &recorder{log: &log, objectAt: 0, with: errTaste})
				})
				if err2 := d.Skip(); err2 != nil {
					err = err2
				}
			})
			require.Equal(t, "VIOLATION", outcome(err))
			assert.Less(t, allocs, uint64(64<<10))
			var n int
			require.NoError(t, answerValue(d, func() error { return decodeTarget(d, &n, nil) }))
			assert.Equal(t, 7, n)
		}
	}
}

func TestATasterOfOneLevelNeedNotCareForTheNext(t *testing.T) {
	d := decoderFor(answer(`(list (list "x") 5)`))
	var seen []string
	require.NoError(t, answerValue(d, func() error {
		_, err := d.Value(shallow{&seen})
		return err
	}))
	assert.Equal(t, []string{"list"}, seen)
}

// shallow looks at the types of sequences on one level only.
type shallow struct{ seen *[]string }

func (shallow) Token(Token) error               { return nil }
func (shallow) Body([]byte) error               { return nil }
func (shallow) Value(any, func(any) bool) error { return nil }
func (shallow) Close() error                    { return nil }
func (s shallow) Open(opentype string) (Taster, error) {
	*s.seen = append(*s.seen, opentype)
	return nil, nil
}

func TestPathsOfViolationsAreBounded(t *testing.T) {
	value := strings.Repeat("(list ", 150) + "(strange)" + strings.Repeat(")", 150)
	_, err := decodeAny(answer(value))
	requireViolation(t, err, strings.Repeat("[0]", maxPath-1)+`…: unknown type of sequence "strange"`)
	long := strings.Repeat("k", 1000)
	_, err = decodeAny(answer(`(dict "` + long + `" (dict (unicode "` + long + `") (strange)))`))
	requireViolation(t, err, `["`+long[:40]+`"]["`+long[:40]+`"]: unknown type of sequence "strange"`)
	huge := answer(`(dict #000885` + strings.Repeat("ff", 1024) + ` (strange))`)
	_, err = decodeAny(huge)
	requireViolation(t, err, `[integer]: unknown type of sequence "strange"`)
	assert.Equal(t, errTaste, At(errTaste, "x"), "not a Violation")
	assert.Equal(t, math.MaxInt32, Limits{MaxToken: math.MaxInt}.WithDefaults().MaxToken)
}
