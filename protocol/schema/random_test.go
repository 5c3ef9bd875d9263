package schema_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	. "github.com/foolscap-go/foolscap/protocol/schema"
)

// randomConstraint returns a constraint that is at most depth deep. One that
// is bounded has a largest value.
func randomConstraint(r *rand.Rand, depth int, bounded bool) Constraint {
	most := func() int {
		if bounded {
			return 1 + r.IntN(5)
		}
		return r.IntN(7) - 1
	}
	n := 19
	if depth == 0 {
		n = 10
	}
	deeper := func() Constraint { return randomConstraint(r, depth-1, bounded) }
	var re *regexp.Regexp
	if !bounded && r.IntN(3) == 0 {
		re = regexp.MustCompile("[a-m]$")
	}
	switch r.IntN(n) {
	case 0:
		return Bytes{Max: most() * 10, Pattern: re}
	case 1:
		return Text{Max: most() * 10, Min: r.IntN(2), Pattern: re}
	case 2:
		return Int{Bytes: 1 + r.IntN(20)}
	case 3:
		return Int{Min: big.NewInt(r.Int64N(1<<40) - 1<<39), Max: new(big.Int).Lsh(big.NewInt(1), uint(40+r.IntN(60)))}
	case 4:
		return Number{Bytes: r.IntN(9)}
	case 5:
		return Bool{}
	case 6:
		return None{}
	case 7:
		return Decimal{Max: most()}
	case 8:
		if r.IntN(2) == 0 {
			return Referenceable{}
		}
		return RemoteInterface{Name: "RIFoo"}
	case 9:
		if bounded {
			return Bool{Only: new(true)}
		}
		return Any{}
	case 10, 11, 12:
		return List{Item: deeper(), Max: most()}
	case 13:
		return Tuple{Items: []Constraint{deeper(), deeper()}[:r.IntN(3)]}
	case 14:
		return Set{Item: Int{Bytes: 4 + r.IntN(9)}, Max: most(), Kind: SetKind(r.IntN(3))}
	case 15:
		return Dict{Key: Int{Bytes: 4 + r.IntN(9)}, Value: deeper(), Max: most()}
	case 16, 17:
		return Choice{Of: []Constraint{deeper(), deeper(), deeper()}[:1+r.IntN(3)]}
	default:
		return Struct{Fields: []Field{{Name: "a", Constraint: deeper()}, {Name: "b", Constraint: Optional{Of: deeper()}}}}
	}
}

// largest returns a value that takes as much room as c allows.
func largest(t testing.TB, c Constraint) any {
	switch c := c.(type) {
	case Bytes:
		return []byte(strings.Repeat("x", c.Max))
	case Text:
		return strings.Repeat("𝄞", c.Max)
	case Int:
		return largestInt(c, 0)
	case Number:
		if c.Bytes < 0 || c.Bytes > 6 || c.Bytes == 0 {
			return largestInt(Int{Bytes: c.Bytes}, 0)
		}
		return 1.5
	case Bool:
		return true
	case None:
		return nil
	case Decimal:
		return banana.Decimal(strings.Repeat("1", c.Max))
	case Referenceable, RemoteInterface:
		return &object{iface: "RIFoo"}
	case List:
		l := banana.NewList()
		for range c.Max {
			l.Items = append(l.Items, largest(t, c.Item))
		}
		return l
	case Tuple:
		v := banana.Tuple{}
		for _, item := range c.Items {
			v = append(v, largest(t, item))
		}
		return v
	case Set:
		var all []any
		for i := range c.Max {
			all = append(all, largestInt(c.Item.(Int), i))
		}
		if c.Kind == MutableSet {
			return banana.NewSet(all...)
		}
		return banana.NewFrozenSet(all...)
	case Dict:
		d := banana.NewDict()
		for i := range c.Max {
			require.NoError(t, d.Set(largestInt(c.Key.(Int), i), largest(t, c.Value)))
		}
		return d
	case Choice:
		var best any
		size := -1
		for _, a := range c.Of {
			v := largest(t, a)
			if in, _ := wire(t, v); len(in) > size {
				best, size = v, len(in)
			}
		}
		return best
	case Struct:
		d := banana.NewDict()
		for _, f := range c.Fields {
			require.NoError(t, d.Set(f.Name, largest(t, f.Constraint)))
		}
		return d
	case Optional:
		return largest(t, c.Of)
	}
	t.Fatalf("%s has no largest value", c)
	return nil
}

// largestInt returns an integer that is less than the largest by i.
func largestInt(c Int, i int) *big.Int {
	n := c.Max
	if n == nil {
		if c.Bytes == 0 {
			c.Bytes = DefaultIntBytes
		}
		n = new(big.Int).Lsh(big.NewInt(1), 8*uint(c.Bytes))
		n.Sub(n, big.NewInt(1))
	}
	return new(big.Int).Sub(n, big.NewInt(int64(i)))
}

