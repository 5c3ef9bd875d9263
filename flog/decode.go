package flog

import (
	"encoding/binary"
	"encoding/json"
	"log/slog"
	"math"
	"time"
)

// number returns that of an encoded event.
func number(rec []byte) uint64 { return binary.LittleEndian.Uint64(rec) }

func setNumber(rec []byte, n uint64) { binary.LittleEndian.PutUint64(rec, n) }

func recordLevel(rec []byte) Level {
	return Level(int32(binary.LittleEndian.Uint32(rec[16:])))
}

// decode makes an Event of what an encoder has made.
func decode(rec []byte, incarnation string) Event {
	e := Event{Num: number(rec), Incarnation: incarnation, Level: recordLevel(rec)}
	if at := int64(binary.LittleEndian.Uint64(rec[8:])); at != noTime {
		e.Time = time.Unix(0, at)
	}
	if rec[20] == 1 {
		e.Parent, e.HasParent = binary.LittleEndian.Uint64(rec[21:]), true
	}
	d := decoder(rec[headerLength:])
	e.Attrs = d.attrs()
	e.Facility = d.text()
	e.Message = d.text()
	return e
}

// A decoder is the rest of an encoded event.
type decoder []byte

func (d *decoder) text() string {
	n, used := binary.Uvarint(*d)
	s := string((*d)[used : used+int(n)])
	*d = (*d)[used+int(n):]
	return s
}

func (d *decoder) uvarint() uint64 {
	n, used := binary.Uvarint(*d)
	*d = (*d)[used:]
	return n
}

func (d *decoder) varint() int64 {
	n, used := binary.Varint(*d)
	*d = (*d)[used:]
	return n
}

func (d *decoder) kind() kind {
	k := kind((*d)[0])
	*d = (*d)[1:]
	return k
}

func (d *decoder) attrs() (attrs []slog.Attr) {
	for {
		k := d.kind()
		if k == markEnd {
			return attrs
		}
		key := d.text()
		attrs = append(attrs, slog.Attr{Key: key, Value: d.value(k)})
	}
}

func (d *decoder) value(k kind) slog.Value {
	switch k {
	case kindFalse, kindTrue:
		return slog.BoolValue(k == kindTrue)
	case kindInt:
		return slog.Int64Value(d.varint())
	case kindUint:
		return slog.Uint64Value(d.uvarint())
	case kindFloat:
		bits := binary.LittleEndian.Uint64(*d)
		*d = (*d)[8:]
		return slog.Float64Value(math.Float64frombits(bits))
	case kindString, kindTime:
		return slog.StringValue(d.text())
	case kindDuration:
		return slog.DurationValue(time.Duration(d.varint()))
	case kindNumber:
		return slog.AnyValue(json.Number(d.text()))
	case kindFailure:
		return slog.AnyValue(Failure{Text: d.text(), Repr: d.text(), Traceback: d.text()})
	case kindOpaque:
		return slog.AnyValue(Opaque{Kind: d.text(), Repr: d.text()})
	case kindGroup:
		return slog.GroupValue(d.attrs()...)
	case kindList:
		list := []any{}
		for _, a := range d.attrs() {
			list = append(list, plain(a.Value))
		}
		return slog.AnyValue(list)
	default: // kindNil
		return slog.AnyValue(nil)
	}
}

// plain is the value as a member of a list, in which a group is itself.
func plain(v slog.Value) any {
	if v.Kind() == slog.KindGroup {
		return v
	}
	return v.Any()
}
