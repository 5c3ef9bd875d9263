package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheFURLCanStandInAFile(t *testing.T) {
	const furl = "pb://ka5xurmkm6wb6vuzeo3jpxwrw6kla6ce@tcp:127.0.0.1:9/calculator"
	file := filepath.Join(t.TempDir(), "server.furl")
	require.NoError(t, os.WriteFile(file, []byte(furl+"\n"), 0o600))
	before := os.Args
	defer func() { os.Args = before }()
	for _, arg := range []string{furl, "@" + file} {
		os.Args = []string{"client", arg}
		assert.Equal(t, furl, argument())
	}
}

func TestAFileWithoutTheAtIsExplained(t *testing.T) {
	_, err := read("server.furl")
	assert.ErrorContains(t, err, "@FILE")
}
