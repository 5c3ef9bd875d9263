package banana

import (
	"math"
	"slices"
	"strings"
)

// A Mark is a place in the message that an Encoder builds, between two values.
type Mark struct{ buf, marks, raws, exts int }

// Mark returns the place where the next value will begin.
func (e *Encoder) Mark() Mark {
	return Mark{buf: len(e.m.buf), marks: len(e.m.marks), raws: len(e.m.raws), exts: len(e.m.exts)}
}

// Taste shows the values that were appended since the mark was made to a
// Taster, as a Decoder on the other side would, and fails when it objects: its
// error is an *EncodeError that wraps the Violation. All of the sequences that
// were open then have to be open now, and no others. A nil Taster has no
// objections.
//
// Of what goes by reference, the Taster sees the sequence that
// EncoderConfig.OpenType names, and the External as its value. It sees no
// value of other sequences that banana does not know, but all that is within.
func (e *Encoder) Taste(from Mark, t Taster) error {
	if e.err != nil || t == nil {
		return e.err
	}
	r := replay{e: e, at: from, levels: []tasted{{t: t}}}
	var err error
	if slices.ContainsFunc(e.m.marks[from.marks:], func(k mark) bool { return k.kind == markRef }) {
		err = e.tasteDecoded(from, t) // only what was decoded can be shared
	} else if err = r.run(); err != nil {
		// The same objection, in the same place, with the path to it.
		if located := e.tasteDecoded(from, &objector{left: &r.events, err: err}); located != nil {
			err = located
		}
	}
	if err != nil {
		return e.fail(&EncodeError{Err: objection(err)})
	}
	return nil
}

// openType is the type of the sequence that an External will be.
func (e *Encoder) openType(x External) string {
	if e.cfg.OpenType != nil {
		if name := e.cfg.OpenType(x); name != "" {
			return name
		}
	}
	return "my-reference"
}

// A replay shows the tokens of a message to Tasters.
type replay struct {
	e      *Encoder
	at     Mark
	levels []tasted
	index  bool // the next string is the type of a sequence
	events int  // how often a Taster would have been asked, up to now
}

// tasted is a level of sequences.
type tasted struct {
	t     Taster // or nil
	other bool   // banana does not know the type
}

func (r *replay) top() Taster { return r.levels[len(r.levels)-1].t }

func (r *replay) run() error {
	m := r.e.m
	for r.at.marks < len(m.marks) {
		k := m.marks[r.at.marks]
		if err := r.tokens(int(k.off)); err != nil {
			return err
		}
		if r.at.marks == len(m.marks) || m.marks[r.at.marks] != k {
			continue // the body of a string was there
		}
		r.at.marks++
		var err error
		switch k.kind {
		case markOpen:
			r.index = true
		case markClose:
			err = r.close()
		case markExt:
			err = r.external(r.e.externs[r.at.exts])
			r.at.exts++
		}
		if err != nil {
			return err
		}
	}
	return r.tokens(len(m.buf))
}

// tokens shows what is in the buffer up to a mark.
func (r *replay) tokens(end int) error {
	m := r.e.m
	for r.at.buf < end {
		var tok Token
		for shift := 0; ; shift += 7 {
			b := m.buf[r.at.buf]
			r.at.buf++
			if b >= 0x80 {
				tok.Type = Type(b)
				break
			}
			tok.N |= uint64(b) << shift
		}
		var body []byte
		switch tok.Type {
		case TypeFloat:
			r.at.buf += 8
		case TypeVocab:
			if r.index {
				r.index = false
				if err := r.open(vocab1[tok.N]); err != nil {
					return err
				}
				continue
			}
			body = vocab1Bytes[tok.N]
			tok = Token{Type: TypeString, N: uint64(len(body))}
		case TypeString, TypeLongInt, TypeLongNeg:
			if r.at.buf == end && r.at.marks < len(m.marks) && m.marks[r.at.marks].kind == markRaw {
				body = m.raws[r.at.raws]
				r.at.raws++
				r.at.marks++
			} else {
				body = m.buf[r.at.buf : r.at.buf+int(tok.N)]
				r.at.buf += int(tok.N)
			}
		}
		if err := r.token(tok, body); err != nil {
			return err
		}
	}
	return nil
}

func (r *replay) token(tok Token, body []byte) error {
	if r.index {
		r.index = false
		return r.open(string(body))
	}
	t := r.top()
	r.events++
	if t != nil {
		if err := t.Token(tok); err != nil {
			return err
		}
	}
	switch tok.Type {
	case TypeString, TypeLongInt, TypeLongNeg:
		r.events++
		return tasteBody(t, body)
	}
	return nil
}

