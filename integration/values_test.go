package integration

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

// aValue is one value on both sides.
type aValue struct {
	name  string
	here  any          // in Go's generic types
	there pypeer.Value // in Python's
	repr  string       // what Python shows of it; "" where that is not of one kind
}

func power(base, exponent int64) *big.Int {
	return new(big.Int).Exp(big.NewInt(base), big.NewInt(exponent), nil)
}

// words are those of vocabulary table 1, and the one type that is not in it.
var words = strings.Fields(`none boolean reference dict list tuple set immutable-set unicode set-vocab add-vocab call
	arguments answer error my-reference your-reference their-reference copyable instance module class method function
	attrdict decimal`)

func plainValues() []aValue {
	values := []aValue{
		{name: "none", here: nil, there: pypeer.None, repr: "None"},
		{name: "true", here: true, there: pypeer.True, repr: "True"},
		{name: "false", here: false, there: pypeer.False, repr: "False"},
		{name: "a float", here: 1.5, there: pypeer.Float(1.5), repr: "1.5"},
		{name: "a whole float", here: 1e6, there: pypeer.Float(1e6), repr: "1000000.0"},
		{name: "the largest float", here: math.MaxFloat64, there: pypeer.Float(math.MaxFloat64), repr: "1.7976931348623157e+308"},
		{name: "the smallest float", here: math.SmallestNonzeroFloat64, there: pypeer.Float(math.SmallestNonzeroFloat64), repr: "5e-324"},
		{name: "a negative zero", here: math.Copysign(0, -1), there: pypeer.Float(math.Copysign(0, -1)), repr: "-0.0"},
		{name: "not a number", here: math.NaN(), there: pypeer.Float(math.NaN()), repr: "nan"},
		{name: "infinity", here: math.Inf(1), there: pypeer.Float(math.Inf(1)), repr: "inf"},
		{name: "negative infinity", here: math.Inf(-1), there: pypeer.Float(math.Inf(-1)), repr: "-inf"},
		{name: "no bytes", here: []byte{}, there: pypeer.Bytes(""), repr: "b''"},
		{name: "bytes", here: []byte{0, 0xff, 'a', '\''}, there: pypeer.Bytes("\x00\xffa'"), repr: `b"\x00\xffa'"`},
		{name: "no text", here: "", there: pypeer.Text(""), repr: "''"},
		{name: "text", here: "é €\U0001F40D\x00\n", there: pypeer.Text("é €\U0001F40D\x00\n"), repr: `'é €🐍\x00\n'`},
		{name: "a decimal", here: banana.Decimal("1.50"), there: pypeer.Decimal("1.50"), repr: "Decimal('1.50')"},
		{name: "a large decimal", here: banana.Decimal("1E+3"), there: pypeer.Decimal("1E+3"), repr: "Decimal('1E+3')"},
		{name: "a decimal that is not a number", here: banana.Decimal("NaN"), there: pypeer.Decimal("NaN"), repr: "Decimal('NaN')"},
		{name: "a decimal infinity", here: banana.Decimal("-Infinity"), there: pypeer.Decimal("-Infinity"), repr: "Decimal('-Infinity')"},
	}
	for _, n := range []*big.Int{
		big.NewInt(0), big.NewInt(1), big.NewInt(127), big.NewInt(128), big.NewInt(math.MaxInt32), big.NewInt(math.MaxInt32 + 1),
		big.NewInt(math.MaxUint32), big.NewInt(math.MaxInt64), power(2, 63), power(2, 64), power(2, 447), power(2, 449), power(10, 1000),
	} {
		for _, n := range []*big.Int{n, new(big.Int).Neg(n), new(big.Int).Sub(new(big.Int).Neg(n), big.NewInt(1))} {
			v := aValue{name: "int " + n.String(), here: n, there: pypeer.BigInt(n), repr: n.String()}
			if n.IsInt64() {
				v.here = n.Int64()
			}
			if bits := n.BitLen(); bits > 64 {
				v.name = fmt.Sprintf("int of %d bits and sign %d ending in %s", bits, n.Sign(), n.String()[n.BitLen()/4:])
			}
			values = append(values, v)
		}
	}
	for _, w := range words {
		values = append(values,
			aValue{name: w + " as bytes", here: []byte(w), there: pypeer.Bytes(w), repr: "b'" + w + "'"},
			aValue{name: w + " as text", here: w, there: pypeer.Text(w), repr: "'" + w + "'"},
		)
	}
	return values
}

