package main

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A pythonError is an error that remote callers see as one of Python's own
// exceptions.
type pythonError struct{ class, text string }

func (e *pythonError) Error() string { return e.text }

func (e *pythonError) RemoteType() (string, []string) {
	name := "builtins." + e.class
	return name, []string{name, "builtins.Exception"}
}

func typeError(format string, args ...any) error {
	return &pythonError{"TypeError", fmt.Sprintf(format, args...)}
}

// add is Python's + for the values of Foolscap: the sum of numbers, and the
// concatenation of two texts, byte strings, lists or tuples.
func add(a, b any) (any, error) {
	if v, ok, err := addNumbers(a, b); ok || err != nil {
		return v, err
	}
	switch a := a.(type) {
	case string:
		if b, ok := b.(string); ok {
			return a + b, nil
		}
	case []byte:
		if b, ok := b.([]byte); ok {
			return slices.Concat(a, b), nil
		}
	case *banana.List:
		if b, ok := b.(*banana.List); ok {
			return banana.NewList(slices.Concat(a.Items, b.Items)...), nil
		}
	case banana.Tuple:
		if b, ok := b.(banana.Tuple); ok {
			return slices.Concat(a, b), nil
		}
	}
	return nil, typeError("cannot add %s and %s", pythonType(a), pythonType(b))
}

// addNumbers adds integers of any size and floats; as in Python a boolean is
// the number 0 or 1. ok is false if one of the two is no number.
func addNumbers(a, b any) (sum any, ok bool, err error) {
	x, isInt1 := integerOf(a)
	y, isInt2 := integerOf(b)
	if isInt1 && isInt2 {
		n := new(big.Int).Add(x, y)
		if n.IsInt64() {
			return n.Int64(), true, nil
		}
		return n, true, nil
	}
	f, isFloat1 := a.(float64)
	g, isFloat2 := b.(float64)
	switch {
	case isInt1 && isFloat2:
		f, err = floatOf(x)
	case isFloat1 && isInt2:
		g, err = floatOf(y)
	case !isFloat1 || !isFloat2:
		return nil, false, nil
	}
	return f + g, err == nil, err
}

func integerOf(v any) (*big.Int, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return big.NewInt(1), true
		}
		return new(big.Int), true
	case int64:
		return big.NewInt(v), true
	case *big.Int:
		return v, true
	}
	return nil, false
}

func floatOf(n *big.Int) (float64, error) {
	f, _ := new(big.Float).SetInt(n).Float64()
	if f-f != 0 {
		return 0, &pythonError{"OverflowError", "the integer is too large to be added to a float"}
	}
	return f, nil
}

// pythonType names the type of a value as Python does.
func pythonType(v any) string {
	switch v.(type) {
	case nil:
		return "None"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case []byte:
		return "bytes"
	case banana.Decimal:
		return "Decimal"
	case *banana.List:
		return "list"
	case banana.Tuple:
		return "tuple"
	case *banana.Dict:
		return "dict"
	case *banana.Set:
		return "set"
	case *banana.FrozenSet:
		return "frozenset"
	}
	return "a reference"
}
