package banana

import (
	"math"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"
	"unsafe"
)

// borrowSize is the length from which on a string is not copied into the
// message's buffer when the message may borrow it, in bytes.
const borrowSize = 4 << 10

// An EncoderConfig says for what an Encoder encodes. It must not change while
// Encoders use it.
type EncoderConfig struct {
	// Vocab is the vocabulary table that was negotiated, 0 or 1.
	Vocab int
	// Limits bound one message.
	Limits Limits
	// External is asked about every External that is to be sent: it returns
	// what the message is to hold for it until it goes out, or why it
	// cannot be sent. Nil refuses every one.
	External func(External) (any, error)
	// Adapt is asked what stands for a function, a reader, or another value
	// whose type has methods; nil stands for nothing else, and then functions
	// and readers are refused, others go in their own form. Without Adapt all
	// do so. static is the interface type that v was declared as, as a field or
	// the element of a list for example, or nil where it stands in an any.
	Adapt func(v any, static reflect.Type) (External, error)
	// OpenType is asked by Taste which sequence an External will be. Nil and
	// "" mean "my-reference".
	OpenType func(External) string
	// Copies are the types whose values go by copy. Nil has none.
	Copies *Copies
	// WholeAttributes says that the receiver needs an attribute of a copy to
	// be complete when it has arrived, as Foolscap does, which drops the
	// connection otherwise: cycles back to a copy or a tuple that is an
	// attribute are refused, and what External returns, within a copy, if it
	// has a method Later() bool which returns true.
	WholeAttributes bool
}

// An Encoder builds one Message. Its methods append tokens in the order of
// the wire. The first error sticks: Finish returns it. An Encoder is for one
// goroutine.
type Encoder struct {
	cfg      *EncoderConfig
	limits   Limits
	m        *Message
	borrow   bool
	words    bool // table 1
	err      error
	opens    uint32
	tokens   int
	raw      int // bytes in raws
	stack    []frame
	pointers int // that are being followed
	copies   int // that are open
	// waits has the tuples that lack something when they end, and the outermost
	// sequence that has to end before they are complete. Only WholeAttributes
	// needs it.
	waits   map[uint32]uint32
	seen    []identity
	where   map[identity]uint32 // once seen is long
	externs []External          // of the message, in their order
}

// frame is one open sequence.
type frame struct {
	open uint32
	// frozen says that it is complete only when its members are: a tuple.
	frozen bool
	// copy is what it is a value of, if it goes by copy.
	copy *Copy
}

// identity tells shared values apart from equal ones.
type identity struct {
	p    unsafe.Pointer
	n    int // length of a slice
	t    reflect.Type
	open uint32
}

var encoders = sync.Pool{New: func() any { return new(Encoder) }}
var messages = sync.Pool{New: func() any { return new(Message) }}

// NewEncoder returns an Encoder. With borrow the message keeps referring to
// long byte strings instead of copying them: nobody may change them until the
// message has gone out or Message.Own was called. Text is never copied.
func NewEncoder(cfg *EncoderConfig, borrow bool) *Encoder {
	e := encoders.Get().(*Encoder)
	stack, seen, externs := e.stack[:0], e.seen[:0], e.externs[:0]
	*e = Encoder{cfg: cfg, limits: cfg.Limits.WithDefaults(), m: messages.Get().(*Message), borrow: borrow, words: cfg.Vocab == 1, stack: stack, seen: seen, externs: externs}
	return e
}

// Finish ends the encoder's use and returns the message, or the first error:
// then nothing of the message may go out. What External returned for the
// values of a failed message is returned with it, to be released.
func (e *Encoder) Finish() (*Message, []any, error) {
	if len(e.stack) > 0 {
		e.fail(cannotEncode("%d sequences have not been closed", len(e.stack)))
	}
	m, err := e.m, e.err
	m.opens = uint64(e.opens)
	m.size = e.size()
	clear(e.seen)
	clear(e.externs)
	if cap(e.externs) > maxKeptRefs {
		e.externs = nil
	}
	e.m, e.cfg, e.where = nil, nil, nil
	encoders.Put(e)
	if err != nil {
		exts := slices.Clone(m.exts)
		m.Free()
		return nil, exts, err
	}
	return m, nil, nil
}

