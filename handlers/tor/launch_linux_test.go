package tor_test

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tor"
)

func TestCloseDoesNotWaitForWhatHasLeftTheWrapper(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	// It holds the output of the wrapper, and belongs to a group of its own.
	h := newHandler(t, tor.Launch(tor.LaunchConfig{Executable: script(t, `setsid sh -c 'echo >"$0"; sleep 40' '%s' & wait`, pipe)}))
	var dialling sync.WaitGroup
	dialling.Go(func() { assert.Error(t, tryDial(t, h)) })
	_, err := os.ReadFile(pipe)
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, h.Close())
	dialling.Wait()
	assert.Less(t, time.Since(began), 20*time.Second)
}
