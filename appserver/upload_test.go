package appserver_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/appserver"
	"github.com/foolscap-go/foolscap/tub"
)

func TestAFileIsUploaded(t *testing.T) {
	for _, size := range []int{0, 1, 3 << 20} {
		folder := t.TempDir()
		ref := offer(t, "upload-file", "--mode=0640", folder)
		data := bytes.Repeat([]byte("x"), size)
		for range 2 { // the second one takes the place of the first
			require.NoError(t, appserver.Upload(t.Context(), ref, "a file.txt", bytes.NewReader(data)))
			got, err := os.ReadFile(filepath.Join(folder, "a file.txt"))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(data, got))
		}
		info, err := os.Stat(filepath.Join(folder, "a file.txt"))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o640), info.Mode())
		assert.Equal(t, []string{"a file.txt"}, names(t, folder))
	}
}

func TestNamesStayInTheFolder(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "inbox")
	require.NoError(t, os.Mkdir(folder, 0o700))
	ref := offer(t, "upload-file", folder)
	for _, name := range []string{"", ".", "..", "../up", "/etc/passwd", "a/b", `a\b`, ".hidden", "nul\x00", "line\n", "\xff",
		"escape\x1b[0m", strings.Repeat("x", 256)} {
		err := appserver.Upload(t.Context(), ref, name, strings.NewReader("data"))
		assert.ErrorIs(t, err, tub.RemoteType("foolscap.appserver.services.BadFilenameError"), "%q", name)
	}
	_, err := tub.Call[any](t.Context(), ref, "putfile", 7, strings.NewReader("data"))
	assert.ErrorContains(t, err, "a file name is bytes")
	_, err = tub.Call[any](t.Context(), ref, "putfile", []byte("file"), nil)
	assert.ErrorContains(t, err, "nothing to read")
	assert.Empty(t, names(t, folder))
	for _, name := range []string{"plain", "with space", "häßlich", strings.Repeat("x", 255)} {
		assert.NoError(t, appserver.Upload(t.Context(), ref, name, strings.NewReader("data")), "%q", name)
	}
	// A name may come as text, and a link is replaced, not followed.
	outside := filepath.Join(t.TempDir(), "outside")
	require.NoError(t, os.WriteFile(outside, []byte("mine"), 0o600))
	require.NoError(t, os.Symlink(outside, filepath.Join(folder, "link")))
	_, err = tub.Call[any](t.Context(), ref, "putfile", "link", strings.NewReader("data"))
	require.NoError(t, err)
	text, err := os.ReadFile(outside)
	require.NoError(t, err)
	assert.Equal(t, "mine", string(text))
	require.NoError(t, os.Mkdir(filepath.Join(folder, "subfolder"), 0o700))
	assert.ErrorContains(t, appserver.Upload(t.Context(), ref, "subfolder", strings.NewReader("data")), "cannot give the file its name")
}

func TestAFileThatIsTooLargeIsRefused(t *testing.T) {
	folder := t.TempDir()
	ref := offer(t, "upload-file", "--max-size=1k", folder)
	assert.NoError(t, appserver.Upload(t.Context(), ref, "fits", bytes.NewReader(make([]byte, 1024))))
	assert.ErrorContains(t, appserver.Upload(t.Context(), ref, "fits", bytes.NewReader(make([]byte, 1025))), "larger than this service takes: 1024 bytes")
	assert.Equal(t, []string{"fits"}, names(t, folder))
	info, err := os.Stat(filepath.Join(folder, "fits"))
	require.NoError(t, err)
	assert.EqualValues(t, 1024, info.Size(), "the one before is still there")
}

