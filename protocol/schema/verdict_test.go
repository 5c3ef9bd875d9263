package schema_test

import (
	"errors"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	. "github.com/foolscap-go/foolscap/protocol/schema"
)

func pow2(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }

func list(items ...any) *banana.List { return banana.NewList(items...) }

var (
	twice  = list(int64(1))
	cyclic = func() *banana.List {
		l := list(nil)
		l.Items[0] = l
		return l
	}()
	// inside leads back to what it is in.
	inside, around = func() (*banana.List, *banana.List) {
		in, out := list(nil), list(nil, nil)
		in.Items[0], out.Items[0], out.Items[1] = out, in, in
		return in, out
	}()
)

// verdicts are values and why a constraint objects to them, or "".
var verdicts = []struct {
	constraint string
	value      any
	objection  string
	typed      any // of the type in which it is decoded too
}{
	{"any", list(nil, "x", 1), "", nil},
	{"any", cyclic, "", nil},
	{"bytes", []byte("a"), "", []byte{}},
	{"bytes", "a", "expected bytes, got text", ""},
	{"bytes", nil, "expected bytes, got none", struct{}{}},
	{"bytes(min=2, max=3)", []byte("a"), "expected at least 2 bytes, got 1", []byte{}},
	{"bytes(min=2, max=3)", []byte("abcd"), "expected at most 3 bytes, got 4", []byte{}},
	{"bytes(min=2, max=3)", []byte("abc"), "", [3]byte{}},
	{"bytes(max=3)", []byte("list"), "expected at most 3 bytes, got 4", []byte{}}, // a VOCAB
	{"bytes(max=0)", []byte{}, "", []byte{}},
	{"bytes(max=0)", []byte("a"), "expected at most 0 bytes, got 1", []byte{}},
	{`bytes(pattern="b")`, []byte("abc"), "", []byte{}},
	{`bytes(pattern="^b")`, []byte("abc"), `does not match the pattern "^b"`, []byte{}},
	{"text", "ä", "", ""},
	{"text", []byte("a"), "expected text, got bytes", []byte{}},
	{"text(max=2)", "äöü", "expected at most 2 characters, got 3", ""},
	{"text(max=2)", "𝄞𝄞", "", ""},
	{"text(max=2)", strings.Repeat("x", 9), "expected at most 2 characters, got 9", ""},
	{"text(min=2)", "ä", "expected at least 2 characters, got 1", ""},
	{`text(pattern="\\d")`, "a1", "", ""},
	{`text(pattern="^\\d")`, "a1", `does not match the pattern "^\\d"`, ""},
	{"int", int64(-5), "", int(0)},
	{"int", 1.5, "expected integer, got float", 0.0},
	{"int", true, "expected integer, got boolean", false},
	{"int", new(big.Int).Neg(pow2(8191)), "", big.Int{}},
	{"int", pow2(8192), "expected an integer of at most 1024 bytes, got a larger one", big.Int{}},
	{"int(bytes=none)", pow2(9000), "", big.Int{}},
	{"int(bytes=1)", int64(-255), "", int(0)},
	{"int(bytes=1)", int64(256), "expected an integer of at most 1 bytes, got a larger one", int(0)},
	{"int(bytes=8)", new(big.Int).Sub(pow2(64), big.NewInt(1)), "", uint64(0)},
	{"int(bytes=8)", pow2(64), "expected an integer of at most 8 bytes, got a larger one", big.Int{}},
	{"int(min=0, max=255)", int64(255), "", uint8(0)},
	{"int(min=0, max=255)", int64(-1), "expected int(min=0, max=255), got -1", int(0)},
	{"int(min=0, max=200)", int64(201), "expected int(min=0, max=200), got 201", int(0)},
	{"int(min=0, max=255)", int64(256), "expected int(min=0, max=255), got a larger integer", int(0)},
	{"int(min=-2147483648, max=2147483647)", int64(-1 << 31), "", int(0)},
	{"int(min=-2147483648, max=2147483647)", int64(1 << 31), "expected int(min=-2147483648, max=2147483647), got 2147483648", int(0)},
	{"int(max=1099511627776)", int64(1 << 40), "", int(0)},
	{"int(max=1099511627776)", int64(1<<40 + 1), "expected int(max=1099511627776), got 1099511627777", int(0)},
	{"int(min=-1099511627776)", int64(-1<<40 - 1), "expected int(min=-1099511627776), got -1099511627777", int(0)},
	{"int(min=18446744073709551616)", pow2(64), "", big.Int{}},
	{"int(min=18446744073709551616)", int64(1), "expected int(min=18446744073709551616), got 1", int(0)},
	{"number", 1.5, "", 0.0},
	{"number", int64(7), "", int(0)},
	{"number(bytes=1)", int64(256), "expected an integer of at most 1 bytes, got a larger one", 0.0},
	{"number", []byte("1"), "expected integer or float, got bytes", []byte{}},
	{"bool", true, "", false},
	{"bool", int64(1), "expected boolean, got integer", int(0)},
	{"true", true, "", false},
	{"true", false, "expected true, got false", false},
	{"false", true, "expected false, got true", false},
	{"none", nil, "", struct{}{}},
	{"none", int64(0), "expected none, got integer", int(0)},
	{"decimal", banana.Decimal("1.5"), "", banana.Decimal("")},
	{"decimal(max=3)", banana.Decimal("1.25"), "expected at most 3 bytes, got 4", banana.Decimal("")},
	{"decimal", 1.5, "expected decimal, got float", 0.0},
	{"list", list(nil, 1), "", nil},
	{"list(int)", list(1, "x"), "[1]: expected integer, got text", []any{}},
	{"list(int, min=1, max=2)", list(1, 2), "", []int{}},
	{"list(int, min=1, max=2)", list(), "expected at least 1 items, got 0", []int{}},
	{"list(int, min=1, max=2)", list(1, 2, 3), "expected at most 2 items", []int{}},
	{"list(int)", banana.Tuple{1}, "expected list, got tuple", []int{}},
	{"list(list(int))", list(twice, twice), "", [][]int{}},
	{"list(list(int), max=9)", list(list(1), list(1, "x")), "[1][1]: expected integer, got text", [][]any{}},
	{"tuple(list(int), list(text))", banana.Tuple{twice, twice}, "[1][0]: expected text, got integer", nil},
	{"tuple(list(int), text)", banana.Tuple{twice, twice}, "[1]: expected text, got ", nil},
	{"list(any)", cyclic, "", nil},
	{"list(list(any))", cyclic, "[0]: expected a value without cycles, got one that contains itself", nil},
	{"list(list(any))", around, "", nil},
	{"list(list(list(any)))", around, "[0][0]: expected a value without cycles, got one that contains itself", nil},
	{"tuple(any, list(list(any)))", banana.Tuple{cyclic, cyclic}, "[1][0]: expected a value without cycles, got one that contains itself", nil},
	{"list(any)", inside, "", nil},
	{"tuple(int, text)", banana.Tuple{1, "a"}, "", nil},
	{"tuple(int, text)", banana.Tuple{1}, "expected 2 items, got 1", []int{}},
	{"tuple(int, text)", banana.Tuple{1, "a", 3}, "expected 2 items, got ", []any{}},
	{"tuple()", banana.Tuple{}, "", []int{}},
	{"set(int, max=2)", banana.NewSet(1, 2), "", map[int]struct{}{}},
	{"set(int, max=2)", banana.NewFrozenSet(1, 2), "", map[int]struct{}{}},
	{"set(int, max=2)", banana.NewSet(1, 2, 3), "expected at most 2 members, got ", map[int]struct{}{}},
	{"set(int)", banana.NewSet("x"), "{}: expected integer, got text", map[string]struct{}{}},
	{"mutableset(int)", banana.NewFrozenSet(1), "expected set, got frozen set", map[int]struct{}{}},
	{"frozenset(int)", banana.NewSet(1), "expected frozen set, got set", map[int]struct{}{}},
	{"frozenset(int)", banana.NewFrozenSet(1), "", map[int]struct{}{}},
	{"dict(text, int, max=1)", banana.NewDict("a", 1), "", map[string]int{}},
	{"dict(text, int, max=1)", banana.NewDict("a", 1, "b", 2), "expected at most 1 keys, got ", map[string]int{}},
	{"dict(text, int)", banana.NewDict("a", "x"), `["a"]: expected integer, got text`, map[string]string{}},
	{"dict(text, int)", banana.NewDict([]byte("a"), 1), "key: expected text, got bytes", nil},
	{"dict", list(), "expected dict, got list", []int{}},
	{"choice(int(max=5), none)", nil, "", (*int)(nil)},
	{"choice(int(max=5), none)", int64(5), "", int(0)},
	{"choice(int(max=5), none)", int64(6), "expected int(max=5), got 6", int(0)},
	{"choice(int(max=5), none)", "x", "expected integer or none, got text", ""},
	{"choice(int(max=5), int(min=9))", int64(7), "expected choice(int(max=5), int(min=9)), got", int(0)},
	{`choice(bytes(max=1), bytes(min=3, pattern="a"))`, []byte("xay"), "", []byte{}},
	{`choice(bytes(max=1), bytes(min=3, pattern="a"))`, []byte("xyz"), "expected choice(", []byte{}},
	{"choice(list(int), list(text))", list("a", "b"), "", []string{}},
	{"choice(list(int), list(text))", list("a", 1), "expected ", []any{}},
	{"choice(tuple(list(int), int), tuple(list(text), text))", banana.Tuple{list(1), "a"}, "expected ", nil},
	{"choice(tuple(list(int), int), tuple(list(text), text))", banana.Tuple{list("b"), "a"}, "", nil},
	{"choice(tuple(any, int), tuple(list(choice(int, text)), text))", banana.Tuple{list("b", 1), "a"}, "", nil},
	{"list(choice(list(list(int)), list(int)))", list(twice, list(twice), twice), "", nil},
	{"list(choice(none, any))", list(cyclic, 1), "", nil},
	{"referenceable", &object{}, "", &object{}},
	{"referenceable", &object{opentype: "their-reference"}, "", &object{}},
	{"referenceable", int64(1), "expected reference, got integer", int(0)},
	{`interface("RIFoo")`, &object{iface: "RIFoo"}, "", &object{}},
	{`interface("RIFoo")`, &object{iface: "RIFoo", opentype: "your-reference"}, "", &object{}},
	{`interface("RIFoo")`, &object{iface: "RIBar"}, `expected a reference with the interface "RIFoo", got one with "RIBar"`, &object{}},
	{`interface("RIFoo")`, &object{}, `expected a reference with the interface "RIFoo", got one without`, &object{}},
	{`interface("RIFoo")`, &object{iface: "RIBar", extends: "RIFoo"}, "", &object{}},
	{`interface("RIFoo")`, &object{iface: "RIBar", opentype: "their-reference"}, `expected a reference with the interface "RIFoo", got one with "RIBar"`, &object{}},
	{`choice(interface("RIFoo"), interface("RIBar"))`, &object{iface: "RIBar"}, "", &object{}},
	{`choice(interface("RIFoo"), interface("RIBar"))`, &object{iface: "RIBaz"}, "expected choice(", &object{}},
	{"struct(a: int, b: optional(text))", banana.NewDict("a", 1), "", map[string]int{}},
	{"struct(a: int, b: optional(text))", banana.NewDict("a", 1, "b", "x"), "", struct {
		A int
		B string
	}{}},
	{"struct(a: int, b: optional(text))", banana.NewDict("b", "x"), `missing "a"`, map[string]string{}},
	{"struct(a: int, b: optional(text))", banana.NewDict([]byte("a"), 1), "", struct{ A int }{}},
	{"struct(a: int, b: optional(text))", banana.NewDict("a", 1, "c", 1), `unknown name "c"`, map[string]int{}},
	{"struct(a: int, b: optional(text))", banana.NewDict("a", 1, "b", 2), `["b"]: expected text, got integer`, map[string]int{}},
	{"struct(a: int)", banana.NewDict(1, 1), "key: expected ", map[int]int{}},
	{"struct()", banana.NewDict(), "", map[int]int{}},
	{"attrdict(a: int, unknown=ignore)", banana.NewDict("a", 1, "other", list("x")), "", nil},
	{"attrdict(a: int, unknown=accept)", banana.NewDict("other", 1), `missing "a"`, map[string]int{}},
	{"list(struct(a: int))", list(banana.NewDict("a", 1), banana.NewDict("a", "x")), `[1]["a"]: expected integer, got text`, nil},
	{"list(text(max=3))", list("abc", "abcd"), "[1]: expected at most 3 characters, got 4", []string{}},
	{"optional(int)", int64(1), "", int(0)},
	{"number", math.Inf(1), "", 0.0},
}

