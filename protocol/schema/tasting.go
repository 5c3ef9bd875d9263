package schema

import (
	"math"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A Tasting is what the tasters of one message share: what they have looked at
// already, so that a part which occurs many times is looked at once, and room
// that is used again. The zero value is ready. It is for one goroutine.
type Tasting struct {
	// CopyState returns what a value that has arrived by copy, as a value of its
	// Go type, is made of: a [Copied]; nil for any other value. Without it such a
	// value satisfies nothing but Any when it is shown by a "reference".
	CopyState func(v any) (any, error)
	// Charge is asked for memory, in bytes, before it is used; nil allows all.
	// Its error is an objection.
	Charge func(n int) error

	walk   walk
	free   []*level
	lent   []*level // to those who called Taster
	unsure []unsure
}

// maxLevels bounds the room that a Tasting keeps.
const maxLevels = 64

// Taster returns a taster of c for one value after another of the message.
// Afterwards, Reset makes it unusable.
func (t *Tasting) Taster(c Constraint) banana.Taster {
	c = orAny(c)
	if _, ok := c.(Any); ok {
		return nil
	}
	l := t.level(c, atValue)
	t.lent = append(t.lent, l)
	return l
}

// Reset makes the Tasting ready for the next message.
func (t *Tasting) Reset() {
	t.walk.memo, t.walk.states, t.unsure = nil, nil, nil
	t.free = append(t.free, t.lent...)
	t.free = t.free[:min(len(t.free), maxLevels)]
	clear(t.lent)
	t.lent = t.lent[:0]
}

func taster(c Constraint) banana.Taster { return new(Tasting).Taster(c) }

func (t *Tasting) level(c Constraint, at place) *level {
	var l *level
	if n := len(t.free); n > 0 {
		l, t.free = t.free[n-1], t.free[:n-1]
	} else {
		l = new(level)
	}
	*l = level{t: t, c: c, at: at, seen: l.seen[:0]}
	return l
}

// place is where in a value a level of a taster is.
type place uint8

const (
	atValue     place = iota // where a value is to begin
	inLeaf                   // in a sequence with one token
	inItems                  // in a sequence of values
	inShared                 // in a "reference" to an earlier part
	inReference              // in what goes by reference
)

// A level is the taster of one level of sequences.
type level struct {
	t  *Tasting
	c  Constraint // of the sequence, or of the value at atValue
	at place

	tok      banana.Token // the last one
	cur      Constraint   // of the value that it begins
	n        int          // values so far
	same     int          // how many values have the constraint cur, from the first on
	opentype string

	// Of a sequence with names.
	parent  *level // of the sequence that is a name in it
	naming  bool   // the next token is a name
	longest int    // name, in bytes
	field   int    // that was named last, or -1
	class   bool   // the class of a copyable is known
	seen    []bool // by field
}

// A leaf is a constraint on a sequence that holds one token.
type leaf interface {
	leafToken(tok banana.Token) error
	leafBody(b []byte) error
}

// A container is a constraint on a sequence that holds values.
type container interface {
	// next returns the constraint of the value that begins.
	next(l *level) (Constraint, error)
	// end sees the end of the sequence.
	end(l *level) error
}

// A naming container is shown the bodies of its names.
type naming interface {
	name(l *level, b []byte) error
}

func (l *level) begin() (Constraint, error) {
	if l.at == atValue {
		return l.c, nil
	}
	if l.n < l.same {
		l.n++
		return l.cur, nil
	}
	c, err := l.c.(container).next(l)
	l.n++
	return c, err
}

func (l *level) Token(tok banana.Token) error {
	l.tok = tok
	switch l.at {
	case inLeaf:
		l.n++
		if l.parent != nil {
			return l.parent.nameLength(tok)
		}
		return l.c.(leaf).leafToken(tok)
	case inShared, inReference:
		return nil
	}
	c, err := l.begin()
	if err != nil {
		return err
	}
	l.cur = c
	k := kindOfToken(tok.Type)
	if k&c.kinds() == 0 {
		return mismatch(c, k.String())
	}
	if l.naming {
		return l.nameLength(tok)
	}
	return c.token(tok)
}

// nameLength judges the header of a name.
func (l *level) nameLength(tok banana.Token) error {
	if tok.N > uint64(l.longest) {
		return nameTooLong(l.longest, int(min(tok.N, math.MaxInt)))
	}
	return nil
}

func (l *level) Body(b []byte) error {
	switch l.at {
	case inLeaf:
		if l.parent != nil {
			return l.parent.c.(naming).name(l.parent, b)
		}
		return l.c.(leaf).leafBody(b)
	case inShared, inReference:
		return nil
	}
	if err := l.cur.body(l.tok, b); err != nil {
		return err
	}
	if l.naming {
		l.naming = false
		return l.c.(naming).name(l, b)
	}
	return nil
}

func (l *level) Open(opentype string) (banana.Taster, error) {
	if l.at != atValue && l.at != inItems {
		return nil, nil
	}
	c, err := l.begin()
	if err != nil {
		return nil, err
	}
	inner, err := openValue(l.t, c, opentype)
	if l.naming && err == nil {
		l.naming = false
		if in, ok := inner.(*level); ok && in.at == inLeaf {
			in.parent = l
		}
	}
	return inner, err
}

// openValue returns the taster of a sequence that begins where c holds.
func openValue(t *Tasting, c Constraint, opentype string) (banana.Taster, error) {
	all := c.kinds()
	if all == everyKind {
		if _, ok := c.(Any); ok {
			return nil, nil
		}
	}
	k := kindOfSequence(opentype)
	switch {
	case opentype == "reference":
		if all&sharedKinds == 0 {
			return nil, mismatch(c, "a shared value")
		}
		return t.level(c, inShared), nil
	case all&k == 0:
		return nil, mismatch(c, gotSequence(k, opentype))
	}
	return c.open(c, t, k, opentype)
}

func (l *level) Value(v any, growing func(any) bool) error {
	switch l.at {
	case inShared:
		w := &l.t.walk
		w.growing, w.copyState, w.cycle, w.charge = growing, l.t.CopyState, nil, l.t.Charge
		err := w.check(l.c, v)
		w.growing, w.copyState, w.cycle = nil, nil, nil
		return err
	case inReference:
		return l.c.(RemoteInterface).reference(l.t, l.opentype, v)
	}
	if c, ok := l.c.(Copyable); ok && !l.class {
		l.class = true
		return l.t.walk.copied(c, v)
	}
	return nil
}

func (l *level) Close() error {
	var err error
	switch l.at {
	case inLeaf:
		if l.n == 0 { // which Foolscap takes for a none
			err = mismatch(l.c, "none")
		}
	case inItems:
		err = l.c.(container).end(l)
	}
	if err == nil && l.at != atValue && len(l.t.free) < maxLevels {
		t := l.t
		*l = level{seen: l.seen}
		t.free = append(t.free, l)
	}
	return err
}
