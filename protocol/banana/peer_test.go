package banana

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A peer reads messages as a broker does and notes what became of each: the
// double of a broker whose object 1 takes any arguments, and whose object 0
// has getReferenceByName(name=bytes).
type peer struct {
	d    *Decoder
	seen []received

	pongs [][]byte // what it would have answered to PINGs
	got   []int64  // the clids of my-references that it received
	skips []int64  // those in what was skipped
}

// received is one message as the peer saw it.
type received struct {
	opentype string
	req      int64
	clid     int64
	method   string
	args     []any
	names    []string
	keywords []any
	err      error
}

func newPeer(in io.Reader, vocab int) *peer {
	p := new(peer)
	p.d = NewDecoder(in, nil, &DecoderConfig{
		Vocab:    vocab,
		External: p.external,
		Ping: func(number []byte) error {
			p.pongs = append(p.pongs, bytes.Clone(number))
			return nil
		},
		Skipped: func(d *Decoder, opentype string) error {
			if opentype == "my-reference" {
				clid, ok, err := d.SkippedInt()
				if ok {
					p.skips = append(p.skips, clid)
				}
				return err
			}
			return nil
		},
	})
	return p
}

// run reads until the connection has to be closed and returns why; nil is the
// end of the stream between two messages.
func (p *peer) run() error {
	for {
		m, err := p.message()
		var v *Violation
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &v):
			if err := p.d.Skip(); err != nil {
				return err
			}
		case err != nil:
			return err
		}
		m.err = err
		p.seen = append(p.seen, m)
	}
}

// message reads one message, in which a Violation may leave off.
func (p *peer) message() (m received, err error) {
	if m.opentype, err = p.d.Begin(); err != nil {
		return m, err
	}
	switch m.opentype {
	case "call":
		err = p.call(&m)
	case "answer":
		if m.req, err = p.d.Int("request number"); err != nil {
			return m, err
		}
		var v any
		if v, err = p.d.Value(nil); err == nil {
			m.args = []any{v}
		}
	case "error":
		if m.req, err = p.d.Int("request number"); err == nil {
			err = p.failure(&m)
		}
	default:
		err = violation("unknown message %q", m.opentype)
	}
	if err == nil {
		err = p.d.Close(m.opentype)
	}
	return m, err
}

func (p *peer) call(m *received) (err error) {
	if m.req, err = p.d.Int("request number"); err != nil {
		return err
	}
	if m.req < 0 {
		return protocolError("request number %d", m.req)
	}
	if m.clid, err = p.d.Int("clid"); err != nil {
		return err
	}
	if m.clid != 0 && m.clid != 1 {
		return violation("unknown clid %d", m.clid)
	}
	name, err := p.d.Name("method", 1000)
	if err != nil {
		return err
	}
	m.method = string(name)
	if m.clid == 0 && m.method != "getReferenceByName" && m.method != "decref" && m.method != "decgift" {
		return violation("no method %q", m.method)
	}
	opentype, end, err := p.d.NextOpen("arguments")
	switch {
	case err != nil:
		return err
	case end:
		return protocolError("a call without arguments")
	case opentype != "arguments":
		return protocolError("%s instead of arguments", opentype)
	}
	count, err := p.d.Int("number of arguments")
	if err != nil {
		return err
	}
	for i := range count {
		v, err := p.d.Value(nil)
		if err != nil {
			return At(err, fmt.Sprintf("argument %d", i))
		}
		m.args = append(m.args, v)
	}
	for {
		name, end, err := p.d.NextName("keyword", 1000)
		if err != nil {
			return err
		}
		if end {
			return nil
		}
		v, err := p.keyword(m, string(name))
		if err != nil {
			return At(err, "argument "+string(name))
		}
		m.names = append(m.names, string(name))
		m.keywords = append(m.keywords, v)
	}
}

func (p *peer) keyword(m *received, name string) (any, error) {
	if m.method != "getReferenceByName" {
		return p.d.Value(nil)
	}
	if name != "name" {
		return nil, violation("unknown argument")
	}
	var b []byte
	err := decodeTarget(p.d, &b, nil)
	return b, err
}

// failure reads what an error holds, with the limits of a Failure.
func (p *peer) failure(m *received) error {
	opentype, end, err := p.d.NextOpen("copyable")
	switch {
	case err != nil:
		return err
	case end:
		return protocolError("an error without a failure")
	case opentype != "copyable":
		return violation("a failure that is a %s", opentype)
	}
	class, err := p.d.Name("class", 200)
	if err != nil {
		return err
	}
	if m.method = string(class); m.method != "twisted.python.failure.Failure" {
		return violation("unknown class")
	}
	got := map[string]bool{}
	for {
		attr, end, err := p.d.NextName("attribute", 200)
		if err != nil {
			return err
		}
		if end {
			break
		}
		name := string(attr)
		limit, known := map[string]int{"type": 200, "value": 1000, "traceback": 2000}[name]
		switch {
		case known:
			var value []byte
			if value, err = p.text(name, limit); err == nil {
				m.names = append(m.names, name)
				m.args = append(m.args, string(value))
			}
		case name == "parents":
			err = p.parents(m)
		default:
			err = violation("unknown attribute %q", name)
		}
		if err != nil {
			return err
		}
		got[name] = true
	}
	if len(got) < 4 {
		return protocolError("a failure without all its attributes")
	}
	return nil
}

