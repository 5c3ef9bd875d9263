package banana

import (
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
)

// A Codec encodes and decodes the values of one Go type without building
// generic values in between. It is safe for concurrent use.
type Codec struct {
	typ reflect.Type
	// enc and dec are set before the Codec is used, but after it can be
	// found: types refer to themselves.
	enc func(e *Encoder, v reflect.Value) error
	dec func(d *Decoder, h *head, v reflect.Value, t Taster) error
	// shares says that a value of the type can contain, by way of pointers,
	// the same thing in several places many levels deep.
	shares bool
	// scalar says that a decoded value is never referred to, so that the
	// place it was decoded into can be used again.
	scalar bool
	// tuple holds the fields of a struct that is marked as a tuple.
	tuple []Field
	// base is the Codec of what pointers lead to, and the Codec itself when
	// the type is no pointer.
	base *Codec
	// copied says that the type travels by copy, in some Copies.
	copied atomic.Bool
}

var codecs sync.Map // reflect.Type → *Codec

// codecMu serialises the making of codecs, so that a half-made one is seen by
// its maker only.
var codecMu sync.Mutex

// CodecOf returns the Codec of a type, or an error that says which part of it
// has no form in Banana.
func CodecOf(t reflect.Type) (*Codec, error) { return codecOf(t) }

func codecOf(t reflect.Type) (*Codec, error) {
	if c, ok := codecs.Load(t); ok {
		return c.(*Codec), nil
	}
	codecMu.Lock()
	defer codecMu.Unlock()
	m := maker{made: map[reflect.Type]*Codec{}}
	c, err := m.codec(t)
	if err != nil {
		return nil, err
	}
	m.publish()
	return c, nil
}

// Decode reads one value into v, which must be settable and of the Codec's
// type.
func (c *Codec) Decode(d *Decoder, v reflect.Value, t Taster) error {
	h, err := d.head(t)
	if err != nil {
		return err
	}
	return c.decode(d, h, v, t)
}

// Encode appends v.
func (c *Codec) Encode(e *Encoder, v reflect.Value) error {
	if e.err != nil {
		return e.err
	}
	var err error
	if by := e.cfg.Copies.of(c); by != nil {
		err = e.copy(by, v)
	} else {
		err = c.enc(e, v)
	}
	if err != nil {
		return e.fail(err)
	}
	return nil
}

// decode reads the value that h begins. A reference is the same for every type.
func (c *Codec) decode(d *Decoder, h *head, v reflect.Value, t Taster) error {
	switch {
	case h.tok.Type == TypeClose:
		return missing()
	case h.is("reference") && !isAny(c.typ):
		return c.fromReference(d, h, v)
	case h.is("copyable") && d.cfg.Copies != nil:
		return d.copyable(h, v)
	}
	if by := d.cfg.Copies.of(c); by != nil && (!h.is("none") || c.base == c) {
		return by.mismatch(h)
	}
	return c.dec(d, h, v, t)
}

// fromReference makes v what an earlier part of the message is.
func (c *Codec) fromReference(d *Decoder, h *head, v reflect.Value) error {
	at, err := d.reference(h.child)
	if err != nil {
		return err
	}
	if at.state == refTuple {
		return errTypedCycle()
	}
	if h.child != nil {
		whole, err := d.generic(at)
		if err != nil {
			return err
		}
		if err := h.child.Value(whole, d.growing); err != nil {
			return objection(err)
		}
	}
	if err := d.assign(at, v, c); err != nil {
		return err
	}
	return d.closed(h.child)
}

// assign makes v what at stands for: the same thing where the types allow it,
// otherwise a copy in the form of v's type.
func (d *Decoder) assign(at *ref, v reflect.Value, c *Codec) error {
	t := v.Type()
	if _, ok := generic[t]; ok && at.state != refOpen {
		if _, err := d.generic(at); err != nil {
			return err
		}
	}
	src := at.rv
	if !src.IsValid() || at.val != nil && reflect.TypeOf(at.val).AssignableTo(t) {
		src = reflect.ValueOf(at.val)
	}
	switch from := src.Type(); {
	case from.AssignableTo(t):
		v.Set(src)
		if t.Kind() == reflect.Slice {
			v.SetCap(v.Len()) // or both would append to the same room
		}
		return nil
	case at.state == refOpen:
		return errTypedCycle()
	case from.Kind() == reflect.Pointer && from.Elem() == t:
		v.Set(src.Elem())
		return nil
	case t.Kind() == reflect.Pointer && from == t.Elem():
		if err := d.charge(int64(from.Size()) + 16); err != nil {
			return err
		}
		p := reflect.New(from)
		p.Elem().Set(src)
		v.Set(p)
		if !at.tuple {
			at.rv = p // for those that come after
		}
		return nil
	}
	if err := d.convert(at, v, c); err != nil {
		return err
	}
	if !at.rv.IsValid() {
		at.rv = v // likewise
	}
	return nil
}

