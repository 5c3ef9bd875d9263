package banana

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// maxCopyName is the longest name of a class, in bytes.
const maxCopyName = 1000

// A Copy says how the values of one Go type travel by copy: under the name of
// a class, with named attributes, as Foolscap's Copyable and RemoteCopy do.
// Make it with CopyOf or CopyAs. It does not change.
type Copy struct {
	class  string
	codec  *Codec       // of the type
	state  reflect.Type // whose fields are the attributes
	fields []Field      // sorted by their names
	byName map[string]int
	alone  bool
	taster func() Taster // of all values of the class, or nil
	err    error

	// The hooks are nil when the type is its own state.
	encode func(v reflect.Value) (reflect.Value, error)
	decode func(state, into reflect.Value) error
}

// CopyOf says that T, a struct type with a name, travels as a copy of the
// class. Its attributes are its fields, by the rules of [FieldsOf]. What is
// wrong with the type or the class, NewCopies tells.
func CopyOf[T any](class string) Copy {
	t := reflect.TypeFor[T]()
	return newCopy(class, t, t)
}

// CopyAs is CopyOf for any type with a name, whose values are made into a
// struct S, and of one, by hooks: S has the attributes. The hooks run while a
// message is being written or read, without any lock; so they must be quick
// and make no remote calls. An error of encode is wrapped in an *EncodeError,
// one of decode in a *Violation of the message. A hook may be called from
// several goroutines at once.
func CopyAs[T, S any](class string, encode func(T) (S, error), decode func(S) (T, error)) Copy {
	c := newCopy(class, reflect.TypeFor[T](), reflect.TypeFor[S]())
	if encode == nil || decode == nil {
		c.err = errors.Join(c.err, errors.New("it needs both hooks"))
	}
	c.encode = func(v reflect.Value) (_ reflect.Value, err error) {
		defer recovered(&err)
		s, err := encode(v.Interface().(T))
		return reflect.ValueOf(&s).Elem(), err
	}
	c.decode = func(state, into reflect.Value) (err error) {
		defer recovered(&err)
		t, err := decode(*state.Addr().Interface().(*S))
		if err == nil {
			*into.Addr().Interface().(*T) = t
		}
		return err
	}
	return c
}

// recovered makes an error of a panic: whoever reads a connection must not end
// with a message.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = hookPanic{r}
	}
}

type hookPanic struct{ v any }

func (p hookPanic) Error() string { return fmt.Sprintf("panic: %v", p.v) }

// Panicked marks it for those who do not tell others of panics.
func (hookPanic) Panicked() bool { return true }

// Unshared returns a Copy whose values are written in full each time, even
// where several pointers lead to one: Foolscap's receivers cannot refer to
// those of a class with the attribute nonCyclic.
func (c Copy) Unshared() Copy {
	c.alone = true
	return c
}

// Constrained returns a Copy whose values a Taster looks at wherever they go out
// or arrive. taster makes it, for one message; err is one more error for NewCopies.
func (c Copy) Constrained(taster func() Taster, err error) Copy {
	c.taster, c.err = taster, errors.Join(c.err, err)
	return c
}

func newCopy(class string, t, state reflect.Type) Copy {
	c := Copy{class: class, state: state}
	c.err = c.init(t)
	return c
}