func TestAllWaysToLookAtAValueComeToTheSameVerdict(t *testing.T) {
	for _, v := range verdicts {
		c := parse(t, v.constraint)
		want := func(way string, err error) {
			t.Helper()
			if v.objection == "" {
				assert.NoError(t, err, "%s: %s of %v", way, v.constraint, v.value)
				return
			}
			var violation *banana.Violation
			require.ErrorAs(t, err, &violation, "%s: %s of %v", way, v.constraint, v.value)
			assert.Contains(t, violation.Error(), short(v.objection), "%s: %s of %v", way, v.constraint, v.value)
		}
		in, externals := wire(t, v.value)
		got, err := decode(in, externals, nil, c.Taster())
		want("decoding", err)
		if err == nil {
			assert.NoError(t, c.Check(got), "what was decoded: %s", v.constraint)
		}
		want("checking", c.Check(v.value))
		_, err = encode(v.value, c.Taster())
		want("sending", err)
		if err != nil {
			var e *banana.EncodeError
			assert.ErrorAs(t, err, &e)
		}
		if v.typed != nil {
			_, err = decode(in, externals, reflect.New(reflect.TypeOf(v.typed)).Interface(), c.Taster())
			if v.objection == "" {
				want("decoding typed", err)
			} else {
				assert.Error(t, err, v.constraint)
			}
		}
	}
}