// convert makes v, of another type, what at is: the same value was sent for
// two targets. It goes by way of its encoding, which is charged like a second
// copy.
func (d *Decoder) convert(at *ref, v reflect.Value, c *Codec) error {
	sub, err := d.again(c.typ.String(), func(e *Encoder) {
		switch src := at.rv; {
		case at.val != nil:
			e.Value(at.val)
		case at.tuple:
			e.open("tuple", true)
			for i := range src.Len() {
				e.Value(src.Index(i).Interface())
			}
			e.Close()
		default:
			e.Value(src.Interface())
		}
	})
	if err != nil {
		return err
	}
	if err := c.Decode(sub, v, nil); err != nil {
		return err
	}
	return d.charge(sub.cost)
}

// again returns a Decoder of something that was read and is written anew, for
// another purpose.
func (d *Decoder) again(purpose string, write func(*Encoder)) (*Decoder, error) {
	l := d.limits
	l.MaxMessage = int(max(1, int64(l.MaxMessage)-d.cost))
	e := NewEncoder(&EncoderConfig{Vocab: 1, Limits: l, Copies: d.cfg.Copies, External: func(x External) (any, error) { return x, nil }}, false)
	e.Open("answer")
	d.markUnfinished(e)
	write(e)
	e.Close()
	m, _, err := e.Finish()
	if err != nil {
		return nil, &Violation{Reason: "a shared value cannot be used as " + purpose, Err: err}
	}
	defer m.Free()
	if err := d.charge(2 * int64(m.size)); err != nil {
		return nil, err
	}
	cfg := *d.cfg
	cfg.Limits = l
	sub := m.decoder(&cfg, nil)
	_, err = sub.Begin()
	return sub, err
}

// markUnfinished makes e refuse what is still being read: a copy of it would
// lack what is to come.
func (d *Decoder) markUnfinished(e *Encoder) {
	for _, l := range d.stack {
		at := d.find(l.open)
		if at == nil || at.state != refOpen {
			continue
		}
		switch src := at.rv; {
		case src.IsValid():
			e.remember(identity{p: src.UnsafePointer(), t: src.Type(), open: unfinished})
		default:
			e.remember(identity{p: reflect.ValueOf(at.val).UnsafePointer(), open: unfinished})
		}
	}
}

var (
	anyType      = reflect.TypeFor[any]()
	externalType = reflect.TypeFor[External]()
	bigType      = reflect.TypeFor[big.Int]()
	decimalType  = reflect.TypeFor[Decimal]()
	emptyStruct  = reflect.TypeFor[struct{}]()
)

func isAny(t reflect.Type) bool { return t.Kind() == reflect.Interface && t.NumMethod() == 0 }

// generic types have an encoding and decoding of their own.
var generic = map[reflect.Type]string{
	reflect.TypeFor[*List]():      "list",
	reflect.TypeFor[Tuple]():      "tuple",
	reflect.TypeFor[*Dict]():      "dict",
	reflect.TypeFor[*Set]():       "set",
	reflect.TypeFor[*FrozenSet](): "frozen set",
	reflect.TypeFor[Decimal]():    "decimal",
	reflect.TypeFor[*big.Int]():   "integer",
}

// A maker makes codecs that refer to each other, under codecMu.
type maker struct{ made map[reflect.Type]*Codec }

// publish lets others find what was made, once all of it is complete.
func (m *maker) publish() {
	for t, c := range m.made {
		c.shares = canShare(t, map[reflect.Type]bool{})
	}
	for t, c := range m.made {
		codecs.Store(t, c)
	}
}

func (m *maker) codec(t reflect.Type) (*Codec, error) {
	if c, ok := codecs.Load(t); ok {
		return c.(*Codec), nil
	}
	if c, ok := m.made[t]; ok {
		return c, nil
	}
	c := &Codec{typ: t}
	c.base = c
	m.made[t] = c
	err := m.fill(c)
	return c, err
}

