package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/tub"
)

func TestIDCreatesAnIdentityAndShowsIt(t *testing.T) {
	for kind, key := range map[string]string{"p256": "ECDSA P-256", "rsa2048": "RSA, 2048 bits"} {
		t.Run(kind, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tub.pem")
			r := foolscap(t, "id", "create", "--kind", kind, path)
			require.Equal(t, exitOK, r.code, r.stderr)
			id, err := tub.LoadIdentity(path, nil)
			require.NoError(t, err)
			for _, part := range []string{path, id.TubID().String(), key, "valid"} {
				assert.Contains(t, r.stdout, part)
			}
			assert.NotContains(t, r.stdout, "PRIVATE")
			assert.Equal(t, r, foolscap(t, "id", "show", path))

			r = foolscap(t, "id", "show", "--json", path)
			var doc idDocument
			require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
			assert.Equal(t, id.TubID().String(), doc.TubID)
			assert.Equal(t, key, doc.Key)
			assert.Equal(t, doc.Issuer, doc.Subject)
			assert.False(t, doc.Created)
			assert.False(t, doc.Expired)
			assert.True(t, doc.NotBefore.Before(time.Now()))
		})
	}
}

func TestIDNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tub.pem")
	require.NoError(t, os.WriteFile(path, []byte("something else"), 0o600))
	r := foolscap(t, "id", "create", path)
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "not overwritten")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "something else", string(content))
}

func TestIDShowsIdentitiesOfPythonFoolscap(t *testing.T) {
	content, err := os.ReadFile("../../protocol/negotiate/testdata/foolscap-21.7.0.pem")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "tub.pem")
	require.NoError(t, os.WriteFile(path, content, 0o644))
	r := foolscap(t, "id", "show", path)
	require.Equal(t, exitOK, r.code, r.stderr)
	assert.Contains(t, r.stdout, "RSA, 2048 bits")
	assert.Contains(t, r.stderr, "private now")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestIDRefusesWhatIsNoIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tub.pem")
	r := foolscap(t, "id", "show", path)
	assert.Equal(t, exitFailure, r.code)
	require.NoError(t, os.WriteFile(path, []byte("hello"), 0o600))
	r = foolscap(t, "id", "show", path)
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "CERTIFICATE")
}