func TestAnUploadThatFailsLeavesNothing(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, s *appserver.Server, ref *tub.Ref, stop func(), g *gate){
		"the source fails": func(_ *testing.T, _ *appserver.Server, _ *tub.Ref, _ func(), g *gate) {
			g.goOn <- errors.New("the disk is broken")
		},
		"the server stops":       func(_ *testing.T, _ *appserver.Server, _ *tub.Ref, stop func(), _ *gate) { stop() },
		"the service is removed": func(t *testing.T, s *appserver.Server, _ *tub.Ref, _ func(), _ *gate) { remove(t, s, "1") },
	} {
		t.Run(name, func(t *testing.T) {
			s, folder := create(t), t.TempDir()
			stop := serve(t, s)
			ref := connect(t, add(t, s, "upload-file", folder))
			g := newGate(strings.NewReader("the first half"))
			failed := make(chan error, 1)
			go func() { failed <- appserver.Upload(t.Context(), ref, "file", g) }()
			<-g.reached
			require.Eventually(t, func() bool { return len(names(t, folder)) == 1 }, 10*time.Second, time.Millisecond)
			assert.NotEqual(t, []string{"file"}, names(t, folder))
			fail(t, s, ref, stop, g)
			assert.Error(t, <-failed)
			close(g.goOn)
			require.Eventually(t, func() bool { return len(names(t, folder)) == 0 }, 10*time.Second, time.Millisecond)
		})
	}
}

func remove(t *testing.T, s *appserver.Server, name string) {
	t.Helper()
	_, err := s.Remove(name)
	require.NoError(t, err)
}

func TestAtTheSameTimeUploadsOfOneNameAreWholeEach(t *testing.T) {
	folder := t.TempDir()
	ref := offer(t, "upload-file", folder)
	first, second := newGate(strings.NewReader("first")), newGate(strings.NewReader("second"))
	done := make(chan error, 2)
	for _, g := range []*gate{first, second} {
		go func() { done <- appserver.Upload(t.Context(), ref, "file", g) }()
	}
	<-first.reached
	<-second.reached
	for text, g := range map[string]*gate{"first": first, "second": second} {
		g.goOn <- io.EOF
		require.NoError(t, <-done)
		got, err := os.ReadFile(filepath.Join(folder, "file"))
		require.NoError(t, err)
		assert.Equal(t, text, string(got))
	}
	assert.Equal(t, []string{"file"}, names(t, folder))
}

func TestWhatAKilledProcessHasLeftIsRemoved(t *testing.T) {
	folder := t.TempDir()
	left := func(name string, age time.Duration) {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(-age)))
	}
	left(".foolscap-upload-OLD", 25*time.Hour)
	left(".foolscap-upload-NEW", time.Hour)
	left("other", 25*time.Hour)
	offer(t, "upload-file", folder)
	assert.Equal(t, []string{".foolscap-upload-NEW", "other"}, names(t, folder))
}

func TestClientsDoNotLearnWhereTheFolderIs(t *testing.T) {
	folder := t.TempDir()
	ref := offer(t, "upload-file", folder)
	require.NoError(t, os.RemoveAll(folder))
	err := appserver.Upload(t.Context(), ref, "file", strings.NewReader("data"))
	assert.ErrorContains(t, err, "cannot open the folder")
	assert.NotContains(t, err.Error(), folder)
}

func TestArgumentsOfAnUploadServiceAreChecked(t *testing.T) {
	s, folder := create(t), t.TempDir()
	for says, args := range map[string][]string{
		"takes one FOLDER":         {},
		"octal":                    {"--mode=0999", folder},
		"such as 100M":             {"--max-size=lots", folder},
		"one folder only":          {"--allow-subdirectories", folder},
		"to be writable":           {filepath.Join(folder, "missing")},
		"not defined":              {"--whatever", folder},
		"given 2":                  {folder, folder},
		"ask for help":             {"--help"},
		"or of k, M or G, such as": {"--max-size=9999999999G", folder},
	} {
		_, err := s.Add("upload-file", args, "")
		assert.ErrorContains(t, err, says, fmt.Sprint(args))
	}
	list, err := s.List()
	require.NoError(t, err)
	assert.Empty(t, list)
}

func TestRelativeFoldersBecomeAbsolute(t *testing.T) {
	s, here := create(t), t.TempDir()
	t.Chdir(here)
	service := add(t, s, "upload-file", "--mode", "0600", ".")
	assert.Equal(t, []string{"--mode", "0600", here}, service.Args)
	service = add(t, s, "run-command", ".", "ls", ".")
	assert.Equal(t, []string{here, "ls", "."}, service.Args)
}
