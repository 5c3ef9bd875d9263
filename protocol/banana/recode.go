package banana

import (
	"math"
	"strings"
)

// Recode writes a message with write and returns a Decoder of it, whose Begin
// is to be called next: so values that were decoded for no particular target
// can be decoded again into one. What goes by reference passes as it is; openType,
// which may be nil, is that of an EncoderConfig. Of cfg, Limits, Copies and Adapt
// count.
func Recode(cfg *DecoderConfig, openType func(External) string, write func(*Encoder)) (*Decoder, error) {
	e := NewEncoder(&EncoderConfig{Vocab: 1, Limits: cfg.Limits, Copies: cfg.Copies, OpenType: openType, External: func(x External) (any, error) { return x, nil }}, false)
	write(e)
	m, _, err := e.Finish()
	if err != nil {
		return nil, err
	}
	defer m.Free()
	return m.decoder(cfg, openType), nil
}

// decoder returns a Decoder of a message whose Externals are what they stand
// for.
func (m *Message) decoder(cfg *DecoderConfig, openType func(External) string) *Decoder {
	objects := append([]any(nil), m.exts...)
	as := func(x any) string {
		if openType != nil {
			if name := openType(x.(External)); name != "" {
				return name
			}
		}
		return "my-reference"
	}
	var w Numberer
	wire, _ := w.Append(nil, m, math.MaxInt, func(dst []byte, x any, open uint64) []byte {
		dst = AppendString(AppendToken(dst, TypeOpen, open), as(x))
		return AppendToken(dst, TypeClose, open)
	})
	return NewDecoder(strings.NewReader(""), wire, &DecoderConfig{Vocab: 1, Limits: cfg.Limits, Copies: cfg.Copies, Adapt: cfg.Adapt, External: func(d *Decoder, opentype string, _ Taster) (any, bool, error) {
		x := objects[0]
		objects = objects[1:]
		return x, true, d.Close(opentype)
	}})
}
