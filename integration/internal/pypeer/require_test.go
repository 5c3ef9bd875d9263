package pypeer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// verdict records how a test was ended.
type verdict struct {
	testing.TB
	failed, skipped string
}

func (v *verdict) Helper() {}

func (v *verdict) Fatal(args ...any) {
	v.failed = fmt.Sprint(args...)
	runtime.Goexit()
}

func (v *verdict) Skip(args ...any) {
	v.skipped = fmt.Sprint(args...)
	runtime.Goexit()
}

func TestWithoutFoolscapATestIsSkippedUnlessItMustRun(t *testing.T) {
	for name, test := range map[string]struct {
		mustHave        bool
		err             error
		failed, skipped string
	}{
		"present":                         {},
		"present and required":            {mustHave: true},
		"missing":                         {err: errors.New("install it"), skipped: "install it"},
		"missing although it is required": {mustHave: true, err: errors.New("install it"), failed: "install it"},
	} {
		t.Run(name, func(t *testing.T) {
			var v verdict
			done := make(chan string, 1)
			go func() {
				defer close(done)
				done <- requireFrom(&v, test.mustHave, func() (string, error) { return "/python", test.err })
			}()
			interpreter, returned := <-done

			assert.Equal(t, test.err == nil, returned)
			if returned {
				assert.Equal(t, "/python", interpreter)
			}
			assert.Equal(t, test.failed, v.failed)
			assert.Equal(t, test.skipped, v.skipped)
		})
	}
}

func TestTheInterpreterThatIsAskedForComesFirst(t *testing.T) {
	directory := t.TempDir()
	executable := func(name string) string {
		path := filepath.Join(directory, name)
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700))
		return path
	}
	wanted, system, onPath := executable("wanted"), executable("system"), executable("python3")
	absent := filepath.Join(directory, "absent")
	t.Setenv("PATH", directory)

	for name, test := range map[string]struct{ wanted, system, found string }{
		"the one asked for":    {wanted, system, wanted},
		"the system's":         {"", system, system},
		"the one on the PATH":  {"", absent, onPath},
		"the one by its name":  {"wanted", system, wanted},
		"not one that is gone": {absent, system, ""},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := find(test.wanted, test.system)
			assert.Equal(t, test.found, found)
			assert.Equal(t, test.found == "", err != nil)
		})
	}

	t.Setenv("PATH", t.TempDir())
	_, err := find("", absent)
	assert.Error(t, err, "there is none at all")
}

func TestAnInterpreterWithoutFoolscapIsToldFromOneThatHasIt(t *testing.T) {
	assert.NoError(t, canImport(Require(t)))

	without := filepath.Join(t.TempDir(), "python3")
	script := "#!/bin/sh\necho Traceback >&2\necho \"ModuleNotFoundError: No module named 'foolscap'\" >&2\nexit 1\n"
	require.NoError(t, os.WriteFile(without, []byte(script), 0o700))
	assert.ErrorContains(t, canImport(without), "No module named 'foolscap'")

	assert.Error(t, canImport(filepath.Join(t.TempDir(), "absent")))
}
