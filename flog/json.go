package flog

import (
	"encoding/json"
	"log/slog"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// What JSON cannot express, as Python writes it.
const unjsonable = "log.msg() was given an object that could not be encoded into JSON."

func appendEvent(b []byte, e Event, otherwise time.Time) []byte {
	b = append(b, `{"num":`...)
	b = strconv.AppendUint(b, e.Num, 10)
	b = append(b, `,"time":`...)
	if e.Time.IsZero() {
		e.Time = otherwise
	}
	b = appendTime(b, e.Time)
	b = append(b, `,"level":`...)
	b = strconv.AppendInt(b, int64(e.Level), 10)
	b = append(b, `,"incarnation":[`...)
	b = appendString(b, e.Incarnation)
	b = append(b, `,null]`...)
	if e.Facility != "" {
		b = append(b, `,"facility":`...)
		b = appendString(b, e.Facility)
	}
	if e.HasParent {
		b = append(b, `,"parent":`...)
		b = strconv.AppendUint(b, e.Parent, 10)
	}
	if _, formatted := e.Attr("format"); !formatted || e.Message != "" {
		b = append(b, `,"message":`...)
		b = appendString(b, e.Message)
	}
	return append(appendAttrs(b, e.Attrs, true), '}')
}

// appendTime writes seconds, to the microsecond.
func appendTime(b []byte, t time.Time) []byte {
	micro := t.UnixMicro()
	if micro < 0 {
		b = append(b, '-')
		micro = -micro
	}
	b = strconv.AppendInt(b, micro/1e6, 10)
	b = append(b, '.')
	fraction := strconv.AppendInt(nil, 1e6+micro%1e6, 10)
	return append(b, fraction[1:]...)
}

func appendAttrs(b []byte, attrs []slog.Attr, more bool) []byte {
	for _, a := range attrs {
		if more {
			b = append(b, ',')
		}
		more = true
		b = appendString(b, a.Key)
		b = append(b, ':')
		b = appendValue(b, a.Value)
	}
	return b
}

func appendValue(b []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10)
	case slog.KindFloat64:
		f := v.Float64()
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return appendString(b, v.String())
		}
		before := len(b)
		b = strconv.AppendFloat(b, f, 'g', -1, 64)
		for _, c := range b[before:] {
			if c == '.' || c == 'e' {
				return b
			}
		}
		return append(b, ".0"...) // or it would be an integer to who reads it
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindGroup:
		return append(appendAttrs(append(b, '{'), v.Group(), false), '}')
	case slog.KindTime:
		return appendString(b, v.Time().Format(time.RFC3339Nano))
	case slog.KindAny:
		return appendAny(b, v.Any())
	default: // strings and durations
		return appendString(b, v.String())
	}
}

func appendAny(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case json.Number:
		return append(b, v...)
	case Failure:
		return append(appendAttrs(append(b, `{"@":"Failure"`...), []slog.Attr{
			slog.String("str", v.Text), slog.String("repr", v.Repr), slog.String("traceback", v.Traceback),
		}, true), '}')
	case Opaque:
		if v.Kind == "" {
			v.Kind = "UnJSONable"
		}
		return append(appendAttrs(append(b, '{'), []slog.Attr{
			slog.String("@", v.Kind), slog.String("message", unjsonable), slog.String("repr", v.Repr),
		}, false), '}')
	case []any:
		b = append(b, '[')
		for i, member := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, slog.AnyValue(member))
		}
		return append(b, ']')
	default:
		return appendString(b, slog.AnyValue(v).String())
	}
}

const hexDigits = "0123456789abcdef"

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c < ' ' || c == 0x7f:
			b = append(b, `\u00`...)
			b = append(b, hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r) // U+FFFD for what is no UTF-8
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}
