package furl_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestParseTubIDTakesTheFirst32Characters(t *testing.T) {
	for _, text := range []string{tub, tub + "x", tub + "-and:More!", tub + tub} {
		id, err := furl.ParseTubID(text)
		require.NoError(t, err)
		assert.Equal(t, furl.TubID(tub), id)
		assert.True(t, id.Valid())
	}
}

func TestParseTubIDRefusesWhatIsNone(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                            "",
		"short":                            tub[:31],
		"upper case":                       strings.ToUpper(tub),
		"one upper-case letter":            tub[:31] + "C",
		"a character outside base32":       tub[:31] + "8",
		"a character outside ASCII":        tub[:30] + "é",
		"a blank behind it":                tub + " ",
		"an '@' behind it":                 tub + "@",
		"a '/' behind it":                  tub + "/",
		"an invisible character behind it": tub + "\u200b",
		"an endless extension":             tub + strings.Repeat("x", furl.MaxLength),
	} {
		t.Run(name, func(t *testing.T) {
			id, err := furl.ParseTubID(text)
			require.ErrorIs(t, err, furl.ErrInvalid)
			assert.Empty(t, id)
			assert.False(t, furl.TubID(text).Valid())
		})
	}
}

func TestAnExtendedTubIDIsNotValidAsItStands(t *testing.T) {
	assert.False(t, furl.TubID(tub+"x").Valid())
}

func TestShortTubIDsAreForLogs(t *testing.T) {
	assert.Equal(t, "twyn6rsw", furl.TubID(tub).Short())
	assert.Equal(t, "abc", furl.TubID("abc").Short())
	assert.Equal(t, "", furl.TubID("").Short())
}