func (m *maker) fill(c *Codec) error {
	t := c.typ
	if want, ok := generic[t]; ok {
		c.enc = func(e *Encoder, v reflect.Value) error { return e.Value(v.Interface()) }
		c.dec = genericDec(want)
		return nil
	}
	if isAny(t) {
		c.enc = func(e *Encoder, v reflect.Value) error { return e.Value(v.Interface()) }
		c.dec = decAny
		return nil
	}
	if t.Implements(externalType) {
		c.enc = encExternal
		c.dec = decExternal
		return nil
	}
	if adapted(t) {
		c.enc = encAdapted
		c.dec = decAdapted
		return nil
	}
	switch t.Kind() {
	case reflect.Bool:
		c.scalar = true
		c.enc = func(e *Encoder, v reflect.Value) error { return e.bool(v.Bool()) }
		c.dec = decBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		c.scalar = true
		c.enc = func(e *Encoder, v reflect.Value) error { return e.Int(v.Int()) }
		c.dec = decInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		c.scalar = true
		c.enc = func(e *Encoder, v reflect.Value) error { return e.uint(v.Uint()) }
		c.dec = decUint
	case reflect.Float32, reflect.Float64:
		c.scalar = true
		c.enc = func(e *Encoder, v reflect.Value) error { return e.float(v.Float()) }
		c.dec = decFloat
	case reflect.String:
		c.scalar = true
		c.enc = func(e *Encoder, v reflect.Value) error { return e.Text(v.String()) }
		c.dec = decString
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			c.scalar = true
			c.enc = func(e *Encoder, v reflect.Value) error { return e.Bytes(v.Bytes()) }
			c.dec = decBytes
			return nil
		}
		return m.slice(c)
	case reflect.Array:
		return m.array(c)
	case reflect.Map:
		return m.mapping(c)
	case reflect.Pointer:
		return m.pointer(c)
	case reflect.Struct:
		return m.structure(c)
	default:
		return fmt.Errorf("type %s has no form in Banana", t)
	}
	return nil
}

// canShare reports whether values of type t can share parts over an unbounded
// number of levels: t is recursive or holds interfaces. above has the types
// that are being looked into, and as false those that were found harmless.
func canShare(t reflect.Type, above map[reflect.Type]bool) bool {
	switch t.Kind() {
	case reflect.Interface:
		return !t.Implements(externalType)
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer, reflect.Struct:
	default:
		return false
	}
	if t == bigType || t.Implements(externalType) {
		return false
	}
	if inside, seen := above[t]; seen {
		return inside
	}
	above[t] = true
	switch t.Kind() {
	case reflect.Map:
		if canShare(t.Key(), above) || canShare(t.Elem(), above) {
			return true
		}
	case reflect.Struct:
		if opaque(t) { // by copy it can be anything
			return true
		}
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && canShare(f.Type, above) {
				return true
			}
		}
	default:
		if canShare(t.Elem(), above) {
			return true
		}
	}
	above[t] = false
	return false
}

// got describes what h begins.
func (h *head) got() string {
	switch h.tok.Type {
	case TypeOpen:
		switch h.open {
		case "unicode":
			return "text"
		case "immutable-set":
			return "frozen set"
		case "my-reference", "your-reference", "their-reference":
			return "reference"
		}
		return fmt.Sprintf("%.20s", h.open)
	case TypeInt, TypeNeg, TypeLongInt, TypeLongNeg:
		return "integer"
	case TypeFloat:
		return "float"
	case TypeString, TypeVocab:
		return "bytes"
	}
	return h.tok.String()
}

func (h *head) is(opentype string) bool { return h.tok.Type == TypeOpen && h.open == opentype }

func decAny(d *Decoder, h *head, v reflect.Value, t Taster) error {
	x, wait, err := d.any(h, t)
	if err != nil {
		return err
	}
	if wait != nil {
		return errTypedCycle()
	}
	if x != nil {
		v.Set(reflect.ValueOf(x))
	} else {
		v.SetZero()
	}
	return nil
}

func genericDec(want string) func(d *Decoder, h *head, v reflect.Value, t Taster) error {
	return func(d *Decoder, h *head, v reflect.Value, t Taster) error {
		if h.is("none") && v.Kind() == reflect.Pointer {
			v.SetZero()
			return d.close("none", h.child)
		}
		if h.got() != want {
			return mismatch(want, h.got())
		}
		x, _, err := d.any(h, t)
		if err != nil {
			return err
		}
		if n, ok := x.(int64); ok {
			x = big.NewInt(n)
		}
		v.Set(reflect.ValueOf(x))
		return nil
	}
}

func encExternal(e *Encoder, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer, reflect.Func, reflect.Map, reflect.Slice:
		if v.IsNil() {
			return e.none()
		}
	}
	return e.external(v.Interface().(External))
}

func decExternal(d *Decoder, h *head, v reflect.Value, t Taster) error {
	x, done, err := d.byReference(h, v)
	if done || err != nil {
		return err
	}
	return mismatch(v.Type().String(), kindName(x))
}

// byReference reads what goes by reference, or none, into v; it is not done when
// v is of another type than what has come.
func (d *Decoder) byReference(h *head, v reflect.Value) (x any, done bool, err error) {
	switch {
	case h.tok.Type != TypeOpen:
		return nil, false, mismatch("reference", h.got())
	case h.open == "none":
		v.SetZero()
		return nil, true, d.close("none", h.child)
	case knownTypes[h.open] != "" && h.got() != "reference":
		return nil, false, mismatch("reference", h.got())
	}
	if x, err = d.external(h); err != nil {
		return nil, false, err
	}
	if rv := reflect.ValueOf(x); rv.IsValid() && rv.Type().AssignableTo(v.Type()) {
		v.Set(rv)
		return x, true, nil
	}
	return x, false, nil
}

