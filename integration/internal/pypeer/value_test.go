package pypeer

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// values are written as Python writes them, labels included.
var values = map[string]Value{
	"none":                                   None,
	"true":                                   True,
	"false":                                  False,
	"zero":                                   Int(0),
	"the smallest int64":                     Int(math.MinInt64),
	"an int of 5000 digits":                  BigInt(new(big.Int).Exp(big.NewInt(-10), big.NewInt(5001), nil)),
	"a float":                                Float(1.5),
	"a whole float":                          Float(1e6),
	"a tiny float":                           Float(math.SmallestNonzeroFloat64),
	"a negative zero":                        Float(math.Copysign(0, -1)),
	"infinity":                               Float(math.Inf(1)),
	"negative infinity":                      Float(math.Inf(-1)),
	"not a number":                           Float(math.NaN()),
	"empty text":                             Text(""),
	"text":                                   Text("<é \u2028 \x00 \U0001F40D \" \\ & \b>"),
	"empty bytes":                            Bytes(""),
	"bytes":                                  Bytes([]byte{0, 0xff, 'a'}),
	"a pattern":                              Pattern(5000),
	"a decimal":                              Decimal("1E+3"),
	"an empty list":                          List(),
	"a list":                                 List(Int(1), Text("1"), Bytes("1"), None),
	"a tuple":                                Tuple(Int(1), Tuple(), Tuple(List())),
	"a tuple with two empty ones":            Tuple(Tuple(), Tuple()),
	"a set":                                  Set(Int(2), Int(10), Text("a"), Tuple(Int(1))),
	"a frozenset":                            FrozenSet(Bytes("b"), Bytes("a"), FrozenSet()),
	"a dict":                                 Dict(Text("b"), List(Int(1)), Text("a"), Dict(), Int(1), None),
	"a shared list":                          List(Def(1, List(Int(1))), Same(1), List(Int(1))),
	"a shared tuple":                         List(Def(1, Tuple(Int(1))), Same(1)),
	"shared dicts and sets":                  List(Def(1, Dict()), Def(2, Set(Int(1))), Same(2), Same(1)),
	"a list that contains itself":            Def(1, List(Same(1))),
	"a dict that contains itself":            Def(1, Dict(Text("self"), Same(1))),
	"a tuple that contains itself by a list": Def(1, Tuple(List(Same(1)))),
	"a tuple that contains itself by a dict": Def(1, Tuple(Dict(Int(1), Same(1)))),
	"the same key in two dicts":              List(Dict(Tuple(Int(1)), Int(1)), Dict(Tuple(Int(1)), Int(2))),
	"a sturdyref":                            SturdyRef("pb://abc@/name"),
}

func TestWhatPythonReadsAndWritesIsTheSameValue(t *testing.T) {
	peer := Start(t, Options{NoListen: true})
	for name, value := range values {
		t.Run(name, func(t *testing.T) {
			got, err := peer.Begin("notation", Params{"value": value}).Value()
			require.NoError(t, err)
			assert.Equal(t, value, got)
		})
	}
}

func TestPythonDoesNotWriteOutBytesThatAreLarge(t *testing.T) {
	peer := Start(t, Options{NoListen: true})

	data := bytes.Repeat([]byte("x"), 5000)

	got, err := peer.Begin("notation", Params{"value": Bytes(data)}).Value()

	require.NoError(t, err)
	assert.Equal(t, Digest(data), got)
}

func TestPythonRefusesWhatIsNotANotation(t *testing.T) {
	peer := Start(t, Options{NoListen: true})
	for name, value := range map[string]Value{
		"a bare float":                         "1.5",
		"an unknown type":                      `{"complex":"1j"}`,
		"a handle that nobody has given":       Remote("r99"),
		"an object that does not exist":        Object("nothing"),
		"a tuple that contains itself at once": Def(1, Tuple(Same(1))),
		"a label that is not defined":          Same(1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := peer.Begin("notation", Params{"value": value}).Value()
			var failure *Error
			require.ErrorAs(t, err, &failure)
			assert.False(t, failure.Remote)
		})
	}
}

