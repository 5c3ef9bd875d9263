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
	// sub are the commands of a group, which does nothing itself; their names begin
	// with its name.
	sub []*command
	// words, unless 0, is after how many arguments there are no flags any more: what
	// follows are the words of something else.
	words int
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
		demoCommand(), serveCommand(), callCommand(), pingCommand(), appCommand(), furlCommand(), idCommand(),
		clientKeyCommand(), tokensCommand(), genCommand(), versionCommand(),
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
	switch args[0] {
	case "help", "--help", "-help", "-h":
		return e.help(args[1:])
	case "--version", "-version":
		args = []string{"version"}
	}
	c, rest := findCommand(args)
	if c == nil {
		return e.unknown(commands(), "", args[0])
	}
	e.name = c.name
	if c.sub != nil {
		switch {
		case len(rest) == 0:
			fmt.Fprint(e.stderr, groupHelp(c))
			return int(exitUsage)
		case isHelp(rest[0]):
			fmt.Fprint(e.stdout, groupHelp(c))
			return int(exitOK)
		}
		return e.unknown(c.sub, c.name+" ", rest[0])
	}
	fs, runIt := e.flags(c)
	positional, err := parseFlags(fs, rest, c.words)
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

func isHelp(word string) bool {
	return word == "--help" || word == "-help" || word == "-h" || word == "help"
}

// unknown says what is wrong with the name of a command; among are those that it could
// be, and prefix what their names begin with.
func (e *env) unknown(among []*command, prefix, name string) int {
	problem := fmt.Sprintf("there is no command %s", quote(prefix+name))
	if strings.HasPrefix(name, "-") {
		problem = fmt.Sprintf("%s stands where a command should: flags stand behind it", quote(name))
	} else if near := similar(among, prefix, name); near != "" {
		problem += fmt.Sprintf("; did you mean %s?", near)
	}
	fmt.Fprintf(e.stderr, "foolscap: %s; \"%s\" lists the commands\n", problem, strings.TrimSpace("foolscap help "+prefix))
	return int(exitUsage)
}

// help prints the overview or the help of one command.
func (e *env) help(args []string) int {
	e.name = "help"
	if len(args) == 0 {
		fmt.Fprint(e.stdout, overview())
		return int(exitOK)
	}
	c, rest := findCommand(args)
	if c != nil && len(rest) == 1 && slices.Contains(c.verbs, rest[0]) {
		rest = nil
	}
	if c == nil || len(rest) > 0 {
		fmt.Fprintf(e.stderr, "foolscap: there is no help for %s; \"foolscap help\" lists the commands\n",
			quote(strings.Join(args, " ")))
		return int(exitUsage)
	}
	text := helpText
	if c.sub != nil {
		text = groupHelp
	}
	fmt.Fprint(e.stdout, text(c))
	return int(exitOK)
}

// findCommand returns the command that the arguments begin with, which may be a group,
// and the other arguments; nil if there is none.
func findCommand(args []string) (c *command, rest []string) {
	prefix := ""
	for among := commands(); len(args) > 0 && among != nil; args = args[1:] {
		i := slices.IndexFunc(among, func(c *command) bool { return c.name == prefix+args[0] })
		if i < 0 {
			break
		}
		c = among[i]
		among, prefix = c.sub, c.name+" "
	}
	return c, args
}

// similar returns the command whose name is a slip of the finger away, or "".
func similar(among []*command, prefix, name string) string {
	const slips = 2
	away := func(c *command) int { return distance(name, strings.TrimPrefix(c.name, prefix)) }
	nearest := slices.MinFunc(among, func(a, b *command) int { return cmp.Compare(away(a), away(b)) })
	if away(nearest) > min(slips, len(name)-1) {
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