func decBool(d *Decoder, h *head, v reflect.Value, _ Taster) error {
	if !h.is("boolean") {
		return mismatch("boolean", h.got())
	}
	b, ok, err := d.boolean(h.child)
	if err == nil && !ok {
		err = mismatch("boolean", "none")
	}
	v.SetBool(b)
	return err
}

func (h *head) isInt() bool {
	switch h.tok.Type {
	case TypeInt, TypeNeg, TypeLongInt, TypeLongNeg:
		return true
	}
	return false
}

func decInt(d *Decoder, h *head, v reflect.Value, t Taster) error {
	if !h.isInt() {
		return mismatch("integer", h.got())
	}
	n, wide, err := d.integer(h.tok, t)
	if err != nil {
		return err
	}
	if wide != nil || v.OverflowInt(n) {
		return violation("the integer does not fit %s", v.Type())
	}
	v.SetInt(n)
	return nil
}

func decUint(d *Decoder, h *head, v reflect.Value, t Taster) error {
	if !h.isInt() {
		return mismatch("integer", h.got())
	}
	n, wide, err := d.integer(h.tok, t)
	if err != nil {
		return err
	}
	u := uint64(n)
	if wide != nil {
		u = wide.Uint64()
	}
	if wide != nil && !wide.IsUint64() || wide == nil && n < 0 || v.OverflowUint(u) {
		return violation("the integer does not fit %s", v.Type())
	}
	v.SetUint(u)
	return nil
}

func decFloat(d *Decoder, h *head, v reflect.Value, t Taster) error {
	var f float64
	switch {
	case h.tok.Type == TypeFloat:
		var err error
		if f, err = d.float(); err != nil {
			return err
		}
	case h.isInt():
		n, wide, err := d.integer(h.tok, t)
		if err != nil {
			return err
		}
		if wide == nil {
			wide = big.NewInt(n)
		}
		if f, ok := exactly(wide, v.Kind()); ok {
			v.SetFloat(f)
			return nil
		}
		return violation("the integer is not exact as %s", v.Type())
	default:
		return mismatch("float", h.got())
	}
	if v.OverflowFloat(f) {
		return violation("%g does not fit %s", f, v.Type())
	}
	v.SetFloat(f)
	return nil
}

// exactly returns an integer as a float of the given kind that is equal to it.
func exactly(n *big.Int, kind reflect.Kind) (f float64, ok bool) {
	f, acc := n.Float64()
	if kind == reflect.Float32 && acc == big.Exact {
		return f, float64(float32(f)) == f
	}
	return f, acc == big.Exact
}

func decString(d *Decoder, h *head, v reflect.Value, _ Taster) error {
	if !h.is("unicode") {
		return mismatch("text", h.got())
	}
	s, ok, err := d.text(h.child)
	if err == nil && !ok {
		err = mismatch("text", "none")
	}
	v.SetString(s)
	return err
}

func (h *head) isBytes() bool { return h.tok.Type == TypeString || h.tok.Type == TypeVocab }

func decBytes(d *Decoder, h *head, v reflect.Value, t Taster) error {
	if !h.isBytes() {
		return mismatch("bytes", h.got())
	}
	b, err := d.bytes(h.tok, t)
	v.SetBytes(b)
	return err
}

// sliceID is the identity of a slice.
func sliceID(v reflect.Value) identity {
	if v.Len() == 0 {
		return identity{}
	}
	return identity{p: v.UnsafePointer(), n: v.Len(), t: v.Type()}
}

func (m *maker) slice(c *Codec) error {
	elem, err := m.codec(c.typ.Elem())
	if err != nil {
		return err
	}
	c.enc = func(e *Encoder, v reflect.Value) error {
		id := identity{}
		if c.shares {
			id = sliceID(v)
		}
		return e.shared(id, "list", false, func() error { return encItems(e, v, elem) })
	}
	size := int64(c.typ.Elem().Size())
	c.dec = func(d *Decoder, h *head, v reflect.Value, _ Taster) error {
		if !h.is("list") && !h.is("tuple") {
			return mismatch("list", h.got())
		}
		if err := d.known(h, refTyped); err != nil {
			return err
		}
		v.SetZero()
		for i := 0; ; i++ {
			ih, err := d.head(h.child)
			if err != nil {
				return At(err, "["+strconv.Itoa(i)+"]")
			}
			if ih.tok.Type == TypeClose {
				if v.IsNil() {
					v.Set(reflect.MakeSlice(v.Type(), 0, 0))
				}
				v.SetLen(i)
				d.ref(h).sequence(h, v)
				return d.closed(h.child)
			}
			if i == v.Len() {
				n := max(4, 2*i)
				// Twice, because references to items keep the old array.
				if err := d.charge(int64(n-i) * (2*size + 8)); err != nil {
					return err
				}
				v.Grow(n - i)
				v.SetLen(n)
			}
			// When v grows, those who refer to the item go on referring to
			// its old place: it is complete, so both are the same.
			if err := elem.decode(d, ih, v.Index(i), h.child); err != nil {
				return At(err, "["+strconv.Itoa(i)+"]")
			}
		}
	}
	return nil
}

