package tor_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tor"
)

func TestClientKeysAreWrittenAsTorDoes(t *testing.T) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)

	text := tor.FormatClientKey(key.PublicKey())
	assert.Regexp(t, `^descriptor:x25519:[A-Z2-7]{52}$`, text)
	for _, form := range []string{text, text + "\n", strings.TrimPrefix(text, "descriptor:x25519:"), strings.ToLower(text)} {
		parsed, err := tor.ParseClientKey(form)
		require.NoError(t, err)
		assert.True(t, parsed.Equal(key.PublicKey()))
	}

	for _, address := range []string{onion, strings.TrimSuffix(onion, ".onion")} {
		text := tor.FormatClientCredential(address, key)
		assert.Regexp(t, `^[a-z2-7]{56}:descriptor:x25519:[A-Z2-7]{52}$`, text)
		parsedOnion, parsedKey, err := tor.ParseClientCredential(text + "\n")
		require.NoError(t, err)
		assert.Equal(t, onion, parsedOnion)
		assert.True(t, parsedKey.Equal(key))
	}
}

func TestTextsThatAreNoClientKeys(t *testing.T) {
	const encoded = "MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43UOV3HO6DZPJQWEY3EMVTA"
	for _, text := range []string{"", "descriptor:x25519:", encoded + "A", encoded[:50], "descriptor:x25519:" + encoded[:51] + "1", "descriptor:ed25519:" + encoded} {
		_, err := tor.ParseClientKey(text)
		require.Error(t, err, text)
		if len(text) > 30 {
			assert.NotContains(t, err.Error(), encoded[:20])
		}
	}
	name := strings.TrimSuffix(onion, ".onion")
	for _, text := range []string{"", encoded, name + ":" + encoded, name + ":descriptor:x25519:" + encoded[1:], "x" + name[1:] + ":descriptor:x25519:" + encoded, onion + ":descriptor:x25519:" + encoded} {
		_, _, err := tor.ParseClientCredential(text)
		require.Error(t, err, text)
		assert.NotContains(t, err.Error(), encoded[1:20])
	}
}
