package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"unicode/utf8"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// Of a message that is larger, the tokens are shown but no value. Values on a
// connection are smaller.
const (
	maxMessageTokens = 1_000_000
	maxMessageDepth  = 1000
)

// A messageTree collects the tokens of one message after the other. It takes
// them as they come: nothing has to make sense.
type messageTree struct {
	reveal bool

	message *message
	stack   []*sequence
	opens   uint64 // number of the next OPEN, as a receiver counts
	begun   bool   // opens has been set
	index   bool   // the next token is a type
}

// A message is one top-level sequence.
type message struct {
	offset   int64
	root     *sequence
	byOpen   map[uint64]*sequence
	tokens   int
	tooLarge bool
}

// A part is what a sequence consists of: atoms and other sequences.
type part interface {
	render(dst []byte) []byte
}

// An atom is a token that is a value.
type atom struct {
	json []byte
	body []byte // of a string
	text bool   // it is a string
	num  int64  // of a small integer
	int  bool
}

func (a *atom) render(dst []byte) []byte { return append(dst, a.json...) }

// A sequence is what stands between an OPEN and its CLOSE.
type sequence struct {
	kind    string
	header  uint64 // of its OPEN
	number  uint64 // as a receiver counts
	items   []part
	shared  bool // there is a reference to it
	target  bool // it is a reference to something that is there
	aborted bool
}

// add takes the next token, whose whole body is given, and returns a remark if
// it is odd. It leaves secrets out of the token.
func (t *messageTree) add(tok *banana.Scanned, body []byte) (remark string) {
	index := t.index
	switch tok.Type {
	case banana.TypePing, banana.TypePong:
		return ""
	case banana.TypeError:
		tok.Body = t.withoutSecrets(tok.Body)
		return ""
	}
	if t.message != nil {
		if t.message.tokens++; t.message.tokens > maxMessageTokens {
			t.message.tooLarge = true
		}
	}
	t.index = false
	switch tok.Type {
	case banana.TypeOpen:
		t.open(tok)
		if index {
			return "an OPEN where the type of the sequence is expected"
		}
		return ""
	case banana.TypeClose:
		return t.close(tok)
	case banana.TypeAbort:
		t.index = index
		if len(t.stack) == 0 {
			return "nothing is open that could be given up"
		}
		t.stack[0].aborted = true
		return ""
	}
	if len(t.stack) == 0 {
		return "only sequences may stand here"
	}
	top := t.stack[len(t.stack)-1]
	if index {
		return top.setKind(tok, body)
	}
	if tok.Type == banana.TypeString {
		body = t.withoutSecrets(body)
		if len(body) != int(tok.N) {
			tok.Body = body
			tok.N = uint64(len(body)) // as it is shown
		}
	}
	if !t.message.tooLarge {
		a := newAtom(tok, body)
		top.items = append(top.items, a)
	}
	if tok.Type == banana.TypeVocab && tok.Word == "" {
		return "the word is not in the vocabulary"
	}
	return ""
}

func (t *messageTree) open(tok *banana.Scanned) {
	if !t.begun {
		// The capture may begin in the middle of a connection.
		t.opens, t.begun = tok.N, true
	}
	s := &sequence{header: tok.N, number: t.opens}
	t.opens++
	t.index = true
	if len(t.stack) == 0 {
		t.message = &message{offset: tok.Offset, root: s, byOpen: make(map[uint64]*sequence)}
	} else if !t.message.tooLarge {
		top := t.stack[len(t.stack)-1]
		top.items = append(top.items, s)
	}
	if len(t.stack) >= maxMessageDepth {
		t.message.tooLarge = true
	}
	if !t.message.tooLarge {
		t.message.byOpen[s.number] = s
	}
	t.stack = append(t.stack, s)
}

