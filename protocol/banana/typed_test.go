package banana

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type (
	namedInt   int16
	namedText  string
	namedBytes []byte
	namedByte  byte
	namedBool  bool
	namedFloat float32
	namedList  []int
	namedMap   map[namedText]namedInt
	namedAny   any

	point struct{ X, Y int }
	pair  struct {
		_     struct{} `foolscap:",tuple"`
		Name  string
		Count int
	}
	options struct {
		MaxSize  int
		HTTPPort int    `foolscap:",optional"`
		Renamed  []byte `foolscap:"name_on_wire"`
		Left     int    `foolscap:"-"`
		Both     *int   `foolscap:"both,optional"`
		hidden   int
	}
	node struct {
		Value int
		Next  *node `foolscap:",optional"`
	}
	tree struct {
		Children []*tree
		Up       *tree `foolscap:",optional"`
		Names    map[string]*tree
	}
	holder struct {
		A any `foolscap:",optional"`
		B any `foolscap:",optional"`
	}
)

func ptr[T any](v T) *T { return &v }

// Values that arrive as this in a target of this type, and are sent like it
// too unless there is another way to write them.
var typedValues = []struct {
	name  string
	value string // as wire has it
	want  any    // of the target's type
	sent  string // if it is sent in another way
}{
	{"an int8", "-128", int8(-128), ""},
	{"an int16", "32767", int16(32767), ""},
	{"an int32", "-2147483648", int32(math.MinInt32), ""},
	{"an int64", "-9223372036854775808", int64(math.MinInt64), ""},
	{"an int", "2147483648", int(1 << 31), ""},
	{"a named integer", "300", namedInt(300), ""},
	{"a uint8", "255", uint8(255), ""},
	{"a uint16", "65535", uint16(65535), ""},
	{"a uint32", "4294967295", uint32(math.MaxUint32), ""},
	{"a uint64", "18446744073709551615", uint64(math.MaxUint64), ""},
	{"a uint", "2147483647", uint(math.MaxInt32), ""},
	{"a uintptr", "7", uintptr(7), ""},
	{"an INT of more than 31 bits", "#000000000020" + "81", int64(1 << 40), "1099511627776"},
	{"a NEG of 2⁶³", "#00000000000000000001" + "83", int64(math.MinInt64), "-9223372036854775808"},
	{"an INT of more than 64 bits", "#0000000000000000000000" + "0181", new(big.Int).Lsh(big.NewInt(1), 77), "151115727451828646838272"},
	{"an INT of 64 bits", "#7f7f7f7f7f7f7f7f7f01" + "81", uint64(math.MaxUint64), "18446744073709551615"},
	{"an INT of 65 bits", "#00000000000000000002" + "81", new(big.Int).Lsh(big.NewInt(1), 64), "18446744073709551616"},
	{"an integer with a padded header", "#050000000081", 5, "5"},
	{"an INT without a header", "#81", 0, "0"},
	{"a negative zero", "#0083", 0, "0"},
	{"a LONGINT without bytes", "#0085", 0, "0"},
	{"a LONGINT with leading zeros", "#09850000000000000000ff", 255, "255"},
	{"a big integer", "340282366920938463463374607431768211456", new(big.Int).Lsh(big.NewInt(1), 128), ""},
	{"a small big integer", "7", big.NewInt(7), ""},
	{"a big integer by value", "-340282366920938463463374607431768211456", *new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 128)), ""},
	{"a float64", "1.5", 1.5, ""},
	{"a float32", "1.5", float32(1.5), ""},
	{"a named float", "0.25", namedFloat(0.25), ""},
	{"a float64 that is infinite", "#847ff0000000000000", math.Inf(1), ""},
	{"a float32 that is infinite", "#84fff0000000000000", float32(math.Inf(-1)), ""},
	{"an exact integer as a float64", "9007199254740992", float64(1 << 53), "9007199254740992.0"},
	{"an exact big integer as a float64", "340282366920938463463374607431768211456", math.Ldexp(1, 128), "340282366920938463463374607431768211456.0"},
	{"an exact integer as a float32", "16777216", float32(1 << 24), "16777216.0"},
	{"a bool", "(boolean 1)", true, ""},
	{"a bool that is false", "(boolean 0)", false, ""},
	{"a bool from another integer", "(boolean 5)", true, "(boolean 1)"},
	{"a named bool", "(boolean 1)", namedBool(true), ""},
	{"text", `(unicode "café")`, "café", ""},
	{"empty text", `(unicode "")`, "", ""},
	{"text that is a word", `(unicode "list")`, "list", ""},
	{"named text", `(unicode "a")`, namedText("a"), ""},
	{"bytes", `"\x00\xff"`, []byte{0, 255}, ""},
	{"bytes that are a word", `"tuple"`, []byte("tuple"), ""},
	{"empty bytes", `""`, []byte{}, ""},
	{"named bytes", `"ab"`, namedBytes("ab"), ""},
	{"bytes of a named byte", `"ab"`, []namedByte{'a', 'b'}, ""},
	{"an array of bytes", `"abcd"`, [4]byte{'a', 'b', 'c', 'd'}, ""},
	{"an array of named bytes", `"abcd"`, [4]namedByte{'a', 'b', 'c', 'd'}, ""},
	{"an array of bytes that is a word", `"list"`, [4]byte{'l', 'i', 's', 't'}, ""},
	{"no bytes", `""`, [0]byte{}, ""},
	{"none for a pointer", "(none)", (*int)(nil), ""},
	{"none for a struct without fields", "(none)", struct{}{}, ""},
	{"none for any", "(none)", holder{}, "(dict)"},
	{"none for a reference", "(none)", (*object)(nil), ""},
	{"none for a list", "(none)", (*List)(nil), ""},
	{"a pointer", "7", ptr(7), ""},
	{"a pointer to a pointer", "7", ptr(ptr(7)), ""},
	{"a decimal", `(decimal "1.25")`, Decimal("1.25"), ""},
	{"a slice from a list", "(list 1 2 3 4 5 6 7 8 9)", []int{1, 2, 3, 4, 5, 6, 7, 8, 9}, ""},
	{"a slice from a tuple", "(tuple 1 2)", []int{1, 2}, "(list 1 2)"},
	{"an empty slice", "(list)", []int{}, ""},
	{"a slice of slices", "(list (list 1) (list) (list 2 3))", [][]int{{1}, {}, {2, 3}}, ""},
	{"a slice of structs", "(list (dict (unicode \"x\") 1 (unicode \"y\") 2))", []point{{1, 2}}, ""},
	{"a slice of any", `(list 1 (unicode "a") (none))`, []any{int64(1), "a", nil}, ""},
	{"a slice of a named any", `(list 1)`, []namedAny{int64(1)}, ""},
	{"a named slice", "(list 1)", namedList{1}, ""},
	{"an array from a list", "(list 1 2)", [2]int{1, 2}, ""},
	{"an array from a tuple", "(tuple 1 2)", [2]int{1, 2}, "(list 1 2)"},
	{"an array of slices", "(list (list 1) (list 2))", [2][]int{{1}, {2}}, ""},
	{"a set", "(set 7)", map[int]struct{}{7: {}}, ""},
	{"a frozen set", `(immutable-set (unicode "a") (unicode "b"))`, map[string]struct{}{"a": {}, "b": {}}, `(set (unicode "a") (unicode "b"))`},
	{"a set with the same member twice", "(set 7 7)", map[int]struct{}{7: {}}, "(set 7)"},
	{"a dict with text keys", `(dict (unicode "a") 1 (unicode "b") 2)`, map[string]int{"a": 1, "b": 2}, ""},
	{"a dict with integer keys", `(dict -5 (unicode "x") 3 (unicode "y") 20 (unicode "z"))`, map[int8]string{-5: "x", 3: "y", 20: "z"}, ""},
	{"a dict with keys that are arrays of bytes", `(dict "aa" 1 "bb" 2)`, map[[2]byte]int{{'a', 'a'}: 1, {'b', 'b'}: 2}, ""},
	{"a dict with tuples for keys", `(dict (tuple (unicode "a") 1) 7 (tuple (unicode "a") 2) 8)`, map[pair]int{{Name: "a", Count: 1}: 7, {Name: "a", Count: 2}: 8}, ""},
	{"a dict with keys of any kind", `(dict (unicode "a") 1 (unicode "b") 2)`, map[any]int{"a": 1, "b": 2}, ""},
	{"a dict with float keys", "(dict 0.5 1 1.5 2)", map[float64]int{0.5: 1, 1.5: 2}, ""},
	{"a dict with bool keys", "(dict (boolean 0) 1 (boolean 1) 2)", map[bool]int{false: 1, true: 2}, ""},
	{"a dict with decimal keys", `(dict (decimal "0.5") 1 (decimal "1E+1") 2)`, map[Decimal]int{"0.5": 1, "1E+1": 2}, ""},
	{"a dict that lacks its last value", `(dict (unicode "a") 1 (unicode "b"))`, map[string]int{"a": 1}, `(dict (unicode "a") 1)`},
	{"a named map", `(dict (unicode "a") 1)`, namedMap{"a": 1}, ""},
	{"a map of maps", `(dict (unicode "a") (dict 1 (list 2)))`, map[string]map[int][]int{"a": {1: {2}}}, ""},
	{"a struct", `(dict (unicode "x") 1 (unicode "y") 2)`, point{1, 2}, ""},
	{"a struct in another order", `(dict (unicode "y") 2 (unicode "x") 1)`, point{1, 2}, `(dict (unicode "x") 1 (unicode "y") 2)`},
	{"a struct with keys of bytes", `(dict "x" 1 "y" 2)`, point{1, 2}, `(dict (unicode "x") 1 (unicode "y") 2)`},
	{"a pointer to a struct", `(dict (unicode "x") 1 (unicode "y") 2)`, &point{1, 2}, ""},
	{"a struct that is a tuple", `(tuple (unicode "a") 7)`, pair{Name: "a", Count: 7}, ""},
	{"a pointer to a struct that is a tuple", `(tuple (unicode "a") 7)`, &pair{Name: "a", Count: 7}, ""},
	{"a struct with options left out", `(dict (unicode "max_size") 1 (unicode "name_on_wire") "x")`, options{MaxSize: 1, Renamed: []byte("x"), hidden: 0}, ""},
	{"a struct with options", `(dict (unicode "both") 9 (unicode "http_port") 80 (unicode "max_size") 1 (unicode "name_on_wire") "")`,
		options{MaxSize: 1, HTTPPort: 80, Renamed: []byte{}, Both: ptr(9)}, ""},
	{"a recursive struct", `(dict (unicode "next") (dict (unicode "value") 2) (unicode "value") 1)`, &node{1, &node{2, nil}}, ""},
	{"a generic list", "(list 1)", NewList(int64(1)), ""},
	{"a generic tuple", "(tuple 1)", Tuple{int64(1)}, ""},
	{"a generic dict", "(dict 1 2)", NewDict(int64(1), int64(2)), ""},
	{"a generic set", "(set 1)", NewSet(int64(1)), ""},
	{"a generic frozen set", "(immutable-set 1)", NewFrozenSet(int64(1)), ""},
	{"a reference", "(my-reference 5)", &object{5}, ""},
	{"a reference by its interface", "(my-reference 5)", holder{A: &object{5}}, `(dict (unicode "a") (my-reference 5))`},
}

