package flog

import (
	"log/slog"
	"time"
)

// An Event is one entry of a log.
type Event struct {
	// Num is its number in its incarnation; a Log counts from 1, Python
	// from 0.
	Num uint64
	// Incarnation tells the starts of a program apart.
	Incarnation string
	// Time is when it was logged; zero if the record said so.
	Time  time.Time
	Level Level
	// Facility is a dotted name, or empty.
	Facility string
	// Parent is the number of the event that caused this one, if HasParent.
	Parent    uint64
	HasParent bool
	Message   string
	// Attrs is everything else, with groups as such. Besides slog's own kinds
	// there are a [Failure], an [Opaque], a json.Number for what int64 and
	// float64 do not hold, and []any.
	Attrs []slog.Attr
}

// A Failure is an error that was logged.
type Failure struct {
	Text string
	// Repr is its type or, from Python, its repr.
	Repr      string
	Traceback string // only from Python
}

func (f Failure) String() string { return f.Text }

// An Opaque is a value that JSON cannot express, bytes for one.
type Opaque struct {
	// Kind is Foolscap's word for it; empty stands for UnJSONable.
	Kind string
	// Repr shows the value.
	Repr string
}

func (o Opaque) String() string { return o.Repr }

// Attr returns the value of an attribute; that of a group by the keys on the
// way.
func (e Event) Attr(keys ...string) (slog.Value, bool) {
	attrs := e.Attrs
	for i, key := range keys {
		at := -1
		for j, a := range attrs {
			if a.Key == key {
				at = j
			}
		}
		switch {
		case at < 0:
			return slog.Value{}, false
		case i == len(keys)-1:
			return attrs[at].Value, true
		case attrs[at].Value.Kind() != slog.KindGroup:
			return slog.Value{}, false
		}
		attrs = attrs[at].Value.Group()
	}
	return slog.Value{}, false
}