// done makes v known as what a sequence that has been read to its end stands
// for, unless something closer to its identity is.
func (r *ref) done(v reflect.Value) {
	if r.state == refTyped {
		r.rv = v
	}
	r.state = refDone
}

// sequence is done for slices and arrays.
func (r *ref) sequence(h *head, v reflect.Value) {
	r.done(v)
	r.tuple = h.open == "tuple"
}

func encItems(e *Encoder, v reflect.Value, elem *Codec) error {
	for i := range v.Len() {
		if err := elem.Encode(e, v.Index(i)); err != nil {
			return encodeAt(err, "["+strconv.Itoa(i)+"]")
		}
	}
	return e.err
}

func (m *maker) array(c *Codec) error {
	t := c.typ
	if t.Elem().Kind() == reflect.Uint8 {
		c.scalar = true
		c.enc = func(e *Encoder, v reflect.Value) error { return e.Bytes(arrayBytes(v)) }
		c.dec = func(d *Decoder, h *head, v reflect.Value, t Taster) error {
			if !h.isBytes() {
				return mismatch("bytes", h.got())
			}
			if n := d.shown(h.tok).N; n != uint64(v.Len()) {
				return violation("expected %d bytes, got %d", v.Len(), n)
			}
			b, err := d.bytes(h.tok, t)
			copy(v.Bytes(), b)
			return err
		}
		return nil
	}
	elem, err := m.codec(t.Elem())
	if err != nil {
		return err
	}
	c.enc = func(e *Encoder, v reflect.Value) error {
		e.Open("list")
		if err := encItems(e, v, elem); err != nil {
			return err
		}
		return e.Close()
	}
	c.dec = func(d *Decoder, h *head, v reflect.Value, _ Taster) error {
		if !h.is("list") && !h.is("tuple") {
			return mismatch("list", h.got())
		}
		if err := d.known(h, refTyped); err != nil {
			return err
		}
		for i := 0; ; i++ {
			ih, err := d.head(h.child)
			if err != nil {
				return At(err, "["+strconv.Itoa(i)+"]")
			}
			if ih.tok.Type == TypeClose {
				if i < v.Len() {
					return violation("expected %d items, got %d", v.Len(), i)
				}
				d.ref(h).sequence(h, v)
				return d.closed(h.child)
			}
			if i == v.Len() {
				return violation("expected %d items, got more", v.Len())
			}
			if err := elem.decode(d, ih, v.Index(i), h.child); err != nil {
				return At(err, "["+strconv.Itoa(i)+"]")
			}
		}
	}
	return nil
}

// arrayBytes returns a copy of an array of bytes.
func arrayBytes(v reflect.Value) []byte {
	b := reflect.New(v.Type()).Elem()
	b.Set(v)
	return b.Bytes()
}

func (m *maker) mapping(c *Codec) error {
	t := c.typ
	key, err := m.codec(t.Key())
	if err != nil {
		return err
	}
	isSet := t.Elem() == emptyStruct
	elem, err := m.codec(t.Elem())
	if err != nil {
		return err
	}
	c.enc = func(e *Encoder, v reflect.Value) error {
		id := identity{}
		if c.shares && !v.IsNil() {
			id = identity{p: v.UnsafePointer(), t: t}
		}
		if isSet {
			return e.shared(id, "set", false, func() error { return encMembers(e, v, key) })
		}
		return e.shared(id, "dict", false, func() error { return encMap(e, v, key, elem) })
	}
	// A map has room for eight entries from the first on, and is between half
	// and seven eighths full after it has grown.
	size := int64(t.Key().Size() + t.Elem().Size())
	cost := mapCost{first: 8*size + 64, entry: 3*size + 32}
	c.dec = func(d *Decoder, h *head, v reflect.Value, _ Taster) error {
		switch {
		case isSet && !h.is("set") && !h.is("immutable-set"):
			return mismatch("set", h.got())
		case !isSet && !h.is("dict"):
			return mismatch("dict", h.got())
		}
		if err := d.charge(listCost); err != nil {
			return err
		}
		v.Set(reflect.MakeMap(c.typ))
		// What can be referred to is the map, not the place where it stands.
		state := refOpen
		if h.open == "immutable-set" {
			state = refFrozen
		}
		return d.filled(h, state, nil, func() error {
			d.ref(h).rv = reflect.ValueOf(v.Interface())
			return decEntries(d, h, v, key, elem, cost)
		})
	}
	return nil
}