func TestTypedValues(t *testing.T) {
	for _, test := range typedValues {
		t.Run(test.name, func(t *testing.T) {
			in := answer(test.value)
			if _, ok := test.want.(holder); ok {
				in = answer(`(dict (unicode "a") ` + test.value + `)`)
			}
			got := reflect.New(reflect.TypeOf(test.want))
			require.NoError(t, decodeInto(in, got.Interface()))
			assert.Equal(t, test.want, got.Elem().Interface())

			sent := test.sent
			if sent == "" {
				sent = test.value
			}
			want := answer(sent)
			for how, v := range map[string]any{"typed": test.want, "in an any": got.Interface()} {
				out, err := encode(v)
				require.NoError(t, err, how)
				assert.Equal(t, hex.EncodeToString(want), hex.EncodeToString(out), how)
			}
		})
	}
}

func TestValuesThatDoNotFitTheirTarget(t *testing.T) {
	big200 := new(big.Int).Lsh(big.NewInt(1), 200).String()
	for _, test := range []struct {
		value  string
		target any
		text   string
	}{
		{"128", int8(0), "the integer does not fit int8"},
		{"-129", int8(0), "the integer does not fit int8"},
		{"2147483648", int32(0), "the integer does not fit int32"},
		{"9223372036854775808", int64(0), "the integer does not fit int64"},
		{"-9223372036854775809", int64(0), "the integer does not fit int64"},
		{big200, namedInt(0), "the integer does not fit banana.namedInt"},
		{"#7f7f7f7f7f7f7f7f7f7f7f81", int64(0), "the integer does not fit int64"},
		{"-1", uint8(0), "the integer does not fit uint8"},
		{"256", uint8(0), "the integer does not fit uint8"},
		{"18446744073709551616", uint64(0), "the integer does not fit uint64"},
		{"-" + big200, uint64(0), "the integer does not fit uint64"},
		{"9007199254740993", float64(0), "the integer is not exact as float64"},
		{"16777217", float32(0), "the integer is not exact as float32"},
		{big200, float32(0), "the integer is not exact as float32"},
		{"1.5", 0, "expected integer, got float"},
		{`"x"`, 0, "expected integer, got bytes"},
		{`"x"`, uint(0), "expected integer, got bytes"},
		{`(unicode "x")`, 0, "expected integer, got text"},
		{"(none)", 0, "expected integer, got none"},
		{"(boolean 1)", 0, "expected integer, got boolean"},
		{"1", true, "expected boolean, got integer"},
		{"(boolean)", true, "expected boolean, got none"},
		{"#847e37e43c8800759c", float32(0), "1e+300 does not fit float32"},
		{`"x"`, 1.5, "expected float, got bytes"},
		{`"x"`, "", "expected text, got bytes"},
		{`(unicode)`, "", "expected text, got none"},
		{`(unicode "x")`, []byte{}, "expected bytes, got text"},
		{`(list 1)`, []byte{}, "expected bytes, got list"},
		{`(list 1)`, [4]byte{}, "expected bytes, got list"},
		{`"abc"`, [4]byte{}, "expected 4 bytes, got 3"},
		{`"tuple"`, [4]byte{}, "expected 4 bytes, got 5"},
		{`"abc"`, []int{}, "expected list, got bytes"},
		{`(set 1)`, []int{}, "expected list, got set"},
		{`(list 1 2 "x")`, []int{}, "[2]: expected integer, got bytes"},
		{`(list (list 1) (list 2 (none)))`, [][]int{}, "[1][1]: expected integer, got none"},
		{`(list 1)`, [2]int{}, "expected 2 items, got 1"},
		{`(list 1 2 3)`, [2]int{}, "expected 2 items, got more"},
		{`(list 1 300)`, [2]int8{}, "[1]: the integer does not fit int8"},
		{`(list 1)`, map[int]struct{}{}, "expected set, got list"},
		{`(dict 1 2)`, map[int]struct{}{}, "expected set, got dict"},
		{`(set "x")`, map[int]struct{}{}, "key: expected integer, got bytes"},
		{`(set 1)`, map[int]int{}, "expected dict, got set"},
		{`(dict "a" 1)`, map[string]int{}, "key: expected text, got bytes"},
		{`(dict (unicode "a") "x")`, map[string]int{}, `["a"]: expected integer, got bytes`},
		{`(dict 5 "x")`, map[int]int{}, `[5]: expected integer, got bytes`},
		{`(dict "ab" "x")`, map[[2]byte]int{}, `["ab"]: expected integer, got bytes`},
		{`(dict (tuple (unicode "a") 1) "x")`, map[pair]int{}, `[banana.pair]: expected integer, got bytes`},
		{`(dict "a" 1)`, map[any]int{}, "key: bytes cannot be a key of map[interface {}]int (*Dict can hold it)"},
		{`(dict (tuple 1) 1)`, map[any]int{}, "key: tuple cannot be a key of map[interface {}]int (*Dict can hold it)"},
		{`(dict (unicode "x") 1)`, point{}, `missing key "y"`},
		{`(dict)`, options{}, `missing key "max_size"`},
		{`(dict (unicode "z") 1)`, point{}, `unknown key "z"`},
		{`(dict (unicode "left") 1)`, options{}, `unknown key "left"`},
		{`(dict (unicode "hidden") 1)`, options{}, `unknown key "hidden"`},
		{`(dict 1 1)`, point{}, "key: expected text, got integer"},
		{`(dict (list) 1)`, point{}, "key: expected text, got list"},
		{`(dict (unicode "x") (list))`, point{}, ".x: expected integer, got list"},
		{`(dict (unicode "x"))`, point{}, `missing key "x"`},
		{`(list 1 2)`, point{}, "expected dict, got list"},
		{`(list 1 2)`, pair{}, "expected tuple, got list"},
		{`(tuple (unicode "a"))`, pair{}, "expected 2 items, got 1"},
		{`(tuple (unicode "a") 1 2)`, pair{}, "expected 2 items, got more"},
		{`(tuple (unicode "a") (none))`, pair{}, ".count: expected integer, got none"},
		{`(list (dict (unicode "next") (dict (unicode "value") "x") (unicode "value") 1))`, []node{}, "[0].next.value: expected integer, got bytes"},
		{"1", struct{}{}, "expected none, got integer"},
		{"1", &List{}, "expected list, got integer"},
		{"(tuple)", &List{}, "expected list, got tuple"},
		{"(none)", Tuple{}, "expected tuple, got none"},
		{"(set)", NewFrozenSet(), "expected frozen set, got set"},
		{"(immutable-set)", NewSet(), "expected set, got frozen set"},
		{`"1"`, Decimal(""), "expected decimal, got bytes"},
		{"1.5", big.NewInt(1), "expected integer, got float"},
		{"1", &object{}, "expected reference, got integer"},
		{"(list)", &object{}, "expected reference, got list"},
		{"(my-reference 1)", 1, "expected integer, got reference"},
		{"(my-reference 1)", sliceExternal{}, "expected banana.sliceExternal, got reference"},
		{"(strange 1)", &object{}, `unknown type of sequence "strange"`},
		{"(strange 1)", 1, "expected integer, got strange"},
		{"(strange 1)", []any{}, "expected list, got strange"},
		{"(list (strange 1))", []any{}, `[0]: unknown type of sequence "strange"`},
		{"(list 1 (copyable \"a.B\"))", []any{}, `[1]: unknown type of sequence "copyable"`},
	} {
		t.Run(fmt.Sprintf("%s into %T", test.value, test.target), func(t *testing.T) {
			known := wireFrom(100, `(answer 1 (list 7))`)
			d := decoderFor(append(answer(test.value), known...))
			target := reflect.New(reflect.TypeOf(test.target))
			err := answerValue(d, func() error { return decodeTarget(d, target.Interface(), nil) })
			requireViolation(t, err, test.text)
			// The connection lives.
			var next []int
			require.NoError(t, answerValue(d, func() error { return decodeTarget(d, &next, nil) }))
			assert.Equal(t, []int{7}, next)
			requireEnd(t, d)
		})
	}
}

