package banana

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// readBuffer is the size of a Decoder's buffer. It is small because every idle
// connection has one; long strings go past it.
const readBuffer = 4 << 10

// A DecoderConfig says for what a Decoder decodes. It must not change while
// Decoders use it.
type DecoderConfig struct {
	// Vocab is the vocabulary table that was negotiated, 0 or 1.
	Vocab int
	// Limits bound one message.
	Limits Limits
	// Account is charged for what is being built; nil charges nothing.
	Account *Account

	// Ping and Pong are called for these tokens wherever they stand, with
	// the bytes of their number, valid during the call. They may be nil.
	// An error of theirs ends the reading.
	Ping, Pong func(number []byte) error

	// External is asked about every sequence within a value that is not a
	// plain one. It reports whether it knows the type, and reads the
	// sequence up to and including its CLOSE. Nil knows none.
	External func(d *Decoder, opentype string, t Taster) (v any, known bool, err error)

	// Adapt makes of v, which came by reference, a value of a function,
	// reader or interface type. An error is a Violation. Nil can make none.
	Adapt func(v any, t reflect.Type) (reflect.Value, error)

	// Copies are the types that arrive by copy. Nil leaves all sequences of
	// that kind to External.
	Copies *Copies

	// Skipped is shown such a sequence within something that is being
	// skipped, so that references in it can be accounted for. That includes
	// one whose type was read and which External was not asked about, or
	// refused before it had read anything of it. Skipped may read tokens of
	// the sequence with SkippedInt; what it leaves is skipped.
	Skipped func(d *Decoder, opentype string) error
}

// A Decoder pulls messages out of a stream. Methods that read return a
// *Violation when the message is at fault, and then Skip gets rid of the rest
// of it; a *ProtocolError or *RemoteError when the connection is; or an error
// of the reader. A Decoder is for one goroutine at a time.
type Decoder struct {
	r        io.Reader
	cfg      *DecoderConfig
	buf      []byte
	pos, end int
	words    []string

	opens   uint64 // OPENs received, ever
	stack   []level
	beyond  int    // open levels deeper than the stack may grow, while skipping
	atIndex bool   // the next token is the type of the sequence just opened
	fresh   string // the type of the innermost sequence, while nothing in it has been read
	body    int    // bytes of a body that nobody has read yet
	skip    bool
	states  bool             // values by copy become *copyState
	tasters map[*Copy]Taster // of the message, by class

	limits   Limits
	tokens   int
	counted  int // tokens to come that are in it already
	partial  int // bytes of a header that came before the reader ended
	cost     int64
	reserved int64 // of the account, for this message
	taken    int64 // of the account too, but the caller's to release
	refs     []ref
	heads    []head // of the values that are being read, by their depth

	room   [32]byte        // for the key of a struct, while its field is looked up
	number []byte          // the header of the last token, until more is read
	hdr    [maxHeader]byte // room for it, and for other short things after it
}

// level is one open sequence.
type level struct {
	header uint64 // what its CLOSE has to repeat
	open   uint64 // its number as we count
	frozen bool   // complete only when its members are: a tuple, a frozen set
	ref    int    // 1 + its place in refs, or 0
}

// ref is what a "reference" to an OPEN of this message stands for. Only what
// can be referred to has one.
type ref struct {
	open  uint64
	state refState
	tuple bool          // it was a tuple, which a slice does not show
	val   any           // decoded as any
	rv    reflect.Value // decoded into a typed target
	fixes []func(any)   // where a tuple is missing that was not complete yet
}

type refState uint8

const (
	refOpen   refState = iota // has its identity, still being filled
	refTuple                  // a tuple that is not complete
	refDone                   // complete
	refFrozen                 // a frozen set
	refTyped                  // being decoded into a target that has no identity yet
	refHook                   // a value by copy that a hook will make
)

// NewDecoder returns a Decoder that reads first what is buffered and then r.
func NewDecoder(r io.Reader, buffered []byte, cfg *DecoderConfig) *Decoder {
	d := &Decoder{r: r, cfg: cfg, words: vocabTable(cfg.Vocab), limits: cfg.Limits.WithDefaults()}
	d.buf = make([]byte, max(readBuffer, len(buffered)))
	d.end = copy(d.buf, buffered)
	return d
}