func containers() []aValue {
	list := func(items ...any) any { return banana.NewList(items...) }
	tuple := func(items ...any) banana.Tuple { return items }
	one, two := pypeer.Int(1), pypeer.Int(2)
	values := []aValue{
		{name: "an empty list", here: list(), there: pypeer.List(), repr: "[]"},
		{name: "a list", here: list(1, "1", []byte("1"), nil), there: pypeer.List(one, pypeer.Text("1"), pypeer.Bytes("1"), pypeer.None), repr: "[1, '1', b'1', None]"},
		{name: "an empty tuple", here: tuple(), there: pypeer.Tuple(), repr: "()"},
		{name: "a tuple", here: tuple(1, tuple(2), list()), there: pypeer.Tuple(one, pypeer.Tuple(two), pypeer.List()), repr: "(1, (2,), [])"},
		{name: "the empty tuple twice", here: list(tuple(), tuple()), there: pypeer.List(pypeer.Tuple(), pypeer.Tuple()), repr: "[(), ()]"},
		{name: "the empty tuple as a key and as a value", here: banana.NewDict(tuple(), tuple()), there: pypeer.Dict(pypeer.Tuple(), pypeer.Tuple()), repr: "{(): ()}"},
		{name: "an empty set", here: banana.NewSet(), there: pypeer.Set(), repr: "set()"},
		{name: "a set of one", here: banana.NewSet("a"), there: pypeer.Set(pypeer.Text("a")), repr: "{'a'}"},
		{name: "a set of several kinds", here: banana.NewSet(int64(1), "a", []byte("a"), tuple(int64(1)), nil, power(2, 70)), there: pypeer.Set(one, pypeer.Text("a"), pypeer.Bytes("a"), pypeer.Tuple(one), pypeer.None, pypeer.BigInt(power(2, 70)))},
		{name: "an empty frozenset", here: banana.NewFrozenSet(), there: pypeer.FrozenSet(), repr: "frozenset()"},
		{name: "a frozenset", here: banana.NewFrozenSet(banana.NewFrozenSet(1)), there: pypeer.FrozenSet(pypeer.FrozenSet(one)), repr: "frozenset({frozenset({1})})"},
		{name: "an empty dict", here: banana.NewDict(), there: pypeer.Dict(), repr: "{}"},

		// What Python can sort, it can send back: each kind of keys.
		{name: "text keys", here: banana.NewDict("b", 1, "a", 2), there: pypeer.Dict(pypeer.Text("a"), two, pypeer.Text("b"), one), repr: "{'a': 2, 'b': 1}"},
		{name: "bytes keys", here: banana.NewDict([]byte("b"), 1, []byte("list"), 2), there: pypeer.Dict(pypeer.Bytes("b"), one, pypeer.Bytes("list"), two), repr: "{b'b': 1, b'list': 2}"},
		{name: "int keys", here: banana.NewDict(power(2, 70), 1, -1, 2), there: pypeer.Dict(pypeer.Int(-1), two, pypeer.BigInt(power(2, 70)), one), repr: "{-1: 2, 1180591620717411303424: 1}"},
		{name: "number keys", here: banana.NewDict(2.5, 1, true, 2, banana.Decimal("1.5"), 1), there: pypeer.Dict(pypeer.True, two, pypeer.Decimal("1.5"), one, pypeer.Float(2.5), one), repr: "{True: 2, Decimal('1.5'): 1, 2.5: 1}"},
		{name: "tuple keys", here: banana.NewDict(tuple(1, "b"), 1, tuple(1, "a"), 2, tuple(1), 1), there: pypeer.Dict(pypeer.Tuple(one), one, pypeer.Tuple(one, pypeer.Text("a")), two, pypeer.Tuple(one, pypeer.Text("b")), one), repr: "{(1,): 1, (1, 'a'): 2, (1, 'b'): 1}"},
		{name: "frozenset keys", here: banana.NewDict(banana.NewFrozenSet("b"), 1, banana.NewFrozenSet(), 2), there: pypeer.Dict(pypeer.FrozenSet(), two, pypeer.FrozenSet(pypeer.Text("b")), one)},
		{name: "none alone as a key", here: banana.NewDict(nil, 1), there: pypeer.Dict(pypeer.None, one), repr: "{None: 1}"},
		{name: "none in one of two tuples as keys", here: banana.NewDict(tuple(1, nil), 1, tuple(2, "a"), 2), there: pypeer.Dict(pypeer.Tuple(one, pypeer.None), one, pypeer.Tuple(two, pypeer.Text("a")), two), repr: "{(1, None): 1, (2, 'a'): 2}"},
		{name: "a decimal and a float as keys", here: banana.NewDict(banana.Decimal("0.1"), 1, 0.1, 2), there: pypeer.Dict(pypeer.Decimal("0.1"), one, pypeer.Float(0.1), two), repr: "{Decimal('0.1'): 1, 0.1: 2}"},
	}

	shared := banana.NewList(1)
	sharedTuple := tuple(1, "x")
	sharedSet, sharedDict := banana.NewSet(1), banana.NewDict("a", 1)
	cyclicList := &banana.List{}
	cyclicList.Items = []any{1, cyclicList}
	cyclicDict := banana.NewDict()
	_ = cyclicDict.Set("self", cyclicDict)
	withinTuple := &banana.List{}
	cyclicTuple := tuple(withinTuple)
	withinTuple.Items = []any{cyclicTuple}
	a, b := &banana.List{}, &banana.List{}
	a.Items, b.Items = []any{b, a}, []any{a, b}
	def, same := pypeer.Def, pypeer.Same
	values = append(values,
		aValue{name: "a shared list beside its equal", here: list(shared, shared, list(1)), there: pypeer.List(def(1, pypeer.List(one)), same(1), pypeer.List(one)), repr: "[[1], [1], [1]]"},
		aValue{name: "a shared tuple", here: list(sharedTuple, list(sharedTuple)), there: pypeer.List(def(1, pypeer.Tuple(one, pypeer.Text("x"))), pypeer.List(same(1)))},
		aValue{name: "a shared set and a shared dict", here: tuple(sharedSet, sharedDict, sharedDict, sharedSet), there: pypeer.Tuple(def(1, pypeer.Set(one)), def(2, pypeer.Dict(pypeer.Text("a"), one)), same(2), same(1))},
		aValue{name: "a list that contains itself", here: cyclicList, there: def(1, pypeer.List(one, same(1))), repr: "[1, [...]]"},
		aValue{name: "a dict that contains itself", here: cyclicDict, there: def(1, pypeer.Dict(pypeer.Text("self"), same(1))), repr: "{'self': {...}}"},
		aValue{name: "a tuple that contains itself through a list", here: cyclicTuple, there: def(1, pypeer.Tuple(pypeer.List(same(1)))), repr: "([(...)],)"},
		aValue{name: "two lists that contain each other", here: a, there: def(1, pypeer.List(def(2, pypeer.List(same(1), same(2))), same(1)))},
	)

	deep, deepThere := any(int64(7)), pypeer.Int(7)
	for range 150 {
		deep, deepThere = list(deep), pypeer.List(deepThere)
	}
	wordList, wordsThere := banana.NewDict(), []pypeer.Value{}
	for _, w := range words {
		_ = wordList.Set([]byte(w), w)
		wordsThere = append(wordsThere, pypeer.Bytes(w), pypeer.Text(w))
	}
	many := &banana.List{}
	var manyThere []pypeer.Value
	for i := range 500 {
		many.Items = append(many.Items, tuple(int64(i), fmt.Sprint(i)))
		manyThere = append(manyThere, pypeer.Tuple(pypeer.Int(int64(i)), pypeer.Text(fmt.Sprint(i))))
	}
	return append(values,
		aValue{name: "150 lists in each other", here: deep, there: deepThere},
		aValue{name: "vocabulary words as keys", here: wordList, there: pypeer.Dict(wordsThere...)},
		aValue{name: "500 tuples", here: many, there: pypeer.List(manyThere...)},
	)
}