// short leaves out of an objection what differs between a struct's field and a
// key, and between a number of items and the first item too many.
func short(s string) string { return strings.TrimSuffix(s, " got 3") }

func TestAnIntroductionOfUnknownInterfacePassesUntilItIsResolved(t *testing.T) {
	c := parse(t, `interface("RIFoo")`)
	in, externals := wire(t, &object{opentype: "their-reference"})
	got, err := decode(in, externals, nil, c.Taster())
	require.NoError(t, err)
	require.Error(t, c.Check(got), "it says that it has none")
	got.(*object).iface = "RIFoo"
	require.NoError(t, c.Check(got))
}

func TestAnIntroductionMayBeOneOfSeveral(t *testing.T) {
	for _, c := range []struct{ constraint, iface, wrong string }{
		{`choice(tuple(interface("RIFoo"), int), tuple(interface("RIBar"), int))`, "RIBar", "RIOther"},
		{`choice(tuple(interface("RIFoo"), int), tuple(interface("RIBar"), text))`, "RIFoo", "RIBar"},
		{`choice(choice(interface("RIFoo"), interface("RIBar")), tuple(int))`, "RIBar", "RIOther"},
		{`choice(list(choice(interface("RIFoo"), interface("RIBar"))), list(interface("RIBaz")), int)`, "RIBaz", "RIOther"},
		{`choice(tuple(interface("RIFoo"), int), tuple(referenceable, int))`, "RIOther", ""},
		{`choice(tuple(interface("RIFoo"), int), tuple(referenceable, text))`, "RIFoo", "RIOther"},
	} {
		for _, iface := range []string{c.iface, c.wrong} {
			o := &object{opentype: "their-reference"}
			var v any = o
			switch {
			case strings.HasPrefix(c.constraint, "choice(tuple"):
				v = banana.Tuple{o, 1}
			case strings.HasPrefix(c.constraint, "choice(list"):
				v = banana.NewList(o)
			}
			in, externals := wire(t, v)
			tasting := new(Tasting)
			_, err := decode(in, externals, nil, tasting.Taster(parse(t, c.constraint)))
			require.NoError(t, err, c.constraint)
			o.iface = iface
			legal := true
			for _, u := range tasting.Unsure() {
				legal = legal && u.Constraint.Check(u.Value) == nil
			}
			assert.Equal(t, iface == c.iface || c.wrong == "", legal, "%s %s", c.constraint, iface)
		}
	}
}

