//go:build linux

package programs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

func TestMain(m *testing.M) { os.Exit(tornet.Main(m)) }

// patience is how long one program may take; the one that starts a network takes 20 s.
const patience = 3 * time.Minute

// build makes a program of a package of this module and returns its path.
func build(t *testing.T, folder string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(folder))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "github.com/foolscap-go/foolscap/"+folder)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return path
}

// run runs a program that has to succeed, and returns what it prints.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s%s", &stdout, &stderr)
	return stdout.String()
}

// retry runs a program until it succeeds: a circuit may break at any time, or come to nothing.
func retry(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		output, err := exec.CommandContext(ctx, program, args...).Output()
		if err == nil {
			return string(output)
		}
		if exit, ok := err.(*exec.ExitError); ok {
			err = fmt.Errorf("%w: %s%s", err, output, exit.Stderr)
		}
		require.NoError(t, ctx.Err(), "%v", err)
		t.Logf("another attempt: %v", err)
	}
}