// Unread returns what of an incomplete token header was read when the reader
// ended, or nil.
func (d *Decoder) Unread() []byte { return d.hdr[:d.partial] }

// Buffered returns the number of bytes that can be read without waiting.
func (d *Decoder) Buffered() int { return d.end - d.pos }

// Fill reads what there is to be read, when nothing is buffered.
func (d *Decoder) Fill() error { return d.fill() }

// Whole reports whether, between two messages, the next one is in the buffer
// as a whole, so that it can be read without waiting.
func (d *Decoder) Whole() bool {
	depth := 0
	for pos := d.pos; pos < d.end; {
		var n uint64
		i := 0
		for ; pos < d.end && d.buf[pos] < 0x80; pos++ {
			if i == 9 {
				return false
			}
			n |= uint64(d.buf[pos]) << (7 * i)
			i++
		}
		if pos == d.end {
			return false
		}
		typ := Type(d.buf[pos])
		pos++
		switch typ {
		case TypeInt, TypeNeg, TypeVocab, TypeAbort, TypePing, TypePong:
		case TypeOpen:
			depth++
		case TypeClose:
			if depth--; depth <= 0 {
				return true
			}
		case TypeString, TypeLongInt, TypeLongNeg:
			if n > uint64(d.end-pos) {
				return false
			}
			pos += int(n)
		case TypeFloat:
			pos += 8
		default:
			return false
		}
	}
	return false
}

// SetLimits changes the limits from the next token on.
func (d *Decoder) SetLimits(l Limits) { d.limits = l.WithDefaults() }

