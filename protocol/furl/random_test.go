package furl_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// replaceRandom lets crypto/rand give out these bytes and no more, until the test ends. Tests that use it cannot run
// beside others.
func replaceRandom(t *testing.T, b []byte) *bytes.Reader {
	t.Helper()
	before := rand.Reader
	t.Cleanup(func() { rand.Reader = before })
	r := bytes.NewReader(b)
	rand.Reader = io.MultiReader(r, failingReader{})
	return r
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("more was read than expected") }

func TestAllBitsOfASwissnumComeFromCryptoRand(t *testing.T) {
	for bit := range 160 {
		b := make([]byte, 20)
		b[bit/8] = 0x80 >> (bit % 8)
		rest := replaceRandom(t, b)
		n := furl.NewSwissnum()
		assert.Zero(t, rest.Len(), "all of them are used")
		got, err := base32.StdEncoding.DecodeString(strings.ToUpper(n.Reveal()))
		require.NoError(t, err)
		assert.Equal(t, b, got, "bit %d", bit)
	}
}
