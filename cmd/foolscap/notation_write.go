package main

import (
	"fmt"
	"math/big"
	"strconv"
	"unsafe"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// writeNotation writes a value of the kinds that decoding into any gives. What
// it writes is about as large as the value, however much of that is shared.
// external writes what goes by reference.
func writeNotation(v any, external func(banana.External) ([]byte, error)) ([]byte, error) {
	w := notationWriter{external: external, times: make(map[identity]int), labels: make(map[identity]int)}
	w.count(v)
	err := w.write(v)
	return w.out, err
}

type notationWriter struct {
	external func(banana.External) ([]byte, error)
	out      []byte
	times    map[identity]int // how often a value occurs, up to 2
	labels   map[identity]int // of those that occur more than once and are written
}

// identity tells values apart that are shared rather than equal.
type identity struct {
	p unsafe.Pointer
	n int // length of a tuple
}

// identityOf returns the identity of a value that has one.
func identityOf(v any) (identity, bool) {
	switch v := v.(type) {
	case *banana.List:
		return identity{p: unsafe.Pointer(v)}, v != nil
	case *banana.Dict:
		return identity{p: unsafe.Pointer(v)}, v != nil
	case *banana.Set:
		return identity{p: unsafe.Pointer(v)}, v != nil
	case *banana.FrozenSet:
		return identity{p: unsafe.Pointer(v)}, v != nil
	case banana.Tuple:
		return identity{unsafe.Pointer(unsafe.SliceData(v)), len(v)}, len(v) > 0
	}
	return identity{}, false
}

// count finds out what occurs more than once.
func (w *notationWriter) count(v any) {
	id, ok := identityOf(v)
	if !ok {
		return
	}
	if w.times[id]++; w.times[id] > 1 {
		w.times[id] = 2
		return
	}
	switch v := v.(type) {
	case *banana.List:
		for _, item := range v.Items {
			w.count(item)
		}
	case banana.Tuple:
		for _, item := range v {
			w.count(item)
		}
	case *banana.Dict:
		for k, item := range v.All() {
			w.count(k)
			w.count(item)
		}
	case *banana.Set:
		for item := range v.All() {
			w.count(item)
		}
	case *banana.FrozenSet:
		for item := range v.All() {
			w.count(item)
		}
	}
}

func (w *notationWriter) text(s string) { w.out = append(w.out, s...) }

func (w *notationWriter) write(v any) error {
	id, ok := identityOf(v)
	if !ok || w.times[id] < 2 {
		return w.plain(v)
	}
	if label, ok := w.labels[id]; ok {
		w.text(`{"` + markRef + `":` + strconv.Itoa(label) + `}`)
		return nil
	}
	label := len(w.labels) + 1
	w.labels[id] = label
	w.text(`{"` + markDef + `":` + strconv.Itoa(label) + `,"` + defValue + `":`)
	if err := w.plain(v); err != nil {
		return err
	}
	w.text("}")
	return nil
}

func (w *notationWriter) plain(v any) error {
	switch v := v.(type) {
	case nil:
		w.text("null")
	case bool:
		w.out = strconv.AppendBool(w.out, v)
	case int64:
		w.out = strconv.AppendInt(w.out, v, 10)
	case *big.Int:
		w.out = appendBigInt(w.out, v)
	case float64:
		w.out = appendFloat(w.out, v)
	case string:
		w.out = appendString(w.out, v)
	case []byte:
		w.out = appendBytes(w.out, v)
	case banana.Decimal:
		w.out = appendDecimal(w.out, v)
	case *banana.List:
		return w.list(v.Items)
	case banana.Tuple:
		return w.marked(markTuple, func() error { return w.list(v) })
	case *banana.Set:
		return w.marked(markSet, func() error { return w.each(v.All()) })
	case *banana.FrozenSet:
		return w.marked(markFrozenSet, func() error { return w.each(v.All()) })
	case *banana.Dict:
		return w.dict(v)
	case banana.External:
		text, err := w.external(v)
		if err != nil {
			return err
		}
		w.out = append(w.out, text...)
	default:
		return fmt.Errorf("a value of type %T has no notation", v)
	}
	return nil
}

func (w *notationWriter) marked(mark string, content func() error) error {
	w.text(`{"` + mark + `":`)
	if err := content(); err != nil {
		return err
	}
	w.text("}")
	return nil
}

func (w *notationWriter) list(items []any) error {
	return w.each(func(yield func(any) bool) {
		for _, item := range items {
			if !yield(item) {
				return
			}
		}
	})
}

func (w *notationWriter) each(items func(yield func(any) bool)) error {
	separator := "["
	for item := range items {
		w.text(separator)
		separator = ","
		if err := w.write(item); err != nil {
			return err
		}
	}
	if separator == "[" {
		w.text("[")
	}
	w.text("]")
	return nil
}

func (w *notationWriter) dict(d *banana.Dict) error {
	if !isPlainDict(d) {
		return w.marked(markDict, func() error { return w.pairs(d) })
	}
	separator := "{"
	for k, item := range d.All() {
		w.text(separator)
		separator = ","
		w.out = appendString(w.out, k.(string))
		w.text(":")
		if err := w.write(item); err != nil {
			return err
		}
	}
	if separator == "{" {
		w.text("{")
	}
	w.text("}")
	return nil
}

func (w *notationWriter) pairs(d *banana.Dict) error {
	separator := "["
	for k, item := range d.All() {
		w.text(separator + "[")
		separator = ","
		if err := w.write(k); err != nil {
			return err
		}
		w.text(",")
		if err := w.write(item); err != nil {
			return err
		}
		w.text("]")
	}
	if separator == "[" {
		w.text("[")
	}
	w.text("]")
	return nil
}

// isPlainDict reports whether a dict can be a JSON object.
func isPlainDict(d *banana.Dict) bool {
	for k := range d.All() {
		if key, ok := k.(string); !ok || isMarker(key) {
			return false
		}
	}
	return true
}