// Free gives the memory of a message back that nobody uses any more.
func (m *Message) Free() {
	m.reset()
	messages.Put(m)
}

func (e *Encoder) fail(err error) error {
	if e.err == nil {
		e.err = err
	}
	return e.err
}

func (e *Encoder) mark(kind markKind, n uint32) {
	e.m.marks = append(e.m.marks, mark{off: uint32(len(e.m.buf)), n: n, kind: kind})
}

// token counts a token and what the message has come to.
func (e *Encoder) token(bytes int) error {
	e.tokens++
	if e.tokens > e.limits.MaxTokens {
		return e.limit("MaxTokens", e.limits.MaxTokens, e.tokens)
	}
	if size := e.size() + bytes; size > e.limits.MaxMessage {
		return e.limit("MaxMessage", e.limits.MaxMessage, size)
	}
	return nil
}

func (e *Encoder) size() int { return len(e.m.buf) + e.raw + 4*len(e.m.marks) + 64*len(e.m.exts) }

func (e *Encoder) limit(name string, max, asked int) error {
	return e.fail(&EncodeError{Err: &LimitError{Limit: name, Max: int64(max), Asked: int64(asked)}})
}

// deeper makes sure that another sequence may begin.
func (e *Encoder) deeper() error {
	if len(e.stack) >= e.limits.MaxDepth {
		return e.limit("MaxDepth", e.limits.MaxDepth, len(e.stack)+1)
	}
	return nil
}

// Open begins a sequence.
func (e *Encoder) Open(opentype string) error { return e.open(opentype, false) }

func (e *Encoder) open(opentype string, frozen bool) error {
	if e.err != nil {
		return e.err
	}
	if err := e.deeper(); err != nil {
		return err
	}
	if err := e.token(1); err != nil {
		return err
	}
	e.stack = append(e.stack, frame{open: e.opens, frozen: frozen})
	e.mark(markOpen, e.opens)
	e.opens++
	return e.word(opentype)
}

// Close ends the sequence that was opened last.
func (e *Encoder) Close() error {
	if e.err != nil {
		return e.err
	}
	last := len(e.stack) - 1
	if last < 0 {
		return e.fail(cannotEncode("no sequence is open that could be closed"))
	}
	e.mark(markClose, e.stack[last].open)
	e.stack = e.stack[:last]
	return e.token(1)
}

// word appends a word of the protocol, or a byte string that may be one.
func (e *Encoder) word(s string) error {
	if err := e.token(len(s)); err != nil {
		return err
	}
	if i, ok := vocab1Index[s]; ok && e.words {
		e.m.buf = append(e.m.buf, i, byte(TypeVocab))
		return nil
	}
	e.m.buf = AppendString(e.m.buf, s)
	return nil
}

// Int appends an integer.
func (e *Encoder) Int(v int64) error {
	if e.err != nil {
		return e.err
	}
	e.m.buf = AppendInt(e.m.buf, v)
	return e.token(0)
}

// Name appends a name of the protocol: a byte string.
func (e *Encoder) Name(s string) error {
	if e.err != nil {
		return e.err
	}
	return e.word(s)
}

// Bytes appends a byte string.
func (e *Encoder) Bytes(b []byte) error {
	if e.err != nil {
		return e.err
	}
	if len(b) <= maxOpenType {
		return e.word(string(b))
	}
	return e.Block(b)
}

// Block appends a byte string for [Decoder.Block]: never as a word of the
// vocabulary.
func (e *Encoder) Block(b []byte) error {
	if e.err != nil {
		return e.err
	}
	if err := e.token(len(b)); err != nil {
		return err
	}
	e.m.buf = AppendToken(e.m.buf, TypeString, uint64(len(b)))
	if !e.borrow || len(b) < borrowSize {
		e.m.buf = append(e.m.buf, b...)
		return nil
	}
	e.borrowed(b)
	return nil
}

func (e *Encoder) borrowed(b []byte) {
	e.mark(markRaw, 0)
	e.m.raws = append(e.m.raws, b)
	e.raw += len(b)
}

