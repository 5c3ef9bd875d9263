package main

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// news is a log that passes records on, and keeps the last message of what went
// on, for progress and for errors.
type news struct {
	slog.Handler
	text *atomic.Value // of string
}

func newNews(log slog.Handler) news {
	n := news{log, new(atomic.Value)}
	n.text.Store("")
	return n
}

// last returns the last message, or "".
func (n news) last() string { return n.text.Load().(string) }

// Enabled is true of what Handle keeps, or else passes on.
func (n news) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || n.Handler.Enabled(ctx, level)
}

func (n news) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		n.text.Store(r.Message)
	}
	if !n.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return n.Handler.Handle(ctx, r)
}

func (n news) WithAttrs(attrs []slog.Attr) slog.Handler {
	return news{n.Handler.WithAttrs(attrs), n.text}
}

func (n news) WithGroup(name string) slog.Handler { return news{n.Handler.WithGroup(name), n.text} }