func (c *Copy) init(t reflect.Type) error {
	if c.class == "" || len(c.class) > maxCopyName {
		return fmt.Errorf("the name of its class has %d bytes, it has to have 1 to %d", len(c.class), maxCopyName)
	}
	_, plain := generic[t]
	_, plainPointer := generic[reflect.PointerTo(t)]
	if plain || plainPointer || t.PkgPath() == "" || t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer ||
		reflect.PointerTo(t).Implements(externalType) || adapted(t) || adapted(reflect.PointerTo(t)) {
		return fmt.Errorf("%s cannot travel by copy: that is for types with a name, and neither interfaces, pointers, nor what goes by reference", t)
	}
	var tuple bool
	var err error
	if c.fields, tuple, err = FieldsOf(c.state); err != nil {
		return err
	}
	if tuple {
		return fmt.Errorf("%s is marked as a tuple", c.state)
	}
	slices.SortFunc(c.fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	c.byName = make(map[string]int, len(c.fields))
	for i := range c.fields {
		c.byName[c.fields[i].Name] = i
	}
	if c.codec, err = codecOf(t); err != nil {
		return err
	}
	c.codec.copied.Store(true)
	return nil
}

// Copies are the types that travel by copy where an EncoderConfig or
// DecoderConfig has them. They do not change.
type Copies struct {
	byClass map[string]*Copy
	byType  map[reflect.Type]*Copy
}

// NewCopies returns Copies, or an error when one of them cannot be, or when
// two have the same type or the same class.
func NewCopies(copies ...Copy) (*Copies, error) {
	all := &Copies{byClass: make(map[string]*Copy, len(copies)), byType: make(map[reflect.Type]*Copy, len(copies))}
	for i := range copies {
		c := copies[i]
		switch {
		case c.state == nil:
			return nil, errors.New("a Copy has to be made by CopyOf or CopyAs")
		case c.err != nil:
			return nil, fmt.Errorf("class %q: %w", c.class, c.err)
		case all.byClass[c.class] != nil:
			return nil, fmt.Errorf("two types are to travel as the class %q", c.class)
		case all.byType[c.codec.typ] != nil:
			return nil, fmt.Errorf("%s is to travel as two classes, %q and %q", c.codec.typ, all.byType[c.codec.typ].class, c.class)
		}
		all.byClass[c.class] = &c
		all.byType[c.codec.typ] = &c
	}
	return all, nil
}

// of returns how the type of a codec, or what its pointers lead to, travels by
// copy, or nil. That a type does so anywhere is known to its codec, so that
// the others cost next to nothing.
func (all *Copies) of(c *Codec) *Copy {
	if all == nil || !c.base.copied.Load() {
		return nil
	}
	return all.get(c.base.typ)
}

func (all *Copies) get(t reflect.Type) *Copy { return all.byType[t] }

// mismatch is about something that should be of the class and is no copyable.
func (c *Copy) mismatch(h *head) error {
	return mismatch(fmt.Sprintf("copyable %.40q", c.class), h.got())
}

// at is where in a value of the class something is.
func (c *Copy) at(attribute string) string {
	if attribute == "" {
		return "(" + c.class + ")"
	}
	return "(" + c.class + ")." + attribute
}

// copy appends v, or what it points to, as a copyable.
func (e *Encoder) copy(c *Copy, v reflect.Value) error {
	var id identity
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return e.none()
		}
		id = identity{p: v.UnsafePointer(), t: reflect.PointerTo(c.codec.typ)}
		v = v.Elem()
	}
	if id.p != nil && !c.alone {
		if at, ok := e.find(id); ok {
			return e.reference(at)
		}
	}
	state := v
	if c.encode != nil {
		s, err := c.encode(v)
		if err != nil {
			return &EncodeError{Path: []string{c.at("")}, Err: err}
		}
		state = s
	}
	if id.p != nil && !c.alone {
		id.open = e.opens
		e.remember(id)
	}
	from := e.Mark()
	if err := e.Open("copyable"); err != nil {
		return err
	}
	e.stack[len(e.stack)-1].copy = c
	e.copies++
	e.Name(c.class)
	for i := range c.fields {
		f := &c.fields[i]
		fv := f.In(state)
		if f.Optional && fv.IsZero() {
			continue
		}
		e.Name(f.Name)
		if err := f.Codec.Encode(e, fv); err != nil {
			return encodeAt(err, c.at(f.Name))
		}
	}
	e.copies--
	if err := e.Close(); err != nil || c.taster == nil {
		return err
	}
	return At(e.Taste(from, c.taster()), c.at(""))
}

// early returns why the receiver of a reference to a sequence could not make
// anything of it yet, or nil.
func (e *Encoder) early(open uint32) error {
	if e.copies == 0 && !e.cfg.WholeAttributes {
		return nil
	}
	early := cannotEncode("a value by copy that contains itself")
	at := func(open uint32) int {
		return slices.IndexFunc(e.stack, func(f frame) bool { return f.open == open })
	}
	i := at(open)
	switch waits, ok := e.waits[open]; {
	case i >= 0:
		to := e.stack[i]
		if to.copy != nil && to.copy.decode != nil {
			return early
		}
		if to.copy == nil && !to.frozen {
			return nil
		}
	case ok:
		i = at(waits)
		early = cannotEncode("a tuple as an attribute of a value by copy, before it is complete: Foolscap would drop the connection")
	}
	if i < 0 || !e.cfg.WholeAttributes {
		return nil
	}
	if in := e.stack[e.await(i)]; in.frozen || in.copy != nil {
		return early
	}
	return nil
}

// await notes that what comes next is there only when the sequence at place i of
// the stack has ended, and returns the place of what does not wait for it: all
// within that are tuples do.
func (e *Encoder) await(i int) int {
	on := e.stack[i].open
	in := len(e.stack) - 1
	for ; in > i && e.stack[in].frozen; in-- {
		tuple := e.stack[in].open
		if old, ok := e.waits[tuple]; ok && old <= on {
			continue
		}
		if e.waits == nil {
			e.waits = make(map[uint32]uint32)
		}
		e.waits[tuple] = on
		for within, old := range e.waits { // what waits for the tuple does so as long
			if within > tuple && old > on {
				e.waits[within] = on
			}
		}
	}
	return in
}

