package handlertest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// garbage: whatever a hint contains, the handler fails with ErrInvalidHint before
// it does anything.
func (k *kit) garbage(t *testing.T) {
	h := k.handler(t)
	typ := k.station.hint.Type()
	hints := []furl.Hint{
		"", ":", "::", ",", "\x00", "\xff\xfe", "no type",
		"no-such-type:127.0.0.1:1", "no-such-type:", ":127.0.0.1:1",
		furl.Hint(typ), furl.Hint(typ + ":"), furl.Hint(typ + ":\x00"), furl.Hint(typ + ":\r\n"), furl.Hint(typ + ":\xff"),
		furl.Hint(typ + ":" + strings.Repeat("x", furl.MaxHintLength+1)),
	}
	for _, hint := range append(hints, k.cfg.InvalidHints...) {
		o := k.dial(t.Context(), t, h, handlers.DialRequest{Hint: hint})
		if o.err == nil {
			o.stream.Close()
			t.Errorf("dialling %q has succeeded", hint)
			continue
		}
		assert.ErrorIs(t, o.err, handlers.ErrInvalidHint, "dialling %q", hint)
		assert.Equal(t, handlers.PhaseParse, phaseOf(o.err), "dialling %q", hint)
	}

	// Hints that are nearly good may lead anywhere, so these dials are over before
	// they begin.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, hint := range nearly(string(k.station.hint)) {
		o := k.dial(ctx, t, h, handlers.DialRequest{Hint: hint})
		if o.err == nil {
			o.stream.Close()
		}
		if !errors.Is(o.err, handlers.ErrInvalidHint) && !errors.Is(o.err, context.Canceled) {
			t.Errorf("dialling %q in a context that has ended: neither ErrInvalidHint nor the context's error, but %v", hint, o.err)
		}
	}
}

// nearly returns what a good hint becomes when a byte is lost or another one.
func nearly(good string) []furl.Hint {
	var hints []furl.Hint
	for i := range len(good) {
		hints = append(hints, furl.Hint(good[:i]), furl.Hint(good[:i]+good[i+1:]))
		for _, c := range "\x00 :[]%@\\" {
			hints = append(hints, furl.Hint(good[:i]+string(c)+good[i+1:]))
		}
		hints = append(hints, furl.Hint(good[:i]+"\xff"+good[i+1:]))
	}
	return append(hints, furl.Hint(good+":"), furl.Hint(good+"0000000000000000000000"), furl.Hint(good+good))
}
