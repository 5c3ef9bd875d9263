package flog

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// maxNesting bounds objects and lists within each other in what is read.
const maxNesting = 100

var errNesting = errors.New("it is nested too deeply")

// parseValue reads one JSON value. It understands the NaN and Infinity that
// Python writes: as text.
func parseValue(text []byte) (slog.Value, error) {
	v, err := parseJSON(text)
	if err != nil && (bytes.Contains(text, []byte("NaN")) || bytes.Contains(text, []byte("Infinity"))) {
		if w, ok := parseJSON(quoteNumbers(text)); ok == nil {
			return w, nil
		}
	}
	return v, err
}

func parseJSON(text []byte) (slog.Value, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	v, err := parseNext(d, 0)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return v, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, errors.New("something follows the value")
	}
	return v, nil
}

func parseNext(d *json.Decoder, depth int) (slog.Value, error) {
	token, err := d.Token()
	if err != nil {
		return slog.Value{}, err
	}
	switch token := token.(type) {
	case string:
		return slog.StringValue(token), nil
	case bool:
		return slog.BoolValue(token), nil
	case json.Number:
		return parseNumber(token), nil
	case json.Delim:
		if depth >= maxNesting {
			return slog.Value{}, errNesting
		}
		if token == '[' {
			return parseList(d, depth)
		}
		return parseObject(d, depth)
	}
	return slog.AnyValue(nil), nil
}

func parseNumber(n json.Number) slog.Value {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return slog.Int64Value(i)
	}
	if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
		return slog.Uint64Value(u)
	}
	if f, err := n.Float64(); err == nil && strings.ContainsAny(n.String(), ".eE") {
		return slog.Float64Value(f)
	}
	return slog.AnyValue(n)
}

func parseList(d *json.Decoder, depth int) (slog.Value, error) {
	list := []any{}
	for d.More() {
		v, err := parseNext(d, depth+1)
		if err != nil {
			return v, err
		}
		list = append(list, plain(v))
	}
	_, err := d.Token()
	return slog.AnyValue(list), err
}

func parseObject(d *json.Decoder, depth int) (slog.Value, error) {
	var attrs []slog.Attr
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return slog.Value{}, err
		}
		v, err := parseNext(d, depth+1)
		if err != nil {
			return v, err
		}
		attrs = append(attrs, slog.Attr{Key: key.(string), Value: v})
	}
	if _, err := d.Token(); err != nil {
		return slog.Value{}, err
	}
	if len(attrs) > 0 && attrs[0].Key == "@" && attrs[0].Value.Kind() == slog.KindString {
		return slog.AnyValue(special(attrs)), nil
	}
	return slog.GroupValue(attrs...), nil
}

// special is what Python puts in the place of what JSON cannot express.
func special(attrs []slog.Attr) any {
	text := make(map[string]string)
	for _, a := range attrs {
		text[a.Key] = a.Value.String()
	}
	if text["@"] == "Failure" {
		return Failure{Text: text["str"], Repr: text["repr"], Traceback: text["traceback"]}
	}
	repr := text["repr"]
	if repr == "" {
		repr = text["exception_repr"]
	}
	return Opaque{Kind: text["@"], Repr: repr}
}

// quoteNumbers makes strings of the numbers that JSON does not have.
func quoteNumbers(text []byte) []byte {
	quoted := make([]byte, 0, len(text)+16)
	inString := false
	for i := 0; i < len(text); i++ {
		c := text[i]
		if inString {
			quoted = append(quoted, c)
			if c == '\\' && i+1 < len(text) {
				i++
				quoted = append(quoted, text[i])
			}
			inString = c != '"'
			continue
		}
		inString = c == '"'
		word := ""
		for _, w := range []string{"NaN", "Infinity", "-Infinity"} {
			if bytes.HasPrefix(text[i:], []byte(w)) {
				word = w
			}
		}
		if word == "" {
			quoted = append(quoted, c)
			continue
		}
		quoted = strconv.AppendQuote(quoted, word)
		i += len(word) - 1
	}
	return quoted
}

// eventOf makes an event of what was read. What does not have the type that it
// should is an attribute.
func eventOf(attrs []slog.Attr) (e Event) {
	for _, a := range attrs {
		if !e.take(a.Key, a.Value) {
			e.Attrs = append(e.Attrs, a)
		}
	}
	return e
}

func (e *Event) take(key string, v slog.Value) bool {
	var ok bool
	switch key {
	case "num":
		e.Num, ok = unsigned(v)
	case ParentKey:
		e.Parent, ok = unsigned(v)
		e.HasParent = ok
	case "level":
		var n int64
		if v.Kind() == slog.KindInt64 {
			n = v.Int64()
			ok = math.MinInt32 <= n && n <= math.MaxInt32
		}
		if ok {
			e.Level = Level(n)
		}
	case "time":
		e.Time, ok = timeOf(v)
	case "incarnation":
		var pair []any
		if pair, ok = v.Any().([]any); ok {
			ok = false
			if len(pair) > 0 {
				e.Incarnation, ok = pair[0].(string)
			}
		}
	case FacilityKey:
		if ok = v.Kind() == slog.KindString; ok {
			e.Facility = v.String()
		}
	case "message":
		if ok = v.Kind() == slog.KindString; ok {
			e.Message = v.String()
		}
	}
	return ok
}

func unsigned(v slog.Value) (uint64, bool) {
	switch {
	case v.Kind() == slog.KindUint64:
		return v.Uint64(), true
	case v.Kind() == slog.KindInt64 && v.Int64() >= 0:
		return uint64(v.Int64()), true
	}
	return 0, false
}

func timeOf(v slog.Value) (time.Time, bool) {
	var seconds float64
	switch v.Kind() {
	case slog.KindFloat64:
		seconds = v.Float64()
	case slog.KindInt64:
		seconds = float64(v.Int64())
	default:
		return time.Time{}, false
	}
	if !(math.Abs(seconds) < 1e11) {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(math.Round(seconds * 1e6))), true
}
