package furl_test

import (
	"encoding/base32"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestNewSwissnumHas160Bits(t *testing.T) {
	a, b := furl.NewSwissnum(), furl.NewSwissnum()
	assert.NotEqual(t, a.Reveal(), b.Reveal())
	assert.Regexp(t, `^[a-z2-7]{32}$`, a.Reveal())
	bits, err := base32.StdEncoding.DecodeString(strings.ToUpper(a.Reveal()))
	require.NoError(t, err)
	assert.Len(t, bits, 20)

	parsed, err := furl.ParseSwissnum(a.Reveal())
	require.NoError(t, err)
	assert.True(t, a.Equal(parsed))
}

func TestParseSwissnumRefusesWhatNoFURLCanCarry(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                 "",
		"a line end":              "a\nb",
		"invalid UTF-8":           "a\xffb",
		"an invisible character":  "a\u200bb",
		"a leading space":         " a",
		"a trailing space":        "a ",
		"the redacted form":       "[redacted]",
		"more than MaxNameLength": strings.Repeat("n", furl.MaxNameLength+1),
	} {
		t.Run(name, func(t *testing.T) {
			n, err := furl.ParseSwissnum(text)
			var parseErr *furl.ParseError
			require.ErrorAs(t, err, &parseErr)
			assert.Equal(t, furl.PartName, parseErr.Part)
			assert.True(t, n.IsZero())
		})
	}
}

func TestSwissnumsCompareByTheirText(t *testing.T) {
	a, b, other := name(t, secret), name(t, strings.Clone(secret)), name(t, "other")
	assert.True(t, a.Equal(b))
	assert.False(t, a.Equal(other))
	assert.Equal(t, secret, b.Reveal())
}

func TestTheZeroSwissnumIsNoName(t *testing.T) {
	var n furl.Swissnum
	assert.True(t, n.IsZero())
	assert.Equal(t, "", n.Reveal())
	assert.Equal(t, "", n.String())
	assert.False(t, name(t, secret).IsZero())
	assert.False(t, n.Equal(name(t, secret)))
	assert.Equal(t, "pb://"+tub+"@/", furl.FURL{TubID: tub}.Reveal())
}