func TestWhatNoSenderCouldHaveMeantEndsTheConnection(t *testing.T) {
	for _, test := range []struct {
		value  string
		target any
		text   string
	}{
		{`(dict (unicode "a") 1 (unicode "a") 2)`, map[string]int{}, "same key twice"},
		{`(dict (unicode "x") 1 (unicode "x") 2)`, point{}, "same key twice"},
		{`(dict 1 1 (boolean 1) 2)`, &Dict{}, "same key twice"},
		{`(unicode "\xff")`, "", "not valid UTF-8"},
		{`(unicode "\xed\xa0\x80")`, "", "not valid UTF-8"},
		{`(unicode 1)`, "", "INT(1) within unicode"},
		{`(unicode "a" "b")`, "", "within unicode"},
		{`(unicode (list))`, "", "a list sequence within unicode"},
		{`(boolean 1 1)`, true, "INT(1) within boolean"},
		{`(boolean "x")`, true, "STRING(1) within boolean"},
		{`(none 1)`, struct{}{}, "INT(1) in a none sequence"},
		{`(none 1)`, (*int)(nil), "INT(1) in a none sequence"},
		{`(none 1)`, &List{}, "INT(1) in a none sequence"},
		{`(decimal "abc")`, Decimal(""), "no number"},
		{`(decimal)`, Decimal(""), "no number"},
		{`(set (list))`, &Set{}, "list cannot be a key"},
		{`(dict (list))`, &Dict{}, "list cannot be a key"},
		{`(dict (tuple (dict)) 1)`, &Dict{}, "dict cannot be a key"},
		{`(reference 0)`, 1, "reference to OPEN 0"},
		{`(reference 77)`, []int{}, "reference to OPEN 77"},
		{`(list (reference 99999999999999999999))`, []any{}, "LONGINT(9) within reference"},
		{`(list (reference #7f7f7f7f7f7f7f7f7f7f7f81))`, []any{}, "which cannot be referred to"},
		{`(list (unicode "a") (reference 2))`, []any{}, "reference to OPEN 2"},
		{`(reference)`, 1, "reference to nothing"},
		{`(reference "x")`, 1, "STRING(1) within reference"},
		{`(list (list) (reference 2 2))`, [][]int{}, "INT(2) within reference"},
		{`(reference -1)`, 1, "NEG(1) within reference"},
		{``, 1, "CLOSE where a value should be"},
		{``, []any{}, "CLOSE where a value should be"},
	} {
		t.Run(fmt.Sprintf("%s into %T", test.value, test.target), func(t *testing.T) {
			target := reflect.New(reflect.TypeOf(test.target))
			requireProtocolError(t, decodeInto(answer(test.value), target.Interface()), test.text)
		})
	}
}

