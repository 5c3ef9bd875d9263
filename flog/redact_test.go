package flog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

const (
	aTubID    = "abcdefghijklmnopqrstuvwxyz234567"
	aSwissnum = "q2wsxcde3rfvbgt5yhnmju7ikl6opaz4"
	aFURL     = "pb://" + aTubID + "@tcp:127.0.0.1:9,tor:x.onion:1/" + aSwissnum
)

func TestSecretsAreRedacted(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "nothing": "nothing",
		aFURL:                                    "pb://" + aTubID + "@tcp:127.0.0.1:9,tor:x.onion:1/[redacted]",
		"to " + aFURL + ": refused":              "to pb://" + aTubID + "@tcp:127.0.0.1:9,tor:x.onion:1/[redacted]: refused",
		"pb://t@h/short and pb://u@/x/y":         "pb://t@h/[redacted] and pb://u@/[redacted]",
		`"pb://t@h/a"`:                           `"pb://t@h/[redacted]"`,
		"pb://t@h":                               "pb://t@h",
		aSwissnum:                                "[redacted]",
		"/" + aSwissnum + "." + aSwissnum + " x": "/[redacted].[redacted] x",
		aSwissnum + "a":                          aSwissnum + "a", // no swissnum is that long
		aSwissnum[1:]:                            aSwissnum[1:],
		strings.ToUpper(aSwissnum):               strings.ToUpper(aSwissnum),
		strings.Repeat("word ", 20) + aSwissnum:  strings.Repeat("word ", 20) + "[redacted]",
	} {
		assert.Equal(t, want, redact(text))
	}
	for shift := range 70 { // wherever it is
		text := strings.Repeat("é", shift/2) + strings.Repeat("-", shift) + aSwissnum + " and so on"
		assert.NotContains(t, redact(text), aSwissnum[:8])
	}
}

type secretive struct{}

func (secretive) LogValue() slog.Value { return slog.StringValue("hidden") }

type shouting struct{ text string }

func (s shouting) String() string { return s.text }

func TestNoWayOfLoggingLetsASecretThrough(t *testing.T) {
	parsed, err := furl.Parse(aFURL)
	require.NoError(t, err)
	l := newLog(t, nil)
	logger := slog.New(l.Handler(nil))
	logger.With("with", aFURL).WithGroup(aSwissnum).With(slog.Group("inner", "x", aFURL)).Info("at "+aFURL,
		"string", aSwissnum, aSwissnum, 1, "error", fmt.Errorf("no: %w", errors.New(aFURL)), "bytes", []byte(aFURL), "stringer", shouting{aFURL},
		"map", map[string]any{aSwissnum: []string{aFURL}}, "struct", struct{ A, B any }{aFURL, json.RawMessage(`"` + aSwissnum + `"`)},
		"furl", parsed, "name", parsed.Name, "nested", struct{ F furl.FURL }{parsed}, "self", secretive{}, "list", []any{aFURL},
		"escaped", map[string]string{"f": `pb://t@h/a"` + aSwissnum})
	l.Log(t.Context(), Bad, aSwissnum, Facility(aSwissnum), slog.Any("tub", furl.TubID(aTubID)))

	require.Len(t, l.Events(), 2)
	text := string(appendEntry(nil, Entry{Event: l.Events()[0]})) + string(appendEntry(nil, Entry{Event: l.Events()[1]}))
	assert.True(t, json.Valid([]byte(text[:strings.LastIndex(text, `{"from"`)])))
	assert.NotContains(t, text, aSwissnum)
	assert.Greater(t, strings.Count(text, "[redacted]"), 15)
	assert.Contains(t, text, `"self":"hidden"`)
	assert.Contains(t, text, `"tub":"`+aTubID+`"`)
	for _, rec := range l.buffers.all() {
		assert.NotContains(t, string(rec), aSwissnum)
	}
}

func TestValuesAreThoseOfTheMomentOfLogging(t *testing.T) {
	l := newLog(t, nil)
	m := map[string]any{"a": 1}
	b := []byte("before")
	handler := slog.New(l.Handler(nil)).With("m", m, "b", b)
	handler.Info("one", "again", m)
	m["a"], b[0] = 2, 'X'
	handler.Info("two", "again", m)
	for i, want := range []int64{1, 2} {
		e := l.Events()[i]
		v, ok := e.Attr("m", "a")
		require.True(t, ok)
		assert.EqualValues(t, 1, v.Any())
		v, ok = e.Attr("again", "a")
		require.True(t, ok)
		assert.Equal(t, want, v.Any())
		v, _ = e.Attr("b")
		assert.Equal(t, Opaque{"UnJSONable", `b"before"`}, v.Any())
	}
}

type panicking struct{}

func (panicking) Error() string { panic("no") }

type panickingPointer struct{ text string }

func (p *panickingPointer) Error() string { return p.text }

type endless struct{}

func (endless) LogValue() slog.Value { return slog.GroupValue(slog.Any("", endless{})) }

func TestOddValuesDoNoHarm(t *testing.T) {
	l := newLog(t, &Options{MaxEvent: 2000})
	cyclic := map[string]any{}
	cyclic["self"] = cyclic
	var nilError *panickingPointer
	many := make([]any, 2000)
	slog.New(l.Handler(nil)).Info(strings.Repeat("m", 5000), "panics", panicking{}, "nil error", nilError, "endless", endless{}, "cyclic", cyclic,
		"channel", make(chan int), "function", context.Background, "nil", nil, "long", strings.Repeat("x", 5000), "more", 1, "list", many)
	events := l.Events()
	require.Len(t, events, 1)
	assert.Less(t, len(events[0].Message), 2000)
	dropped, ok := events[0].Attr("attributes_dropped")
	require.True(t, ok)
	assert.Positive(t, dropped.Int64())
	v, ok := events[0].Attr("panics")
	require.True(t, ok)
	assert.Contains(t, v.Any().(Opaque).Repr, "panics when asked")
	assert.Less(t, len(l.buffers.all()[0]), 2000)
}
