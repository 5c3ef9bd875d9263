package foolscap_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var goSnippet = regexp.MustCompile("(?s)```go\n(.*?)```")

// readmePrograms are those that the README shows, in its order, and how long they may be.
var readmePrograms = []struct {
	source string
	lines  int
}{
	{"examples/hello/server/main.go", 20},
	{"examples/hello/client/main.go", 10},
	{"examples/typed/guestbook.go", 10},
}

func TestReadmeShowsProgramsThatExist(t *testing.T) {
	snippets := goSnippet.FindAllStringSubmatch(readFile(t, "README.md"), -1)
	require.Len(t, snippets, len(readmePrograms))
	for i, program := range readmePrograms {
		shown := unindented(snippets[i][1])
		assert.Contains(t, unindented(readFile(t, program.source)), shown, "the README does not show %s as it is", program.source)
		assert.LessOrEqual(t, strings.Count(shown, "\n"), program.lines, program.source)
	}
}

func TestReadmeLinksLeadSomewhere(t *testing.T) {
	text := goSnippet.ReplaceAllString(readFile(t, "README.md"), "")
	links := regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(text, -1)
	require.NotEmpty(t, links)
	for _, link := range links {
		if !strings.Contains(link[1], "://") {
			_, err := os.Stat(filepath.Join(moduleRoot(t), link[1]))
			assert.NoError(t, err)
		}
	}
}

func TestReadmeProgramsRun(t *testing.T) {
	goCommand(t, "vet", "./examples/hello/...")
	dir := t.TempDir()
	// The port of the example may be in use here; any other will do.
	source := readFile(t, readmePrograms[0].source)
	require.Contains(t, source, `"127.0.0.1:9900"`)
	anyPort := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(anyPort, []byte(strings.ReplaceAll(source, "127.0.0.1:9900", "127.0.0.1:0")), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(moduleRoot(t), readmePrograms[0].source): anyPort}})
	require.NoError(t, err)
	overlayFile := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(overlayFile, overlay, 0o600))
	server, client := filepath.Join(dir, "server"), filepath.Join(dir, "client")
	goCommand(t, "build", "-overlay", overlayFile, "-o", server, "./examples/hello/server")
	goCommand(t, "build", "-o", client, "./examples/hello/client")

	data := t.TempDir()
	name := ""
	for range 2 { // the second time, the server finds the files of the first
		stop, printed := startServer(t, server, data)
		saved := strings.TrimSpace(string(must(os.ReadFile(filepath.Join(data, "server.furl")))(t)))
		assert.Equal(t, printed, saved)
		output, err := exec.CommandContext(t.Context(), client, saved).CombinedOutput()
		require.NoError(t, err, "%s", output)
		assert.Equal(t, "1 + 2 = 3\n", string(output))
		stop()

		for _, file := range []string{"server.pem", "server.furl"} {
			assert.Equal(t, fs.FileMode(0o600), must(os.Stat(filepath.Join(data, file)))(t).Mode())
		}
		again := saved[strings.LastIndex(saved, "/"):]
		assert.True(t, name == "" || name == again, "the object keeps its name over restarts")
		name = again
	}
	output, err := exec.CommandContext(t.Context(), client).CombinedOutput()
	assert.Error(t, err)
	assert.Contains(t, string(output), "usage: client FURL")
}

// startServer starts the server of the README and returns what it prints.
func startServer(t *testing.T, path, dir string) (stop func(), furl string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		cmd.Wait()
	}
	require.NoError(t, err, "%s", &stderr)
	return func() {
		assert.NoError(t, cmd.Process.Kill()) // it runs until it is stopped
		cmd.Wait()
	}, strings.TrimSpace(line)
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	return string(must(os.ReadFile(filepath.Join(moduleRoot(t), name)))(t))
}

// must fails the test that it is given if there was an error.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

// unindented takes the white space at the start of all lines away.
func unindented(s string) string { return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(s, "") }
