// Foolscap is the command line tool of the project: it shows the protocol at
// work, publishes a demonstration object, calls the objects of any Foolscap
// program, and helps to find out why a connection does not come about.
//
// "foolscap help" lists the commands, docs/cli.md describes them with the
// notation for values and the exit codes.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go watch(signals, cancel)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

var errInterrupted = errors.New("interrupted")

// watch lets the first signal ask for an orderly end, and the second one end
// the program at once, even where it was started with signals ignored.
func watch(signals <-chan os.Signal, cancel context.CancelCauseFunc) {
	<-signals
	cancel(errInterrupted)
	<-signals
	os.Exit(int(exitInterrupted))
}