func TestTypesWithoutAFormInBanana(t *testing.T) {
	type endless *endless
	type tupleTypo struct {
		_ struct{} `foolscap:",tupel"`
	}
	for _, test := range []struct {
		value any
		text  string
	}{
		{make(chan int), "type chan int has no form in Banana"},
		{func() {}, "type func() has no form in Banana"},
		{complex(1, 1), "type complex128 has no form in Banana"},
		{[]chan int{}, "type chan int has no form in Banana"},
		{map[string]func(){}, "type func() has no form in Banana"},
		{struct{ F error }{}, "struct { F error }.F: type error has no form in Banana"},
		{struct {
			A int `foolscap:"x"`
			X int
		}{}, "struct { A int \"foolscap:\\\"x\\\"\"; X int } has two fields called \"x\" on the wire"},
		{struct {
			A int `foolscap:",tuple"`
		}{}, `option "tuple" in the foolscap tag does not apply`},
		{tupleTypo{}, `option "tupel" in the foolscap tag does not apply`},
		{endless(nil), "has no form in Banana"},
	} {
		_, err := CodecOf(reflect.TypeOf(test.value))
		assert.ErrorContains(t, err, test.text)
		_, err = encode(test.value)
		var e *EncodeError
		require.ErrorAs(t, err, &e)
		assert.ErrorContains(t, err, test.text)
	}
	_, _, err := FieldsOf(reflect.TypeFor[int]())
	assert.EqualError(t, err, "type int is not a struct")
	_, _, err = FieldsOf(reflect.TypeFor[struct{ C chan int }]())
	assert.ErrorContains(t, err, "chan int")
}

