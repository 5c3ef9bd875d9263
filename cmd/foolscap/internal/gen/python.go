package gen

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

//go:embed extract.py
var extractor string

// A pyModule is what extract.py says of a Python module.
type pyModule struct {
	Module     string
	Interfaces []pyInterface
}

type pyInterface struct {
	Class, Name string
	Bases       []string // those that it names
	Extends     []string // with those that these extend
	Methods     []pyMethod
}

type pyMethod struct {
	Name           string
	Problem        string
	Unconstrained  bool
	Arguments      []pyArgument
	Ignore, Accept bool // arguments that it does not know
	Result         *pyConstraint
}

type pyArgument struct {
	Name       string
	Constraint pyConstraint
}

// A pyConstraint is a constraint. Which fields count depends on Kind.
type pyConstraint struct {
	Kind            string
	Text            string
	Min, Max, Bytes *int
	Of              []pyConstraint
	Names           []string
	Default         *pyLiteral
	Mutable         *bool
	Ignore, Accept  bool
}

// A pyLiteral is the default of an optional argument.
type pyLiteral struct{ Kind, Text string }

// debianPython is the Python for which Debian packages Foolscap.
const debianPython = "/usr/bin/python3"

// readPython has a Python import a module, given by its name or its file, and
// returns its interfaces. python is empty for the usual one.
func readPython(ctx context.Context, python, module string) (*pyModule, error) {
	if python == "" {
		python = debianPython
		if _, err := os.Stat(python); err != nil {
			python = "python3"
		}
	}
	cmd := exec.CommandContext(ctx, python, "-c", extractor, module)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "PYTHONIOENCODING=utf-8")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			return nil, fmt.Errorf("%w; name the Python to use with --python", err)
		}
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return nil, fmt.Errorf("%s cannot import %s: %s (--python names another Python, PYTHONPATH further folders with modules)",
			python, module, lines[len(lines)-1])
	}
	m := new(pyModule)
	if err := json.Unmarshal(stdout.Bytes(), m); err != nil {
		return nil, fmt.Errorf("reading what %s says of %s: %w", python, module, err)
	}
	if len(m.Interfaces) == 0 {
		return nil, fmt.Errorf("%s defines no RemoteInterface itself; name the module that does", module)
	}
	return m, nil
}