// Text appends a unicode sequence.
func (e *Encoder) Text(s string) error {
	if !utf8.ValidString(s) {
		return e.fail(cannotEncode("a text that is not valid UTF-8; send it as bytes"))
	}
	if err := e.Open("unicode"); err != nil {
		return err
	}
	switch {
	case len(s) <= maxOpenType:
		e.word(s)
	case len(s) < borrowSize:
		if e.token(len(s)) == nil {
			e.m.buf = AppendString(e.m.buf, s)
		}
	default: // a string cannot change
		if e.token(len(s)) == nil {
			e.m.buf = AppendToken(e.m.buf, TypeString, uint64(len(s)))
			e.borrowed(unsafe.Slice(unsafe.StringData(s), len(s)))
		}
	}
	return e.Close()
}

func (e *Encoder) none() error {
	e.Open("none")
	return e.Close()
}

func (e *Encoder) bool(v bool) error {
	e.Open("boolean")
	n := int64(0)
	if v {
		n = 1
	}
	e.Int(n)
	return e.Close()
}

func (e *Encoder) uint(v uint64) error {
	if e.err != nil {
		return e.err
	}
	e.m.buf = appendUint(e.m.buf, v)
	return e.token(0)
}

func (e *Encoder) float(v float64) error {
	if e.err != nil {
		return e.err
	}
	e.m.buf = appendFloat(e.m.buf, v)
	return e.token(0)
}

func (e *Encoder) bigInt(v *big.Int) error {
	if err := e.token(v.BitLen() / 8); err != nil {
		return err
	}
	e.m.buf = appendBig(e.m.buf, v)
	return nil
}

func (e *Encoder) decimal(v Decimal) error {
	if !v.Valid() {
		return e.fail(cannotEncode("%.40q is not a decimal number", string(v)))
	}
	e.Open("decimal")
	e.Bytes([]byte(v))
	return e.Close()
}

func (e *Encoder) external(x External) error {
	if e.err != nil {
		return e.err
	}
	if e.cfg.External == nil {
		return e.fail(cannotEncode("references cannot be sent here"))
	}
	// Nothing must fail once the connection has counted the reference.
	e.tokens += externalTokens - 1
	if err := e.token(64); err != nil {
		return err
	}
	if err := e.deeper(); err != nil {
		return err
	}
	held, err := e.cfg.External(x)
	if err != nil {
		return e.fail(&EncodeError{Err: err})
	}
	e.mark(markExt, e.opens)
	e.m.exts = append(e.m.exts, held)
	e.externs = append(e.externs, x)
	e.opens++
	if late, ok := held.(interface{ Later() bool }); ok && e.cfg.WholeAttributes && late.Later() {
		if e.copies > 0 {
			return e.fail(cannotEncode("an introduction within a value by copy, for which Foolscap would drop the connection"))
		}
		if len(e.stack) > 0 { // it takes longer than the message
			e.await(0)
		}
	}
	return nil
}

// externalTokens is the number of tokens of the longest reference: OPEN, type,
// clid, interface, FURL and CLOSE.
const externalTokens = 6

// Value appends any value that has a form in Banana.
func (e *Encoder) Value(v any) error { return e.ValueAs(v, nil) }

// As is a value that is sent as if it was declared as of an interface type; see
// [Encoder.ValueAs]. Interceptors may find it among the arguments of a call.
type As struct {
	Value any
	Type  reflect.Type
}

