package leakwatch

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// Config says what a program may do. The zero value allows nothing.
type Config struct {
	// Allow are the addresses that it may connect and send to, as Event.Address has them: "127.0.0.1:1080",
	// "[::1]:1080", "unix:/run/proxy.sock". Port 53 is never allowed.
	Allow []string
	// Bind are the addresses other than those of the loopback interface and of unix sockets that it may listen on, or send
	// from, with the port that it asks for: "0.0.0.0:0".
	Bind []string
	// Timeout is how long it may take; default a minute. Then it is killed.
	Timeout time.Duration
}

const defaultTimeout = time.Minute

// ErrUnavailable is the error of observing where that is not possible; the one that wraps it says what is missing.
var ErrUnavailable = errors.New("no program can be observed here")

// Available says whether programs can be observed here: the error is nil or wraps ErrUnavailable.
func Available() error { return available() }

// Run runs a program and observes it, and all that it starts, until the last of them has ended. Findings do not let the
// test fail: see Report.Check. That nothing can be observed, or that the command cannot be run, ends the test; see
// Available for tests that are to be skipped instead.
func Run(t testing.TB, cfg Config, cmd *exec.Cmd) *Report {
	t.Helper()
	report, err := Observe(t.Context(), cfg, cmd)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// Observe is Run outside of a test's own goroutine. cmd must not be started, and cannot be used again. When ctx ends, or the
// command's own context, the program is killed, and that is an error.
//
// The error is about the observation: it wraps ErrUnavailable, or what was seen cannot be relied on. That the program has
// failed is in the report.
func Observe(ctx context.Context, cfg Config, cmd *exec.Cmd) (*Report, error) {
	if err := available(); err != nil {
		return nil, fmt.Errorf("leakwatch: %w", err)
	}
	for _, address := range slices.Concat(cfg.Allow, cfg.Bind) {
		at, err := netip.ParseAddrPort(address)
		if strings.HasPrefix(address, "unix:") || err == nil && at.String() == address {
			continue
		}
		return nil, fmt.Errorf(`leakwatch: the address %q has none of the forms "127.0.0.1:80", "[::1]:80" and "unix:/path"`, address)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Timeout, fmt.Errorf("it has run for %v", cfg.Timeout))
	defer cancel()
	t := &tracer{cfg: cfg}
	if err := t.observe(ctx, cmd); err != nil {
		return nil, fmt.Errorf("leakwatch: %w", err)
	}
	return &t.report, nil
}
