//go:build unix

package unixsock_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/examples/transports/unixsock"
	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/handlertest"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestConformance(t *testing.T) {
	dir := shortDir(t)
	var count atomic.Int64
	handlertest.Run(t, handlertest.Config{
		NewHandler: func(*testing.T) handlers.Handler { return unixsock.New(dir) },
		NewAcceptor: func(t *testing.T, _ *tls.Certificate) handlers.Acceptor {
			return listen(t, filepath.Join(dir, "tub-"+strconv.FormatInt(count.Add(1), 10)))
		},
		InvalidHints: []furl.Hint{
			"unix:80", "unix:..", "unix:.hidden", "unix:a:b", "unix:%2Ftmp", "unix:@abstract", furl.Hint("unix:" + strings.Repeat("x", 65)),
		},
		// A connection is accepted or refused at once, so no dial can be made to wait.
		Failures: map[string]handlertest.Failure{
			"no socket": {
				Dial: func(*testing.T) (handlers.Handler, handlers.DialRequest) {
					return unixsock.New(dir), handlers.DialRequest{Hint: "unix:nobody"}
				},
				Phase: handlers.PhaseDial, Err: handlers.ErrUnreachable,
			},
			"a file that is no socket": {
				Dial: func(t *testing.T) (handlers.Handler, handlers.DialRequest) {
					require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
					return unixsock.New(dir), handlers.DialRequest{Hint: "unix:file"}
				},
				Phase: handlers.PhaseDial, Err: handlers.ErrUnreachable,
			},
		},
	})
}

func TestASocketThatWasLeftBehindIsReplaced(t *testing.T) {
	path := filepath.Join(shortDir(t), "tub")
	leaveSocket(t, path)
	l := listen(t, path)
	_, err := unixsock.Listen(t.Context(), path)
	assert.Error(t, err, "one that is in use is not")
	require.NoError(t, l.Close())
	assert.NoFileExists(t, path)
}

func TestAFileThatIsNoSocketStays(t *testing.T) {
	dir := shortDir(t)
	file, link, socket := filepath.Join(dir, "notes"), filepath.Join(dir, "link"), filepath.Join(dir, "socket")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	require.NoError(t, os.Symlink(socket, link))
	leaveSocket(t, socket)
	for _, path := range []string{file, link} {
		_, err := unixsock.Listen(t.Context(), path)
		assert.ErrorIs(t, err, syscall.EADDRINUSE)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(text))
	target, err := os.Readlink(link)
	require.NoError(t, err)
	assert.Equal(t, socket, target)
}

func TestOneOfTwoReplacesASocketThatWasLeftBehind(t *testing.T) {
	dir := shortDir(t)
	for i := range 200 {
		path := filepath.Join(dir, fmt.Sprint("tub-", i))
		leaveSocket(t, path)
		var listening atomic.Int64
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if l, err := unixsock.Listen(t.Context(), path); err == nil {
					listening.Add(1)
					t.Cleanup(func() { assert.NoError(t, l.Close()) })
				}
			})
		}
		both.Wait()
		require.EqualValues(t, 1, listening.Load())
	}
}

// leaveSocket makes a socket that nobody listens on.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	left.SetUnlinkOnClose(false)
	require.NoError(t, left.Close())
}

func listen(t *testing.T, path string) *unixsock.Listener {
	t.Helper()
	l, err := unixsock.Listen(t.Context(), path)
	require.NoError(t, err)
	return l
}

// shortDir makes a directory: the path of a socket must be shorter than that of
// t.TempDir often is.
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "unixsock-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}
