package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
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
	// verbs are what the first argument has to be, if it is to be one of a few.
	verbs []string
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
		demoCommand(), serveCommand(), callCommand(), pingCommand(), furlCommand(), idCommand(), clientKeyCommand(),
		tokensCommand(), genCommand(), versionCommand(),
	}
}

// run is the program apart from the process: it returns the exit code. When
// ctx ends, commands stop in good order.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return newEnv(stdin, stdout, stderr, os.Getenv).run(ctx, args)
}

func (e *env) run(ctx context.Context, args []string) int {
	code := e.command(ctx, args)
	if err := e.written.err; err != nil && code == int(exitOK) {
		fmt.Fprintf(e.stderr, "%s the output is not complete: %s\n", e.prefix(), e.safe(err.Error()))
		return int(exitFailure)
	}
	return code
}

// command runs the command that the arguments begin with.
func (e *env) command(ctx context.Context, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(e.stderr, overview())
		return int(exitUsage)
	}
	name := args[0]
	switch name {
	case "help", "--help", "-help", "-h":
		return e.help(args[1:])
	case "--version", "-version":
		name = "version"
	}
	c := findCommand(name)
	if c == nil {
		problem := fmt.Sprintf("there is no command %s", quote(name))
		if strings.HasPrefix(name, "-") {
			problem = fmt.Sprintf("%s stands where a command should: flags stand behind it", quote(name))
		} else if near := similar(name); near != "" {
			problem += fmt.Sprintf("; did you mean %s?", near)
		}
		fmt.Fprintf(e.stderr, "foolscap: %s; \"foolscap help\" lists the commands\n", problem)
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
	e.name = "help"
	if len(args) == 0 {
		fmt.Fprint(e.stdout, overview())
		return int(exitOK)
	}
	c := findCommand(args[0])
	if c != nil && len(args) == 2 && slices.Contains(c.verbs, args[1]) {
		args = args[:1]
	}
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

// similar returns the command whose name is a slip of the finger away, or "".
func similar(name string) string {
	const slips = 2
	all := commands()
	nearest := slices.MinFunc(all, func(a, b *command) int {
		return cmp.Compare(distance(name, a.name), distance(name, b.name))
	})
	if distance(name, nearest.name) > min(slips, len(name)-1) {
		return ""
	}
	return nearest.name
}

// distance is how many letters have to be added, removed or changed to make one
// word of the other.
func distance(a, b string) int {
	above := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			changed := above[j]
			if a[i] != b[j] {
				changed++
			}
			row[j+1] = min(changed, above[j+1]+1, row[j]+1)
		}
		above = row
	}
	return above[len(b)]
}
