package pypeer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// interpreterVariable names the interpreter to use instead of the system's.
	interpreterVariable = "FOOLSCAP_PYTHON"
	// integrationVariable makes it a failure, when it is 1, that Python Foolscap is missing.
	integrationVariable = "FOOLSCAP_INTEGRATION"

	systemInterpreter = "/usr/bin/python3"
)

// Require returns the Python interpreter that has Foolscap: $FOOLSCAP_PYTHON, else /usr/bin/python3, else python3 on the
// PATH. When that one cannot import foolscap, the test is skipped with a message that says what to install; with
// FOOLSCAP_INTEGRATION=1 it fails instead.
func Require(t testing.TB) string {
	t.Helper()
	return requireFrom(t, os.Getenv(integrationVariable) == "1", checked)
}

func requireFrom(t testing.TB, mustHave bool, find func() (string, error)) string {
	t.Helper()
	interpreter, err := find()
	switch {
	case err == nil:
	case mustHave:
		t.Fatal(err)
	default:
		t.Skip(err)
	}
	return interpreter
}

var checked = sync.OnceValues(func() (string, error) {
	interpreter, err := find(os.Getenv(interpreterVariable), systemInterpreter)
	if err == nil {
		err = canImport(interpreter)
	}
	if err != nil {
		return "", fmt.Errorf("this test needs Python Foolscap: %w\n"+
			"On Debian and Ubuntu:  sudo apt-get install --no-install-recommends python3-foolscap\n"+
			"Elsewhere, let %s name an interpreter that has it", err, interpreterVariable)
	}
	return interpreter, nil
})

func find(wanted, system string) (string, error) {
	if wanted != "" {
		path, err := exec.LookPath(wanted)
		if err != nil {
			return "", fmt.Errorf("%s: %w", interpreterVariable, err)
		}
		return path, nil
	}
	if _, err := os.Stat(system); err == nil {
		return system, nil
	}
	path, err := exec.LookPath("python3")
	if err != nil {
		return "", fmt.Errorf("there is no %s, and %w", system, err)
	}
	return path, nil
}

func canImport(interpreter string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := exec.CommandContext(ctx, interpreter, "-c", "import foolscap.api").Output()
	if err == nil {
		return nil
	}
	reason := err.Error()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n")
		reason = lines[len(lines)-1]
	}
	return fmt.Errorf("%s cannot import foolscap: %s", interpreter, reason)
}
