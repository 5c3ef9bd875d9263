package banana

import (
	"math"
	"reflect"
	"strings"
)

// Recode writes a message with write and returns a Decoder of it, whose Begin
// is to be called next: so values that were decoded for no particular target
// can be decoded again into one. What goes by reference passes as it is; adapt is
// DecoderConfig.Adapt.
func Recode(limits Limits, adapt func(any, reflect.Type) (reflect.Value, error), write func(*Encoder)) (*Decoder, error) {
	e := NewEncoder(&EncoderConfig{Vocab: 1, Limits: limits, External: func(x External) (any, error) { return x, nil }}, false)
	write(e)
	m, _, err := e.Finish()
	if err != nil {
		return nil, err
	}
	defer m.Free()
	d := m.decoder(limits)
	d.cfg.Adapt = adapt
	return d, nil
}

// decoder returns a Decoder of a message whose Externals are what they stand
// for.
func (m *Message) decoder(limits Limits) *Decoder {
	objects := append([]any(nil), m.exts...)
	var w Numberer
	wire, _ := w.Append(nil, m, math.MaxInt, func(dst []byte, _ any, open uint64) []byte {
		dst = AppendString(AppendToken(dst, TypeOpen, open), "object")
		return AppendToken(dst, TypeClose, open)
	})
	return NewDecoder(strings.NewReader(""), wire, &DecoderConfig{Vocab: 1, Limits: limits, External: func(d *Decoder, opentype string, _ Taster) (any, bool, error) {
		x := objects[0]
		objects = objects[1:]
		return x, true, d.Close(opentype)
	}})
}
