package tor_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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

	for _, address := range []string{onion, strings.TrimSuffix(onion, ".onion"), strings.ToUpper(onion)} {
		text := tor.FormatClientCredential(address, key)
		assert.Regexp(t, `^[a-z2-7]{56}:descriptor:x25519:[A-Z2-7]{52}$`, text)
		parsedOnion, parsedKey, err := tor.ParseClientCredential(text + "\n")
		require.NoError(t, err)
		assert.Equal(t, onion, parsedOnion)
		assert.True(t, parsedKey.Equal(key))
	}
}

func TestAClientKeyIsKeptInAFile(t *testing.T) {
	for _, address := range []string{onion, strings.TrimSuffix(onion, ".onion"), strings.ToUpper(onion)} {
		path := filepath.Join(t.TempDir(), "client.auth_private")
		public, err := tor.CreateClientKey(path, address)
		require.NoError(t, err)
		info, err := os.Stat(path)
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			assert.Equal(t, os.FileMode(0o600), info.Mode())
		}
		loaded, key, err := tor.LoadClientKey(path, nil)
		require.NoError(t, err)
		assert.Equal(t, onion, loaded)
		assert.True(t, public.Equal(key.PublicKey()))

		before, err := os.ReadFile(path)
		require.NoError(t, err)
		again, err := tor.CreateClientKey(path, address)
		assert.ErrorIs(t, err, fs.ErrExist)
		assert.Nil(t, again, "an operator would authorise a key that nobody has")
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, before, after)
	}
}

func TestFilesThatAreNoClientKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "client.auth_private")
	public, err := tor.CreateClientKey(path, "x.example")
	assert.ErrorContains(t, err, "not an onion address")
	assert.Nil(t, public)
	assert.NoFileExists(t, path)

	load := func() error {
		onion, key, err := tor.LoadClientKey(path, nil)
		assert.Empty(t, onion)
		assert.Nil(t, key)
		return err
	}
	assert.ErrorIs(t, load(), fs.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte("nonsense\n"), 0o600))
	assert.ErrorContains(t, load(), "descriptor:x25519:")
	if runtime.GOOS == "windows" {
		return // modes mean nothing there
	}
	require.NoError(t, os.Remove(path))
	_, err = tor.CreateClientKey(path, onion)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0o660))
	assert.ErrorContains(t, load(), "chmod 600")

	require.NoError(t, os.Chmod(path, 0o644))
	var log logBook
	_, _, err = tor.LoadClientKey(path, log.logger())
	require.NoError(t, err)
	assert.Contains(t, log.text(), "others could read")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
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
