package flog

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func asMap(attrs []slog.Attr) map[string]any {
	m := make(map[string]any)
	for _, a := range attrs {
		if a.Value.Kind() == slog.KindGroup {
			m[a.Key] = asMap(a.Value.Group())
		} else {
			m[a.Key] = a.Value.Any()
		}
	}
	return m
}

func TestTheHandlerIsAsSlogWantsIt(t *testing.T) {
	l := newLog(t, nil)
	require.NoError(t, slogtest.TestHandler(l.Handler(nil), func() (results []map[string]any) {
		for _, e := range l.Events() {
			m := asMap(e.Attrs)
			m[slog.LevelKey], m[slog.MessageKey] = e.Level.Slog(), e.Message
			if !e.Time.IsZero() {
				m[slog.TimeKey] = e.Time
			}
			results = append(results, m)
		}
		return results
	}))
}

func TestEventsHaveAPlace(t *testing.T) {
	l := newLog(t, nil)
	logger := slog.New(l.Handler(nil)).With(Facility("net.dial"), Parent(7))
	logger.Info("one")
	logger.Info("two", Facility("net.read"), ParentKey, 3)
	logger.WithGroup("g").Info("three", FacilityKey, "inner", ParentKey, "4")
	logger.Info("four", ParentKey, -1, "message", "m", "failure", "none", "num", 1)
	logger.Info("five", "failure", errors.New("broken"))

	e := l.Events()
	assert.Equal(t, []string{"one", "two", "three", "four", "five"}, messages(e))
	for i, want := range []struct {
		facility string
		parent   uint64
	}{{"net.dial", 7}, {"net.read", 3}, {"net.dial", 7}, {"net.dial", 7}, {"net.dial", 7}} {
		assert.EqualValues(t, i+1, e[i].Num)
		assert.Equal(t, l.Incarnation(), e[i].Incarnation)
		assert.Equal(t, want.facility, e[i].Facility)
		assert.True(t, e[i].HasParent)
		assert.Equal(t, want.parent, e[i].Parent)
	}
	assert.Equal(t, map[string]any{"g": map[string]any{"facility": "inner", "parent": "4"}}, asMap(e[2].Attrs))
	assert.Equal(t, map[string]any{"parent_": int64(-1), "message_": "m", "failure_": "none", "num_": int64(1)}, asMap(e[3].Attrs))
	assert.Equal(t, map[string]any{"failure": Failure{Text: "broken", Repr: "*errors.errorString"}}, asMap(e[4].Attrs))
}

func TestContextsCarryParents(t *testing.T) {
	l := newLog(t, nil)
	logger := slog.New(l.Handler(nil))
	_, ok := ParentFromContext(t.Context())
	assert.False(t, ok)
	outer := ContextWithCause(ContextWithParent(t.Context(), 99))
	logger.InfoContext(outer, "request") // 1
	num, ok := ParentFromContext(outer)
	require.True(t, ok)
	assert.EqualValues(t, 1, num)
	inner := ContextWithCause(outer)
	logger.InfoContext(inner, "step")                    // 2
	logger.InfoContext(inner, "detail")                  // 3
	assert.EqualValues(t, 4, l.Log(outer, Noisy, "end")) // 4
	logger.InfoContext(inner, "elsewhere", Parent(50))   // 5
	logger.Info("alone")                                 // 6
	var parents []uint64
	for _, e := range l.Events() {
		parents = append(parents, e.Parent)
	}
	assert.Equal(t, []uint64{99, 1, 2, 1, 50, 0}, parents)
}

func TestRecordsGoOnToTheNextHandler(t *testing.T) {
	var text bytes.Buffer
	next := slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	l := newLog(t, &Options{Threshold: Bad})
	logger := slog.New(l.Handler(next)).With("a", 1).WithGroup("g")
	logger.Info("neither")
	logger.Warn("next", "b", 2)
	logger.Error("both")
	assert.Equal(t, "level=WARN msg=next a=1 g.b=2\nlevel=ERROR msg=both a=1\n", text.String())
	assert.Equal(t, []string{"both"}, messages(l.Events()))
	assert.False(t, logger.Enabled(t.Context(), slog.LevelInfo))
}

func TestAnEventThatIsOnlyKeptCostsNoAllocation(t *testing.T) {
	l := newLog(t, nil)
	ctx := context.Background()
	logger := slog.New(l.Handler(nil)).With(Facility("net"), "who", "me").WithGroup("g")
	one := func() {
		logger.LogAttrs(ctx, slog.LevelDebug, "a message", slog.Int("n", 1), slog.String("s", "some text"), slog.Duration("d", time.Second))
	}
	for range 1000 {
		one() // the arena has its size
	}
	assert.Zero(t, testing.AllocsPerRun(1000, one))
}
