package banana

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func tenTo(n int64) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(n), nil) }

func floatInt(f float64) *big.Int {
	n, _ := new(big.Float).SetFloat64(f).Int(nil)
	return n
}

// decimalText is what Python's Decimal(f) is.
func decimalText(f float64) Decimal { return Decimal(decimalOfFloat(f).String()) }

// A pythonKey is a key, with what Python 3.11 makes of it beside each key of
// the table.
type pythonKey struct {
	python string
	value  any
	// same is the first key of the table that finds it in a dict.
	same int
	// order has a character for each key of the table: how the two are
	// sorted, '=' when they are equal, '!' when sorted raises, '~' when
	// sorted does not care.
	order string
}

var pythonKeys = []pythonKey{
	{`None`, nil, 0,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`False`, false, 1,
		"!=<=<><<==<<><<<<<===<<<<<<<<><><<<<<<>><<<<<><<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`True`, true, 2,
		"!>=>=><=>>>>><====>>>>>>><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`0`, int64(0), 1,
		"!=<=<><<==<<><<<<<===<<<<<<<<><><<<<<<>><<<<<><<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`1`, int64(1), 2,
		"!>=>=><=>>>>><====>>>>>>><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`-1`, int64(-1), 5,
		"!<<<<=<<<<<<<<<<<<<<<<<<<<<<<><><<<<<<>><<<<<><<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`2`, int64(2), 6,
		"!>>>>>=>>>>>>>>>>>>>>>>>><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`1.0`, 1.0, 2,
		"!>=>=><=>>>>><====>>>>>>><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`0.0`, 0.0, 1,
		"!=<=<><<==<<><<<<<===<<<<<<<<><><<<<<<>><<<<<><<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`-0.0`, math.Copysign(0, -1), 1,
		"!=<=<><<==<<><<<<<===<<<<<<<<><><<<<<<>><<<<<><<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`0.5`, 0.5, 10,
		"!><><><<>>=>><<<<<>>>=>=><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`0.1`, 0.1, 11,
		"!><><><<>><=><<<<<>>><><=<<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`-0.5`, -0.5, 12,
		"!<<<<><<<<<<=<<<<<<<<<<<<<<<<><><<<<<<>><<<<<><<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`1.5`, 1.5, 13,
		"!>>>>><>>>>>>=>>>>>>>>>>><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('1')`, Decimal("1"), 2,
		"!>=>=><=>>>>><====>>>>>>><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('1.00')`, Decimal("1.00"), 2,
		"!>=>=><=>>>>><====>>>>>>><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('1E+0')`, Decimal("1E+0"), 2,
		"!>=>=><=>>>>><====>>>>>>><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('10E-1')`, Decimal("10E-1"), 2,
		"!>=>=><=>>>>><====>>>>>>><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('0')`, Decimal("0"), 1,
		"!=<=<><<==<<><<<<<===<<<<<<<<><><<<<<<>><<<<<><<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('-0')`, Decimal("-0"), 1,
		"!=<=<><<==<<><<<<<===<<<<<<<<><><<<<<<>><<<<<><<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('0E+9')`, Decimal("0E+9"), 1,
		"!=<=<><<==<<><<<<<===<<<<<<<<><><<<<<<>><<<<<><<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('0.5')`, Decimal("0.5"), 10,
		"!><><><<>>=>><<<<<>>>=>=><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('0.1')`, Decimal("0.1"), 22,
		"!><><><<>><<><<<<<>>><=<<<<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('.50')`, Decimal(".50"), 10,
		"!><><><<>>=>><<<<<>>>=>=><<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('0.1000000000000000055511151231257827021181583404541015625')`, Decimal("0.1000000000000000055511151231257827021181583404541015625"), 11,
		"!><><><<>><=><<<<<>>><><=<<<<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('1E+3')`, Decimal("1E+3"), 25,
		"!>>>>>>>>>>>>>>>>>>>>>>>>===<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`1000`, int64(1000), 25,
		"!>>>>>>>>>>>>>>>>>>>>>>>>===<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`1e3`, 1e3, 25,
		"!>>>>>>>>>>>>>>>>>>>>>>>>===<><><<<<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('Infinity')`, Decimal("Infinity"), 28,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>>=>=>>>>>>>>>>>>>>>>>>>>>>>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('-Infinity')`, Decimal("-Infinity"), 29,
		"!<<<<<<<<<<<<<<<<<<<<<<<<<<<<=<=<<<<<<<<<<<<<<<<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`float('inf')`, math.Inf(1), 28,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>>=>=>>>>>>>>>>>>>>>>>>>>>>>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`float('-inf')`, math.Inf(-1), 29,
		"!<<<<<<<<<<<<<<<<<<<<<<<<<<<<=<=<<<<<<<<<<<<<<<<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`2**53`, int64(1 << 53), 32,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>=<=<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`2**53+1`, int64(1<<53 + 1), 33,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>=><<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`float(2**53)`, float64(1 << 53), 32,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>=<=<<<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`2**63`, bigInt("0x8000000000000000"), 35,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>=>=>>=<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`2**63-1`, int64(math.MaxInt64), 36,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>><=<>><<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`float(2**63)`, float64(1 << 63), 35,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>=>=>>=<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`-2**63`, int64(math.MinInt64), 38,
		"!<<<<<<<<<<<<<<<<<<<<<<<<<<<<><><<<<<<==<<<<<><<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`-2.0**63`, -float64(1 << 63), 38,
		"!<<<<<<<<<<<<<<<<<<<<<<<<<<<<><><<<<<<==<<<<<><<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal(2**63)`, Decimal("9223372036854775808"), 35,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>=>=>>=<<<<><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`10**30`, bigInt("1000000000000000000000000000000"), 41,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>>>>>>>=<<=><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`1e30`, 1e30, 42,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>>>>>>>>==>><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`int(1e30)`, bigInt("1000000000000000019884624838656"), 42,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>>>>>>>>==>><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('1E+30')`, Decimal("1E+30"), 41,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>>>>>>>=<<=><<<<<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`-10**30`, bigInt("-1000000000000000000000000000000"), 45,
		"!<<<<<<<<<<<<<<<<<<<<<<<<<<<<><><<<<<<<<<<<<<=<<<<<<<<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`1e300`, 1e300, 46,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>>>>>>>>>>>>==>><<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`int(1e300)`, floatInt(1e300), 46,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>>>>>>>>>>>>==>><<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`10**300`, tenTo(300), 48,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>>>>>>>>>>>><<==<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('1E+300')`, Decimal("1E+300"), 48,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>>>>>>>>>>>><<==<<<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`10**400`, tenTo(400), 50,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>>>>>>>>>>>>>>>>==<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('1E+400')`, Decimal("1E+400"), 50,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>>>>>>>>>>>>>>>>==<>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`10**400+1`, new(big.Int).Add(tenTo(400), big.NewInt(1)), 52,
		"!>>>>>>>>>>>>>>>>>>>>>>>>>>><><>>>>>>>>>>>>>>>>>>>>>=>>>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`5e-324`, 5e-324, 53,
		"!><><><<>><<><<<<<>>><<<<<<<<><><<<<<<>><<<<<><<<<<<<==<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal(5e-324)`, decimalText(5e-324), 53,
		"!><><><<>><<><<<<<>>><<<<<<<<><><<<<<<>><<<<<><<<<<<<==<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`Decimal('5E-324')`, Decimal("5E-324"), 55,
		"!><><><<>><<><<<<<>>><<<<<<<<><><<<<<<>><<<<<><<<<<<<>>=!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`'a'`, "a", 56,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!=!>!<!><<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`b'a'`, []byte("a"), 57,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!=!>!<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`''`, "", 58,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!<!=!<!<<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`b''`, []byte{}, 59,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!<!=!<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`'b'`, "b", 60,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!>!=!><<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`b'b'`, []byte("b"), 61,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!>!=!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`'1'`, "1", 62,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!<!>!<!=<<!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`'\U0001f600'`, "\U0001f600", 63,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!>!>!>=>!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`'\uffff'`, "\uffff", 64,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!>!>!><=!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
	{`()`, Tuple{}, 65,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!=<<<<<<<<<<<<<<<<<<!!!!!!!!!<<"},
	{`(1,)`, Tuple{int64(1)}, 66,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>===<!!<!!!!!!<<<!!!!!!!!!!!!!"},
	{`(1.0,)`, Tuple{1.0}, 66,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>===<!!<!!!!!!<<<!!!!!!!!!!!!!"},
	{`(True,)`, Tuple{true}, 66,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>===<!!<!!!!!!<<<!!!!!!!!!!!!!"},
	{`(1, 2)`, Tuple{int64(1), int64(2)}, 69,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>>>>=!!=!!!!!!!!<!!!!!!!!!!!!!"},
	{`((1,), 2)`, Tuple{Tuple{int64(1)}, int64(2)}, 70,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!=<!!!!!!!!!!>>!!!!!!!!!!!"},
	{`((1, 2),)`, Tuple{Tuple{int64(1), int64(2)}}, 71,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!>=!!!!!!!!!!>>!!!!!!!!!!!"},
	{`(Decimal('1'), 2.0)`, Tuple{Decimal("1"), 2.0}, 69,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>>>>=!!=!!!!!!!!<!!!!!!!!!!!!!"},
	{`('a',)`, Tuple{"a"}, 73,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!!!!=!<<!!!!!!!!!!!!!!!!!!"},
	{`(b'a',)`, Tuple{[]byte("a")}, 74,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!!!!!=!!!!!!!!!!!!!!!!!!!!"},
	{`('a', 'b')`, Tuple{"a", "b"}, 75,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!!!!>!=<!!!!!!!!!!!!!!!!!!"},
	{`('ab',)`, Tuple{"ab"}, 76,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!!!!>!>=!!!!!!!!!!!!!!!!!!"},
	{`(None,)`, Tuple{nil}, 77,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!!!!!!!!=<!!!!!!!!!!!!!!!!"},
	{`(None, 1)`, Tuple{nil, int64(1)}, 78,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!!!!!!!!>=!!!!!!!!!!!!!!!!"},
	{`(1, 'a')`, Tuple{int64(1), "a"}, 79,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>>>>!!!!!!!!!!=!<!!!!!!!!!!!!!"},
	{`(1, b'a')`, Tuple{int64(1), []byte("a")}, 80,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>>>>!!!!!!!!!!!=<!!!!!!!!!!!!!"},
	{`(2, b'a')`, Tuple{int64(2), []byte("a")}, 81,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>>>>>!!>!!!!!!>>=!!!!!!!!!!!!!"},
	{`((),)`, Tuple{Tuple{}}, 82,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!<<!!!!!!!!!!=<!!!!!!!!!!!"},
	{`((), ())`, Tuple{Tuple{}, Tuple{}}, 83,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!<<!!!!!!!!!!>=!!!!!!!!!!!"},
	{`frozenset()`, NewFrozenSet(), 84,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!=~~~~~~~~!!"},
	{`frozenset([1])`, NewFrozenSet(int64(1)), 85,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!~==~~~~~~!!"},
	{`frozenset([1.0])`, NewFrozenSet(1.0), 85,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!~==~~~~~~!!"},
	{`frozenset([1, 2])`, NewFrozenSet(int64(1), int64(2)), 87,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!~~~==~~~~!!"},
	{`frozenset([2, 1])`, NewFrozenSet(int64(2), int64(1)), 87,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!~~~==~~~~!!"},
	{`frozenset([(1, 2)])`, NewFrozenSet(Tuple{int64(1), int64(2)}), 89,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!~~~~~=~~~!!"},
	{`frozenset([frozenset([1])])`, NewFrozenSet(NewFrozenSet(int64(1))), 90,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!~~~~~~=~~!!"},
	{`frozenset(['a', b'a'])`, NewFrozenSet("a", []byte("a")), 91,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!~~~~~~~==!!"},
	{`frozenset([b'a', 'a'])`, NewFrozenSet([]byte("a"), "a"), 91,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!~~~~~~~==!!"},
	{`(frozenset([1, True]),)`, Tuple{NewFrozenSet(int64(1), true)}, 93,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!!!!!!!!!!!!!!!!!!!!!!!!=="},
	{`(frozenset([1]),)`, Tuple{NewFrozenSet(int64(1))}, 93,
		"!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!>!!!!!!!!!!!!!!!!!!!!!!!!!!!=="},
}

func TestDictsFindKeysAsPythonDoes(t *testing.T) {
	for i, a := range pythonKeys {
		var d Dict
		require.NoError(t, d.Set(a.value, i), a.python)
		for _, b := range pythonKeys {
			_, found := d.Get(b.value)
			assert.Equal(t, a.same == b.same, found, "%s in {%s}", b.python, a.python)
		}
	}
	var all Dict
	classes := map[int]bool{}
	for _, k := range pythonKeys {
		require.NoError(t, all.Set(k.value, k.same))
		classes[k.same] = true
	}
	assert.Equal(t, len(classes), all.Len())
	for k, v := range all.All() {
		assert.Equal(t, pythonKeys[v.(int)].value, k, "the first of equal keys stays")
	}
}

func TestKeysAreSentInTheOrderOfPythonsSorted(t *testing.T) {
	for i, a := range pythonKeys {
		for j, b := range pythonKeys {
			if i == j || a.order[j] == '=' {
				continue
			}
			order, err := keyOrder([]any{a.value, b.value})
			switch a.order[j] {
			case '!':
				assert.Error(t, err, "%s and %s", a.python, b.python)
			case '<':
				require.NoError(t, err, "%s and %s", a.python, b.python)
				assert.Equal(t, []int{0, 1}, order, "%s and %s", a.python, b.python)
			case '>':
				require.NoError(t, err, "%s and %s", a.python, b.python)
				assert.Equal(t, []int{1, 0}, order, "%s and %s", a.python, b.python)
			default:
				assert.NoError(t, err, "%s and %s", a.python, b.python)
			}
		}
	}
}

func TestEqualKeysCompareAsEqual(t *testing.T) {
	for _, a := range pythonKeys {
		for j, b := range pythonKeys {
			if a.order[j] == '=' {
				assert.Zero(t, compareKeys(plain(a.value), plain(b.value)), "%s and %s", a.python, b.python)
			}
		}
	}
}

func TestNumbersAreSortedAllAtOnce(t *testing.T) {
	var numbers []any
	seen := map[int]bool{}
	for _, k := range pythonKeys {
		if _, isTuple := k.value.(Tuple); !isTuple && classOf(plain(k.value)) == numberClass && !seen[k.same] {
			seen[k.same] = true
			numbers = append(numbers, k.value)
		}
	}
	slices.Reverse(numbers)
	order, err := keyOrder(numbers)
	require.NoError(t, err)
	index := func(v any) int {
		return slices.IndexFunc(pythonKeys, func(k pythonKey) bool { return fmt.Sprintf("%T%v", k.value, k.value) == fmt.Sprintf("%T%v", v, v) })
	}
	for i := range order[1:] {
		a, b := index(numbers[order[i]]), index(numbers[order[i+1]])
		assert.Equal(t, "<", string(pythonKeys[a].order[b]), "%s before %s", pythonKeys[a].python, pythonKeys[b].python)
	}
}

// sorted([nan, 1.0]) has some order; a NaN beside a Decimal raises.
func TestNaNKeys(t *testing.T) {
	nan := math.NaN()
	d := NewDict(nan, 1)
	_, found := d.Get(nan)
	assert.False(t, found, "Python finds it only by identity")
	require.NoError(t, d.Set(nan, 2))
	assert.Equal(t, 2, d.Len())
	assert.NotEqual(t, mustHash(t, Tuple{nan}), mustHash(t, Tuple{nan}))

	for _, keys := range [][]any{{nan, 1}, {nan, 1.5}, {nan, nan}} {
		_, err := keyOrder(keys)
		assert.NoError(t, err)
	}
	for _, keys := range [][]any{
		{Decimal("NaN"), 1}, {Decimal("NaN"), 1.5}, {nan, Decimal("1")}, {Decimal("NaN"), nan}, {Decimal("NaN"), Decimal("-NaN")},
		{1, Decimal("NaN"), 2, 3}, {Tuple{1, nan}, Tuple{1, Decimal("2")}},
	} {
		_, err := keyOrder(keys)
		assert.ErrorContains(t, err, "cannot sort together", "%v", keys)
	}
	_, err := keyOrder([]any{Decimal("NaN")})
	assert.NoError(t, err)
	assert.ErrorContains(t, new(Dict).Set(Decimal("sNaN"), 1), "signalling NaN")
}

func mustHash(t *testing.T, v any) any {
	t.Helper()
	k, err := hashKey(v, nil)
	require.NoError(t, err)
	return k
}

func TestWhatCanChangeIsNoKey(t *testing.T) {
	for _, v := range []any{
		NewList(), new(Dict), new(Set), Tuple{NewList()}, Tuple{Tuple{new(Set)}},
		make(chan int), struct{ A int }{1}, []int{1}, map[string]int{}, Decimal("x"), Tuple{Decimal("")}, pending{}, sliceExternal{},
		Tuple{sliceExternal{}}, Tuple{valueExternal{}}, func() {},
	} {
		assert.Error(t, new(Dict).Set(v, 1), "%#v", v)
		_, found := NewDict(1, 1).Get(v)
		assert.False(t, found, "%#v", v)
		assert.False(t, NewSet(1).Has(v), "%#v", v)
		NewDict(1, 1).Delete(v)
	}
	assert.Panics(t, func() { NewDict(NewList(), 1) })
	odd := []any{1}
	assert.Panics(t, func() { NewDict(odd...) })
	assert.Panics(t, func() { NewSet(NewList()) })
	assert.Panics(t, func() { NewFrozenSet(NewList()) })
}

type sliceExternal []int

func (sliceExternal) BananaExternal() {}

type valueExternal struct{ n int }

func (valueExternal) BananaExternal() {}

func TestReferencesAreKeysByIdentity(t *testing.T) {
	a, b := &object{1}, &object{1}
	d := NewDict(a, "a", Tuple{a}, "in a tuple", valueExternal{1}, "by value", NewFrozenSet(a), "in a set")
	for k, want := range map[any]any{a: "a", valueExternal{1}: "by value"} {
		v, _ := d.Get(k)
		assert.Equal(t, want, v)
	}
	v, _ := d.Get(Tuple{a})
	assert.Equal(t, "in a tuple", v)
	v, _ = d.Get(NewFrozenSet(a))
	assert.Equal(t, "in a set", v)
	for _, k := range []any{b, valueExternal{2}} {
		_, found := d.Get(k)
		assert.False(t, found)
	}
	for _, keys := range [][]any{{a, b}, {a, 1}, {Tuple{a, 1}, Tuple{b, 1}}} {
		_, err := keyOrder(keys)
		assert.Error(t, err)
	}
	_, err := keyOrder([]any{Tuple{a, 1}, Tuple{a, 2}})
	assert.NoError(t, err)
}

func TestNamedTypesAndNilPointersAreTheKeysThatTheyAreOnTheWire(t *testing.T) {
	type (
		text  string
		raw   []byte
		small int8
		ratio float32
		yes   bool
	)
	for _, same := range [][]any{
		{"a", text("a")}, {[]byte("a"), raw("a"), [1]byte{'a'}}, {int64(1), small(1), uint8(1), uintptr(1), ratio(1), yes(true), 1},
		{uint64(math.MaxUint64), bigInt("0xffffffffffffffff")}, {nil, (*big.Int)(nil), (*FrozenSet)(nil), (*object)(nil)}, {0.5, ratio(0.5)},
		{Tuple{"a", 1}, Tuple{text("a"), small(1)}}, {bigInt("5"), 5},
	} {
		for _, a := range same {
			for _, b := range same {
				assert.Equal(t, mustHash(t, a), mustHash(t, b), "%T and %T", a, b)
				assert.Zero(t, compareKeys(plain(a), plain(b)))
			}
		}
	}
}

// Parts must not run into each other.
func TestDifferentCompositeKeysDoNotLookAlike(t *testing.T) {
	keys := []any{
		Tuple{}, Tuple{Tuple{}}, Tuple{Tuple{}, Tuple{}}, Tuple{Tuple{Tuple{}}}, Tuple{"a", "b"}, Tuple{"ab"}, Tuple{"a", Tuple{"b"}},
		Tuple{Tuple{"a"}, "b"}, Tuple{"a)"}, Tuple{"a", []byte("b")}, Tuple{[]byte("a"), "b"}, Tuple{"(a"}, Tuple{"u\x01a"}, Tuple{"", ""},
		Tuple{""}, Tuple{nil}, Tuple{nil, nil}, Tuple{int64('u')}, Tuple{0.5}, Tuple{Decimal("0.1")}, Tuple{tenTo(40)}, Tuple{Decimal("1E-40")},
		Tuple{math.Inf(1)}, Tuple{NewFrozenSet()}, Tuple{NewFrozenSet(Tuple{})}, NewFrozenSet(NewFrozenSet()), NewFrozenSet(Tuple{}),
		NewFrozenSet("a", "b"), NewFrozenSet("ab"), NewFrozenSet(Tuple{"a", "b"}), NewFrozenSet(Tuple{"a"}, "b"), Tuple{NewFrozenSet("a"), "b"},
		Tuple{NewFrozenSet("a", "b")}, "", "()", []byte("()"), int64(0), int64(1),
	}
	seen := map[any]any{}
	for _, k := range keys {
		h := mustHash(t, k)
		if other, dup := seen[h]; dup {
			t.Errorf("%#v looks like %#v", k, other)
		}
		seen[h] = k
	}
}

func TestDictsKeepTheirOrderAndIndexWhenKeysAreDeleted(t *testing.T) {
	d := NewDict("a", 1, "b", 2, "c", 3, "d", 4)
	d.Delete("b")
	d.Delete("nothing")
	require.NoError(t, d.Set("a", 10))
	require.NoError(t, d.Set("e", 5))
	d.Delete("e")
	var got []any
	for k, v := range d.All() {
		got = append(got, k, v)
		byKey, ok := d.Get(k)
		require.True(t, ok)
		assert.Equal(t, v, byKey)
	}
	assert.Equal(t, []any{"a", 10, "c", 3, "d", 4}, got)
	for range d.All() {
		break
	}
	s := NewSet(1, 2, 3)
	s.Delete(true)
	assert.Equal(t, []any{2, 3}, slices.Collect(s.All()))
	assert.Equal(t, 2, s.Len())
}

func TestHugeKeysAreRefusedBeforeTheyAreMade(t *testing.T) {
	key := Tuple{}
	for range 40 { // 2⁴⁰ parts
		key = Tuple{key, key}
	}
	assert.ErrorIs(t, new(Dict).Set(key, 1), errKeySize)
	assert.False(t, NewSet(1).Has(key))
	text := make([]byte, 1<<20)
	key = Tuple{text}
	for range 10 {
		key = Tuple{key, key}
	}
	assert.ErrorIs(t, new(Dict).Set(key, 1), errKeySize)
	set := NewFrozenSet(text)
	set = NewFrozenSet(set, Tuple{set, set, set, set, set})
	assert.ErrorIs(t, new(Dict).Set(Tuple{set, set, set, set, set, set, set, set, set, set, set, set}, 1), errKeySize)
}

// Equal tuples that do not share are compared part by part: it is their size
// that counts, not the number of ways through them.
func TestComparingSharedTuplesIsNotExponential(t *testing.T) {
	nest := func() Tuple {
		k := Tuple{int64(1)}
		for range 16 {
			k = Tuple{k, k}
		}
		return k
	}
	a := nest()
	order, err := keyOrder([]any{Tuple{a, int64(2)}, Tuple{a, int64(1)}, Tuple{a}, Tuple{a, a}})
	assert.Error(t, err, "(a, a) and (a, 1)")
	assert.Nil(t, order)
	order, err = keyOrder([]any{Tuple{a, int64(2)}, Tuple{a, int64(1)}, Tuple{a}})
	require.NoError(t, err)
	assert.Equal(t, []int{2, 1, 0}, order)
}

func TestDecimalsAreWhatPythonTakesForOne(t *testing.T) {
	for _, s := range []string{
		"0", "-0", "1", "+1", "1.", ".5", "-1.25", "1E+5", "1e-5", "1E5", "0.1e1000000000000000000", "1e999999999999999999",
		"1e-1999999999999999997", "NaN", "-NaN", "nan123", "sNaN", "sNaN1", "Infinity", "-inf", "+INF", "00012", "0E+9",
	} {
		assert.True(t, Decimal(s).Valid(), s)
	}
	for _, s := range []string{
		"", "-", ".", "e5", "1e", "1e+-5", "1E5.0", "--1", "0x10", "infi", "nan x", "1 ", "abc", "1e1000000000000000000", "10e999999999999999999",
		"0e1000000000000000000", "1e-1999999999999999998", "1e9223372036854775808", "1e-9223372036854775808", "1.5e-9223372036854775808",
		"1e99999999999999999999", "NaN1.5", "1.2.3", "١", "\xff", "1\x00",
	} {
		assert.False(t, Decimal(s).Valid(), s)
	}
}

// Python compares these two, at any price.
func TestTheLargestDecimalsEqualOnlyDecimals(t *testing.T) {
	d := NewDict(Decimal("1E+6000"), 1)
	_, found := d.Get(Decimal("10E+5999"))
	assert.True(t, found)
	_, found = d.Get(tenTo(6000))
	assert.False(t, found)
	_, found = NewDict(Decimal("1E+4999"), 1).Get(tenTo(4999))
	assert.True(t, found)
}

func TestHugeNumbersAreSortedBySize(t *testing.T) {
	sorted := []any{
		Decimal("-Infinity"), Decimal("-1E+999999999999999999"), Decimal("-1.5E+400"), Decimal("-1.25E+400"), new(big.Int).Neg(tenTo(300)),
		Decimal("-1E-999999999"), 0, Decimal("1E-999999999"), Decimal("2E-999999999"), tenTo(3), 1e308, tenTo(400), Decimal("1.1E+400"), Decimal("1.11E+400"), Decimal("1E+6000"),
		tenTo(6001), Decimal("1E+7000"), Decimal("Infinity"),
	}
	shuffled := slices.Clone(sorted)
	slices.Reverse(shuffled)
	order, err := keyOrder(shuffled)
	require.NoError(t, err)
	for i, j := range order {
		assert.Equal(t, len(sorted)-1-i, j)
	}
	assert.Zero(t, compareNumbers(math.Inf(1), Decimal("Infinity")))
	assert.Negative(t, compareNumbers(tenTo(5000), math.Inf(1)))
	assert.Positive(t, compareNumbers(Decimal("Infinity"), tenTo(5000)))
}

func FuzzDecimalCompare(f *testing.F) {
	for _, s := range []string{"1", "1.0", "-0.5", "1E+3", "NaN", "1e400", "5e-324", "0.1"} {
		f.Add(s, "0.5", 0.5, int64(3))
	}
	f.Fuzz(func(t *testing.T, a, b string, x float64, n int64) {
		pa, ok := parseDecimal(a)
		if !ok || pa.special != "" || pa.exp > 3000 || pa.exp < -3000 || len(a) > 3000 {
			return
		}
		rat, ok := new(big.Rat).SetString(pa.String())
		require.True(t, ok, a)
		against := func(other any, r *big.Rat) {
			want := rat.Cmp(r)
			assert.Equal(t, want, cmp.Compare(compareNumbers(Decimal(a), other), 0), "%s and %v", a, other)
			assert.Equal(t, -want, cmp.Compare(compareNumbers(other, Decimal(a)), 0), "%v and %s", other, a)
			ka, err := hashKey(Decimal(a), nil)
			require.NoError(t, err)
			kb, err := hashKey(other, nil)
			require.NoError(t, err)
			assert.Equal(t, want == 0, ka == kb, "%s and %v", a, other)
		}
		against(n, new(big.Rat).SetInt64(n))
		if r := new(big.Rat).SetFloat64(x); r != nil {
			against(x, r)
			if r.IsInt() {
				against(plain(r.Num()), r)
			}
		}
		if pb, ok := parseDecimal(b); ok && pb.special == "" && pb.exp < 3000 && pb.exp > -3000 {
			r, ok := new(big.Rat).SetString(pb.String())
			require.True(t, ok)
			against(Decimal(b), r)
		}
	})
}
