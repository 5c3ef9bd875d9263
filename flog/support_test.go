package flog

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func newLog(t *testing.T, opts *Options) *Log {
	t.Helper()
	l, err := New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func messages(events []Event) (all []string) {
	for _, e := range events {
		all = append(all, e.Message)
	}
	return all
}

func entries(t *testing.T, path string) (Header, []Event) {
	t.Helper()
	r, err := Open(path)
	require.NoError(t, err)
	defer r.Close()
	var events []Event
	for e, err := range r.Entries() {
		require.NoError(t, err)
		events = append(events, e.Event)
	}
	require.False(t, r.Truncated())
	return r.Header(), events
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		all = append(all, f.Name())
	}
	return all
}
