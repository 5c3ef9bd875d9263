package flog

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"
)

// What the same five attributes cost with slog's handlers and with ours.
func BenchmarkHandlers(b *testing.B) {
	all := &slog.HandlerOptions{Level: slog.LevelDebug}
	for _, h := range []struct {
		name string
		new  func() slog.Handler
	}{
		{"discard", func() slog.Handler { return slog.DiscardHandler }},
		{"text", func() slog.Handler { return slog.NewTextHandler(io.Discard, all) }},
		{"json", func() slog.Handler { return slog.NewJSONHandler(io.Discard, all) }},
		{"flog", func() slog.Handler { return benchmarkLog(b, nil).Handler(nil) }},
		{"flog/disabled", func() slog.Handler { return benchmarkLog(b, &Options{Threshold: Bad}).Handler(nil) }},
		{"flog/subscribed", func() slog.Handler {
			l := benchmarkLog(b, nil)
			l.Subscribe(SubscribeOptions{}) // loses all but the first
			return l.Handler(nil)
		}},
	} {
		b.Run(h.name, func(b *testing.B) {
			ctx := context.Background()
			logger := slog.New(h.new()).With("facility", "net.dial")
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				logger.LogAttrs(ctx, slog.LevelDebug, "a hint has been dialled", slog.String("hint", "tcp:127.0.0.1:1234"),
					slog.Int("attempt", i), slog.Duration("elapsed", time.Millisecond), slog.Bool("inbound", false), slog.String("peer", "abcdefgh"))
			}
		})
		b.Run(h.name+"/parallel", func(b *testing.B) {
			ctx := context.Background()
			logger := slog.New(h.new()).With("facility", "net.dial")
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					logger.LogAttrs(ctx, slog.LevelDebug, "a hint has been dialled", slog.String("hint", "tcp:127.0.0.1:1234"), slog.Int("attempt", 1))
				}
			})
		})
	}
	failed := errors.New("connection refused")
	for name, handler := range map[string]slog.Handler{"json/error": slog.NewJSONHandler(io.Discard, all), "flog/error": benchmarkLog(b, nil).Handler(nil)} {
		b.Run(name, func(b *testing.B) {
			logger := slog.New(handler)
			b.ReportAllocs()
			for b.Loop() {
				logger.Info("a hint has failed", "error", failed)
			}
		})
	}
}

func benchmarkLog(b *testing.B, opts *Options) *Log {
	l, err := New(opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	return l
}