func TestFieldsOfAStruct(t *testing.T) {
	fields, tuple, err := FieldsOf(reflect.TypeFor[options]())
	require.NoError(t, err)
	assert.False(t, tuple)
	var names []string
	for _, f := range fields {
		names = append(names, fmt.Sprint(f.Name, f.Optional))
	}
	assert.Equal(t, []string{"max_sizefalse", "http_porttrue", "name_on_wirefalse", "bothtrue"}, names)

	fields, tuple, err = FieldsOf(reflect.TypeFor[pair]())
	require.NoError(t, err)
	assert.True(t, tuple)
	v := reflect.ValueOf(&pair{}).Elem()
	d := decoderFor(answer(`(unicode "x")`))
	require.NoError(t, answerValue(d, func() error { return fields[0].Codec.Decode(d, fields[0].In(v), nil) }))
	assert.Equal(t, pair{Name: "x"}, v.Interface())
}

func TestSnakeCase(t *testing.T) {
	for in, want := range map[string]string{
		"A": "a", "Name": "name", "MaxSize": "max_size", "HTTPPort": "http_port", "UserID": "user_id", "ID": "id", "X2Y": "x2_y", "ÄrgerÖl": "ärger_öl", "JSON": "json",
	} {
		assert.Equal(t, want, SnakeCase(in), in)
	}
}