func (r *replay) open(opentype string) (err error) {
	in := tasted{other: !isPlain(opentype)}
	r.events++
	if t := r.top(); t != nil {
		in.t, err = t.Open(opentype)
	}
	r.levels = append(r.levels, in)
	return err
}

// isPlain reports whether a Decoder itself knows the type of a sequence.
func isPlain(opentype string) bool {
	switch opentype {
	case "none", "boolean", "unicode", "decimal", "reference", "list", "tuple", "dict", "set", "immutable-set":
		return true
	}
	return false
}

func (r *replay) close() error {
	last := len(r.levels) - 1
	in := r.levels[last]
	r.levels = r.levels[:last]
	if in.other {
		r.events++ // for the value that a Decoder shows
	}
	r.events++
	if in.t == nil {
		return nil
	}
	return in.t.Close()
}

func (r *replay) external(x External) error {
	if err := r.open(r.e.openType(x)); err != nil {
		return err
	}
	in := &r.levels[len(r.levels)-1]
	in.other = false
	r.events++
	if in.t != nil {
		if err := in.t.Value(x, neverGrowing); err != nil {
			return err
		}
	}
	return r.close()
}

func neverGrowing(any) bool { return false }

// tasteDecoded decodes the message up to its end, as far as it is there, and
// shows what follows the mark.
func (e *Encoder) tasteDecoded(from Mark, t Taster) error {
	before := Message{buf: e.m.buf[:from.buf], marks: e.m.marks[:from.marks], raws: slices.Clone(e.m.raws[:from.raws]), exts: e.m.exts[:from.exts]}
	all := Message{buf: e.m.buf, marks: e.m.marks, raws: slices.Clone(e.m.raws), exts: e.m.exts}
	at := len(e.wire(&before))
	wire := e.wire(&all)
	externs := e.externs
	limits := Limits{MaxToken: math.MaxInt32, MaxMessage: math.MaxInt32, MaxDepth: math.MaxInt32, MaxTokens: math.MaxInt32}
	d := NewDecoder(strings.NewReader(""), wire, &DecoderConfig{Vocab: e.cfg.Vocab, Limits: limits, External: func(d *Decoder, opentype string, t Taster) (any, bool, error) {
		if d.peek() == TypeInt {
			x := externs[0]
			externs = externs[1:]
			if _, err := d.Int("External"); err != nil {
				return nil, true, err
			}
			return x, true, d.Close(opentype)
		}
		for {
			h, err := d.head(t)
			if err != nil || h.tok.Type == TypeClose {
				return nil, true, err
			}
			if _, _, err := d.any(h, t); err != nil {
				return nil, true, err
			}
		}
	}})
	entered := 0
	for d.pos < at {
		if entered < len(e.stack) && d.opens == uint64(e.stack[entered].open) && d.peek() == TypeOpen {
			entered++
			if _, err := d.next(); err != nil {
				return err
			}
			if _, err := d.openType(); err != nil {
				return err
			}
			continue
		}
		if _, err := d.Value(nil); err != nil {
			return err
		}
	}
	for d.pos < d.end {
		if _, err := d.Value(t); err != nil {
			return err
		}
	}
	return nil
}

// wire returns a message with an INT in the place of what an External is.
func (e *Encoder) wire(m *Message) []byte {
	var w Numberer
	i := 0
	wire, _ := w.Append(nil, m, math.MaxInt, func(dst []byte, _ any, open uint64) []byte {
		dst = AppendString(AppendToken(dst, TypeOpen, open), e.openType(e.externs[i]))
		i++
		return AppendToken(AppendInt(dst, 0), TypeClose, open)
	})
	return wire
}

// peek returns the type of the next token of what is in the buffer.
func (d *Decoder) peek() Type {
	for _, b := range d.buf[d.pos:d.end] {
		if b >= 0x80 {
			return Type(b)
		}
	}
	return 0
}

// An objector objects the last time that it is asked.
type objector struct {
	left *int
	err  error
}

func (o *objector) ask() error {
	if *o.left--; *o.left == 0 {
		return o.err
	}
	return nil
}

func (o *objector) Token(Token) error               { return o.ask() }
func (o *objector) Body([]byte) error               { return o.ask() }
func (o *objector) Open(string) (Taster, error)     { return o, o.ask() }
func (o *objector) Value(any, func(any) bool) error { return o.ask() }
func (o *objector) Close() error                    { return o.ask() }