// mapCost is what the first entry of a map costs, and every one.
type mapCost struct{ first, entry int64 }

// decEntries reads the rest of a dict or set.
func decEntries(d *Decoder, h *head, m reflect.Value, key, elem *Codec, cost mapCost) error {
	var k, x reflect.Value
	for {
		kh, err := d.head(h.child)
		if err != nil {
			return At(err, "key")
		}
		if kh.tok.Type == TypeClose {
			return d.closed(h.child)
		}
		k = key.place(k)
		if err := key.decode(d, kh, k, h.child); err != nil {
			return At(err, "key")
		}
		if err := d.charge(cost.first + cost.entry); err != nil {
			return err
		}
		cost.first = 0
		if !k.Comparable() {
			return At(violation("%s cannot be a key of %s (*Dict can hold it)", kindName(k.Interface()), m.Type()), "key")
		}
		if m.Type().Elem() == emptyStruct {
			m.SetMapIndex(k, reflect.Zero(emptyStruct))
			continue
		}
		vh, err := d.head(h.child)
		if err != nil {
			return At(err, "["+keyText(k.Interface())+"]")
		}
		if vh.tok.Type == TypeClose { // as in a Dict
			return d.closed(h.child)
		}
		x = elem.place(x)
		if err := elem.decode(d, vh, x, h.child); err != nil {
			return At(err, "["+keyText(k.Interface())+"]")
		}
		if m.MapIndex(k).IsValid() {
			return protocolError("a dict with the same key twice")
		}
		m.SetMapIndex(k, x)
	}
}

// place returns where the next value can be decoded: where the last one was,
// unless something can refer to that.
func (c *Codec) place(last reflect.Value) reflect.Value {
	if c.scalar && last.IsValid() {
		last.SetZero()
		return last
	}
	return reflect.New(c.typ).Elem()
}

// plain returns a key in the form that the generic types have for it.
func (c *Codec) plain(v reflect.Value) any {
	if c.tuple == nil {
		return v.Interface()
	}
	t := make(Tuple, len(c.tuple))
	for i := range c.tuple {
		f := &c.tuple[i]
		t[i] = f.Codec.plain(f.In(v))
	}
	return t
}

// An entry is one of a Go map.
type entry struct{ key, val reflect.Value }

// entries returns what is in a Go map, in the order in which Python sends it
// if that matters. Two keys that are one in Python are refused.
func entries(m reflect.Value, key *Codec, inOrder bool) ([]entry, error) {
	all := make([]entry, 0, m.Len())
	for i := m.MapRange(); i.Next(); {
		all = append(all, entry{i.Key(), i.Value()})
	}
	if key.typ.Kind() == reflect.String && !key.typ.Implements(externalType) && key.typ != decimalType {
		slices.SortFunc(all, func(a, b entry) int { return strings.Compare(a.key.String(), b.key.String()) })
		return all, nil
	}
	var keys Dict
	for i, x := range all {
		k := key.plain(x.key)
		if at, err := keys.set(k, nil, nil); err != nil {
			return nil, cannotEncode("%v", err)
		} else if at < i {
			return nil, cannotEncode("a map with keys that are equal in Python: %s and %s", keyText(keys.keys[at]), keyText(k))
		}
	}
	if !inOrder {
		return all, nil
	}
	order, err := keyOrder(keys.keys)
	if err != nil {
		return nil, err
	}
	sorted := make([]entry, len(all))
	for i, j := range order {
		sorted[i] = all[j]
	}
	return sorted, nil
}

func encMembers(e *Encoder, v reflect.Value, key *Codec) error {
	if e.cfg.Copies.of(key) != nil {
		return cannotEncode("%s travels by copy, so it cannot be a key or a member of a set", key.typ)
	}
	all, err := entries(v, key, false)
	if err != nil {
		return err
	}
	for _, x := range all {
		if err := key.Encode(e, x.key); err != nil {
			return encodeAt(err, "{}")
		}
	}
	return e.err
}

func encMap(e *Encoder, v reflect.Value, key, elem *Codec) error {
	if e.cfg.Copies.of(key) != nil {
		return cannotEncode("%s travels by copy, so it cannot be a key or a member of a set", key.typ)
	}
	all, err := entries(v, key, true)
	if err != nil {
		return err
	}
	for _, x := range all {
		if err := key.Encode(e, x.key); err != nil {
			return encodeAt(err, "key")
		}
		if err := elem.Encode(e, x.val); err != nil {
			return encodeAt(err, "["+keyText(key.plain(x.key))+"]")
		}
	}
	return e.err
}