func TestSharedValuesInTypedTargets(t *testing.T) {
	t.Run("slices of one type are one", func(t *testing.T) {
		var v [][]int
		require.NoError(t, decodeInto(answer("(list (list 1 2 3) (reference 2) (list 1 2 3))"), &v))
		require.Equal(t, [][]int{{1, 2, 3}, {1, 2, 3}, {1, 2, 3}}, v)
		assert.Same(t, &v[0][0], &v[1][0])
		assert.NotSame(t, &v[0][0], &v[2][0])
		// but appending to the one leaves the other alone
		a := append(v[0], 4)
		b := append(v[1], 5)
		assert.Equal(t, []int{1, 2, 3, 4}, a)
		assert.Equal(t, []int{1, 2, 3, 5}, b)
	})
	t.Run("maps of one type are one", func(t *testing.T) {
		var v []map[string]int
		require.NoError(t, decodeInto(answer(`(list (dict (unicode "a") 1) (reference 2))`), &v))
		v[0]["b"] = 2
		assert.Equal(t, 2, v[1]["b"])
	})
	t.Run("structs are copied", func(t *testing.T) {
		var v []point
		require.NoError(t, decodeInto(answer(`(list (dict (unicode "x") 1 (unicode "y") 2) (reference 2))`), &v))
		assert.Equal(t, []point{{1, 2}, {1, 2}}, v)
	})
	t.Run("pointers are one", func(t *testing.T) {
		var v []*point
		require.NoError(t, decodeInto(answer(`(list (dict (unicode "x") 1 (unicode "y") 2) (reference 2))`), &v))
		assert.Equal(t, &point{1, 2}, v[0])
		assert.Same(t, v[0], v[1])
	})
	t.Run("pointers to tuples are one", func(t *testing.T) {
		var v []*pair
		require.NoError(t, decodeInto(answer(`(list (tuple (unicode "a") 2) (reference 2))`), &v))
		assert.Equal(t, &pair{Name: "a", Count: 2}, v[0])
		assert.Same(t, v[0], v[1])
	})
	t.Run("generic values are one", func(t *testing.T) {
		var v struct {
			A, B *List
			C, D Tuple
			E, F *Dict
			G, H *Set
		}
		require.NoError(t, decodeInto(answer(`(dict "a" (list 1) "b" (reference 2) "c" (tuple 1) "d" (reference 4)
			"e" (dict 1 1) "f" (reference 6) "g" (set 1) "h" (reference 8))`), &v))
		assert.Same(t, v.A, v.B)
		assert.Same(t, &v.C[0], &v.D[0])
		assert.Same(t, v.E, v.F)
		assert.Same(t, v.G, v.H)
	})
	t.Run("a struct and a pointer to it", func(t *testing.T) {
		var v struct {
			A    point
			B, C *point
			D    point
		}
		in := answer(`(dict "a" (dict "x" 1 "y" 2) "b" (reference 2) "c" (reference 2) "d" (reference 2))`)
		require.NoError(t, decodeInto(in, &v))
		assert.Equal(t, point{1, 2}, v.A)
		assert.Equal(t, &point{1, 2}, v.B)
		assert.Same(t, v.B, v.C)
		assert.Equal(t, point{1, 2}, v.D)
		v.B.X = 9
		assert.Equal(t, 1, v.A.X)
	})
	t.Run("a slice and a pointer to one", func(t *testing.T) {
		var v struct {
			A []int
			B *[]int
			C any
		}
		require.NoError(t, decodeInto(answer(`(dict "a" (tuple 1) "b" (reference 2) "c" (reference 2))`), &v))
		assert.Equal(t, &[]int{1}, v.B)
		assert.Equal(t, Tuple{int64(1)}, v.C)
	})
	t.Run("one value as many types", func(t *testing.T) {
		var v struct {
			A []int
			B []float64
			C [2]uint16
			D *List
			E any
			F any
			G []any
			H []float64
		}
		in := answer(`(dict "a" (list 1 2) "b" (reference 2) "c" (reference 2) "d" (reference 2) "e" (reference 2) "f" (reference 2) "g" (reference 2) "h" (reference 2))`)
		require.NoError(t, decodeInto(in, &v))
		assert.Equal(t, []int{1, 2}, v.A)
		assert.Equal(t, []float64{1, 2}, v.B)
		assert.Equal(t, [2]uint16{1, 2}, v.C)
		assert.Equal(t, NewList(int64(1), int64(2)), v.D)
		assert.Same(t, v.D, v.E)
		assert.Same(t, v.D, v.F)
		assert.Equal(t, []any{int64(1), int64(2)}, v.G)
		assert.Equal(t, []float64{1, 2}, v.H)
	})
	t.Run("a dict as a map, a struct and a Dict", func(t *testing.T) {
		var v struct {
			A *Dict
			B map[string]int
			C point
			D *point
			E map[string]int
		}
		in := answer(`(dict "a" (dict (unicode "x") 1 (unicode "y") 2) "b" (reference 2) "c" (reference 2) "d" (reference 2) "e" (reference 2))`)
		require.NoError(t, decodeInto(in, &v))
		assert.Equal(t, map[string]int{"x": 1, "y": 2}, v.B)
		assert.Equal(t, point{1, 2}, v.C)
		assert.Equal(t, &point{1, 2}, v.D)
		v.B["z"] = 3
		assert.Equal(t, 3, v.E["z"], "the first copy is what later ones share")
	})
	t.Run("a tuple in a slice stays a tuple elsewhere", func(t *testing.T) {
		var v struct {
			A []string
			B Tuple
			C pair
			D any
			E [1]string
		}
		in := answer(`(dict "a" (tuple) "b" (reference 2) "d" (reference 2) "e" (tuple (unicode "x")) "c" (tuple (unicode "y") 1))`)
		require.NoError(t, decodeInto(in, &v))
		assert.Equal(t, []string{}, v.A)
		assert.Equal(t, Tuple{}, v.B)
		assert.Equal(t, Tuple{}, v.D)
		requireViolation(t, decodeInto(answer(`(dict "a" (list) "b" (reference 2))`), &v),
			".b: expected tuple, got list")
	})
	t.Run("the empty tuple is shared by every CPython", func(t *testing.T) {
		var v struct {
			A []int
			B []string
			C struct {
				_ struct{} `foolscap:",tuple"`
			}
			D [0]int
		}
		require.NoError(t, decodeInto(answer(`(dict "a" (tuple) "b" (reference 2) "c" (reference 2) "d" (reference 2))`), &v))
		assert.Equal(t, []string{}, v.B)
		var w []struct {
			_ struct{} `foolscap:",tuple"`
		}
		require.NoError(t, decodeInto(answer(`(list (tuple) (reference 2) (reference 2))`), &w))
		assert.Len(t, w, 3)
	})
	t.Run("arrays", func(t *testing.T) {
		var v struct{ A, B [2][]int }
		require.NoError(t, decodeInto(answer(`(dict "a" (list (list 1) (reference 3)) "b" (reference 2))`), &v))
		assert.Equal(t, v.A, v.B)
	})
	t.Run("what does not fit is a Violation", func(t *testing.T) {
		var v struct {
			A []int
			B []string
		}
		requireViolation(t, decodeInto(answer(`(dict "a" (list 1) "b" (reference 2))`), &v), ".b[0]: expected text, got integer")
		requireViolation(t, decodeInto(answer(`(dict "b" (list (unicode "x")) "a" (reference 2))`), &v), ".a[0]: expected integer, got text")
	})
	t.Run("references to objects go with a copy", func(t *testing.T) {
		var v struct {
			A []any
			B *List
			C []*object
		}
		require.NoError(t, decodeInto(answer(`(dict "a" (list (my-reference 4) (my-reference 5)) "b" (reference 2) "c" (reference 2))`), &v))
		assert.Equal(t, []*object{{4}, {5}}, v.C)
		assert.Same(t, v.A[0], v.C[0])
		assert.Same(t, v.A[1], v.B.Items[1])
	})
	t.Run("a frozen set cannot be shared", func(t *testing.T) {
		for _, target := range []any{new([]any), new([]map[int]struct{}), new([]*FrozenSet), new(any), new(*List)} {
			err := decodeInto(answer(`(list (immutable-set 1) (reference 2))`), target)
			requireViolation(t, err, "[1]: a reference to a frozen set, which Foolscap never shares")
		}
	})
}

