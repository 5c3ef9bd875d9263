//go:build linux

package flapp

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
)

const patience = time.Minute

// tool is the path of our program, which TestMain's folder holds.
var tool string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "flapp")
	if err != nil {
		panic(err)
	}
	tool = filepath.Join(dir, "foolscap")
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

var build = sync.OnceValues(func() ([]byte, error) {
	return exec.Command("go", "build", "-o", tool, "github.com/foolscap-go/foolscap/cmd/foolscap").CombinedOutput()
})

// require makes sure of what the tests need, and returns what runs Python's commands.
func needs(t *testing.T) (python string) {
	t.Helper()
	python = pypeer.Require(t)
	output, err := build()
	require.NoError(t, err, "%s", output)
	return python
}

// A side is one of the two implementations.
type side struct {
	name   string
	python string // its interpreter; "" for ours
}

func sides(t *testing.T) []side { return []side{{"Go", ""}, {"Python", needs(t)}} }

// pythons runs a command of Python's, as the scripts that are installed do.
func pythons(python, module, function string, args ...string) []string {
	code := "import sys; from foolscap.appserver." + module + " import " + function + "; sys.argv[0] = '" + function + "'; " +
		function + "()"
	if module == "cli" {
		code = "import sys; from foolscap.appserver.cli import run_flappserver; sys.argv[0] = 'flappserver'; run_flappserver()"
	}
	return append([]string{python, "-c", code}, args...)
}

func (s side) create(t *testing.T, dir, port string) {
	t.Helper()
	args := []string{tool, "app", "create", "--listen", "tcp:127.0.0.1:" + port, dir}
	if s.python != "" {
		args = pythons(s.python, "cli", "run_flappserver", "create", "-q", "-l", "tcp:127.0.0.1:"+port, "-p", "tcp:"+port+":interface=127.0.0.1", dir)
	}
	r := run(t, "", args...)
	require.DirExists(t, dir, "%+v", r)
}

var anyFURL = regexp.MustCompile(`pb://\S+`)

// add adds a service and returns a file with its FURL.
func (s side) add(t *testing.T, dir string, words ...string) (file string) {
	t.Helper()
	args := append([]string{tool, "app", "add", dir}, words...)
	if s.python != "" {
		args = pythons(s.python, "cli", "run_flappserver", append([]string{"add", dir}, words...)...)
	}
	r := run(t, "", args...)
	furl := anyFURL.FindString(r.stdout)
	require.NotEmpty(t, furl, "%+v", r)
	return write(t, furl+"\n")
}

func write(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// start runs a server until the test ends or it is killed.
func (s side) start(t *testing.T, dir, port string) *exec.Cmd {
	t.Helper()
	args := []string{tool, "app", "run", dir}
	if s.python != "" {
		args = pythons(s.python, "cli", "run_flappserver", "start", dir, "-n")
	}
	return started(t, port, args...)
}

func started(t *testing.T, port string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	cmd.WaitDelay = time.Second
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		return err == nil
	}, patience, 10*time.Millisecond)
	return cmd
}

func (s side) upload(furlFile string, files ...string) []string {
	if s.python != "" {
		return pythons(s.python, "client", "run_flappclient", append([]string{"--furlfile", furlFile, "upload-file"}, files...)...)
	}
	return append([]string{tool, "app", "upload", "@" + furlFile}, files...)
}

func (s side) command(furlFile string) []string {
	if s.python != "" {
		return pythons(s.python, "client", "run_flappclient", "--furlfile", furlFile, "run-command")
	}
	return []string{tool, "app", "run-command", "@" + furlFile}
}

type result struct {
	code           int
	stdout, stderr string
}

func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		require.NoError(t, err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// launch starts a client that goes on until the test ends or kills it.
func launch(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = io.Discard, io.Discard
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

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