func TestWhatIsTooLongIsRefusedBeforeItIsRead(t *testing.T) {
	for text, in := range map[string][]byte{
		"bytes(max=10)":             banana.AppendToken(nil, banana.TypeString, 1<<20),
		"list(bytes(max=10))":       banana.AppendToken(open(1, "list"), banana.TypeString, 1<<20),
		"text(max=10)":              banana.AppendToken(open(1, "unicode"), banana.TypeString, 1<<20),
		"struct(name: int)":         banana.AppendToken(open(1, "dict"), banana.TypeString, 1<<20),
		"int":                       banana.AppendToken(nil, banana.TypeLongInt, 1<<20),
		"decimal(max=5)":            banana.AppendToken(open(1, "decimal"), banana.TypeString, 1<<20),
		"list(int, max=2)":          append(open(1, "list"), "\x01\x81\x01\x81\x01\x81"...),
		"choice(bytes(max=1), int)": banana.AppendToken(nil, banana.TypeString, 1<<20),
		"list(list(any), max=0)":    append(open(1, "list"), open(2, "list")...),
		"tuple()":                   append(open(1, "tuple"), open(2, "list")...),
	} {
		account := banana.NewAccount("Test", 1<<30, nil)
		d := banana.NewDecoder(strings.NewReader(""), append(open(0, "answer"), in...), &banana.DecoderConfig{Vocab: 1, Account: account})
		_, err := d.Begin()
		require.NoError(t, err)
		_, err = d.Value(parse(t, text).Taster())
		var v *banana.Violation
		require.ErrorAs(t, err, &v, text)
		assert.Zero(t, account.Used(), text)
	}
}

