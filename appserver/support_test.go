package appserver_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/appserver"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/tub"
)

// create makes a server in a new folder.
func create(t *testing.T, types ...appserver.Type) *appserver.Server {
	t.Helper()
	s, err := appserver.Create(filepath.Join(t.TempDir(), "server"), nil, appserver.Settings{Port: "tcp:1"},
		&appserver.Options{Types: types, Logger: logger(t)})
	require.NoError(t, err)
	return s
}

// logger shows what is logged with the test.
func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func newTub(t *testing.T, id *tub.Identity) *tub.Tub {
	t.Helper()
	if id == nil {
		var err error
		id, err = tub.NewIdentity()
		require.NoError(t, err)
	}
	made, err := tub.New(id, nil)
	require.NoError(t, err)
	t.Cleanup(func() { made.Close() })
	return made
}

// serve serves until the test ends or stop is called, which waits for the end.
func serve(t *testing.T, s *appserver.Server) (stop func()) {
	t.Helper()
	server := newTub(t, s.Identity())
	l, err := tcp.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	_, err = server.Listen(l)
	require.NoError(t, err)
	end, err := s.Serve(server)
	require.NoError(t, err)
	stop = sync.OnceFunc(func() {
		now, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		cancel()
		end(now)
		require.NoError(t, server.Shutdown(context.WithoutCancel(t.Context())))
	})
	t.Cleanup(stop)
	return stop
}

// add adds a service to a server that runs, and returns it with the hints.
func add(t *testing.T, s *appserver.Server, typ string, args ...string) appserver.Service {
	t.Helper()
	service, err := s.Add(typ, args, "")
	require.NoError(t, err)
	return service
}

// connect connects to a service, as a new client.
func connect(t *testing.T, service appserver.Service) *tub.Ref {
	t.Helper()
	ref, err := newTub(t, nil).Connect(t.Context(), service.FURL)
	require.NoError(t, err)
	return ref
}

// offer is a server with one service, and a client that is connected to it.
func offer(t *testing.T, typ string, args ...string) *tub.Ref {
	t.Helper()
	s := create(t)
	serve(t, s)
	return connect(t, add(t, s, typ, args...))
}

// only asserts what is in a folder.
func names(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	all := make([]string, len(entries))
	for i, e := range entries {
		all[i] = e.Name()
	}
	return all
}

// A gate is a reader that gives something, and then waits until the test lets it go on.
type gate struct {
	first   io.Reader
	reached chan struct{} // closed when it waits
	goOn    chan error    // what Read returns then
	waits   bool
}

func newGate(first io.Reader) *gate {
	return &gate{first: first, reached: make(chan struct{}), goOn: make(chan error, 1)}
}

func (g *gate) Read(p []byte) (int, error) {
	n, err := g.first.Read(p)
	if err != io.EOF {
		return n, err
	}
	if !g.waits {
		g.waits = true
		close(g.reached)
	}
	return n, <-g.goOn
}