func TestEveryValueGoesBothWaysAndComesBackAsItWas(t *testing.T) {
	t.Parallel()
	values := append(plainValues(), containers()...)
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		// All at once: a call that waits for an answer of Python costs up to 40 ms, because Foolscap leaves Nagle's
		// algorithm on.
		var reprs []*tub.Pending[string]
		var echoes []*tub.Pending[any]
		var back, into []*pypeer.Pending
		ctx := within(t)
		for _, v := range values {
			require.NoError(t, tub.Send(ctx, m.root, "log", v.here))
			repr, err := tub.Start[string](ctx, m.root, "repr", v.here)
			require.NoError(t, err)
			reprs = append(reprs, repr)
			echo, err := tub.Start[any](ctx, m.root, "echo", v.here)
			require.NoError(t, err)
			echoes = append(echoes, echo)
			back = append(back, m.ref.Begin("echo", v.there))
			into = append(into, m.ref.Begin("log", v.there))
		}
		for i, v := range values {
			there := canonical(t, v.there)
			require.Equal(t, there, notationOf(t, v.here), "%s: the two sides of the table are different values", v.name)

			repr, err := reprs[i].Wait(ctx)
			if assert.NoError(t, err, v.name) && v.repr != "" {
				assert.Equal(t, v.repr, repr, v.name)
			}
			echo, err := echoes[i].Wait(ctx)
			if assert.NoError(t, err, v.name) {
				assert.Equal(t, there, notationOf(t, echo), "%s: Go has received something else", v.name)
			}
			got, err := back[i].Value()
			if assert.NoError(t, err, v.name) {
				assert.Equal(t, there, got, "%s: Python has got something else back", v.name)
			}
			assert.NoError(t, into[i].Result(nil), v.name)
		}
		atPython, here := m.peer.TakeLogged(m.name), m.desk.awaitLogged(t, len(values))
		require.Len(t, atPython, len(values))
		for i, v := range values {
			there := canonical(t, v.there)
			assert.Equal(t, there, atPython[i], "%s: Python has received something else", v.name)
			assert.Equal(t, there, notationOf(t, here[i]), "%s: a method in Go has received something else", v.name)
		}
	})
}