func open(n uint64, opentype string) []byte {
	return banana.AppendString(banana.AppendToken(nil, banana.TypeOpen, n), opentype)
}

// Each list holds the one before it twice: a walk without a memory would take
// two to the power of their number.
func TestSharingCostsNoMoreThanWhatIsShared(t *testing.T) {
	l := list(int64(1))
	text := "list(int)"
	for range 40 {
		l = list(l, l)
		text = "list(" + text + ")"
	}
	c := parse(t, text)
	require.NoError(t, c.Check(l))
	in, _ := wire(t, l)
	_, err := decode(in, nil, nil, c.Taster())
	require.NoError(t, err)
	_, err = encode(l, c.Taster())
	require.NoError(t, err)

	// Nor do objections: each item is refused by the first alternative, at
	// its end.
	many := list()
	for range 20_000 {
		many.Items = append(many.Items, int64(1))
	}
	many.Items = append(many.Items, "the end")
	l = list()
	for range 20_000 {
		l.Items = append(l.Items, many)
	}
	c = parse(t, "list(choice(list(int), list(any)))")
	start := time.Now()
	require.NoError(t, c.Check(l))
	assert.Less(t, time.Since(start), 5*time.Second)
}

// Looking at shared values again needs memory of its own, for each constraint.
func TestWhatLookingAtSharedValuesTakesIsCharged(t *testing.T) {
	many := list()
	for range 1000 {
		many.Items = append(many.Items, list())
	}
	in, _ := wire(t, list(many, many, many))
	charged := func(text string) (n int) {
		tasting := Tasting{Charge: func(more int) error { n += more; return nil }}
		_, err := decode(in, nil, nil, tasting.Taster(parse(t, text)))
		require.NoError(t, err)
		return n
	}
	assert.Greater(t, charged("list(list(list(int)))"), 1000*100)
	assert.Less(t, charged("list(list(any))"), 1000, "what may be anything is not looked into")
	tasting := Tasting{Charge: func(int) error { return &banana.LimitError{Limit: "MaxMessage"} }}
	_, err := decode(in, nil, nil, tasting.Taster(parse(t, "list(list(list(int)))")))
	var limit *banana.LimitError
	assert.ErrorAs(t, err, &limit)
	var v *banana.Violation
	assert.ErrorAs(t, err, &v)
}

func TestATastingIsUsedForOneMessageAfterAnother(t *testing.T) {
	var tasting Tasting
	c := parse(t, "list(list(choice(text(max=1), int)), max=2)")
	good, _ := wire(t, list(list("a", 1), list("b")))
	bad, _ := wire(t, list(list("a", 1), list("bc")))
	for range 3 {
		_, err := decode(bad, nil, nil, tasting.Taster(c))
		require.ErrorContains(t, err, "[1][0]: expected at most 1 characters, got 2")
		tasting.Reset()
		_, err = decode(good, nil, nil, tasting.Taster(c))
		require.NoError(t, err)
		tasting.Reset()
	}
	assert.True(t, errors.As(c.Check(1), new(*banana.Violation)))
}
