package banana

import (
	"iter"
	"reflect"
)

// A copyState is a value by copy as Tasters are shown it, whatever its type is:
// its class, and its attributes in their generic form.
type copyState struct {
	class  string
	names  []string
	values []any
}

// CopyableClass returns the name of the class.
func (c *copyState) CopyableClass() string { return c.class }

// CopyableState iterates over the attributes.
func (c *copyState) CopyableState() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for i, name := range c.names {
			if !yield(name, c.values[i]) {
				return
			}
		}
	}
}

// copyState reads the rest of a copyable into c.
func (d *Decoder) copyState(h *head, c *copyState) error {
	for first := true; ; first = false {
		nh, err := d.head(h.child)
		if err != nil {
			return err
		}
		if nh.tok.Type == TypeClose {
			return d.closed(h.child)
		}
		b, err := d.bytesIn(nil, nh.tok, h.child)
		if err != nil {
			return err
		}
		if first {
			c.class = string(b)
			continue
		}
		where := "(" + c.class + ")." + string(b)
		vh, err := d.head(h.child)
		if err != nil {
			return At(err, where)
		}
		v, wait, err := d.any(vh, h.child)
		if err != nil {
			return At(err, where)
		}
		if err := d.charge(64); err != nil {
			return err
		}
		c.names, c.values = append(c.names, string(b)), append(c.values, v)
		if i := len(c.values) - 1; wait != nil {
			wait.fixes = append(wait.fixes, func(v any) { c.values[i] = v })
		}
	}
}

// CopyState returns what a value of the current message, which came by copy, is
// made of: something with the methods CopyableClass() string and
// CopyableState() iter.Seq2[string, any], with all that is within in its generic
// form. It is nil for what did not come by copy. The message is charged for it.
func (d *Decoder) CopyState(v any) (any, error) {
	rv := reflect.ValueOf(v)
	if d.cfg.Copies == nil || rv.Kind() != reflect.Pointer || d.cfg.Copies.get(rv.Type().Elem()) == nil {
		return nil, nil
	}
	sub, err := d.again("what it is made of", func(e *Encoder) { e.Value(v) })
	if err != nil {
		return nil, err
	}
	sub.states = true
	state, err := sub.Value(nil)
	if err != nil {
		return nil, err
	}
	return state, d.charge(sub.cost)
}
