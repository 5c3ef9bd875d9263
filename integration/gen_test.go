package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
)

const genData = "../cmd/foolscap/internal/gen/testdata/"

// What the tests of the generator begin with is what Python says of its interfaces.
func TestInterfacesAreReadFromPython(t *testing.T) {
	python := pypeer.Require(t)
	tool := filepath.Join(t.TempDir(), "foolscap")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", tool, "../cmd/foolscap").CombinedOutput()
	require.NoError(t, err, "%s", output)
	run := func(args ...string) (stdout, stderr string, err error) {
		cmd := exec.CommandContext(t.Context(), tool, append([]string{"gen", "--python", python}, args...)...)
		var out, problems bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &problems
		err = cmd.Run()
		return out.String(), problems.String(), err
	}
	for module, name := range map[string]string{
		"foolscap.logging.interfaces": "logs", "foolscap.test.common": "common", genData + "every.py": "every",
	} {
		golden := genData + name + "/" + name + ".go"
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		source, problems, err := run("--from-python", module, "--package", name)
		require.NoError(t, err, problems)
		assert.Equal(t, string(want), source)
	}

	// A file is a part of its package: what it imports from there is found.
	file, err := exec.CommandContext(t.Context(), python, "-c", "import foolscap.logging.interfaces as m; print(m.__file__)").Output()
	require.NoError(t, err)
	text, _, err := run("--print", genData+"every.py")
	require.NoError(t, err)
	kept := filepath.Join(t.TempDir(), "every.schema")
	require.NoError(t, os.WriteFile(kept, []byte(text), 0o600))
	for before, after := range map[string]string{
		strings.TrimSpace(string(file)): genData + "logs/logs.go", "foolscap.logging.interfaces": genData + "logs", genData + "every.py": kept,
	} {
		changes, problems, err := run("--check", before, after)
		require.NoError(t, err, problems)
		assert.Equal(t, "nothing changes on the wire\n", changes)
	}

	for module, says := range map[string]string{
		"no.such.module": "No module named 'no'",
		"json":           "defines no RemoteInterface",
		"foolscap.api":   "defines no RemoteInterface",
	} {
		_, problems, err := run("--from-python", module)
		assert.Error(t, err)
		assert.Contains(t, problems, says)
	}
}
