package schema_test

import (
	"context"
	"io"
	"math/big"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	. "github.com/foolscap-go/foolscap/protocol/schema"
)

type (
	point struct {
		_    struct{} `foolscap:",tuple"`
		X, Y int8
	}
	tree   struct{ Left, Right *tree }
	pruned struct {
		Left *pruned `schema:"any"`
	}
	shape interface{ Area() float64 }
	loop  *loop
)

func TestEveryGoTypeHasItsConstraint(t *testing.T) {
	const i64 = "int(min=-9223372036854775808, max=9223372036854775807)"
	for _, c := range []struct {
		typ  reflect.Type
		want string
	}{
		{reflect.TypeFor[[]byte](), "bytes"},
		{reflect.TypeFor[[4]byte](), "bytes(min=4, max=4)"},
		{reflect.TypeFor[[0]byte](), "bytes(max=0)"},
		{reflect.TypeFor[string](), "text"},
		{reflect.TypeFor[int8](), "int(min=-128, max=127)"},
		{reflect.TypeFor[uint16](), "int(min=0, max=65535)"},
		{reflect.TypeFor[int](), i64},
		{reflect.TypeFor[uint64](), "int(min=0, max=18446744073709551615)"},
		{reflect.TypeFor[*big.Int](), "int"},
		{reflect.TypeFor[big.Int](), "int"},
		{reflect.TypeFor[float32](), "number"},
		{reflect.TypeFor[bool](), "bool"},
		{reflect.TypeFor[[]string](), "list(text)"},
		{reflect.TypeFor[[2]string](), "list(text, min=2, max=2)"},
		{reflect.TypeFor[map[string]bool](), "dict(text, bool)"},
		{reflect.TypeFor[map[string]struct{}](), "set(text)"},
		{reflect.TypeFor[point](), "tuple(int(min=-128, max=127), int(min=-128, max=127))"},
		{reflect.TypeFor[*string](), "choice(text, none)"},
		{reflect.TypeFor[**string](), "choice(text, none)"},
		{reflect.TypeFor[any](), "any"},
		{reflect.TypeFor[*any](), "any"},
		{reflect.TypeFor[*object](), "referenceable"},
		{reflect.TypeFor[func(context.Context, struct{}) (int, error)](), "referenceable"},
		{reflect.TypeFor[io.Reader](), "referenceable"},
		{reflect.TypeFor[shape](), "referenceable"},
		{reflect.TypeFor[struct{}](), "none"},
		{reflect.TypeFor[*banana.List](), "list(any)"},
		{reflect.TypeFor[*banana.Dict](), "dict(any, any)"},
		{reflect.TypeFor[*banana.Set](), "mutableset(any)"},
		{reflect.TypeFor[*banana.FrozenSet](), "frozenset(any)"},
		{reflect.TypeFor[banana.Decimal](), "decimal"},
		{reflect.TypeFor[pruned](), "struct(left: any)"},
		{reflect.TypeFor[struct {
			MaxSize int8   `schema:"int(max=5)"`
			Other   string `foolscap:"else,optional" default:"\"x\""`
			hidden  int
			Skipped chan int `foolscap:"-"`
		}](), `struct(max_size: int(max=5), else: optional(text, default="x"))`},
	} {
		got, err := ForType(c.typ, "")
		require.NoError(t, err, c.typ)
		assert.Equal(t, c.want, got.String(), c.typ)
	}
}

func TestArgumentsAreTheFieldsOfAStruct(t *testing.T) {
	args, err := ArgsOf(reflect.TypeFor[struct {
		A int8
		B []byte  `foolscap:",optional" schema:"bytes(max=3)" default:"b\"\\x00z\""`
		C float64 `foolscap:",optional" schema:"optional(number, default=1)"`
	}]())
	require.NoError(t, err)
	require.Len(t, args, 3)
	assert.Equal(t, "a", args[0].Name)
	assert.False(t, args[0].Optional)
	assert.Equal(t, Arg{Name: "b", Constraint: Bytes{Max: 3}, Optional: true, Default: []byte("\x00z")}, args[1])
	assert.Equal(t, Arg{Name: "c", Constraint: Number{}, Optional: true, Default: int64(1)}, args[2])
}

