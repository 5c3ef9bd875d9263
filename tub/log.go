package tub

import (
	"context"
	"log/slog"
	"regexp"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// guarded is a Handler that is told no FURLs: errors of methods, and texts of peers,
// may hold some.
type guarded struct{ slog.Handler }

// guard returns the logger of a Tub; nil discards.
func guard(to *slog.Logger) *slog.Logger {
	if to == nil {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(guarded{to.Handler()})
}

func (g guarded) Handle(ctx context.Context, r slog.Record) error {
	told := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		told.AddAttrs(withoutFURLs(a))
		return true
	})
	return g.Handler.Handle(ctx, told)
}

func (g guarded) WithAttrs(attrs []slog.Attr) slog.Handler {
	told := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		told[i] = withoutFURLs(a)
	}
	return guarded{g.Handler.WithAttrs(told)}
}

func (g guarded) WithGroup(name string) slog.Handler { return guarded{g.Handler.WithGroup(name)} }

// withoutFURLs returns an attribute with the names in FURLs left out.
func withoutFURLs(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	text := ""
	switch v.Kind() {
	case slog.KindString:
		text = v.String()
	case slog.KindAny:
		if err, ok := v.Any().(error); ok {
			text = describe(err)
		}
	}
	if strings.Contains(text, "pb://") {
		return slog.String(a.Key, secretNames.ReplaceAllString(text, "${1}"+redacted))
	}
	return a
}

var (
	// A name ends where the next word begins, as far as one can tell.
	secretNames = regexp.MustCompile(`(pb://[^\s/]*/)[^\s"'<>]+`)
	redacted    = furl.NewSwissnum().String()
)

// describe returns the text of an error, or "" for one that panics, which is the
// Handler's to see.
func describe(err error) (text string) {
	defer func() { _ = recover() }()
	return err.Error()
}
