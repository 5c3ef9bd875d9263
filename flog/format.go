package flog

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// conversion is one in a format of Python: %s, or %(key)s.
var conversion = regexp.MustCompile(`%(?:\((\w+)\))?([-+ 0#]*\d{0,4}(?:\.\d{1,4})?)([a-zA-Z%])`)

// Text returns the message. Python programs may have logged a format and its
// arguments instead; then they are put together, as far as they are of the
// usual sort.
func (e Event) Text() string {
	if format, ok := e.Attr("format"); ok && format.Kind() == slog.KindString {
		return convert(format.String(), func(key string) (any, bool) {
			switch key {
			case "num":
				return e.Num, true
			case "level":
				return int(e.Level), true
			case "facility":
				return e.Facility, true
			case "message":
				return e.Message, true
			}
			v, ok := e.Attr(key)
			return v.Any(), ok
		})
	}
	if v, ok := e.Attr("args"); ok {
		args, _ := v.Any().([]any)
		return convert(e.Message, func(string) (any, bool) {
			if len(args) == 0 {
				return nil, false
			}
			arg := args[0]
			args = args[1:]
			return arg, true
		})
	}
	return e.Message
}

// convert replaces the conversions that it understands.
func convert(format string, value func(key string) (any, bool)) string {
	return conversion.ReplaceAllStringFunc(format, func(found string) string {
		part := conversion.FindStringSubmatch(found)
		key, flags, verb := part[1], part[2], part[3]
		if verb == "%" {
			return "%"
		}
		v, ok := value(key)
		if !ok {
			return found
		}
		switch n := v.(type) {
		case int64, uint64, int:
			if strings.Contains("efgEFG", verb) {
				v = asFloat(n)
			} else if verb == "i" || verb == "u" {
				verb = "d"
			}
		case float64:
			if verb == "d" || verb == "i" {
				v, verb = int64(n), "d"
			} else if verb == "s" || verb == "r" {
				verb = "v"
			}
		case string:
			if verb == "r" {
				v, verb = "'"+n+"'", "s"
			}
		case nil:
			v = "None"
		}
		if verb == "s" || verb == "r" {
			verb = "v"
		}
		return fmt.Sprintf("%"+flags+verb, v)
	})
}

func asFloat(n any) float64 {
	switch n := n.(type) {
	case int64:
		return float64(n)
	case uint64:
		return float64(n)
	case int:
		return float64(n)
	}
	return 0
}
