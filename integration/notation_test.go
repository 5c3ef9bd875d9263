package integration

import (
	"encoding/json"
	"fmt"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
)

// notationOf writes a generic Go value as the Python peer writes its own: what is the same value here and there is the
// same text. That includes what is shared and what contains itself.
func notationOf(t testing.TB, v any) pypeer.Value {
	t.Helper()
	w := writer{t: t, labels: make(map[any]int)}
	w.findShared(v, make(map[any]bool))
	return canonical(t, w.value(v))
}

// canonical numbers labels in the order in which they are written.
func canonical(t testing.TB, v pypeer.Value) pypeer.Value {
	t.Helper()
	var again pypeer.Value
	require.NoError(t, json.Unmarshal([]byte(v), &again))
	return again
}

type writer struct {
	t      testing.TB
	labels map[any]int // of what occurs more than once: 0, or its label once it is written
	last   int
}

// identityOf returns what tells a container from its equals; nil for what has no identity.
func identityOf(v any) any {
	switch v := v.(type) {
	case *banana.List, *banana.Dict, *banana.Set:
		return v
	case banana.Tuple:
		if len(v) > 0 {
			return &v[0]
		}
	}
	return nil
}

func (w *writer) findShared(v any, seen map[any]bool) {
	if id := identityOf(v); id != nil {
		if seen[id] {
			w.labels[id] = 0
			return
		}
		seen[id] = true
	}
	switch v := v.(type) {
	case *banana.List:
		for _, item := range v.Items {
			w.findShared(item, seen)
		}
	case banana.Tuple:
		for _, item := range v {
			w.findShared(item, seen)
		}
	case *banana.Dict:
		for _, item := range v.All() {
			w.findShared(item, seen)
		}
	}
}

func (w *writer) value(v any) pypeer.Value {
	id := identityOf(v)
	label, shared := w.labels[id]
	switch {
	case id == nil || !shared:
		return w.content(v, w.value)
	case label > 0:
		return pypeer.Same(label)
	}
	w.last++
	label = w.last
	w.labels[id] = label
	return pypeer.Def(label, w.content(v, w.value))
}

// hashable writes members of sets and keys, which the notation does not label.
func (w *writer) hashable(v any) pypeer.Value { return w.content(v, w.hashable) }

func (w *writer) content(v any, inner func(any) pypeer.Value) pypeer.Value {
	all := func(items []any) []pypeer.Value {
		values := make([]pypeer.Value, len(items))
		for i, item := range items {
			values[i] = inner(item)
		}
		return values
	}
	members := func(items []any) []pypeer.Value {
		values := make([]pypeer.Value, len(items))
		for i, item := range items {
			values[i] = w.hashable(item)
		}
		return values
	}
	switch v := v.(type) {
	case nil:
		return pypeer.None
	case bool:
		return pypeer.Bool(v)
	case int:
		return pypeer.Int(int64(v))
	case int64:
		return pypeer.Int(v)
	case *big.Int:
		return pypeer.BigInt(v)
	case float64:
		return pypeer.Float(v)
	case string:
		return pypeer.Text(v)
	case []byte:
		return pypeer.Bytes(v)
	case banana.Decimal:
		return pypeer.Decimal(string(v))
	case *banana.List:
		return pypeer.List(all(v.Items)...)
	case banana.Tuple:
		return pypeer.Tuple(all(v)...)
	case *banana.Set:
		var items []any
		for item := range v.All() {
			items = append(items, item)
		}
		return pypeer.Set(members(items)...)
	case *banana.FrozenSet:
		var items []any
		for item := range v.All() {
			items = append(items, item)
		}
		return pypeer.FrozenSet(members(items)...)
	case *banana.Dict:
		var pairs []pypeer.Value
		for key, item := range v.All() {
			pairs = append(pairs, w.hashable(key), inner(item))
		}
		return pypeer.Dict(pairs...)
	}
	require.FailNow(w.t, "no generic value", fmt.Sprintf("%T", v))
	return ""
}

func TestGoValuesAreWrittenAsPythonWritesThem(t *testing.T) {
	shared := banana.NewList(1)
	cycle := &banana.List{}
	cycle.Items = []any{cycle}
	for name, test := range map[string]struct {
		value any
		want  pypeer.Value
	}{
		"a value of each kind": {
			banana.Tuple{nil, true, int64(-1), 1.5, "a", []byte("a"), banana.Decimal("1.50")},
			pypeer.Tuple(pypeer.None, pypeer.True, pypeer.Int(-1), pypeer.Float(1.5), pypeer.Text("a"), pypeer.Bytes("a"), pypeer.Decimal("1.50")),
		},
		"a list that is shared":       {banana.NewList(shared, shared), pypeer.List(pypeer.Def(1, pypeer.List(pypeer.Int(1))), pypeer.Same(1))},
		"equal lists":                 {banana.NewList(shared, banana.NewList(1)), pypeer.List(pypeer.List(pypeer.Int(1)), pypeer.List(pypeer.Int(1)))},
		"a list that contains itself": {cycle, pypeer.Def(1, pypeer.List(pypeer.Same(1)))},
		"a dict of a set": {
			banana.NewDict("b", banana.NewSet(int64(2), int64(1)), "a", banana.NewFrozenSet()),
			pypeer.Dict(pypeer.Text("a"), pypeer.FrozenSet(), pypeer.Text("b"), pypeer.Set(pypeer.Int(1), pypeer.Int(2))),
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, notationOf(t, test.value))
		})
	}
}