func TestEqualValuesAreSpelledAlike(t *testing.T) {
	for name, spellings := range map[string][2]string{
		"blanks":                   {`[1, 2]`, `[1,2]`},
		"escapes":                  {`"\u00e9\/<"`, `"é/<"`},
		"the order of a set":       {`{"set":[2,10]}`, `{"set":[10,2]}`},
		"the order of a frozenset": {`[{"frozenset":["a","b"]}]`, `[{"frozenset":["b","a"]}]`},
		"the order of a dict":      {`{"dict":[[1,2],[0,3]]}`, `{"dict":[[0,3],[1,2]]}`},
		"sets in the key of a dict": {
			`{"dict":[[{"frozenset":[1,2]},1]]}`, `{"dict":[[{"frozenset":[2,1]},1]]}`,
		},
		"floats": {`{"float":"1000000.0"}`, `{"float":"1e6"}`},
		"labels": {
			`[{"def":7,"is":[]},{"ref":7},{"def":3,"is":[]},{"ref":3}]`,
			`[{"def":1,"is":[]},{"ref":1},{"def":2,"is":[]},{"ref":2}]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var a, b Value
			require.NoError(t, json.Unmarshal([]byte(spellings[0]), &a))
			require.NoError(t, json.Unmarshal([]byte(spellings[1]), &b))
			assert.Equal(t, a, b)
		})
	}
}

func TestDifferentValuesAreSpelledDifferently(t *testing.T) {
	for name, pair := range map[string][2]Value{
		"bytes and text":              {Bytes("a"), Text("a")},
		"list and tuple":              {List(Int(1)), Tuple(Int(1))},
		"set and frozenset":           {Set(), FrozenSet()},
		"int and float":               {Int(1), Float(1)},
		"int and bool":                {Int(1), True},
		"zero and negative zero":      {Float(0), Float(math.Copysign(0, -1))},
		"the order of a list":         {List(Int(1), Int(2)), List(Int(2), Int(1))},
		"shared and equal":            {List(Def(1, List()), Same(1)), List(List(), List())},
		"decimals of other precision": {Decimal("1.0"), Decimal("1.00")},
	} {
		t.Run(name, func(t *testing.T) {
			assert.NotEqual(t, pair[0], pair[1])
		})
	}
}

func TestMembers(t *testing.T) {
	one, two := Int(1), Int(2)
	for name, test := range map[string]struct {
		value   Value
		members []Value
	}{
		"of a list":         {List(one, two), []Value{one, two}},
		"of a tuple":        {Tuple(one, two), []Value{one, two}},
		"of a set":          {Set(two, one), []Value{one, two}},
		"of a frozenset":    {FrozenSet(two, one), []Value{one, two}},
		"of a dict":         {Dict(one, two), []Value{one, two}},
		"of a shared list":  {Def(1, List(one, two)), []Value{one, two}},
		"of a shared tuple": {Def(1, Tuple(one, two)), []Value{one, two}},
		"of a text":         {Text("ab"), nil},
		"of none":           {None, nil},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.members, test.value.Members())
		})
	}
}

func TestHandleIsOnlyThatOfAReference(t *testing.T) {
	assert.Equal(t, "r1", Remote("r1").Handle())
	assert.Empty(t, Object("root").Handle())
	assert.Empty(t, List().Handle())
	assert.Empty(t, Text("remote").Handle())
}

func TestPatternBytesAreTheSameInPython(t *testing.T) {
	peer := Start(t, Options{NoListen: true})
	got, err := peer.Begin("notation", Params{"value": Bytes(PatternBytes(4096))}).Value()
	require.NoError(t, err)
	assert.Equal(t, Bytes(PatternBytes(4096)), got)

	got, err = peer.Begin("notation", Params{"value": Bytes(PatternBytes(4097))}).Value()
	require.NoError(t, err)
	assert.Equal(t, Pattern(4097), got)
}

func TestWhatIsNotUTF8IsNoText(t *testing.T) {
	assert.Panics(t, func() { Text("\xff") })
}
