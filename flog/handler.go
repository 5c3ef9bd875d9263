package flog

import (
	"context"
	"log/slog"
	"slices"
)

// Keys of attributes, outside of all groups, that say where an event belongs.
const (
	// FacilityKey: the dotted name of what part of the program logs. A string.
	FacilityKey = "facility"
	// ParentKey: the number of the event that has caused this one. An integer.
	ParentKey = "parent"
)

// Facility is the attribute that names the part of the program that logs.
func Facility(name string) slog.Attr { return slog.String(FacilityKey, name) }

// Parent is the attribute that names the cause of an event by its number.
func Parent(num uint64) slog.Attr { return slog.Uint64(ParentKey, num) }

// A Handler puts what is logged by slog into a Log. Values are copied when they
// are logged; errors become a [Failure], bytes an [Opaque], and what else slog
// does not know what it makes of itself as text or JSON. In all of them FURLs
// and swissnums are replaced by "[redacted]".
type Handler struct {
	log  *Log
	next slog.Handler

	prefix    []byte   // the attributes of With, encoded
	depth     int      // of the groups in prefix that are open
	open      []string // groups that nothing has been put in yet
	facility  string
	parent    uint64
	hasParent bool
}

// Handler returns a handler for slog. If next is not nil, records go there too,
// as they are: nothing is redacted in them.
func (l *Log) Handler(next slog.Handler) *Handler {
	return &Handler{log: l, next: next}
}

// Enabled is true if the Log or the next handler wants the level.
func (h *Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return LevelOf(level) >= h.log.opts.Threshold || h.next != nil && h.next.Enabled(ctx, level)
}

// Handle adds a record to the Log. What it returns is the next handler's error.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if level := LevelOf(r.Level); level >= h.log.opts.Threshold {
		e := encoders.Get().(*encoder)
		h.begin(e)
		if r.NumAttrs() > 0 {
			start := len(e.buf)
			h.openGroups(e)
			empty, top := len(e.buf), h.groups() == 0
			r.Attrs(func(a slog.Attr) bool {
				e.attr(a, top, 0)
				return true
			})
			if len(e.buf) == empty {
				e.buf = e.buf[:start]
			} else {
				closeGroups(e, len(h.open))
			}
		}
		closeGroups(e, h.depth)
		h.log.finish(ctx, e, r.Time, level, r.Message, true)
		encoders.Put(e)
	}
	if h.next != nil && h.next.Enabled(ctx, r.Level) {
		return h.next.Handle(ctx, r)
	}
	return nil
}

// WithAttrs returns a Handler that adds attributes to all events.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	if h.next != nil {
		with.next = h.next.WithAttrs(attrs)
	}
	e := new(encoder)
	h.begin(e)
	start := len(e.buf)
	h.openGroups(e)
	empty := len(e.buf)
	for _, a := range attrs {
		e.attr(a, h.groups() == 0, 0)
	}
	with.facility, with.parent, with.hasParent = e.facility, e.parent, e.hasParent
	if len(e.buf) == empty {
		e.buf = e.buf[:start]
	} else {
		with.depth += len(h.open)
		with.open = nil
	}
	with.prefix = slices.Clip(e.buf[headerLength:])
	return &with
}

// WithGroup returns a Handler that puts all further attributes into a group.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	if h.next != nil {
		with.next = h.next.WithGroup(name)
	}
	if h.groups() < maxDepth {
		with.open = append(slices.Clip(h.open), name)
	}
	return &with
}

func (h *Handler) groups() int { return h.depth + len(h.open) }

func (h *Handler) begin(e *encoder) {
	e.begin(h.log.opts.MaxEvent)
	e.buf = append(e.buf, h.prefix...)
	e.facility, e.parent, e.hasParent = h.facility, h.parent, h.hasParent
}

func (h *Handler) openGroups(e *encoder) {
	for _, name := range h.open {
		e.key(kindGroup, name)
	}
}

func closeGroups(e *encoder, n int) {
	for range n {
		e.buf = append(e.buf, byte(markEnd))
	}
}