func (d *Decoder) fill() error {
	for range 100 {
		n, err := d.r.Read(d.buf)
		if n > 0 {
			d.pos, d.end = 0, n
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// next reads the header of the next token that is not PING or PONG. It keeps
// the count of OPENs and levels, so that any error of its callers leaves the
// Decoder able to skip.
func (d *Decoder) next() (Token, error) {
	for {
		tok, err := d.header()
		if err != nil {
			return tok, err
		}
		switch tok.Type {
		case TypePing, TypePong:
			f := d.cfg.Ping
			if tok.Type == TypePong {
				f = d.cfg.Pong
			}
			if f != nil {
				if err := f(d.number); err != nil {
					return tok, err
				}
			}
			continue
		case TypeError:
			return tok, d.remoteError(tok)
		}
		return tok, d.account(tok)
	}
}

// header reads the header of the next token, whatever it is.
func (d *Decoder) header() (Token, error) {
	if d.body > 0 {
		if err := d.discard(); err != nil {
			return Token{}, err
		}
	}
	// Most headers are short, and whole in the buffer.
	var n uint64
	for i, b := range d.buf[d.pos:min(d.end, d.pos+9)] {
		if b >= 0x80 {
			d.number = d.buf[d.pos : d.pos+i]
			d.pos += i + 1
			return d.token(Token{Type: Type(b), N: n})
		}
		n |= uint64(b) << (7 * i)
	}
	return d.slowHeader()
}

// slowHeader is header for any header.
func (d *Decoder) slowHeader() (Token, error) {
	var tok Token
	n := 0
	for {
		if d.pos == d.end {
			if err := d.fill(); err != nil {
				if n > 0 || d.depth() > 0 {
					err = unexpected(err)
				}
				d.partial = n
				return tok, err
			}
		}
		b := d.buf[d.pos]
		d.pos++
		if b >= 0x80 {
			tok.Type = Type(b)
			d.number = d.hdr[:n]
			return d.token(tok)
		}
		switch {
		case n == maxHeader:
			raw := append(append([]byte(nil), d.hdr[:n]...), b)
			raw = append(raw, d.buf[d.pos:d.end]...)
			return tok, &ProtocolError{Reason: "a token header of more than 64 bytes", Raw: raw}
		case n < 9:
			tok.N |= uint64(b) << (7 * n)
		case n == 9 && b <= 1:
			tok.N |= uint64(b) << 63
		case b != 0:
			tok.Wide = true
		}
		d.hdr[n] = b
		n++
	}
}

// token finds out how long the body of a token is.
func (d *Decoder) token(tok Token) (Token, error) {
	switch tok.Type {
	case TypeInt, TypeNeg, TypePing, TypePong:
	case TypeString, TypeLongInt, TypeLongNeg, TypeError:
		if tok.Wide || tok.N > math.MaxInt {
			return tok, protocolError("%s with a length of more than 63 bits", tok.Type)
		}
		d.body = int(tok.N)
	case TypeFloat:
		d.body = 8
	case TypeVocab, TypeOpen, TypeClose, TypeAbort:
		if tok.Wide {
			return tok, protocolError("%s with a number of more than 64 bits", tok.Type)
		}
	default:
		return tok, protocolError("invalid %s", tok.Type)
	}
	return tok, nil
}

// discard skips what nobody has read of a body.
func (d *Decoder) discard() error {
	for d.body > 0 {
		if d.pos == d.end {
			if err := d.fill(); err != nil {
				return unexpected(err)
			}
		}
		n := min(d.body, d.end-d.pos)
		d.pos += n
		d.body -= n
	}
	return nil
}

// account keeps levels and limits up to date with a token.
func (d *Decoder) account(tok Token) error {
	atIndex := d.atIndex
	d.atIndex = false
	d.fresh = ""
	tokens := 1
	if d.counted > 0 {
		d.counted--
		tokens = 0
	}
	switch tok.Type {
	case TypeOpen:
		if atIndex {
			return protocolError("OPEN followed by OPEN")
		}
		open := d.opens
		d.opens++
		d.atIndex = true
		if d.depth() == 0 {
			d.forget()
			d.tokens, tokens = 0, 1
		}
		// What it opens and the first token within, the number of a
		// reference for one, are counted here: no limit parts them.
		tokens += 2
		d.counted = 2
		if d.beyond > 0 || len(d.stack) >= d.limits.MaxDepth {
			d.beyond++
			return d.limit("MaxDepth", d.limits.MaxDepth, d.depth())
		}
		d.stack = append(d.stack, level{header: tok.N, open: open})
	case TypeClose:
		if atIndex {
			return protocolError("OPEN followed by CLOSE")
		}
		switch last := len(d.stack) - 1; {
		case d.beyond > 0:
			d.beyond--
		case last < 0:
			return protocolError("CLOSE without OPEN")
		case d.stack[last].header != tok.N:
			return protocolError("lost sync: CLOSE %d where %d was expected", tok.N, d.stack[last].header)
		default:
			d.stack = d.stack[:last]
		}
	case TypeAbort:
		d.atIndex = atIndex
		if !d.skip {
			return &Violation{Err: ErrAborted}
		}
	case TypeVocab:
		if tok.N >= uint64(len(d.words)) {
			return protocolError("VOCAB %d is not in table %d", tok.N, d.cfg.Vocab)
		}
	}
	if d.skip {
		return nil
	}
	if d.tokens += tokens; d.tokens > d.limits.MaxTokens {
		return d.limit("MaxTokens", d.limits.MaxTokens, d.tokens)
	}
	return nil
}

// depth is the number of sequences that are open.
func (d *Decoder) depth() int { return len(d.stack) + d.beyond }

func (d *Decoder) limit(name string, max, asked int) error {
	if d.skip {
		return nil
	}
	return &Violation{Err: &LimitError{Limit: name, Max: int64(max), Asked: int64(asked)}}
}

func (d *Decoder) remoteError(tok Token) error {
	if tok.N > MaxErrorText {
		return protocolError("an ERROR token of %d bytes, %d are allowed", tok.N, MaxErrorText)
	}
	b := make([]byte, tok.N)
	if err := d.read(b); err != nil {
		return err
	}
	return &RemoteError{Text: strings.ToValidUTF8(string(b), "?")}
}

// read reads the whole of p out of the body of the current token.
func (d *Decoder) read(p []byte) error {
	d.body -= len(p)
	n := copy(p, d.buf[d.pos:d.end])
	d.pos += n
	p = p[n:]
	if len(p) >= len(d.buf) {
		_, err := io.ReadFull(d.r, p)
		return unexpected(err)
	}
	for len(p) > 0 {
		if err := d.fill(); err != nil {
			return unexpected(err)
		}
		n := copy(p, d.buf[d.pos:d.end])
		d.pos += n
		p = p[n:]
	}
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// What things cost, in bytes of Go memory, roughly and not too little.
const (
	valueCost   = 24      // an interface and what it points to
	entryCost   = 128     // an entry of a Dict or Set, with its index
	indexCost   = 256     // the index itself, once there is an entry
	refCost     = 128     // a ref
	listCost    = 64      // a List or Dict without its items
	chargeSlice = 4 << 10 // how much is reserved at a time

	// freeCharge is what every message has without asking the account: its
	// first levels, so that an exhausted account does not keep the number of
	// a request from being read and the request from being refused.
	freeCharge = 512
)

// charge charges the message for n bytes that are about to be allocated.
func (d *Decoder) charge(n int64) error {
	d.cost += n
	if d.cost > int64(d.limits.MaxMessage) {
		return &Violation{Err: &LimitError{Limit: "MaxMessage", Max: int64(d.limits.MaxMessage), Asked: d.cost}}
	}
	need := d.cost - freeCharge - d.taken - d.reserved
	if need <= 0 || d.cfg.Account == nil {
		return nil
	}
	more := max(need, chargeSlice)
	err := d.cfg.Account.Reserve(more)
	if err != nil && more > need {
		more = need
		err = d.cfg.Account.Reserve(more)
	}
	if err != nil {
		return &Violation{Err: err}
	}
	d.reserved += more
	return nil
}

// Charge charges the message for n more bytes, for those who build something
// around its values.
func (d *Decoder) Charge(n int) error { return d.charge(int64(n)) }

// TakeCharge returns what the account was charged for the current message.
// From then on it is the caller's to release. What is not taken is released
// when the next message begins or the rest of this one is skipped.
func (d *Decoder) TakeCharge() int64 {
	n := d.reserved
	d.reserved = 0
	d.taken += n
	return n
}

// maxKeptRefs bounds the memory that a Decoder keeps between messages.
const maxKeptRefs = 64

// forget ends a message: a connection that waits for the next one holds
// nothing of the last.
func (d *Decoder) forget() {
	d.Release()
	d.cost, d.taken = 0, 0
	for i := range d.heads {
		d.heads[i].child = nil
	}
	clear(d.refs)
	if cap(d.refs) > maxKeptRefs {
		d.refs = nil
	}
	d.refs = d.refs[:0]
}

// Release gives back what is still charged, when the Decoder is done.
func (d *Decoder) Release() {
	if d.reserved > 0 {
		d.cfg.Account.Release(d.reserved)
		d.reserved = 0
	}
}

// Begin reads to the start of the next top-level sequence and returns its
// type. What is left of the message before it is skipped. It returns io.EOF at
// the end of the stream between two messages.
func (d *Decoder) Begin() (string, error) {
	if err := d.Skip(); err != nil {
		return "", err
	}
	for {
		tok, err := d.next()
		switch {
		case errors.Is(err, ErrAborted): // nothing is open that could be given up
			continue
		case err != nil:
			return "", err
		case tok.Type != TypeOpen:
			return "", protocolError("%s at top level, where only sequences may be", tok)
		}
		d.tasters = nil
		return d.openType()
	}
}

// knownTypes spares an allocation for every sequence.
var knownTypes = func() map[string]string {
	m := map[string]string{"decimal": "decimal"}
	for _, w := range vocab1 {
		m[w] = w
	}
	return m
}()

// openType reads the index token that follows an OPEN.
func (d *Decoder) openType() (string, error) {
	tok, err := d.next()
	if err != nil {
		return "", err
	}
	switch tok.Type {
	case TypeVocab:
		d.fresh = d.words[tok.N]
		return d.fresh, nil
	case TypeString:
		if tok.N > maxOpenType {
			return "", violation("the type of a sequence has %d bytes, no known one has more than %d", tok.N, maxOpenType)
		}
		if d.fresh, err = d.shortName(tok); err != nil {
			return "", err
		}
		if !utf8.ValidString(d.fresh) {
			return "", protocolError("the type of a sequence is not UTF-8")
		}
		return d.fresh, nil
	}
	return "", violation("the type of a sequence is %s, expected STRING or VOCAB", tok)
}

// shortName reads the body of a STRING that is not longer than the type of a
// sequence may be.
func (d *Decoder) shortName(tok Token) (string, error) {
	b := d.hdr[:tok.N] // the header has done its duty
	if err := d.read(b); err != nil {
		return "", err
	}
	if w, ok := knownTypes[string(b)]; ok {
		return w, nil
	}
	return string(b), nil
}

// Skip reads the rest of the current message and forgets it, whatever it
// holds. References in it are shown to the configuration's Skipped.
func (d *Decoder) Skip() error {
	if d.depth() == 0 {
		d.forget()
		return nil
	}
	d.skip = true
	defer func() { d.skip = false }()
	if err := d.skipped(d.fresh); err != nil {
		return err
	}
	for d.depth() > 0 {
		index := d.atIndex
		tok, err := d.next()
		if err != nil {
			return err
		}
		name := ""
		switch {
		case !index:
			continue
		case tok.Type == TypeVocab:
			name = d.words[tok.N]
		case tok.Type == TypeString && tok.N <= maxOpenType:
			if name, err = d.shortName(tok); err != nil {
				return err
			}
		}
		if err := d.skipped(name); err != nil {
			return err
		}
	}
	d.forget()
	return nil
}

// skipped shows a sequence of which nothing but its type has been read.
func (d *Decoder) skipped(opentype string) error {
	d.fresh = ""
	if opentype == "" || d.cfg.Skipped == nil || d.depth() == 1 {
		return nil
	}
	return d.cfg.Skipped(d, opentype)
}

// SkippedInt is for the configuration's Skipped: it reads one token and
// returns its value when it is an INT or NEG.
func (d *Decoder) SkippedInt() (v int64, ok bool, err error) {
	tok, err := d.next()
	if err != nil {
		return 0, false, err
	}
	v, ok = tok.int64()
	return v, ok, nil
}

// int64 returns the value of an INT or NEG that fits.
func (t Token) int64() (int64, bool) {
	switch {
	case t.Wide || t.N > math.MaxInt64:
		return 0, false
	case t.Type == TypeInt:
		return int64(t.N), true
	case t.Type == TypeNeg:
		return -int64(t.N), true
	}
	return 0, false
}

// head is the beginning of a value: its first token and, when that is an
// OPEN, what it opens.
type head struct {
	tok   Token
	open  string
	num   uint64 // of the OPEN
	ref   int    // the place in refs, or -1
	child Taster // for what is within the sequence
}

func (h *head) describe() string {
	if h.tok.Type == TypeOpen {
		return "a " + h.open + " sequence"
	}
	return h.tok.String()
}

// head reads the beginning of a value, or a CLOSE. The result is valid until
// the sequence around it has been read further: what is within the value does
// not change it.
func (d *Decoder) head(t Taster) (*head, error) {
	depth := len(d.stack)
	tok, err := d.next()
	if err != nil {
		return nil, err
	}
	for depth >= len(d.heads) {
		// Those who hold a head go on with the one in the old array.
		d.heads = append(d.heads, head{})
	}
	h := &d.heads[depth]
	h.tok = tok
	switch tok.Type {
	case TypeClose:
	case TypeOpen:
		h.num, h.ref, h.child = d.opens-1, -1, nil
		if h.open, err = d.openType(); err != nil {
			return nil, err
		}
		if h.open == "tuple" || h.open == "immutable-set" {
			d.stack[len(d.stack)-1].frozen = true
		}
		if t != nil {
			if h.child, err = t.Open(h.open); err != nil {
				return nil, objection(err)
			}
		}
	default:
		if tok.N > uint64(d.limits.MaxToken) && tok.Type.hasBody() {
			return nil, &Violation{Err: &LimitError{Limit: "MaxToken", Max: int64(d.limits.MaxToken), Asked: int64(tok.N)}}
		}
		if t != nil {
			if err := t.Token(d.shown(tok)); err != nil {
				return nil, objection(err)
			}
		}
	}
	return h, nil
}

// shown is a token as a Taster sees it.
func (d *Decoder) shown(tok Token) Token {
	if tok.Type == TypeVocab {
		return Token{Type: TypeString, N: uint64(len(d.words[tok.N]))}
	}
	return tok
}

// bytes returns the body of a STRING or VOCAB, in memory of its own.
func (d *Decoder) bytes(tok Token, t Taster) ([]byte, error) { return d.bytesIn(nil, tok, t) }

// bytesIn is bytes for those who have room that may be large enough.
func (d *Decoder) bytesIn(room []byte, tok Token, t Taster) ([]byte, error) {
	n := d.shown(tok).N
	if n > uint64(len(room)) || n == 0 {
		if err := d.charge(valueCost + int64(n)); err != nil {
			return nil, err
		}
		room = make([]byte, n)
	}
	b := room[:n]
	if tok.Type == TypeVocab {
		copy(b, d.words[tok.N])
	} else if err := d.read(b); err != nil {
		return nil, err
	}
	return b, tasteBody(t, b)
}

func tasteBody(t Taster, b []byte) error {
	if t == nil {
		return nil
	}
	return objection(t.Body(b))
}

func (d *Decoder) float() (float64, error) {
	b := d.hdr[:8] // what was in the header of a FLOAT means nothing
	if err := d.read(b); err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

// integer returns an INT, NEG, LONGINT or LONGNEG: in v, or in n when it does
// not fit. t is the Taster of the level on which it stands.
func (d *Decoder) integer(tok Token, t Taster) (v int64, n *big.Int, err error) {
	if v, ok := tok.int64(); ok {
		return v, nil, nil
	}
	var mag []byte
	neg := tok.Type == TypeNeg || tok.Type == TypeLongNeg
	switch {
	case tok.Type.hasBody() && tok.N <= 8:
		mag = d.hdr[:8] // the length has been read
		clear(mag)
		if err := d.read(mag[8-tok.N:]); err != nil {
			return 0, nil, err
		}
		if err := tasteBody(t, mag[8-tok.N:]); err != nil {
			return 0, nil, err
		}
		if u := binary.BigEndian.Uint64(mag); u <= math.MaxInt64 {
			v = int64(u)
			if neg {
				v = -v
			}
			return v, nil, nil
		}
	case tok.Type.hasBody():
		if err := d.charge(64 + 2*int64(tok.N)); err != nil {
			return 0, nil, err
		}
		mag = make([]byte, tok.N)
		if err := d.read(mag); err != nil {
			return 0, nil, err
		}
		if err := tasteBody(t, mag); err != nil {
			return 0, nil, err
		}
	default: // an INT or NEG of more than 63 bits
		n = headerValue(d.number)
		if t != nil && tok.Wide {
			if err := tasteBody(t, n.Bytes()); err != nil {
				return 0, nil, err
			}
		}
	}
	if n == nil {
		n = new(big.Int).SetBytes(mag)
	}
	if neg {
		n.Neg(n)
	}
	if n.IsInt64() {
		return n.Int64(), nil, nil
	}
	return 0, n, nil
}

// body1 reads the single string that a unicode or decimal sequence holds, and
// its CLOSE. ok is false when there is none. room is for bytesIn.
func (d *Decoder) body1(what string, room []byte, t Taster) (b []byte, ok bool, err error) {
	for {
		h, err := d.head(t)
		switch {
		case err != nil:
			return nil, false, err
		case h.tok.Type == TypeClose:
			return b, ok, d.closed(t)
		case ok || h.tok.Type != TypeString && h.tok.Type != TypeVocab:
			return nil, false, protocolError("%s within %s, which holds one STRING", h.describe(), what)
		}
		if b, err = d.bytesIn(room, h.tok, t); err != nil {
			return nil, false, err
		}
		ok = true
	}
}

func (d *Decoder) closed(t Taster) error {
	if t == nil {
		return nil
	}
	return objection(t.Close())
}

// text reads the rest of a unicode sequence.
func (d *Decoder) text(t Taster) (s string, ok bool, err error) {
	b, ok, err := d.utf8(nil, t)
	return ownString(b), ok, err
}

// utf8 is text before it becomes a string.
func (d *Decoder) utf8(room []byte, t Taster) (b []byte, ok bool, err error) {
	b, ok, err = d.body1("unicode", room, t)
	if err == nil && !utf8.Valid(b) {
		err = protocolError("a text that is not valid UTF-8")
	}
	if err != nil {
		return nil, false, err
	}
	return b, ok, nil
}

// ownString makes a string of bytes that nobody else has, without a copy.
func ownString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// boolean reads the rest of a boolean sequence.
func (d *Decoder) boolean(t Taster) (v, ok bool, err error) {
	for {
		h, err := d.head(t)
		switch {
		case err != nil:
			return false, false, err
		case h.tok.Type == TypeClose:
			return v, ok, d.closed(t)
		case ok || h.tok.Type != TypeInt:
			return false, false, protocolError("%s within boolean, which holds one INT", h.describe())
		}
		v, ok = h.tok.N != 0 || h.tok.Wide, true
	}
}

// close reads the CLOSE of a sequence that has nothing more to hold.
func (d *Decoder) close(what string, t Taster) error {
	tok, err := d.next()
	if err != nil {
		return err
	}
	if tok.Type != TypeClose {
		return protocolError("%s in a %s sequence that should end", tok, what)
	}
	return d.closed(t)
}

// reference reads the rest of a reference sequence and finds what it means.
func (d *Decoder) reference(t Taster) (*ref, error) {
	var at *ref
	var open uint64
	for {
		h, err := d.head(t)
		switch {
		case err != nil:
			return nil, err
		case h.tok.Type == TypeClose && at == nil:
			return nil, protocolError("a reference to nothing")
		case h.tok.Type == TypeClose:
			if err := d.cycle(at, open); err != nil {
				return nil, err
			}
			return at, nil
		case at != nil || h.tok.Type != TypeInt:
			return nil, protocolError("%s within reference, which holds one INT", h.describe())
		}
		open = h.tok.N
		if at = d.find(open); at == nil || h.tok.Wide {
			return nil, protocolError("a reference to OPEN %d, which cannot be referred to", open)
		}
	}
}

// growing reports whether v is still being read.
func (d *Decoder) growing(v any) bool {
	if _, ok := v.(pending); ok {
		return true
	}
	for i := range d.stack {
		at := d.stack[i].ref - 1
		if at < 0 || d.refs[at].state != refOpen {
			continue
		}
		r := &d.refs[at]
		if r.val != nil && r.val == v {
			return true
		}
		if rv := reflect.ValueOf(v); r.rv.IsValid() && rv.IsValid() && rv.Type() == r.rv.Type() && rv.UnsafePointer() == r.rv.UnsafePointer() {
			return true
		}
	}
	return false
}

// cycle objects to a reference that nobody can resolve.
func (d *Decoder) cycle(at *ref, open uint64) error {
	switch at.state {
	case refFrozen:
		return violation("a reference to a frozen set, which Foolscap never shares")
	case refTyped:
		return errTypedCycle()
	case refHook:
		return violation("a value by copy that contains itself, and is made only once it is complete")
	case refTuple:
		for i := len(d.stack) - 1; i >= 0 && d.stack[i].frozen; i-- {
			if d.stack[i].open == open {
				return violation("a tuple that contains itself")
			}
		}
	}
	return nil
}

func errTypedCycle() error {
	return mismatch("a value without cycles", "one that contains itself (a target of type any can hold it)")
}

// known lets references lead to what h begins, unless something closer to its
// identity has done so already.
func (d *Decoder) known(h *head, state refState) error {
	if h.ref >= 0 {
		return nil
	}
	if err := d.charge(refCost); err != nil {
		return err
	}
	h.ref = len(d.refs)
	d.refs = append(d.refs, ref{open: h.num, state: state})
	d.stack[len(d.stack)-1].ref = len(d.refs)
	return nil
}

// ref returns what known has made, until the next call of known.
func (d *Decoder) ref(h *head) *ref { return &d.refs[h.ref] }

// find returns the ref of an OPEN, or nil. The refs are in order.
func (d *Decoder) find(open uint64) *ref {
	i, ok := slices.BinarySearchFunc(d.refs, open, func(r ref, open uint64) int { return cmp.Compare(r.open, open) })
	if !ok {
		return nil
	}
	return &d.refs[i]
}

// missing is what is at the start of a value when there should be one.
func missing() error { return protocolError("CLOSE where a value should be") }