// ValueAs is Value for what has been declared as of an interface type, which
// EncoderConfig.Adapt is told; nil for none.
func (e *Encoder) ValueAs(v any, static reflect.Type) error {
	if e.err != nil {
		return e.err
	}
	switch v := v.(type) {
	case nil:
		return e.none()
	case bool:
		return e.bool(v)
	case int:
		return e.Int(int64(v))
	case int64:
		return e.Int(v)
	case float64:
		return e.float(v)
	case string:
		return e.Text(v)
	case []byte:
		return e.Bytes(v)
	case *big.Int:
		if v == nil {
			return e.none()
		}
		return e.bigInt(v)
	case Decimal:
		return e.decimal(v)
	case *List:
		if v == nil {
			return e.none()
		}
		return e.shared(identity{p: unsafe.Pointer(v)}, "list", false, func() error { return e.items(v.Items) })
	case Tuple:
		id := identity{p: unsafe.Pointer(unsafe.SliceData(v)), n: len(v)}
		if len(v) == 0 {
			id.p = nil
		}
		return e.shared(id, "tuple", true, func() error { return e.items(v) })
	case *Dict:
		if v == nil {
			return e.none()
		}
		return e.shared(identity{p: unsafe.Pointer(v)}, "dict", false, func() error { return e.dict(v) })
	case *Set:
		if v == nil {
			return e.none()
		}
		return e.shared(identity{p: unsafe.Pointer(v)}, "set", false, func() error { return e.items(v.d.keys) })
	case *FrozenSet:
		if v == nil {
			return e.none()
		}
		e.open("immutable-set", true)
		e.items(v.d.keys)
		return e.Close()
	case pending:
		return e.fail(cannotEncode("%s", kindName(v)))
	case As:
		return e.ValueAs(v.Value, v.Type)
	case External:
		if rv := reflect.ValueOf(v); rv.Kind() == reflect.Pointer && rv.IsNil() {
			return e.none()
		}
		return e.external(v)
	}
	rv := reflect.ValueOf(v)
	if rv.NumMethod() > 0 && (rv.Kind() != reflect.Pointer || !rv.IsNil()) {
		if done, err := e.adapt(v, static); done {
			return err
		}
	}
	c, err := codecOf(rv.Type())
	if err != nil {
		return e.fail(&EncodeError{Err: err})
	}
	return c.Encode(e, rv)
}

// shared writes a value that has an identity: in full the first time, as a
// "reference" afterwards.
func (e *Encoder) shared(id identity, opentype string, frozen bool, body func() error) error {
	if e.err != nil {
		return e.err
	}
	if id.p != nil {
		if at, ok := e.find(id); ok {
			return e.reference(at)
		}
		id.open = e.opens
		e.remember(id)
	}
	if err := e.open(opentype, frozen); err != nil {
		return err
	}
	if err := body(); err != nil {
		return err
	}
	return e.Close()
}

// manySeen is the number of shared values from which on they are looked up in
// a map.
const manySeen = 16

func (e *Encoder) find(id identity) (uint32, bool) {
	if e.where != nil {
		at, ok := e.where[id]
		return at, ok
	}
	for i := range e.seen {
		if s := &e.seen[i]; s.p == id.p && s.n == id.n && s.t == id.t {
			return s.open, true
		}
	}
	return 0, false
}

func (e *Encoder) remember(id identity) {
	if e.where == nil {
		e.seen = append(e.seen, id)
		if len(e.seen) <= manySeen {
			return
		}
		e.where = make(map[identity]uint32, 4*manySeen)
		for _, s := range e.seen {
			at := s.open
			s.open = 0
			e.where[s] = at
		}
		return
	}
	at := id.open
	id.open = 0
	e.where[id] = at
}

// unfinished is the OPEN of what is known to the encoder but cannot be sent,
// because it is still being read.
const unfinished = math.MaxUint32

func (e *Encoder) reference(open uint32) error {
	// Whoever receives a tuple that directly contains itself can never
	// complete it.
	if open == unfinished {
		return e.fail(cannotEncode("a value that contains itself"))
	}
	for i := len(e.stack) - 1; i >= 0 && e.stack[i].frozen; i-- {
		if e.stack[i].open == open {
			return e.fail(cannotEncode("a tuple that contains itself"))
		}
	}
	if err := e.early(open); err != nil {
		return e.fail(err)
	}
	e.Open("reference")
	if e.err == nil {
		e.mark(markRef, open)
	}
	return e.Close()
}

func (e *Encoder) items(items []any) error {
	for i, v := range items {
		if err := e.Value(v); err != nil {
			return e.fail(encodeAt(err, "["+strconv.Itoa(i)+"]"))
		}
	}
	return e.err
}

func (e *Encoder) dict(d *Dict) error {
	order, err := keyOrder(d.keys)
	if err != nil {
		return e.fail(err)
	}
	for _, i := range order {
		if err := e.Value(d.keys[i]); err != nil {
			return e.fail(encodeAt(err, "key"))
		}
		if err := e.Value(d.vals[i]); err != nil {
			return e.fail(encodeAt(err, "["+keyText(d.keys[i])+"]"))
		}
	}
	return e.err
}
