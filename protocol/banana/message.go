package banana

// An External is a value that is not copied but stands for an object: what it
// looks like on the wire is the business of the connection it goes out on.
type External interface {
	// BananaExternal does nothing; it marks the type.
	BananaExternal()
}

// A Message is one encoded top-level sequence. The numbers of its OPENs are
// relative to its start and its Externals are not written yet: both are
// decided by a Numberer in the moment in which the message goes out, so that
// a message which waits can still be withdrawn without a trace.
type Message struct {
	buf   []byte
	marks []mark
	raws  [][]byte
	exts  []any
	opens uint64
	size  int

	// How far a Numberer has come.
	base    uint64
	started bool
	bufAt   int
	markAt  int
	rawAt   int
	extAt   int
}

type mark struct {
	off  uint32 // the mark stands before buf[off]
	n    uint32 // relative OPEN number
	kind markKind
}

type markKind uint8

const (
	markOpen  markKind = iota // n OPEN
	markClose                 // n CLOSE
	markRef                   // n INT: the body of a "reference"
	markRaw                   // the next of raws
	markExt                   // the next of exts: one sequence with a single OPEN
)

// Size is about the number of bytes that the message takes on the wire.
func (m *Message) Size() int { return m.size }

// Started reports whether a part of the message has gone out.
func (m *Message) Started() bool { return m.started }

// Externals returns what the encoder has put in the message for the values
// that go by reference, in the order of the wire.
func (m *Message) Externals() []any { return m.exts }

// Own copies what the message still borrows from its caller, so that the
// caller may change it.
func (m *Message) Own() {
	for i := range m.raws {
		if i == 0 && m.rawAt > 0 {
			m.raws[0] = append([]byte(nil), m.raws[0][m.rawAt:]...)
			m.rawAt = 0
			continue
		}
		m.raws[i] = append([]byte(nil), m.raws[i]...)
	}
}

// maxPooledBuf bounds what a reused Message keeps.
const maxPooledBuf = 16 << 10

func (m *Message) reset() {
	buf, marks := m.buf[:0], m.marks[:0]
	if cap(buf) > maxPooledBuf {
		buf = nil
	}
	if cap(marks) > maxPooledBuf/12 {
		marks = nil
	}
	clear(m.exts)
	exts := m.exts[:0]
	if cap(exts) > maxPooledBuf/16 {
		exts = nil
	}
	*m = Message{buf: buf, marks: marks, exts: exts}
}

// A Numberer gives the messages of one direction of a connection their OPEN
// numbers, which count from 0 for as long as the connection lives. The zero
// value is ready to use.
type Numberer struct {
	opens uint64
	// Lend is from which length on a byte string, or the rest of one, is not
	// copied by Append, in bytes: Append stops before it, and Lent returns
	// it. 0 copies all.
	Lend int
}

// Append appends m to dst, as it goes over the wire, until dst holds at least
// limit bytes, and reports whether the message is complete; otherwise the next
// call goes on with it, and no other message may come between. It may exceed
// the limit, which is at least 1, by one token or External; when dst has
// reached it already, nothing is appended. external appends the sequence of
// one External, whose OPEN has the given number.
func (w *Numberer) Append(dst []byte, m *Message, limit int, external func(dst []byte, x any, open uint64) []byte) ([]byte, bool) {
	if !m.started {
		m.started = true
		m.base = w.opens
		w.opens += m.opens
	}
	for m.markAt < len(m.marks) {
		if len(dst) >= limit {
			return dst, false
		}
		k := m.marks[m.markAt]
		if m.bufAt < int(k.off) {
			n := min(int(k.off)-m.bufAt, limit-len(dst))
			dst = append(dst, m.buf[m.bufAt:m.bufAt+n]...)
			m.bufAt += n
			if m.bufAt < int(k.off) {
				return dst, false
			}
		}
		switch k.kind {
		case markOpen:
			dst = AppendToken(dst, TypeOpen, m.base+uint64(k.n))
		case markClose:
			dst = AppendToken(dst, TypeClose, m.base+uint64(k.n))
		case markRef:
			// Never a LONGINT: within a reference Python takes no other.
			dst = AppendToken(dst, TypeInt, m.base+uint64(k.n))
		case markExt:
			dst = external(dst, m.exts[m.extAt], m.base+uint64(k.n))
			m.extAt++
		case markRaw:
			raw := m.raws[0]
			if w.Lend > 0 && len(raw)-m.rawAt >= w.Lend {
				return dst, false
			}
			n := min(len(raw)-m.rawAt, max(0, limit-len(dst)))
			dst = append(dst, raw[m.rawAt:m.rawAt+n]...)
			m.rawAt += n
			if m.rawAt < len(raw) {
				return dst, false
			}
			m.rawAt = 0
			m.raws[0] = nil
			m.raws = m.raws[1:]
		}
		m.markAt++
	}
	n := min(len(m.buf)-m.bufAt, max(0, limit-len(dst)))
	dst = append(dst, m.buf[m.bufAt:m.bufAt+n]...)
	m.bufAt += n
	return dst, m.bufAt == len(m.buf)
}

// Lent returns up to limit bytes of the long byte string that Append has
// stopped before, or nil when it has stopped elsewhere. They are not copied:
// they go out before anything else is appended.
func (w *Numberer) Lent(m *Message, limit int) []byte {
	if !m.started || m.markAt == len(m.marks) {
		return nil
	}
	if k := m.marks[m.markAt]; k.kind != markRaw || m.bufAt < int(k.off) {
		return nil
	}
	raw := m.raws[0][m.rawAt:]
	if len(raw) > limit {
		m.rawAt += limit
		return raw[:limit]
	}
	m.rawAt = 0
	m.raws[0] = nil
	m.raws = m.raws[1:]
	m.markAt++
	return raw
}
