package schema

import (
	"errors"
	"reflect"
	"slices"
	"strconv"
	"unsafe"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A walk looks at values that are there already.
type walk struct {
	memo map[looked]verdict
	path []identity
	// growing reports whether a value is still being read; nil says no.
	growing func(v any) bool
	// copyState is that of the Tasting, and states what it has returned.
	copyState func(v any) (any, error)
	states    map[any]any
	// cycle is the value in which the last cycle was found, until it turns
	// out that this does not matter.
	cycle any
	// charge allows a verdict to be kept; nil allows all.
	charge func(n int) error
}

// verdictCost is what a verdict takes in a map, in bytes.
const verdictCost = 128

// verdict is what is known of a value. An objection to a cycle holds as long
// as the value in which it ends is growing.
type verdict struct {
	objection *banana.Violation // or nil
	cycle     any
}

// looked is a value that a constraint has judged.
type looked struct {
	c [2]unsafe.Pointer // the words of the interface value
	v identity
}

// identity tells shared values apart from equal ones.
type identity struct {
	p unsafe.Pointer
	n int
}

func identityOf(v any) identity {
	switch v := v.(type) {
	case *banana.List:
		return identity{unsafe.Pointer(v), 0}
	case *banana.Dict:
		return identity{unsafe.Pointer(v), 0}
	case *banana.Set:
		return identity{unsafe.Pointer(v), 0}
	case *banana.FrozenSet:
		return identity{unsafe.Pointer(v), 0}
	case banana.Tuple:
		if len(v) > 0 {
			return identity{unsafe.Pointer(unsafe.SliceData(v)), len(v)}
		}
	case Copied:
		if rv := reflect.ValueOf(v); rv.Kind() == reflect.Pointer {
			return identity{rv.UnsafePointer(), 0}
		}
	}
	return identity{}
}

// constraintID identifies a constraint: copies of an interface value share
// what it points to.
func constraintID(c Constraint) [2]unsafe.Pointer {
	return *(*[2]unsafe.Pointer)(unsafe.Pointer(&c))
}

func check(c Constraint, v any) error { return new(walk).check(c, v) }

// check judges v. A value that contains itself has no end: whoever looks into
// it objects.
func (w *walk) check(c Constraint, v any) error {
	k := kindOfValue(v)
	if k == kindOther && c.kinds() != everyKind {
		state, err := w.stateOf(v)
		if err != nil {
			return err
		}
		if state != nil {
			v, k = state, kindOfValue(state)
		}
	}
	switch all := c.kinds(); {
	case all&k == 0 && k == kindOther && w.growing != nil && w.growing(v):
		return errCycle()
	case all&k == 0:
		return mismatch(c, gotValue(k, v))
	case all == everyKind:
		if _, ok := c.(Any); ok {
			return nil
		}
	}
	if _, ok := c.(Choice); ok { // looks into nothing itself
		return c.look(w, v)
	}
	if o, ok := c.(Optional); ok {
		return w.check(orAny(o.Of), v)
	}
	id := identityOf(v)
	if id.p == nil {
		return c.look(w, v)
	}
	key := looked{constraintID(c), id}
	if known, ok := w.memo[key]; ok {
		switch {
		case known.objection == nil:
			return nil
		case known.cycle == nil:
			return again(known.objection)
		case w.unfinished(known.cycle):
			w.cycle = known.cycle
			return errCycle()
		}
	}
	if w.unfinished(v) {
		w.cycle = v
		return errCycle()
	}
	if w.charge != nil {
		if err := w.charge(verdictCost); err != nil {
			return err
		}
	}
	w.path = append(w.path, id)
	err := c.look(w, v)
	w.path = w.path[:len(w.path)-1]
	if w.memo == nil {
		w.memo = make(map[looked]verdict)
	}
	var objection *banana.Violation
	if errors.As(err, &objection) {
		w.memo[key] = verdict{again(objection), w.cycle}
	} else {
		w.memo[key] = verdict{}
	}
	return err
}

// stateOf returns what a value by copy is made of, or nil if v is something else.
func (w *walk) stateOf(v any) (any, error) {
	if w.copyState == nil || reflect.ValueOf(v).Kind() != reflect.Pointer || w.growing != nil && w.growing(v) {
		return nil, nil
	}
	if state, ok := w.states[v]; ok {
		return state, nil
	}
	state, err := w.copyState(v)
	if err != nil || state == nil {
		return nil, err
	}
	if w.states == nil {
		w.states = make(map[any]any)
	}
	w.states[v] = state
	return state, nil
}

// again returns a copy of an objection, to which others can add where it is.
func again(v *banana.Violation) *banana.Violation {
	return &banana.Violation{Path: slices.Clone(v.Path), Reason: v.Reason, Err: v.Err}
}

// unfinished reports whether what is looked at is within v.
func (w *walk) unfinished(v any) bool {
	return slices.Contains(w.path, identityOf(v)) || w.growing != nil && w.growing(v)
}

func errCycle() error {
	return violation("expected a value without cycles, got one that contains itself")
}

func gotValue(k kinds, v any) string {
	if k == kindOther {
		return "something else"
	}
	return k.String()
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }

func keyPath(k any) string {
	switch k := k.(type) {
	case string:
		return "[" + strconv.Quote(banana.CutText(k, 40)) + "]"
	case []byte:
		return "[" + strconv.Quote(banana.CutText(string(k[:min(len(k), 40)]), 40)) + "]"
	case int64:
		return "[" + strconv.FormatInt(k, 10) + "]"
	}
	return "[" + kindOfValue(k).String() + "]"
}

// copied judges a copyable whose tokens were not shown.
func (w *walk) copied(c Copyable, v any) error {
	if _, ok := v.(Copied); !ok {
		return violation("expected copyable %q, got %T", c.Class, v)
	}
	return c.look(w, v)
}
