package banana

import (
	"reflect"
	"strconv"
)

// Value reads one value into the generic types. Between messages it reads one
// that stands alone, as Foolscap writes them to files.
func (d *Decoder) Value(t Taster) (any, error) {
	h, err := d.head(t)
	if err != nil {
		return nil, err
	}
	v, wait, err := d.any(h, t)
	if err == nil && wait != nil {
		err = mismatch("a value", "a tuple within itself")
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// any builds the value that h begins. When that is a tuple which is not
// complete yet, because the value is within it, v is pending and wait is where
// to leave word of the place that misses it. wait is valid until the next OPEN.
func (d *Decoder) any(h *head, t Taster) (v any, wait *ref, err error) {
	switch h.tok.Type {
	case TypeClose:
		return nil, nil, missing()
	case TypeInt, TypeNeg, TypeLongInt, TypeLongNeg:
		if err := d.charge(valueCost); err != nil {
			return nil, nil, err
		}
		n, big, err := d.integer(h.tok, t)
		if big != nil {
			return big, nil, err
		}
		return n, nil, err
	case TypeFloat:
		if err := d.charge(valueCost); err != nil {
			return nil, nil, err
		}
		f, err := d.float()
		return f, nil, err
	case TypeString, TypeVocab:
		b, err := d.bytes(h.tok, t)
		return b, nil, err
	}
	if err := d.charge(listCost); err != nil {
		return nil, nil, err
	}
	switch h.open {
	case "none":
		err = d.close("none", h.child)
	case "boolean":
		b, ok, e := d.boolean(h.child)
		if err = e; ok { // an empty one is none, as Foolscap has it
			v = b
		}
	case "unicode":
		s, ok, e := d.text(h.child)
		if err = e; ok {
			v = s
		}
	case "decimal":
		v, err = d.decimal(h.child)
	case "reference":
		return d.anyReference(h.child)
	case "list":
		l := new(List)
		v, err = l, d.filled(h, refOpen, l, func() error { return d.anyItems(h.child, &l.Items) })
	case "tuple":
		v, err = d.anyTuple(h)
	case "dict":
		m := new(Dict)
		v, err = m, d.filled(h, refOpen, m, func() error { return d.anyEntries(h.child, m) })
	case "set":
		s := new(Set)
		v, err = s, d.filled(h, refOpen, s, func() error { return d.anyMembers(h.child, &s.members) })
	case "immutable-set":
		s := new(FrozenSet)
		v, err = s, d.filled(h, refFrozen, s, func() error { return d.anyMembers(h.child, &s.members) })
	case "copyable":
		if d.cfg.Copies == nil {
			v, err = d.external(h)
			break
		}
		x := reflect.New(anyType).Elem()
		err = d.copyable(h, x)
		v = x.Interface()
	default:
		v, err = d.external(h)
	}
	return v, nil, err
}

// filled makes v known as what h begins while fill reads the rest of it.
func (d *Decoder) filled(h *head, state refState, v any, fill func() error) error {
	if err := d.known(h, state); err != nil {
		return err
	}
	d.ref(h).val = v
	if err := fill(); err != nil {
		return err
	}
	if state == refOpen {
		d.ref(h).state = refDone
	}
	return nil
}

// external hands a sequence to whoever knows more types.
func (d *Decoder) external(h *head) (any, error) {
	if d.cfg.External != nil {
		v, known, err := d.cfg.External(d, h.open, h.child)
		if err != nil {
			return nil, err
		}
		if known {
			if h.child != nil {
				if err := h.child.Value(v, d.growing); err != nil {
					return nil, objection(err)
				}
			}
			return v, d.closed(h.child)
		}
	}
	return nil, violation("unknown type of sequence %q", h.open)
}

func (d *Decoder) decimal(t Taster) (Decimal, error) {
	b, ok, err := d.body1("decimal", nil, t)
	if err != nil {
		return "", err
	}
	if v := Decimal(ownString(b)); ok && v.Valid() {
		return v, nil
	}
	return "", protocolError("a decimal that is no number")
}

// pending stands in the place of a tuple that is not complete yet. It cannot
// be hashed or encoded, and is gone when the tuple is complete.
type pending struct{}

func (d *Decoder) anyReference(t Taster) (any, *ref, error) {
	at, err := d.reference(t)
	if err != nil {
		return nil, nil, err
	}
	var v any = pending{}
	wait := at
	if at.state != refTuple {
		if v, err = d.generic(at); err != nil {
			return nil, nil, err
		}
		wait = nil
	}
	if t != nil {
		if err := t.Value(v, d.growing); err != nil {
			return nil, nil, objection(err)
		}
	}
	return v, wait, d.closed(t)
}

// generic returns what at stands for in the form that it has in an any. It
// makes that form once, so that it is shared too.
func (d *Decoder) generic(at *ref) (any, error) {
	switch {
	case at.val != nil:
	case at.state == refOpen: // a cycle: there is only the typed form
		return at.rv.Interface(), nil
	default:
		c, err := codecOf(anyType)
		if err != nil {
			return nil, err
		}
		v := reflect.New(anyType).Elem()
		if err := d.convert(at, v, c); err != nil {
			return nil, err
		}
		at.val = v.Interface()
	}
	return at.val, nil
}

// anyItems reads items up to the CLOSE.
func (d *Decoder) anyItems(t Taster, items *[]any) error {
	for i := 0; ; i++ {
		h, err := d.head(t)
		if err != nil {
			return At(err, "["+strconv.Itoa(i)+"]")
		}
		if h.tok.Type == TypeClose {
			return d.closed(t)
		}
		v, wait, err := d.any(h, t)
		if err != nil {
			return At(err, "["+strconv.Itoa(i)+"]")
		}
		// Growing doubles: twice the room of an interface.
		if err := d.charge(32); err != nil {
			return err
		}
		if i == 0 {
			*items = make([]any, 0, 4)
		}
		*items = append(*items, v)
		if wait != nil {
			wait.fixes = append(wait.fixes, func(v any) { (*items)[i] = v })
		}
	}
}

func (d *Decoder) anyTuple(h *head) (any, error) {
	if err := d.known(h, refTuple); err != nil {
		return nil, err
	}
	items := []any{}
	if err := d.anyItems(h.child, &items); err != nil {
		return nil, err
	}
	// What is filled in later goes to items, which has the same array.
	t := Tuple(items[:len(items):len(items)])
	at := d.ref(h)
	at.state, at.val = refDone, t
	for _, fix := range at.fixes {
		fix(t)
	}
	at.fixes = nil
	return t, nil
}

func (d *Decoder) anyMembers(t Taster, m *members) error {
	for {
		h, err := d.head(t)
		if err != nil {
			return At(err, "{}")
		}
		if h.tok.Type == TypeClose {
			return d.closed(t)
		}
		v, _, err := d.any(h, t)
		if err == nil {
			err = d.entry(&m.d)
		}
		if err == nil {
			err = unhashable(m.add(v, d))
		}
		if err != nil {
			return At(err, "{}")
		}
	}
}

// entry charges for an entry of m.
func (d *Decoder) entry(m *Dict) error {
	if m.Len() == 0 {
		return d.charge(indexCost + entryCost)
	}
	return d.charge(entryCost)
}

// unhashable makes an error of the stream of a key that cannot be one: no
// sender could have had it. A key that is too large for us is no such error.
func unhashable(err error) error {
	if _, ok := err.(*Violation); ok || err == nil {
		return err
	}
	return protocolError("%v", err)
}

func (d *Decoder) anyEntries(t Taster, m *Dict) error {
	for {
		kh, err := d.head(t)
		if err != nil {
			return At(err, "key")
		}
		if kh.tok.Type == TypeClose {
			return d.closed(t)
		}
		k, _, err := d.any(kh, t)
		if err == nil {
			err = d.entry(m)
		}
		if err != nil {
			return At(err, "key")
		}
		canonical, err := hashKey(k, d)
		if err != nil {
			return At(unhashable(err), "key")
		}
		if _, had := m.index[canonical]; had {
			return protocolError("a dict with the same key twice")
		}
		vh, err := d.head(t)
		if err != nil {
			return At(err, "["+keyText(k)+"]")
		}
		if vh.tok.Type == TypeClose { // a key without a value is ignored, as Foolscap does
			return d.closed(t)
		}
		v, wait, err := d.any(vh, t)
		if err != nil {
			return At(err, "["+keyText(k)+"]")
		}
		i := m.put(canonical, k, v)
		if wait != nil {
			wait.fixes = append(wait.fixes, func(v any) { m.vals[i] = v })
		}
	}
}
