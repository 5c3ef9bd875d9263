package integration

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A machine is what a program of this repository finds when it runs: nothing but the commands that were put there, and
// a log of those that were run.
type machine struct {
	t   *testing.T
	bin string
	log string
	env []string
}

func newMachine(t *testing.T, commands ...string) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{t: t, bin: filepath.Join(dir, "bin"), log: filepath.Join(dir, "log")}
	require.NoError(t, os.Mkdir(m.bin, 0o755))
	m.env = []string{"PATH=" + m.bin, "LOG=" + m.log}
	for _, name := range commands {
		path, err := exec.LookPath(name)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(path, filepath.Join(m.bin, name)))
	}
	return m
}

// script adds a command, in sh, which is logged before it runs.
func (m *machine) script(name, text string) {
	m.t.Helper()
	text = "#!/bin/sh\necho \"" + name + " $*\" >>\"$LOG\"\n" + text + "\n"
	require.NoError(m.t, os.WriteFile(filepath.Join(m.bin, name), []byte(text), 0o755))
}

// logged returns the commands that were run.
func (m *machine) logged() []string {
	m.t.Helper()
	text, err := os.ReadFile(m.log)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(m.t, err)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// run runs a program of the repository and returns what it writes to standard error, and its exit status.
func (m *machine) run(path string) (output string, status int) {
	m.t.Helper()
	path, err := filepath.Abs(path)
	require.NoError(m.t, err)
	cmd := exec.Command(path)
	cmd.Dir, cmd.Env = m.t.TempDir(), m.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(m.t, err)
	}
	assert.Empty(m.t, stdout.String())
	return stderr.String(), cmd.ProcessState.ExitCode()
}

// without makes the machine one on which neither a C compiler nor Python Foolscap is found.
func (m *machine) without() {
	m.t.Helper()
	m.script("go", "echo no-such-compiler")
	m.hide("raise ImportError('not here')")
}

// hide puts a Python module in front of Foolscap.
func (m *machine) hide(text string) {
	m.t.Helper()
	modules := m.t.TempDir()
	require.NoError(m.t, os.WriteFile(filepath.Join(modules, "foolscap.py"), []byte(text), 0o600))
	m.env = append(m.env, "PYTHONPATH="+modules)
}

func TestWhatIsMissingIsInstalledOrNamed(t *testing.T) {
	t.Parallel()
	const root, user = "echo 0", "echo 1000"
	for name, test := range map[string]struct {
		scripts map[string]string
		says    string   // why nothing was installed
		apt     []string // what apt-get was asked for, if it was
	}{
		"where there is no apt-get": {map[string]string{"id": root}, "This machine has no apt-get", nil},
		"where there is no sudo":    {map[string]string{"id": user, "apt-get": "exit 0"}, "takes root, or sudo without a password", nil},
		"where sudo asks for a password": {
			map[string]string{"id": user, "apt-get": "exit 0", "sudo": `[ "$1" = -n ] && exit 1; cat`},
			"takes root, or sudo without a password", nil,
		},
		"where apt-get fails": {
			map[string]string{"id": root, "apt-get": "exit 100"},
			"apt-get could not install them", []string{"update", "install"},
		},
		"where apt-get installs something else": {
			map[string]string{"id": root, "apt-get": "exit 0"},
			"these still do not work: gcc libc6-dev python3-foolscap", []string{"update", "install"},
		},
		"where sudo may install": {
			map[string]string{"id": user, "apt-get": "exit 100", "sudo": `shift; exec "$@"`},
			"apt-get could not install them", []string{"update", "install"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "sh", "env", "cat", "true")
			m.without()
			for command, text := range test.scripts {
				m.script(command, text)
			}
			output, status := m.run("setup.sh")

			assert.Equal(t, 1, status)
			named := regexp.MustCompile(`need what these Debian packages contain: (.*)\n`).FindStringSubmatch(output)
			require.NotNil(t, named, output)
			packages := named[1]
			for _, missing := range []string{"gcc", "libc6-dev", "python3-foolscap"} {
				assert.Contains(t, strings.Fields(packages), missing)
			}
			assert.Contains(t, output, test.says)
			assert.Contains(t, output, "sudo apt-get install --no-install-recommends "+packages)
			assert.Contains(t, output, "sudo apt-get update")
			assert.Contains(t, output, "go test ./...")
			var apt []string
			for _, line := range m.logged() {
				if arguments, ok := strings.CutPrefix(line, "apt-get "); ok {
					for _, verb := range []string{"update", "install"} {
						if strings.Contains(arguments+" ", " "+verb+" ") {
							apt = append(apt, verb)
							assert.Equal(t, verb == "install", strings.HasSuffix(arguments, " -y --no-install-recommends "+packages), arguments)
						}
					}
				}
			}
			assert.Equal(t, test.apt, apt)
		})
	}
}

func TestWhatWorksIsNotNamed(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "sh")
	m.script("go", "echo cc")
	m.script("cc", "exit 0")
	m.hide("raise ImportError('not here')")
	output, status := m.run("setup.sh")
	assert.Equal(t, 1, status)
	assert.Contains(t, output, " python3-foolscap")
	assert.NotContains(t, output, "gcc")
}

func TestNothingIsInstalledOrSaidWhenNothingIsMissing(t *testing.T) {
	t.Parallel()
	if os.Getenv("FOOLSCAP_INTEGRATION") != "1" {
		t.Skip("this test needs all that make setup installs")
	}
	m := newMachine(t)
	m.env[0] += ":" + os.Getenv("PATH")
	for _, name := range []string{"apt-get", "sudo", "id"} {
		m.script(name, "exit 0")
	}
	output, status := m.run("setup.sh")
	assert.Zero(t, status)
	assert.Empty(t, output)
	assert.Empty(t, m.logged())
}

func TestContinuousIntegrationRunsMakeTest(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "sh", "env", "bash", "dirname", "cat")
	m.script("make", `echo "in $(pwd)" >>"$LOG"; cat >>"$LOG"; exit 7`)
	_, status := m.run("../.ci/run")
	assert.Equal(t, 7, status, "that of make")
	top, err := filepath.Abs("..")
	require.NoError(t, err)
	assert.Equal(t, []string{"make test", "in " + top}, m.logged())
}

func TestMakeTestBeginsWithTheSetup(t *testing.T) {
	t.Parallel()
	make, err := exec.LookPath("make")
	if err != nil && os.Getenv("FOOLSCAP_INTEGRATION") != "1" {
		t.Skip("this test needs make; on Debian and Ubuntu:  sudo apt-get install make")
	}
	require.NoError(t, err)
	output, err := exec.Command(make, "-C", "..", "-n", "test").Output()
	require.NoError(t, err)
	commands := string(output)
	setup, tests := strings.Index(commands, "./integration/setup.sh"), strings.Index(commands, "FOOLSCAP_INTEGRATION=1 ")
	require.GreaterOrEqual(t, setup, 0)
	require.Greater(t, tests, setup)
	assert.Regexp(t, `^FOOLSCAP_INTEGRATION=1 go test .* -race \./\.\.\.\n`, commands[tests:])
}