func (t *messageTree) close(tok *banana.Scanned) (remark string) {
	last := len(t.stack) - 1
	if last < 0 {
		return "there is no OPEN for it"
	}
	s := t.stack[last]
	t.stack = t.stack[:last]
	if s.kind == "reference" && len(s.items) == 1 {
		if a, ok := s.items[0].(*atom); ok && a.int {
			if to := t.message.byOpen[uint64(a.num)]; to != nil && to.shareable() {
				to.shared, s.target = true, true
			} else {
				remark = "it refers to nothing in this message"
			}
		}
	}
	if s.header != tok.N {
		remark = fmt.Sprintf("its OPEN has the number %d", s.header)
	}
	return remark
}

// complete reports whether a whole message is there to be taken.
func (t *messageTree) complete() bool { return t.message != nil && len(t.stack) == 0 }

// take returns what has been collected, or nil, and begins anew.
func (t *messageTree) take() *message {
	m := t.message
	t.message, t.stack = nil, nil
	return m
}

// withoutSecrets leaves FURLs and the names of look-ups out of a string.
func (t *messageTree) withoutSecrets(body []byte) []byte {
	if t.reveal {
		return body
	}
	if t.inLookup() && string(body) != "name" {
		return []byte(redacted)
	}
	if shown := withoutFURLs(string(body)); len(shown) != len(body) {
		return []byte(shown)
	}
	return body
}

// inLookup reports whether the next token is an argument of a call to a
// connection's own getReferenceByName.
func (t *messageTree) inLookup() bool {
	if len(t.stack) < 2 || t.stack[0].kind != "call" || len(t.stack[0].items) < 3 {
		return false
	}
	method, ok := t.stack[0].items[2].(*atom)
	return ok && method.text && string(method.body) == lookupMethod
}

// setKind sets the type of a sequence.
func (s *sequence) setKind(tok *banana.Scanned, body []byte) (remark string) {
	switch {
	case tok.Type == banana.TypeVocab && tok.Word == "":
		s.kind = fmt.Sprintf("word %d", tok.N)
		return "the word is not in the vocabulary"
	case tok.Type == banana.TypeVocab:
		s.kind = tok.Word
	case tok.Type == banana.TypeString:
		const longest = 64
		s.kind = banana.CutText(string(body), longest)
	default:
		s.kind = "?"
		return "the type of the sequence is expected here, a STRING or VOCAB"
	}
	return ""
}

// shareable reports whether a reference can stand for the sequence.
func (s *sequence) shareable() bool {
	switch s.kind {
	case "list", "tuple", "dict", "set", "immutable-set":
		return true
	}
	return false
}

func newAtom(tok *banana.Scanned, body []byte) *atom {
	a := new(atom)
	switch tok.Type {
	case banana.TypeInt, banana.TypeNeg:
		n := headerNumber(tok.Header)
		if tok.Type == banana.TypeNeg {
			n.Neg(n)
		}
		a.setInt(n)
	case banana.TypeLongInt, banana.TypeLongNeg:
		n := new(big.Int).SetBytes(body)
		if tok.Type == banana.TypeLongNeg {
			n.Neg(n)
		}
		a.setInt(n)
	case banana.TypeFloat:
		a.json = appendFloat(nil, math.Float64frombits(binary.BigEndian.Uint64(body)))
	case banana.TypeVocab:
		a.setString([]byte(tok.Word))
	default:
		a.setString(body)
	}
	return a
}

func (a *atom) setInt(n *big.Int) {
	a.json = appendBigInt(nil, n)
	a.num, a.int = n.Int64(), n.IsInt64()
}

func (a *atom) setString(body []byte) {
	a.body, a.text = body, true
	a.json = appendBytes(nil, body)
}

// headerNumber is the number in a header: base 128, the lowest digit first.
func headerNumber(header []byte) *big.Int {
	n := new(big.Int)
	for i := len(header) - 1; i >= 0; i-- {
		n.Lsh(n, 7)
		n.Or(n, big.NewInt(int64(header[i])))
	}
	return n
}

