package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// A command is one of the things that the tool does.
type command struct {
	name    string
	args    string // what follows the name and the flags, for the usage line
	summary string // one line of the overview
	// about is the body of the help: what the command does, in paragraphs.
	about string
	// examples are command lines, each under a comment that says what it does.
	examples string
	// codes are the exit codes that a script may meet besides 0, 1 and 2.
	codes []exitCode
	// setup defines the flags and returns what runs once they are parsed.
	setup func(fs *flag.FlagSet) runFunc
}

// A runFunc does the work. args are the arguments that are no flags.
type runFunc func(ctx context.Context, e *env, args []string) error

// commands in the order in which one meets them.
func commands() []*command {
	return []*command{
		demoCommand(), serveCommand(), callCommand(), pingCommand(), furlCommand(), idCommand(), tokensCommand(),
	}
}

// run is the program apart from the process: it returns the exit code. When
// ctx ends, commands stop in good order.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return newEnv(stdin, stdout, stderr, os.Getenv).run(ctx, args)
}

func (e *env) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(e.stderr, overview())
		return int(exitUsage)
	}
	switch args[0] {
	case "help", "--help", "-help", "-h":
		return e.help(args[1:])
	}
	c := findCommand(args[0])
	if c == nil {
		fmt.Fprintf(e.stderr, "foolscap: there is no command %s; \"foolscap help\" lists them\n", quote(args[0]))
		return int(exitUsage)
	}
	e.name = c.name
	fs, runIt := e.flags(c)
	positional, err := parseFlags(fs, args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(e.stdout, helpText(c))
		return int(exitOK)
	case err == nil:
		err = runIt(ctx, e, positional)
	default:
		err = &usageError{err.Error()}
	}
	return e.finish(ctx, err)
}

// help prints the overview or the help of one command.
func (e *env) help(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(e.stdout, overview())
		return int(exitOK)
	}
	c := findCommand(args[0])
	if c == nil || len(args) > 1 {
		fmt.Fprintf(e.stderr, "foolscap: there is no help for %s; \"foolscap help\" lists the commands\n",
			quote(strings.Join(args, " ")))
		return int(exitUsage)
	}
	fmt.Fprint(e.stdout, helpText(c))
	return int(exitOK)
}

func findCommand(name string) *command {
	for _, c := range commands() {
		if c.name == name {
			return c
		}
	}
	return nil
}
