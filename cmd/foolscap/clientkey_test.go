package main

import (
	"crypto/ecdh"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tor"
)

// someOnion is an onion address with a right checksum.
const someOnion = "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion"

func TestClientKeyMakesAKeyAndShowsThePublicPart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.key")
	r := foolscap(t, "clientkey", "create", someOnion, path)
	require.Equal(t, exitOK, r.code, r.stderr)
	onion, key, err := tor.LoadClientKey(path, nil)
	require.NoError(t, err)
	assert.Equal(t, someOnion, onion)
	assert.Equal(t, tor.FormatClientKey(key.PublicKey())+"\n", r.stdout)
	_, err = tor.ParseClientKey(r.stdout)
	require.NoError(t, err, "serve --authorize takes what is printed")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())

	assert.Equal(t, r, foolscap(t, "clientkey", "show", path))
	var doc clientKeyDocument
	require.NoError(t, json.Unmarshal([]byte(foolscap(t, "clientkey", "show", "--json", path).stdout), &doc))
	assert.Equal(t, clientKeyDocument{path, someOnion, strings.TrimSpace(r.stdout)}, doc)

	again := foolscap(t, "clientkey", "create", someOnion, path)
	assert.Equal(t, exitFailure, again.code)
	assert.Contains(t, again.stderr, "not overwritten")
	assert.Equal(t, r, foolscap(t, "clientkey", "show", path))
}

func TestClientKeyRefusesWhatIsNoOnionAddressAndNoKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.key")
	r := foolscap(t, "clientkey", "create", "x"+someOnion[1:], path)
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "onion address")
	assert.NoFileExists(t, path)
	const secret = "MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43UOV3HO6DZPJQWEY3EMVT"
	require.NoError(t, os.WriteFile(path, []byte(someOnion+":descriptor:x25519:"+secret), 0o600))
	for _, args := range [][]string{{"clientkey", "show", path}, {"ping", "--tor", "control", "--client-key", path, someFURL}} {
		r = foolscap(t, args...)
		assert.Equal(t, exitFailure, r.code)
		assert.Contains(t, r.stderr, path)
		assert.NotContains(t, r.stderr+r.stdout, secret[:20])
	}
}

func TestOneKeyForAServiceAndATorThatTakesIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service.key")
	require.Equal(t, exitOK, foolscap(t, "clientkey", "create", someOnion, path).code)
	r := foolscap(t, "ping", "--tor", "control", "--client-key", path, "--client-key", path, someFURL)
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.stderr, "two keys")
	r = foolscap(t, "ping", "--client-key", path, someFURL)
	assert.Equal(t, exitUsage, r.code)
	assert.Contains(t, r.stderr, "--tor control")

	keys, err := (&routeFlags{clientKeys: texts{path}}).loadClientKeys(nil)
	require.NoError(t, err)
	require.IsType(t, (*ecdh.PrivateKey)(nil), keys[someOnion])
	assert.Len(t, keys, 1)
}