func (m *maker) pointer(c *Codec) error {
	for t, n := c.typ, 0; t.Kind() == reflect.Pointer; t = t.Elem() {
		if n++; n > 10 {
			return fmt.Errorf("type %s has no form in Banana", c.typ)
		}
	}
	elem, err := m.codec(c.typ.Elem())
	if err != nil {
		return err
	}
	c.base = elem.base
	fields := elem.typ.Kind() == reflect.Struct && elem.typ != bigType
	c.enc = func(e *Encoder, v reflect.Value) error {
		if v.IsNil() {
			return e.none()
		}
		if !c.shares || !fields {
			// No sequence is opened: a pointer to itself would never end.
			if e.pointers++; e.pointers > e.limits.MaxDepth {
				return e.limit("MaxDepth", e.limits.MaxDepth, e.pointers)
			}
			err := elem.enc(e, v.Elem())
			e.pointers--
			return err
		}
		id := identity{p: v.UnsafePointer(), t: c.typ}
		if at, ok := e.find(id); ok {
			return e.reference(at)
		}
		id.open = e.opens
		e.remember(id)
		return elem.enc(e, v.Elem())
	}
	size := int64(elem.typ.Size())
	c.dec = func(d *Decoder, h *head, v reflect.Value, t Taster) error {
		if h.is("none") {
			v.SetZero()
			return d.close("none", h.child)
		}
		if err := d.charge(size + 16); err != nil {
			return err
		}
		p := reflect.New(elem.typ)
		if fields && h.is("dict") {
			if err := d.known(h, refOpen); err != nil {
				return err
			}
			d.ref(h).rv = p
		}
		if err := elem.decode(d, h, p.Elem(), t); err != nil {
			return err
		}
		if fields && h.is("tuple") {
			d.ref(h).rv = p
		}
		v.Set(p)
		return nil
	}
	return nil
}

// A Field is one field of a struct as it goes over the wire.
type Field struct {
	// Name is its key.
	Name string
	// Optional says that it may be absent when read, and is left out when
	// it is zero.
	Optional bool
	// Codec is that of its type.
	Codec *Codec
	// Struct is the field as package reflect sees it.
	Struct reflect.StructField
	index  int
}

// In returns the field within v, a struct of the type that FieldsOf was asked
// for.
func (f *Field) In(v reflect.Value) reflect.Value { return v.Field(f.index) }

// Recoded returns a generic value in the form of the field's type.
func (f *Field) Recoded(v any) (reflect.Value, error) {
	to := reflect.New(f.Codec.typ).Elem()
	d, err := Recode(&DecoderConfig{}, nil, func(e *Encoder) { e.Value(v) })
	if err != nil {
		return to, err
	}
	return to, f.Codec.Decode(d, to, nil)
}

// FieldsOf returns the fields of a struct type that go over the wire, in their
// order, and whether the struct is marked as a tuple.
func FieldsOf(t reflect.Type) (fields []Field, tuple bool, err error) {
	if t.Kind() != reflect.Struct {
		return nil, false, fmt.Errorf("type %s is not a struct", t)
	}
	codecMu.Lock()
	defer codecMu.Unlock()
	m := maker{made: map[reflect.Type]*Codec{}}
	fields, tuple, err = m.fields(t)
	if err == nil {
		m.publish()
	}
	return fields, tuple, err
}

func (m *maker) fields(t reflect.Type) (fields []Field, tuple bool, err error) {
	names := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("foolscap"), ",")
		if f.Name == "_" && options == "tuple" {
			tuple = true
			continue
		}
		if name == "-" || !f.IsExported() && options == "" {
			continue
		}
		if name == "" {
			name = SnakeCase(f.Name)
		}
		if options != "" && options != "optional" || !f.IsExported() {
			return nil, false, fmt.Errorf("%s.%s: option %q in the foolscap tag does not apply", t, f.Name, options)
		}
		if names[name] {
			return nil, false, fmt.Errorf("%s has two fields called %q on the wire", t, name)
		}
		names[name] = true
		c, err := m.codec(f.Type)
		if err != nil {
			return nil, false, fmt.Errorf("%s.%s: %w", t, f.Name, err)
		}
		fields = append(fields, Field{Name: name, Optional: options == "optional", Codec: c, Struct: f, index: i})
	}
	return fields, tuple, nil
}