func TestTypesWithoutAConstraintAreRefused(t *testing.T) {
	for want, typ := range map[string]reflect.Type{
		"schema_test.tree.Left: schema_test.tree contains itself": reflect.TypeFor[tree](),
		"chan int has no form in Banana":                          reflect.TypeFor[chan int](),
		"banana.Tuple has no constraint of its own":               reflect.TypeFor[banana.Tuple](),
		"it has a default and is not optional": reflect.TypeFor[struct {
			A int `default:"1"`
		}](),
		"it is optional in the schema tag": reflect.TypeFor[struct {
			A int `schema:"optional(int)"`
		}](),
		"the default: schema: at 1: expected a number": reflect.TypeFor[struct {
			A int `foolscap:",optional" default:"x"`
		}](),
		"the default: expected integer, got text": reflect.TypeFor[struct {
			A big.Int `foolscap:",optional" default:"\"x\""`
		}](),
		"at 1: unknown constraint": reflect.TypeFor[struct {
			A int `schema:"lost"`
		}](),
		`two fields called "a"`: reflect.TypeFor[struct {
			A, B int `foolscap:"a"`
		}](),
		`option "strange" in the foolscap tag does not apply`: reflect.TypeFor[struct {
			A int `foolscap:",strange"`
		}](),
		"no value that int(min=300) accepts fits the type": reflect.TypeFor[struct {
			A uint8 `schema:"int(min=300)"`
		}](),
		"no value that list(text, min=1) accepts fits the type": reflect.TypeFor[struct {
			A []int `schema:"list(text, min=1)"`
		}](),
		"no value that list(any, max=1) accepts fits the type": reflect.TypeFor[struct {
			A [2]int `schema:"list(max=1)"`
		}](),
		"no value that bytes(max=1) accepts fits the type": reflect.TypeFor[struct {
			A [2]byte `schema:"bytes(max=1)"`
		}](),
		"no value that choice(text, none) accepts fits the type": reflect.TypeFor[struct {
			A int `schema:"choice(text, none)"`
		}](),
		"no value that referenceable accepts fits the type": reflect.TypeFor[struct {
			A string `schema:"referenceable"`
		}](),
	} {
		_, err := ForType(typ, "")
		assert.ErrorContains(t, err, want)
	}
	for tag, typ := range map[string]reflect.Type{
		"none": reflect.TypeFor[*int](), "int(max=9)": reflect.TypeFor[*int8](), "choice(text, int)": reflect.TypeFor[int](), "tuple(int)": reflect.TypeFor[[]int](),
		`interface("RIFoo")`: reflect.TypeFor[shape](), "int": reflect.TypeFor[float64](), "frozenset(text)": reflect.TypeFor[map[string]struct{}](),
		"list(int)": reflect.TypeFor[*banana.List](), "dict(text, int)": reflect.TypeFor[any](), `copyable("A")`: reflect.TypeFor[point](),
	} {
		_, err := ForType(typ, tag)
		assert.NoError(t, err, "%s for %s", tag, typ)
	}
	_, err := ForType(reflect.TypeFor[[]byte](), "text")
	assert.ErrorContains(t, err, "no value that text accepts fits the type")
	_, err = ForType(reflect.TypeFor[loop](), "int")
	assert.ErrorContains(t, err, "no value that int accepts fits the type")
	_, err = ForType(reflect.TypeFor[loop](), "")
	assert.ErrorContains(t, err, "contains itself")
	_, err = ForType(reflect.TypeFor[error](), "")
	assert.ErrorContains(t, err, "error has no form in Banana")
	_, err = ArgsOf(reflect.TypeFor[int]())
	assert.ErrorContains(t, err, "int is not a struct")
}

// What a type can be sent as is what its constraint accepts, and its names are
// those of banana.
func TestADerivedConstraintAcceptsWhatItsTypeSends(t *testing.T) {
	type everything struct {
		A    int8
		Bb   uint64
		C    []byte
		D    [2]bool
		E    map[string]float64
		F    map[int]struct{}
		G    *point
		H    *point
		I    any
		J    *object
		K    *big.Int
		L    string `foolscap:"ell,optional"`
		M    banana.Decimal
		N    struct{}
		O    *banana.FrozenSet
		P    []point
		skip int
	}
	full := everything{
		A: -128, Bb: 1 << 63, C: []byte("c"), D: [2]bool{true}, E: map[string]float64{"x": 1.5}, F: map[int]struct{}{3: {}}, G: &point{X: 1},
		I: "i", J: &object{}, K: pow2(100), L: "l", M: "1.5", O: banana.NewFrozenSet(int64(1)), P: []point{{Y: 2}}, skip: 1,
	}
	typ := reflect.TypeFor[everything]()
	c, err := ForType(typ, "")
	require.NoError(t, err)
	_, err = encode(full, c.Taster())
	require.NoError(t, err)
	in, externals := wire(t, full)
	got, err := decode(in, externals, new(everything), c.Taster())
	require.NoError(t, err)
	full.skip = 0
	assert.Equal(t, full, got)

	args, err := ArgsOf(typ)
	require.NoError(t, err)
	fields, _, err := banana.FieldsOf(typ)
	require.NoError(t, err)
	require.Len(t, args, len(fields))
	for i, f := range fields {
		assert.Equal(t, f.Name, args[i].Name)
		assert.Equal(t, f.Optional, args[i].Optional)
	}
}
