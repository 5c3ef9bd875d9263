//go:build !linux

package leakwatch

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
)

func available() error { return fmt.Errorf("%w: it takes Linux", ErrUnavailable) }

func (t *tracer) observe(context.Context, *exec.Cmd) error { return available() }

// Main runs the tests of a binary; none can observe anything, as that takes Linux.
func Main(m *testing.M) int { return m.Run() }