// copyable reads a value by copy into v, whatever it is.
func (d *Decoder) copyable(h *head, v reflect.Value) error {
	c, err := d.class(h)
	if err != nil {
		return err
	}
	t := c.codec.typ
	for pt := reflect.PointerTo(t); !pt.AssignableTo(v.Type()) && v.Kind() == reflect.Pointer; v = v.Elem() {
		if err := d.charge(16); err != nil {
			return err
		}
		v.Set(reflect.New(v.Type().Elem()))
	}
	switch {
	case reflect.PointerTo(t).AssignableTo(v.Type()):
		if err := d.charge(int64(t.Size()) + 16); err != nil {
			return err
		}
		p := reflect.New(t)
		if err := d.copied(c, h, p.Elem(), p); err != nil {
			return err
		}
		v.Set(p)
		return nil
	case t == v.Type():
		return d.copied(c, h, v, reflect.Value{})
	}
	return mismatch(v.Type().String(), fmt.Sprintf("copyable %.40q", c.class))
}

// class reads the name of a copyable's class.
func (d *Decoder) class(h *head) (*Copy, error) {
	nh, err := d.head(h.child)
	switch {
	case err != nil:
		return nil, err
	case !nh.isBytes():
		return nil, protocolError("%s where the class of a copyable should be", nh.describe())
	case d.shown(nh.tok).N > maxCopyName:
		return nil, violation("the class of a copyable has %d bytes, %d are allowed", nh.tok.N, maxCopyName)
	}
	name, err := d.bytesIn(d.room[:], nh.tok, h.child)
	if err != nil {
		return nil, err
	}
	if c := d.cfg.Copies.byClass[string(name)]; c != nil {
		return c, nil
	}
	return nil, violation("copyable of the unknown class %.40q", name)
}

// copied reads the attributes and makes v of them. p points to v, if what it
// points to is what others may refer to.
func (d *Decoder) copied(c *Copy, h *head, v, p reflect.Value) error {
	kind := refTyped
	switch {
	case c.decode != nil:
		kind = refHook
	case p.IsValid():
		kind = refOpen
	}
	if err := d.known(h, kind); err != nil {
		return err
	}
	d.ref(h).rv = p
	state := v
	if c.decode != nil {
		if err := d.charge(int64(c.state.Size()) + 16); err != nil {
			return err
		}
		state = reflect.New(c.state).Elem()
	}
	if err := d.constrain(c, h); err != nil {
		return err
	}
	if err := d.attributes(c, h, state); err != nil {
		return err
	}
	if c.decode != nil {
		if err := c.decode(state, v); err != nil {
			return At(objection(err), c.at(""))
		}
	}
	at := d.ref(h)
	at.state = refDone
	if at.rv = v; p.IsValid() {
		at.rv, at.val = p, p.Interface()
	}
	return nil
}

// constrain lets the class's own Taster see the attributes too. It is the same
// for all values of the class in a message, so that it knows what it has seen.
func (d *Decoder) constrain(c *Copy, h *head) error {
	if c.taster == nil {
		return nil
	}
	whole, ok := d.tasters[c]
	if !ok {
		if err := d.charge(512); err != nil {
			return err
		}
		if d.tasters == nil {
			d.tasters = make(map[*Copy]Taster)
		}
		whole = c.taster()
		d.tasters[c] = whole
	}
	own, err := whole.Open("copyable")
	if err == nil && own != nil {
		if err = own.Token(Token{Type: TypeString, N: uint64(len(c.class))}); err == nil {
			err = own.Body([]byte(c.class))
		}
	}
	h.child = tee(h.child, own)
	return objection(err)
}

// attributes reads up to the CLOSE of a copyable.
func (d *Decoder) attributes(c *Copy, h *head, state reflect.Value) error {
	var few [32]bool
	seen := append(few[:0], make([]bool, len(c.fields))...)
	for {
		nh, err := d.head(h.child)
		if err != nil {
			return At(err, c.at(""))
		}
		if nh.tok.Type == TypeClose {
			break
		}
		if !nh.isBytes() {
			return protocolError("%s where the name of an attribute should be", nh.describe())
		}
		name, err := d.bytesIn(d.room[:], nh.tok, h.child)
		if err != nil {
			return At(err, c.at(""))
		}
		i, ok := c.byName[string(name)]
		if !ok {
			return At(violation("unknown attribute %.40q", name), c.at(""))
		}
		if seen[i] {
			return protocolError("a copyable with the same attribute twice")
		}
		seen[i] = true
		f := &c.fields[i]
		vh, err := d.head(h.child)
		if err != nil {
			return At(err, c.at(f.Name))
		}
		if vh.tok.Type == TypeClose {
			return At(violation("attribute %q without a value", f.Name), c.at(""))
		}
		if err := f.Codec.decode(d, vh, f.In(state), h.child); err != nil {
			return At(err, c.at(f.Name))
		}
	}
	for i := range c.fields {
		if f := &c.fields[i]; !f.Optional && !seen[i] {
			return At(violation("missing attribute %q", f.Name), c.at(""))
		}
	}
	return d.closed(h.child)
}