func TestCyclesInTypedTargets(t *testing.T) {
	t.Run("through pointers", func(t *testing.T) {
		var n *node
		in := answer(`(dict (unicode "next") (dict (unicode "next") (reference 1) (unicode "value") 2) (unicode "value") 1)`)
		require.NoError(t, decodeInto(in, &n))
		assert.Equal(t, 2, n.Next.Value)
		assert.Same(t, n, n.Next.Next)
		out := mustEncode(t, n)
		assert.Equal(t, hex.EncodeToString(wire(`(answer 1 (dict (unicode "next") (dict (unicode "next") (reference 1) (unicode "value") 2) (unicode "value") 1))`)), hex.EncodeToString(out))
	})
	t.Run("through maps and slices of pointers", func(t *testing.T) {
		root := &tree{Names: map[string]*tree{}}
		child := &tree{Up: root, Children: []*tree{}, Names: map[string]*tree{"root": root}}
		root.Children = []*tree{child, child}
		root.Names["self"] = root
		var got *tree
		require.NoError(t, decodeInto(mustEncode(t, root), &got))
		assert.Same(t, got, got.Names["self"])
		assert.Same(t, got.Children[0], got.Children[1])
		assert.Same(t, got, got.Children[0].Up)
		assert.Same(t, got, got.Children[0].Names["root"])
	})
	t.Run("through maps alone", func(t *testing.T) {
		type forest map[string]forest
		f := forest{}
		f["self"] = f
		var got forest
		require.NoError(t, decodeInto(mustEncode(t, f), &got))
		got["more"] = nil
		assert.Len(t, got["self"], 2)
	})
	t.Run("through any to a pointer", func(t *testing.T) {
		var h *holder
		require.NoError(t, decodeInto(answer(`(dict (unicode "a") (reference 1) (unicode "b") (list (reference 1)))`), &h))
		assert.Same(t, h, h.A)
		assert.Same(t, h, h.B.(*List).Items[0])
	})
	t.Run("through any to a list", func(t *testing.T) {
		var h holder
		require.NoError(t, decodeInto(answer(`(dict (unicode "a") (list (reference 3)))`), &h))
		assert.Same(t, h.A, h.A.(*List).Items[0])
	})
	for name, test := range map[string]struct {
		value  string
		target any
	}{
		"through a slice":                    {"(list (reference 1))", new([]any)},
		"through a recursive slice":          {"(list (reference 1))", new([]namedAny)},
		"through an array":                   {"(list (reference 1))", new([1]any)},
		"through a struct by value":          {`(dict "a" (reference 1))`, new(holder)},
		"through a tuple in an any":          {"(tuple (list (reference 1)))", new([]any)},
		"through a generic tuple":            {"(tuple (dict 1 (list (reference 1))))", new([]map[int]any)},
		"from a pointer to another type":     {`(dict "a" (reference 1))`, new(*struct{ A map[string]int })},
		"from a map to another type":         {`(dict (unicode "a") (reference 1))`, new(map[string]map[string]any)},
		"from a list to a typed slice in it": {`(list (reference 1))`, new([][]int)},
	} {
		t.Run("not "+name, func(t *testing.T) {
			err := decodeInto(answer(test.value), test.target)
			var v *Violation
			require.ErrorAs(t, err, &v)
			assert.Contains(t, v.Error(), "expected a value without cycles, got one that contains itself")
		})
	}
	t.Run("a copy of what is not complete is refused", func(t *testing.T) {
		var h *struct {
			In  *struct{ Up any } // points at what is being read
			Out any               // would be a copy of it
		}
		err := decodeInto(answer(`(dict "in" (dict "up" (reference 1)) "out" (reference 2))`), &h)
		requireViolation(t, err, ".out: a shared value cannot be used as interface {}: cannot encode .up: a value that contains itself")
	})
	t.Run("a tuple that contains itself directly", func(t *testing.T) {
		for _, value := range []string{"(tuple (reference 1))", "(tuple 1 (tuple (reference 1)))", "(list (tuple (tuple (tuple (reference 2)))))"} {
			_, err := decodeAny(answer(value))
			var v *Violation
			require.ErrorAs(t, err, &v, value)
			assert.Equal(t, "a tuple that contains itself", v.Reason)
		}
	})
	t.Run("a tuple that is not complete is no key", func(t *testing.T) {
		for _, value := range []string{
			"(tuple (list (dict (tuple (reference 1)) 1)))", "(tuple (list (dict (reference 1) 1)))", "(tuple (list (set (reference 1))))",
			"(tuple (list (tuple (reference 1)) (dict (reference 3) 1)))", "(tuple (list (immutable-set (tuple (reference 1)))))",
		} {
			_, err := decodeAny(answer(value))
			requireProtocolError(t, err, "cannot be a key")
		}
	})
}

