package flog

import (
	"encoding"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// An event is kept as bytes: nothing in them refers to a value of the program,
// so that it is free to change them, and keeping many costs the garbage
// collector nothing.
//
//	number, time: 8 bytes each    level: 4    1 if there is a parent, the parent: 8
//	attributes: kind, key, value  markEnd
//	facility, message
type kind byte

const (
	markEnd kind = iota // of a group, a list, or the attributes
	kindNil
	kindFalse
	kindTrue
	kindInt
	kindUint
	kindFloat
	kindString
	kindDuration
	kindTime
	kindNumber
	kindFailure
	kindOpaque
	kindGroup
	kindList // its members have no key
)

const (
	headerLength = 8 + 8 + 4 + 1 + 8
	noTime       = math.MinInt64
	// maxDepth bounds groups in groups.
	maxDepth = 16
	// maxFacility bounds the name of a facility.
	maxFacility = 200
)

// reserved are the keys that mean something to those who read events. An
// attribute that would be mistaken for one is called key_.
var reserved = []string{"num", "time", "level", "incarnation", "message", "format", "args", FacilityKey, ParentKey, "failure"}

// An encoder makes the bytes of one event.
type encoder struct {
	buf       []byte
	max       int // of buf
	limit     int // of buf, as long as attributes are added
	dropped   int64
	facility  string
	parent    uint64
	hasParent bool
}

var encoders = sync.Pool{New: func() any { return &encoder{buf: make([]byte, 0, 1024)} }}

// begin starts an event of at most that many bytes, half of them attributes.
func (e *encoder) begin(size int) {
	var header [headerLength]byte
	*e = encoder{buf: append(e.buf[:0], header[:]...), max: size - slack, limit: size / 2}
}

// end completes the event, but for its number.
func (e *encoder) end(t time.Time, level Level, message string) {
	e.limit = e.max
	if e.dropped > 0 {
		e.key(kindInt, "attributes_dropped")
		e.buf = binary.AppendVarint(e.buf, e.dropped)
	}
	e.buf = append(e.buf, byte(markEnd))
	facility := redact(e.facility)
	e.text(facility[:min(len(facility), maxFacility)])
	e.text(message)

	at := int64(noTime)
	if !t.IsZero() {
		at = t.UnixNano()
	}
	binary.LittleEndian.PutUint64(e.buf[8:], uint64(at))
	binary.LittleEndian.PutUint32(e.buf[16:], uint32(int32(level)))
	if e.hasParent {
		e.buf[20] = 1
		binary.LittleEndian.PutUint64(e.buf[21:], e.parent)
	}
}

// text appends a string without its secrets, as long as there is room.
func (e *encoder) text(s string) {
	s = redact(s)
	if room := max(e.limit-len(e.buf), 0); len(s) > room {
		s = s[:room]
	}
	e.buf = binary.AppendUvarint(e.buf, uint64(len(s)))
	e.buf = append(e.buf, s...)
}

func (e *encoder) key(k kind, key string) {
	e.buf = append(e.buf, byte(k))
	e.text(key)
}

// attr adds an attribute. top says that it is not within a group.
func (e *encoder) attr(a slog.Attr, top bool, depth int) {
	if depth > maxDepth {
		e.dropped++
		return
	}
	v := a.Value.Resolve()
	if a.Key == "" && v.Kind() == slog.KindGroup {
		for _, member := range v.Group() {
			e.attr(member, top, depth+1)
		}
		return
	}
	if a.Key == "" && v.Kind() == slog.KindAny && v.Any() == nil {
		return
	}
	key := a.Key
	if top && slices.Contains(reserved, key) {
		if e.special(key, v) {
			return
		}
		if _, ok := v.Any().(error); !ok || key != "failure" {
			key += "_"
		}
	}
	e.value(key, v, depth)
}

// special takes a facility or a parent out of the attributes.
func (e *encoder) special(key string, v slog.Value) bool {
	switch {
	case key == FacilityKey && v.Kind() == slog.KindString:
		e.facility = v.String()
	case key == ParentKey && v.Kind() == slog.KindUint64:
		e.parent, e.hasParent = v.Uint64(), true
	case key == ParentKey && v.Kind() == slog.KindInt64 && v.Int64() >= 0:
		e.parent, e.hasParent = uint64(v.Int64()), true
	default:
		return false
	}
	return true
}

// slack is what is left unused at the end of the room for attributes: what
// takes no more than that needs no check of its own.
const slack = 64

func (e *encoder) value(key string, v slog.Value, depth int) {
	if len(e.buf)+len(key)+slack > e.limit || depth > maxDepth {
		e.dropped++
		return
	}
	switch v.Kind() {
	case slog.KindString:
		e.key(kindString, key)
		e.text(v.String())
	case slog.KindInt64:
		e.key(kindInt, key)
		e.buf = binary.AppendVarint(e.buf, v.Int64())
	case slog.KindUint64:
		e.key(kindUint, key)
		e.buf = binary.AppendUvarint(e.buf, v.Uint64())
	case slog.KindFloat64:
		e.key(kindFloat, key)
		e.buf = binary.LittleEndian.AppendUint64(e.buf, math.Float64bits(v.Float64()))
	case slog.KindBool:
		if v.Bool() {
			e.key(kindTrue, key)
		} else {
			e.key(kindFalse, key)
		}
	case slog.KindDuration:
		e.key(kindDuration, key)
		e.buf = binary.AppendVarint(e.buf, int64(v.Duration()))
	case slog.KindTime:
		e.key(kindTime, key)
		var text [slack]byte
		t := v.Time().AppendFormat(text[:0], time.RFC3339Nano)
		e.buf = binary.AppendUvarint(e.buf, uint64(len(t)))
		e.buf = append(e.buf, t...)
	case slog.KindGroup:
		e.group(key, v.Group(), depth)
	default:
		e.any(key, v.Any(), depth)
	}
}

// group adds a group, unless it turns out to be empty.
func (e *encoder) group(key string, members []slog.Attr, depth int) {
	before := len(e.buf)
	e.key(kindGroup, key)
	empty := len(e.buf)
	for _, a := range members {
		e.attr(a, false, depth+1)
	}
	if len(e.buf) == empty {
		e.buf = e.buf[:before]
		return
	}
	e.buf = append(e.buf, byte(markEnd))
}

// any adds a value of a type that slog does not know. Its methods may panic.
func (e *encoder) any(key string, v any, depth int) {
	before := len(e.buf)
	defer func() {
		if recover() != nil {
			e.buf = e.buf[:before]
			e.opaque(key, "UnJSONable", fmt.Sprintf("<%T, which panics when asked for its text>", v))
		}
	}()
	switch v := v.(type) {
	case nil:
		e.key(kindNil, key)
	case furl.TubID: // looks like a swissnum and is no secret
		e.key(kindString, key)
		e.buf = binary.AppendUvarint(e.buf, uint64(min(len(v), slack)))
		e.buf = append(e.buf, v[:min(len(v), slack)]...)
	case Failure:
		e.failure(key, v)
	case Opaque:
		e.opaque(key, v.Kind, v.Repr)
	case error:
		e.failure(key, Failure{Text: v.Error(), Repr: reflect.TypeOf(v).String()})
	case []byte:
		e.opaque(key, "UnJSONable", "b"+strconv.QuoteToASCII(string(v[:min(len(v), e.limit)])))
	case json.Number:
		e.key(kindNumber, key)
		e.text(v.String())
	case encoding.TextMarshaler:
		text, err := v.MarshalText()
		if err != nil {
			e.failure(key, Failure{Text: err.Error(), Repr: reflect.TypeOf(err).String()})
			return
		}
		e.key(kindString, key)
		e.text(string(text))
	case json.Marshaler:
		e.asJSON(key, v, depth)
	case fmt.Stringer:
		e.key(kindString, key)
		e.text(v.String())
	case []any:
		e.list(key, v, depth)
	default:
		e.asJSON(key, v, depth)
	}
}

// asJSON adds what JSON makes of a value, in which secrets are found then.
func (e *encoder) asJSON(key string, v any, depth int) {
	text, err := json.Marshal(v)
	if err == nil {
		var parsed slog.Value
		if parsed, err = parseValue(text); err == nil {
			e.value(key, parsed, depth)
			return
		}
	}
	e.opaque(key, "UnJSONable", fmt.Sprintf("<%T: %v>", v, err)) // printing it might never end
}

func (e *encoder) list(key string, members []any, depth int) {
	e.key(kindList, key)
	for i, m := range members {
		if len(e.buf)+slack > e.limit {
			e.dropped += int64(len(members) - i)
			break
		}
		e.value("", slog.AnyValue(m).Resolve(), depth+1)
	}
	e.buf = append(e.buf, byte(markEnd))
}

func (e *encoder) failure(key string, f Failure) {
	e.key(kindFailure, key)
	e.text(f.Text)
	e.text(f.Repr)
	e.text(f.Traceback)
}

func (e *encoder) opaque(key, kind, repr string) {
	e.key(kindOpaque, key)
	e.text(kind)
	e.text(repr)
}