// text reads a STRING; a sequence in its place is a Violation, as in Foolscap.
func (p *peer) text(name string, limit int) ([]byte, error) {
	h, err := p.d.head(nil)
	switch {
	case err != nil:
		return nil, err
	case !h.isBytes():
		return nil, mismatch("bytes", h.got())
	case h.tok.N > uint64(limit):
		return nil, violation("%s of %d bytes", name, h.tok.N)
	}
	return p.d.bytes(h.tok, nil)
}

func (p *peer) parents(m *received) error {
	opentype, _, err := p.d.NextOpen("list")
	if err != nil {
		return err
	}
	if opentype != "list" {
		return violation("parents that are a %s", opentype)
	}
	m.names = append(m.names, "parents")
	for {
		parent, end, err := p.d.NextName("parent", 200)
		if err != nil || end {
			return err
		}
		m.names = append(m.names, string(parent))
	}
}

// A remote is a my-reference, your-reference or their-reference.
type remote struct {
	opentype string
	ints     []int64
	names    []string
}

func (*remote) BananaExternal() {}

// A copyable is a copied object: its class and attributes.
type copyable struct {
	class string
	names []string
	attrs []any
}

func (p *peer) external(d *Decoder, opentype string, t Taster) (any, bool, error) {
	switch opentype {
	case "copyable":
		c := new(copyable)
		class, err := d.Name("class", 200)
		if err != nil {
			return nil, true, err
		}
		if c.class = string(class); c.class != "org.example.Point" {
			return nil, true, violation("unknown class %q", c.class)
		}
		for {
			name, end, err := d.NextName("attribute", 200)
			if err != nil || end {
				return c, true, err
			}
			c.names = append(c.names, string(name))
			v, err := d.Value(t)
			if err != nil {
				return nil, true, err
			}
			c.attrs = append(c.attrs, v)
		}
	case "my-reference", "your-reference", "their-reference":
	default:
		return nil, false, nil
	}
	r := &remote{opentype: opentype}
	id, err := d.Int("clid")
	if err != nil {
		return nil, true, err
	}
	r.ints = []int64{id}
	if opentype == "my-reference" {
		p.got = append(p.got, id)
	}
	if opentype == "your-reference" {
		if id != 0 && id != 1 {
			return nil, true, protocolError("your-reference to unknown clid %d", id)
		}
		return r, true, d.Close(opentype)
	}
	for {
		name, end, err := d.NextName("name", 1000)
		if err != nil || end {
			return r, true, err
		}
		r.names = append(r.names, string(name))
		if opentype == "my-reference" && len(r.names) == 2 && !bytes.HasPrefix(name, []byte("pb://twyn")) && !bytes.HasPrefix(name, []byte("pb://u6nb")) {
			return nil, true, protocolError("not the FURL of this connection's Tub")
		}
	}
}

// appendRemote writes a remote as it was.
func appendRemote(dst []byte, x any, open uint64) []byte {
	r := x.(*remote)
	dst = AppendToken(dst, TypeOpen, open)
	dst = AppendToken(dst, TypeVocab, uint64(vocab1Index[r.opentype]))
	dst = AppendInt(dst, r.ints[0])
	for _, s := range r.names {
		dst = AppendString(dst, s)
	}
	return AppendToken(dst, TypeClose, open)
}

// write writes a message that was received as its sender had written it.
func (m *received) write(vocab int, opens *Numberer) ([]byte, error) {
	e := NewEncoder(&EncoderConfig{Vocab: vocab, External: func(x External) (any, error) { return x, nil }}, true)
	e.Open(m.opentype)
	e.Int(m.req)
	switch m.opentype {
	case "call":
		e.Int(m.clid)
		e.Name(m.method)
		e.Open("arguments")
		e.Int(int64(len(m.args)))
		for _, v := range m.args {
			e.Value(v)
		}
		for i, name := range m.names {
			e.Name(name)
			e.Value(m.keywords[i])
		}
		e.Close()
	case "answer":
		if c, ok := m.args[0].(*copyable); ok {
			e.Open("copyable")
			e.Name(c.class)
			for i, name := range c.names {
				e.Name(name)
				e.Value(c.attrs[i])
			}
			e.Close()
		} else {
			e.Value(m.args[0])
		}
	case "error":
		e.Open("copyable")
		e.Name(m.method)
		for i, v := range m.args { // value, type, traceback
			e.Name(m.names[i])
			e.Name(v.(string))
		}
		e.Name("parents")
		e.Open("list")
		for _, parent := range m.names[len(m.args)+1:] {
			e.Name(parent)
		}
		e.Close()
		e.Close()
	}
	e.Close()
	msg, held, err := e.Finish()
	if err != nil {
		return nil, fmt.Errorf("%w (held %d)", err, len(held))
	}
	defer msg.Free()
	out, done := opens.Append(nil, msg, 1<<30, appendRemote)
	if !done {
		return nil, errors.New("the message is not complete")
	}
	return out, nil
}

// outcome names what a peer's verdict means: OK, VIOLATION or DROP.
func outcome(err error) string {
	var v *Violation
	switch {
	case err == nil:
		return "OK"
	case errors.As(err, &v):
		return "VIOLATION"
	}
	return "DROP"
}
