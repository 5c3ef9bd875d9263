package tornet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
)

// Command runs a program in the namespaces, beside a network and one tor that is no relay. The program finds that tor by
// the environment variables ControlVariable and SOCKSVariable. Command returns the exit code of the program, or an error
// if it could not be run. It starts the calling program anew with its arguments, so main has to call it first.
func Command(args ...string) (code int, err error) {
	// The program gets an interrupt as well. When it has ended there is something left to do.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	if os.Getenv(insideVariable) == "" {
		if code, err = runInside(); err != nil {
			err = fmt.Errorf("a network namespace cannot be made: %w; run it as root, or allow unprivileged user namespaces", err)
		}
		return code, err
	}
	if err := errors.Join(os.Unsetenv(insideVariable), configureLoopback()); err != nil {
		return 0, err
	}
	n, err := Start(context.Background())
	if err != nil {
		return 0, err
	}
	defer n.Stop()
	c := n.newTor(nil, Options{})
	if err := c.process.start(); err != nil {
		return 0, err
	}
	defer c.process.kill()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.process.waitBootstrapped(ctx); err != nil {
		return 0, err
	}
	command := exec.Command(args[0], args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), ControlVariable+"=unix:"+c.ControlSocket, SOCKSVariable+"="+c.SOCKSExtended)
	err = command.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil // -1 after a signal
	}
	return 0, err
}