// render appends the value of the sequence in the notation.
func (s *sequence) render(dst []byte) []byte {
	number := strconv.FormatUint(s.number, 10)
	if s.target {
		to := s.items[0].(*atom)
		return append(append(append(dst, `{"`+markRef+`":`...), to.json...), '}')
	}
	if s.shared {
		dst = append(dst, `{"`+markDef+`":`+number+`,"`+defValue+`":`...)
		return append(s.content(dst), '}')
	}
	return s.content(dst)
}

func (s *sequence) content(dst []byte) []byte {
	if s.aborted {
		return s.renderOther(dst)
	}
	switch s.kind {
	case "none":
		if len(s.items) == 0 {
			return append(dst, "null"...)
		}
	case "boolean":
		if a := s.only(); a != nil && a.int {
			return strconv.AppendBool(dst, a.num != 0)
		}
	case "unicode":
		if text, ok := s.text(); ok {
			return appendString(dst, text)
		}
	case "decimal":
		if a := s.only(); a != nil && a.text && banana.Decimal(a.body).Valid() {
			return appendDecimal(dst, banana.Decimal(a.body))
		}
	case "list":
		return renderItems(dst, s.items)
	case "tuple":
		return s.renderMarked(dst, markTuple)
	case "set":
		return s.renderMarked(dst, markSet)
	case "immutable-set":
		return s.renderMarked(dst, markFrozenSet)
	case "dict":
		if len(s.items)%2 == 0 {
			return s.renderDict(dst)
		}
	}
	return s.renderOther(dst)
}

// only returns the one item of a sequence that has one atom and nothing else.
func (s *sequence) only() *atom {
	if len(s.items) != 1 {
		return nil
	}
	a, _ := s.items[0].(*atom)
	return a
}

// text returns what a unicode sequence holds, if it is well formed.
func (s *sequence) text() (string, bool) {
	a := s.only()
	if s.kind != "unicode" || a == nil || !a.text || !utf8.Valid(a.body) {
		return "", false
	}
	return string(a.body), true
}

func (s *sequence) renderMarked(dst []byte, mark string) []byte {
	dst = append(dst, `{"`+mark+`":`...)
	return append(renderItems(dst, s.items), '}')
}

func (s *sequence) renderOther(dst []byte) []byte {
	dst = append(dst, `{"`+markSequence+`":`...)
	dst = appendString(dst, s.kind)
	dst = append(dst, `,"items":`...)
	dst = renderItems(dst, s.items)
	if s.aborted {
		dst = append(dst, `,"aborted":true`...)
	}
	return append(dst, '}')
}

func renderItems(dst []byte, items []part) []byte {
	dst = append(dst, '[')
	for i, item := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = item.render(dst)
	}
	return append(dst, ']')
}

// renderDict writes a dict with an even number of items.
func (s *sequence) renderDict(dst []byte) []byte {
	keys, ok := s.plainKeys()
	if ok {
		dst = append(dst, '{')
		for i, key := range keys {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, key), ':')
			dst = s.items[2*i+1].render(dst)
		}
		return append(dst, '}')
	}
	dst = append(dst, `{"`+markDict+`":[`...)
	for i := 0; i < len(s.items); i += 2 {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = renderItems(dst, s.items[i:i+2])
	}
	return append(dst, "]}"...)
}

// plainKeys returns the keys of a dict that can be a JSON object.
func (s *sequence) plainKeys() ([]string, bool) {
	seen := make(map[string]bool)
	var keys []string
	for i := 0; i < len(s.items); i += 2 {
		key, ok := s.items[i].(*sequence)
		if !ok {
			return nil, false
		}
		text, ok := key.text()
		if !ok || isMarker(text) || seen[text] {
			return nil, false
		}
		seen[text] = true
		keys = append(keys, text)
	}
	return keys, true
}
