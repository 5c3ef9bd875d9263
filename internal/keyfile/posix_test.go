//go:build unix

package keyfile

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadDoesNotWaitForTheWriterOfAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(path, 0o600))
	_, err := readAll(path, nil)
	assert.ErrorContains(t, err, "not a regular file")
}

// theirs is the file of somebody else, as far as the system is asked.
type theirs struct{ fs.FileInfo }

func (theirs) Sys() any { return &syscall.Stat_t{Uid: uint32(os.Geteuid() + 1)} }

func TestOnlyOurOwnFilesAreTightened(t *testing.T) {
	path := fileOf(t, 0o644)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.True(t, ours(info))
	assert.False(t, ours(theirs{info}))

	if os.Geteuid() != 0 {
		return // only root can give files away; for others, the chmod fails in any case
	}
	require.NoError(t, os.Chown(path, 12345, 12345))
	var log bytes.Buffer
	text, err := readAll(path, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	assert.Equal(t, secret, string(text))
	assert.Contains(t, log.String(), "others can read")
	info, err = os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o644), info.Mode())
}