// aroundValue is the size of OPEN, type and CLOSE of the answer around a value.
const aroundValue = 6

func TestNoLegalValueIsLargerThanTheLargest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		c := randomConstraint(r, 3, true)
		v := largest(t, c)
		require.NoError(t, c.Check(v), c)
		in, _ := wire(t, v)
		most, ok := c.MaxSize()
		require.True(t, ok, c)
		assert.LessOrEqual(t, int64(len(in)-aroundValue), most, c)
	}
	for text, v := range map[string]any{
		"bytes(max=300)": []byte(strings.Repeat("x", 300)), "int": pow2(8191), "int(bytes=4)": int64(-1<<32 + 1), "number(bytes=4)": 1.5,
	} {
		in, _ := wire(t, v)
		most, _ := parse(t, text).MaxSize()
		assert.EqualValues(t, len(in)-aroundValue, most, text)
	}
	for _, text := range []string{"any", "bytes", "text", "int(bytes=none)", "list(int)", "list(bytes, max=3)", "dict", "decimal", "attrdict(unknown=ignore)", "choice(int, any)", "list(list(list(list(bytes(max=2147483647), max=2147483647), max=2147483647), max=2147483647), max=2147483647)"} {
		_, ok := parse(t, text).MaxSize()
		assert.False(t, ok, text)
	}
}

func TestTheLargestBoundsAreNoneThatAreSmall(t *testing.T) {
	const huge = math.MaxInt/4 + 1
	for _, c := range []Constraint{Text{Max: huge}, Text{Max: math.MaxInt}, Bytes{Max: math.MaxInt}, Int{Bytes: math.MaxInt}, List{Item: Bytes{Max: 1}, Max: math.MaxInt}} {
		_, ok := c.MaxSize()
		assert.False(t, ok, "%T", c)
	}
	for c, v := range map[Constraint]any{Text{Max: huge}: "text", Int{Bytes: math.MaxInt}: int64(1)} {
		in, _ := wire(t, v)
		assert.NoError(t, c.Check(v))
		_, err := decode(in, nil, nil, c.Taster())
		assert.NoError(t, err, "%T", c)
	}
}

// FuzzTaste compares what a taster says with what Check says.
func FuzzTaste(f *testing.F) {
	for i, v := range verdicts {
		in, _ := wire(f, v.value)
		f.Add(uint64(i), v.constraint, in)
		f.Add(uint64(i), "", in)
	}
	f.Fuzz(func(t *testing.T, seed uint64, text string, in []byte) {
		c, err := Parse(text)
		if err != nil {
			c = randomConstraint(rand.New(rand.NewPCG(seed, 0)), 3, false)
		}
		v, err := decode(in, nil, nil, nil)
		_, tasted := decode(in, nil, nil, c.Taster())
		if err != nil {
			require.Error(t, tasted)
			return
		}
		checked := c.Check(v)
		if tasted == nil {
			require.NoError(t, checked, "the taster of %s let pass what Check refuses", c)
		}
		// The other direction holds for what senders write.
		m, err := encode(v, nil)
		if err != nil {
			return
		}
		m.Free()
		_, sent := encode(v, c.Taster())
		require.Equal(t, checked == nil, sent == nil, "%s: Check says %v, the taster %v", c, checked, sent)
		in, externals := wire(t, v)
		_, tasted = decode(in, externals, nil, c.Taster())
		require.Equal(t, checked == nil, tasted == nil, "%s: Check says %v, the taster %v", c, checked, tasted)
	})
}

func BenchmarkDecode(b *testing.B) {
	numbers := make([]int64, 1000)
	for i := range numbers {
		numbers[i] = int64(i) * 1000
	}
	data := make([]byte, 64<<10)
	type record struct {
		Name string
		Age  int
	}
	for name, v := range map[string]struct {
		value  any
		target any
		text   string
	}{
		"1000 integers": {numbers, new([]int64), "list(int(min=-9223372036854775808, max=9223372036854775807), max=2000)"},
		"64 KiB":        {data, new([]byte), "bytes(max=100000)"},
		"100 structs":   {make([]record, 100), new([]record), "list(struct(name: text(max=100), age: int(bytes=8)), max=1000)"},
	} {
		in, _ := wire(b, v.value)
		for _, constrained := range []bool{false, true} {
			b.Run(name+map[bool]string{false: "/free", true: "/constrained"}[constrained], func(b *testing.B) {
				c := parse(b, v.text)
				var tasting Tasting
				b.ReportAllocs()
				for b.Loop() {
					var taster banana.Taster
					if constrained {
						taster = tasting.Taster(c)
					}
					if _, err := decode(in, nil, v.target, taster); err != nil {
						b.Fatal(err)
					}
					tasting.Reset()
				}
			})
		}
	}
}
