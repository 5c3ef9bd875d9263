package keyfile

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const secret = "swordfish"

// readAll is Read for a file that may hold anything.
func readAll(path string, logger *slog.Logger) ([]byte, error) {
	return Read(path, logger, func(text []byte) ([]byte, error) { return text, nil })
}

func fileOf(t testing.TB, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(secret), 0o600))
	require.NoError(t, os.Chmod(path, mode))
	return path
}

// only asserts what a folder holds, and that the file is private.
func only(t testing.TB, path, content string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, content, string(text))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, entries, 1, "no temporary file is left")
}

func TestReadReturnsWhatIsThere(t *testing.T) {
	for name, size := range map[string]int{"nothing": 0, "a line": 100, "as much as may be": MaxSize} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			content := bytes.Repeat([]byte("x"), size)
			require.NoError(t, os.WriteFile(path, content, 0o600))
			text, err := readAll(path, nil)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(content, text))
		})
	}
	path := fileOf(t, 0o600)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(path, link))
	text, err := readAll(link, nil)
	require.NoError(t, err)
	assert.Equal(t, secret, string(text), "through a link")
}

func TestReadRefusesWhatIsNoFileOfSecrets(t *testing.T) {
	_, err := readAll(filepath.Join(t.TempDir(), "missing"), nil)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	_, err = readAll(t.TempDir(), nil)
	assert.ErrorContains(t, err, "not a regular file")
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("x"), MaxSize+1), 0o600))
	_, err = readAll(path, nil)
	assert.ErrorContains(t, err, "too many")
}

func TestReadLeavesWhatIsNotASecret(t *testing.T) {
	path := fileOf(t, 0o644)
	no := errors.New("no secret")
	_, err := Read(path, nil, func([]byte) (int, error) { return 0, no })
	assert.ErrorIs(t, err, no)
	assert.ErrorContains(t, err, path)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o644), info.Mode())
}

func TestAFailedWriteNamesTheFileThatWasAskedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "secret")
	for name, write := range map[string]func(string, []byte) error{"create": Create, "replace": Replace} {
		err := write(path, []byte(secret))
		assert.ErrorIs(t, err, fs.ErrNotExist, name)
		assert.Equal(t, "create "+path+": no such file or directory", err.Error(), name)
	}
}

func TestReadTightensOrRefuses(t *testing.T) {
	path := fileOf(t, 0o644)
	text, err := readAll(path, nil)
	require.NoError(t, err, "without a logger, too")
	assert.Equal(t, secret, string(text))
	only(t, path, secret)

	path = fileOf(t, 0o620)
	_, err = readAll(path, nil)
	require.ErrorIs(t, err, ErrUnsafe)
	assert.ErrorContains(t, err, "0620")
	assert.NotContains(t, err.Error(), secret)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o620), info.Mode(), "whoever looks into it is to find it as it was")
}

func TestCreateWritesAFileThatIsNotThere(t *testing.T) {
	for name, create := range map[string]func(string, []byte) error{
		"by a link": Create,
		"where there are no links": func(path string, text []byte) error {
			return createWithoutLinks(path, text, errors.New("no links"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			require.NoError(t, create(path, []byte(secret)))
			only(t, path, secret)
			assert.ErrorIs(t, create(path, []byte("other")), fs.ErrExist)
			only(t, path, secret)

			err := create(filepath.Join(t.TempDir(), "missing", "secret"), []byte(secret))
			assert.ErrorIs(t, err, fs.ErrNotExist)
			assert.NotContains(t, err.Error(), secret)
		})
	}
}

func TestOfManyWhoCreateOneSucceeds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	errs := make([]error, 16)
	texts := make([]string, len(errs))
	var wg sync.WaitGroup
	for i := range errs {
		texts[i] = strings.Repeat(string(rune('a'+i)), 1000)
		wg.Go(func() { errs[i] = Create(path, []byte(texts[i])) })
	}
	wg.Wait()
	created := -1
	for i, err := range errs {
		if err == nil {
			assert.Equal(t, -1, created, "only one")
			created = i
		} else {
			assert.ErrorIs(t, err, fs.ErrExist)
		}
	}
	require.NotEqual(t, -1, created)
	only(t, path, texts[created])
}

func TestReplaceWritesAFileThatMayBeThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, Replace(path, []byte("first")))
	only(t, path, "first")
	require.NoError(t, os.Chmod(path, 0o644))
	require.NoError(t, Replace(path, []byte("second")))
	only(t, path, "second")

	err := Replace(filepath.Join(t.TempDir(), "missing", "secret"), []byte(secret))
	assert.ErrorIs(t, err, fs.ErrNotExist)

	dir := t.TempDir()
	occupied := filepath.Join(dir, "folder")
	require.NoError(t, os.Mkdir(occupied, 0o700))
	assert.Error(t, Replace(occupied, []byte(secret)))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "no temporary file is left")
}

func TestWhoReadsWhileItIsReplacedSeesOneOrTheOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	texts := []string{strings.Repeat("a", 100_000), strings.Repeat("b", 100_000)}
	require.NoError(t, Replace(path, []byte(texts[0])))
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for i := range 50 {
			assert.NoError(t, Replace(path, []byte(texts[(i+1)%2])))
		}
	})
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		text, err := readAll(path, nil)
		require.NoError(t, err)
		require.Contains(t, texts, string(text))
	}
	wg.Wait()
}

func TestTheWarningShowsNoSecret(t *testing.T) {
	var log bytes.Buffer
	_, err := readAll(fileOf(t, 0o604), slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	assert.Contains(t, log.String(), "WARN")
	assert.Contains(t, log.String(), "0604")
	assert.NotContains(t, log.String(), secret)
}