// SnakeCase makes a Go name look like a Python one: MaxSize → max_size,
// HTTPPort → http_port.
func SnakeCase(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 &&
			(!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func (m *maker) structure(c *Codec) error {
	t := c.typ
	switch t {
	case emptyStruct:
		c.scalar = true
		c.enc = func(e *Encoder, _ reflect.Value) error { return e.none() }
		c.dec = func(d *Decoder, h *head, _ reflect.Value, _ Taster) error {
			if !h.is("none") {
				return mismatch("none", h.got())
			}
			return d.close("none", h.child)
		}
		return nil
	case bigType:
		c.scalar = true
		c.enc = func(e *Encoder, v reflect.Value) error {
			if v.CanAddr() {
				return e.bigInt(v.Addr().Interface().(*big.Int))
			}
			n := v.Interface().(big.Int)
			return e.bigInt(&n)
		}
		c.dec = func(d *Decoder, h *head, v reflect.Value, t Taster) error {
			if !h.isInt() {
				return mismatch("integer", h.got())
			}
			n, wide, err := d.integer(h.tok, t)
			if wide == nil {
				wide = big.NewInt(n)
			}
			v.Addr().Interface().(*big.Int).Set(wide)
			return err
		}
		return nil
	}
	fields, tuple, err := m.fields(t)
	if err != nil {
		return err
	}
	if tuple {
		c.tuple = fields
		structTuple(c, fields)
		return nil
	}
	if opaque(t) {
		reason := fmt.Sprintf("%s has no exported fields: it can travel by copy only, and is not registered for that", t)
		c.enc = func(*Encoder, reflect.Value) error { return cannotEncode("%s", reason) }
		c.dec = func(*Decoder, *head, reflect.Value, Taster) error { return violation("%s", reason) }
		return nil
	}
	sorted := slices.Clone(fields)
	slices.SortFunc(sorted, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	byName := map[string]int{}
	for i := range fields {
		byName[fields[i].Name] = i
	}
	c.enc = func(e *Encoder, v reflect.Value) error {
		e.Open("dict")
		for i := range sorted {
			f := &sorted[i]
			fv := f.In(v)
			if f.Optional && fv.IsZero() {
				continue
			}
			e.Text(f.Name)
			if err := f.Codec.Encode(e, fv); err != nil {
				return encodeAt(err, "."+f.Name)
			}
		}
		return e.Close()
	}
	c.dec = func(d *Decoder, h *head, v reflect.Value, _ Taster) error {
		if !h.is("dict") {
			return mismatch("dict", h.got())
		}
		if err := d.known(h, refTyped); err != nil {
			return err
		}
		if err := decStruct(d, h, v, fields, byName); err != nil {
			return err
		}
		d.ref(h).done(v)
		return nil
	}
	return nil
}

// opaque reports whether a struct has fields, and none that anybody else may see.
func opaque(t reflect.Type) bool {
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() || f.Name == "_" {
			return false
		}
	}
	return t.NumField() > 0
}

func decStruct(d *Decoder, h *head, v reflect.Value, fields []Field, byName map[string]int) error {
	var few [32]bool
	seen := append(few[:0], make([]bool, len(fields))...)
	for {
		kh, err := d.head(h.child)
		if err != nil {
			return At(err, "key")
		}
		if kh.tok.Type == TypeClose {
			break
		}
		var name []byte
		switch {
		case kh.isBytes():
			name, err = d.bytesIn(d.room[:], kh.tok, h.child)
		case kh.is("unicode"):
			name, _, err = d.utf8(d.room[:], kh.child)
		default:
			err = mismatch("text", kh.got())
		}
		if err != nil {
			return At(err, "key")
		}
		i, ok := byName[string(name)]
		if !ok {
			return violation("unknown key %.40q", name)
		}
		vh, err := d.head(h.child)
		if err != nil {
			return At(err, "."+fields[i].Name)
		}
		if vh.tok.Type == TypeClose {
			break
		}
		if seen[i] {
			return protocolError("a dict with the same key twice")
		}
		seen[i] = true
		if err := fields[i].Codec.decode(d, vh, fields[i].In(v), h.child); err != nil {
			return At(err, "."+fields[i].Name)
		}
	}
	for i := range fields {
		if f := &fields[i]; !f.Optional && !seen[i] {
			return violation("missing key %q", f.Name)
		}
	}
	return d.closed(h.child)
}

func structTuple(c *Codec, fields []Field) {
	c.enc = func(e *Encoder, v reflect.Value) error {
		e.open("tuple", true)
		for i := range fields {
			if err := fields[i].Codec.Encode(e, fields[i].In(v)); err != nil {
				return encodeAt(err, "."+fields[i].Name)
			}
		}
		return e.Close()
	}
	c.dec = func(d *Decoder, h *head, v reflect.Value, _ Taster) error {
		if !h.is("tuple") {
			return mismatch("tuple", h.got())
		}
		if err := d.known(h, refTyped); err != nil {
			return err
		}
		for i := 0; ; i++ {
			ih, err := d.head(h.child)
			if err != nil {
				return At(err, "["+strconv.Itoa(i)+"]")
			}
			if ih.tok.Type == TypeClose {
				if i < len(fields) {
					return violation("expected %d items, got %d", len(fields), i)
				}
				d.ref(h).done(v)
				return d.closed(h.child)
			}
			if i == len(fields) {
				return violation("expected %d items, got more", len(fields))
			}
			if err := fields[i].Codec.decode(d, ih, fields[i].In(v), h.child); err != nil {
				return At(err, "."+fields[i].Name)
			}
		}
	}
}
