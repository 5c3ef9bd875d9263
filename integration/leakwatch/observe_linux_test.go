package leakwatch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAStraceThatFailsIsNotThere(t *testing.T) {
	dir := t.TempDir()
	fake := "#!/bin/sh\necho 'strace: PTRACE_TRACEME: Operation not permitted' >&2\nexit 1\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "strace"), []byte(fake), 0o700))
	t.Setenv("PATH", dir)
	err := tryStrace()
	require.ErrorIs(t, err, ErrUnavailable)
	assert.ErrorContains(t, err, "Operation not permitted")
}