// What a decoder makes of a typed value it can make of the generic one too.
func TestTypedValuesAreEqualToThemselvesThroughAny(t *testing.T) {
	for _, test := range typedValues {
		in := answer(test.value)
		if strings.HasPrefix(test.value, "#") {
			continue
		}
		v, err := decodeAny(in)
		require.NoError(t, err, test.name)
		out := mustEncode(t, v)
		again, err := decodeAny(out)
		require.NoError(t, err, test.name)
		assert.Equal(t, out, mustEncode(t, again), test.name)
	}
}

func TestCodecsAreMadeOnceByManyGoroutines(t *testing.T) {
	type leaf struct{ Up map[string]*tree }
	type a struct {
		B []*struct {
			C map[string]*struct{ D []leaf }
		}
		N *node
		T [2]*tree
	}
	type b struct{ A []a }
	in := mustEncode(t, b{A: []a{{}}})
	codecs.Clear()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, target := range []any{new(b), new(a), new([]a), new(map[string]*a)} {
				_, err := CodecOf(reflect.TypeOf(target).Elem())
				assert.NoError(t, err)
			}
			var v b
			assert.NoError(t, decodeInto(in, &v))
			out, err := encode(v)
			assert.NoError(t, err)
			assert.Equal(t, in, out)
		})
	}
	wg.Wait()
}
