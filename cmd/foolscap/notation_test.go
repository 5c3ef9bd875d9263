package main

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// notationOf writes a value that has no references in it.
func notationOf(t testing.TB, v any) string {
	text, err := writeNotation(v, nil)
	require.NoError(t, err)
	return string(text)
}

// list is NewList, with an empty slice where that has none: readers make those.
func list(items ...any) *banana.List { return &banana.List{Items: append([]any{}, items...)} }

func bigInt(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 0)
	if !ok {
		panic(s)
	}
	return n
}

func TestNotationOfEveryType(t *testing.T) {
	for _, c := range []struct {
		name, text string
		value      any
	}{
		{"none", `null`, nil},
		{"true", `true`, true},
		{"false", `false`, false},
		{"a small integer", `7`, int64(7)},
		{"a negative integer", `-7`, int64(-7)},
		{"the largest of 64 bits", `9223372036854775807`, int64(math.MaxInt64)},
		{"an integer beyond 64 bits", `9223372036854775808`, bigInt("9223372036854775808")},
		{"an integer beyond the precision of floats", `9007199254740993`, int64(9007199254740993)},
		{"a whole float", `1.0`, 1.0},
		{"a float", `2.5`, 2.5},
		{"a tiny float", `5e-324`, 5e-324},
		{"a huge float", `1e+300`, 1e300},
		{"negative zero", `-0.0`, math.Copysign(0, -1)},
		{"infinity", `{"$float":"inf"}`, math.Inf(1)},
		{"negative infinity", `{"$float":"-inf"}`, math.Inf(-1)},
		{"text", `"héllo \"quoted\" \\"`, `héllo "quoted" \`},
		{"text with control characters", `"\u001b[31m\n\u0000\u007f"`, "\x1b[31m\n\x00\x7f"},
		{"text with C1 and bidi controls", `"\u009b\u202e"`, "\u009b\u202e"},
		{"text beyond the basic plane", `"😀\udb40\udc01"`, "😀\U000e0001"},
		{"text that looks like a mark", `"$ref"`, "$ref"},
		{"readable bytes", `{"$bytes":"abc é\n"}`, []byte("abc é\n")},
		{"no bytes", `{"$bytes":""}`, []byte{}},
		{"other bytes", `{"$hex":"00ff1b"}`, []byte{0, 0xff, 0x1b}},
		{"bytes that are not UTF-8", `{"$hex":"61c3"}`, []byte("a\xc3")},
		{"a Decimal", `{"$decimal":"1.50"}`, banana.Decimal("1.50")},
		{"a Decimal that is no number", `{"$decimal":"NaN"}`, banana.Decimal("NaN")},
		{"a list", `[1,[],"a"]`, list(int64(1), list(), "a")},
		{"a tuple", `{"$tuple":[1,{"$tuple":[]}]}`, banana.Tuple{int64(1), banana.Tuple{}}},
		{"a set", `{"$set":[1,2]}`, banana.NewSet(int64(1), int64(2))},
		{"an empty set", `{"$set":[]}`, banana.NewSet()},
		{"a frozen set of a tuple", `{"$frozenset":[{"$tuple":[1]}]}`, banana.NewFrozenSet(banana.Tuple{int64(1)})},
		{"a dict with texts as keys", `{"a":1,"b":[]}`, banana.NewDict("a", int64(1), "b", list())},
		{"an empty dict", `{}`, banana.NewDict()},
		{"a dict with the empty key", `{"":1}`, banana.NewDict("", int64(1))},
		{"a dict with other keys", `{"$dict":[[1,2],[{"$bytes":"k"},3]]}`, banana.NewDict(int64(1), int64(2), []byte("k"), int64(3))},
		{"a dict with a key like a mark", `{"$dict":[["$ref",1]]}`, banana.NewDict("$ref", int64(1))},
		{"a dict with a key that begins like one", `{"$dict":[["a",0],["$",1]]}`, banana.NewDict("a", int64(0), "$", int64(1))},
		{"a dict with the key of a definition", `{"value":1}`, banana.NewDict("value", int64(1))},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.text, notationOf(t, c.value))
			back, err := readNotation([]byte(c.text), nil)
			require.NoError(t, err)
			assert.Equal(t, c.value, back)
		})
	}
}

func TestNaNHasANotation(t *testing.T) {
	assert.Equal(t, `{"$float":"nan"}`, notationOf(t, math.NaN()))
	v, err := readNotation([]byte(`{"$float":"nan"}`), nil)
	require.NoError(t, err)
	assert.True(t, math.IsNaN(v.(float64)))
}

func TestNotationThatIsReadButNotWritten(t *testing.T) {
	for _, c := range []struct {
		name, text string
		value      any
	}{
		{"white space", " [ 1 , 2 ]\n", list(int64(1), int64(2))},
		{"an exponent makes a float", `1E2`, 100.0},
		{"negative zero without a point is an integer", `-0`, int64(0)},
		{"a short integer in hexadecimal", `{"$int":"-0x1f"}`, int64(-31)},
		{"an integer in quotes", `{"$int":"12"}`, int64(12)},
		{"readable bytes in hexadecimal", `{"$hex":"6162"}`, []byte("ab")},
		{"bytes of a text that is not readable", `{"$bytes":"\u0000é"}`, []byte("\x00é")},
		{"a dict that needs no pairs", `{"$dict":[["a",1]]}`, banana.NewDict("a", int64(1))},
		{"a pair of surrogates", `"\ud83d\ude00"`, "😀"},
		{"an escaped backslash before a u", `"\\ud800"`, `\ud800`},
		{"a definition that nobody refers to", `{"$def":1,"value":[]}`, list()},
		{"a definition in another order", `{"value":[],"$def":1}`, list()},
		{"a definition of something that has no identity", `[{"$def":1,"value":5},{"$ref":1}]`, list(int64(5), int64(5))},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := readNotation([]byte(c.text), nil)
			require.NoError(t, err)
			assert.Equal(t, c.value, v)
		})
	}
}

func TestWhatIsNotInTheNotationIsRefused(t *testing.T) {
	for _, c := range []struct{ name, text, reason string }{
		{"a plain word", `hello`, "not JSON"},
		{"nothing", ``, "not JSON"},
		{"two values", `1 2`, "not JSON"},
		{"a comma too many", `[1,]`, "not JSON"},
		{"a number with a leading zero", `01`, "not JSON"},
		{"bytes that are not UTF-8", "\"\xff\"", "UTF-8"},
		{"half a surrogate pair", `"\ud83d"`, "half a character"},
		{"the second half alone", `"\ude00\ud83d"`, "half a character"},
		{"a float that is too large", `1e999`, "too large"},
		{"the same key twice", `{"a":1,"a":2}`, "same key twice"},
		{"keys that Python holds equal", `{"$dict":[[1,0],[1.0,0]]}`, "same key twice"},
		{"the same member twice", `{"$set":[1,true]}`, "same member twice"},
		{"an unknown mark", `{"$binary":"x"}`, "no known mark"},
		{"a sequence that is no value", `{"$sequence":"call"}`, "no known mark"},
		{"a mark beside another key", `{"$bytes":"x","a":1}`, "and others"},
		{"a mark twice", `{"$hex":"00","$hex":"01"}`, "and others"},
		{"odd hexadecimal digits", `{"$hex":"0"}`, "even number"},
		{"a tuple that is no array", `{"$tuple":{}}`, "needs an array"},
		{"bytes that are no string", `{"$bytes":[1]}`, "needs a string"},
		{"a pair of three", `{"$dict":[[1,2,3]]}`, "key and a value"},
		{"a pair that is none", `{"$dict":[{}]}`, "key and a value"},
		{"a list as a key", `{"$dict":[[[],1]]}`, "cannot be a key"},
		{"a set in a set", `{"$set":[{"$set":[]}]}`, "cannot be a key"},
		{"a strange float", `{"$float":"1.5"}`, "nan"},
		{"a Decimal of letters", `{"$decimal":"one"}`, "not a decimal"},
		{"an integer of letters", `{"$int":"0xhello"}`, "not an integer"},
		{"a label of letters", `{"$def":"a","value":1}`, "label"},
		{"a definition without a value", `{"$def":1}`, "beside it"},
		{"a definition with more", `{"$def":1,"value":1,"more":1}`, "beside it"},
		{"two definitions of one label", `[{"$def":1,"value":1},{"$def":1,"value":2}]`, "twice"},
		{"a reference to nothing", `{"$ref":1}`, "there is no $def 1"},
		{"a definition of itself", `{"$def":1,"value":{"$ref":1}}`, "contains itself"},
		{"a frozen set in itself", `{"$def":1,"value":{"$frozenset":[{"$ref":1}]}}`, "contains itself"},
		{"a key that contains what it is a part of", `{"$def":1,"value":{"$tuple":[{"$set":[{"$ref":1}]}]}}`, "contains itself"},
		{"a reference of a result", `{"$reference":{"tub":"x"}}`, "$furl"},
		{"an object where there are none", `{"$object":"demo"}`, "cannot be used here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readNotation([]byte(c.text), nil)
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.reason)
		})
	}
}

func TestSharedPartsStayShared(t *testing.T) {
	inner := list(int64(1))
	text := notationOf(t, list(inner, inner, list(int64(1))))
	assert.Equal(t, `[{"$def":1,"value":[1]},{"$ref":1},[1]]`, text)

	v, err := readNotation([]byte(text), nil)
	require.NoError(t, err)
	items := v.(*banana.List).Items
	assert.Same(t, items[0], items[1])
	assert.NotSame(t, items[0], items[2])
	assert.Equal(t, text, notationOf(t, v))
}

func TestAReferenceMayComeBeforeItsDefinition(t *testing.T) {
	v, err := readNotation([]byte(`{"a":{"$ref":1},"b":{"$def":1,"value":[{"$ref":1}]}}`), nil)
	require.NoError(t, err)
	a, _ := v.(*banana.Dict).Get("a")
	b, _ := v.(*banana.Dict).Get("b")
	assert.Same(t, a, b)
	assert.Same(t, a, a.(*banana.List).Items[0])
}

func TestCyclesSurvive(t *testing.T) {
	for _, text := range []string{
		`{"$def":1,"value":[{"$ref":1}]}`,
		`{"$def":1,"value":{"me":{"$ref":1}}}`,
		`{"$def":1,"value":{"$dict":[[1,{"$ref":1}]]}}`,
		`{"$def":1,"value":{"$tuple":[[{"$ref":1}]]}}`,
		`{"$def":1,"value":[{"$def":2,"value":{"$tuple":[{"$ref":1},[{"$ref":2}]]}}]}`,
		`[{"$def":1,"value":{"$frozenset":[1]}},{"$ref":1}]`,
		`[{"$def":1,"value":{"$tuple":[1]}},{"$set":[{"$ref":1}]}]`,
	} {
		t.Run(text, func(t *testing.T) {
			v, err := readNotation([]byte(text), nil)
			require.NoError(t, err)
			assert.Equal(t, text, notationOf(t, v))
		})
	}
}

func TestArgumentsShareTheirLabels(t *testing.T) {
	e := newEnv(strings.NewReader(""), nil, nil, noEnviron)
	args, err := e.readArguments(t.Context(), []string{`{"$ref":1}`, `b={"$def":1,"value":[]}`}, newNotationReader(nil))
	require.NoError(t, err)
	assert.Same(t, args.Positional[0], args.Keyword["b"])
}

// Forty lists, each of which contains the next one twice, are a tree of 2^40
// leaves.
func TestSharedListsDoNotExpand(t *testing.T) {
	v := list()
	for range 40 {
		v = list(v, v)
	}
	text := notationOf(t, v)
	assert.Less(t, len(text), 2000)
	back, err := readNotation([]byte(text), nil)
	require.NoError(t, err)
	assert.Equal(t, text, notationOf(t, back))
}

func TestSharedTuplesAndFrozenSetsDoNotExpand(t *testing.T) {
	tuple := banana.Tuple{int64(1)}
	for range 40 {
		tuple = banana.Tuple{tuple, tuple}
	}
	assert.Less(t, len(notationOf(t, tuple)), 3000)

	frozen := banana.NewFrozenSet("a text of a certain length")
	all := list()
	for range 1000 {
		all.Items = append(all.Items, frozen)
	}
	assert.Less(t, len(notationOf(t, all)), 12*1000+200)
}

func TestHugeIntegersAreHexadecimal(t *testing.T) {
	just := new(big.Int).Lsh(big.NewInt(1), longInt-1)
	assert.Equal(t, just.String(), notationOf(t, just))

	n := new(big.Int).Lsh(big.NewInt(1), longInt)
	text := notationOf(t, n.Neg(n))
	assert.Equal(t, `{"$int":"-0x4`+strings.Repeat("0", longInt/4)+`"}`, text)
	back, err := readNotation([]byte(text), nil)
	require.NoError(t, err)
	assert.Equal(t, n, back)
}

// In decimal, this number takes minutes with an algorithm of quadratic time.
func TestAnIntegerOfAMillionDigitsIsNoTrouble(t *testing.T) {
	n := new(big.Int).Lsh(big.NewInt(1), 8<<20)
	n.Sub(n, big.NewInt(1))
	begun := time.Now()
	text := notationOf(t, n)
	back, err := readNotation([]byte(text), nil)
	require.NoError(t, err)
	assert.Zero(t, n.Cmp(back.(*big.Int)))
	assert.Less(t, time.Since(begun), 20*time.Second)
}

func TestNestingIsBounded(t *testing.T) {
	deep := func(n int) []byte {
		return []byte(strings.Repeat("[", n) + strings.Repeat("]", n))
	}
	_, err := readNotation(deep(maxNesting), nil)
	require.NoError(t, err)
	_, err = readNotation(deep(maxNesting+1), nil)
	require.ErrorIs(t, err, errNesting)
	_, err = readNotation(deep(9000), nil)
	require.ErrorIs(t, err, errNesting)

	var chain strings.Builder // each list refers to the one behind it
	for i := range 5000 {
		fmt.Fprintf(&chain, `,{"$def":%d,"value":[{"$ref":%d}]}`, i, i+1)
	}
	_, err = readNotation([]byte(`[0`+chain.String()+`,{"$def":5000,"value":[]}]`), nil)
	require.ErrorIs(t, err, errNesting)
}

func FuzzNotation(f *testing.F) {
	for _, seed := range []string{
		`null`, `[1,-2.5,"a\u001b",true]`, `{"a":{"$bytes":"x"},"b":{"$hex":"00"}}`,
		`{"$dict":[[{"$tuple":[1,{"$frozenset":["x"]}]},{"$decimal":"1E+3"}]]}`,
		`{"$def":1,"value":[{"$ref":1},{"$def":2,"value":{"$tuple":[[{"$ref":2}]]}}]}`,
		`[{"$int":"0xffffffffffffffffffffff"},{"$float":"nan"},{"$set":[1,2]},"\ud83d\ude00"]`,
		`[{"$ref":1},{"$set":[{"$def":1,"value":{"$tuple":[1,2]}}]}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := readNotation(text, nil)
		if err != nil {
			return
		}
		once := notationOf(t, v)
		// Only the notation of integers gets longer by more than a factor,
		// and escapes do.
		require.LessOrEqual(t, len(once), 20*len(text)+20)
		back, err := readNotation([]byte(once), nil)
		require.NoError(t, err, "what was written: %s", once)
		require.Equal(t, once, notationOf(t, back))
		for _, r := range once {
			require.True(t, r >= ' ' && r != 0x7f && (r < 0x80 || r >= 0xa0), "a control character in %q", once)
		}
	})
}
