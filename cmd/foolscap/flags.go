package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// flags makes the flags of a command: its own and --json, which all have.
func (e *env) flags(c *command) (*flag.FlagSet, runFunc) {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	runIt := c.setup(fs)
	fs.BoolVar(&e.json, "json", false, "write JSON to standard output, errors included")
	return fs, runIt
}

// negative matches arguments that begin like flags but are numbers.
var negative = regexp.MustCompile(`^-[0-9.]`)

// parseFlags parses flags wherever they stand among the other arguments, which
// it returns. A number is never a flag; "--" ends the flags, and so does the last
// of as many arguments as words says, unless that is 0.
func parseFlags(fs *flag.FlagSet, args []string, words int) (positional []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		if words > 0 && len(positional) == words {
			return append(positional, args...), nil
		}
		if arg == "--" {
			return append(positional, args[1:]...), nil
		}
		if len(arg) < 2 || arg[0] != '-' || negative.MatchString(arg) {
			positional = append(positional, arg)
			args = args[1:]
			continue
		}
		n := min(width(fs, arg), len(args))
		if err := fs.Parse(args[:n]); err != nil {
			return nil, err
		}
		args = args[n:]
	}
	return positional, nil
}

// width returns how many arguments a flag takes, itself included.
func width(fs *flag.FlagSet, arg string) int {
	name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	f := fs.Lookup(name)
	if f == nil || hasValue {
		return 1
	}
	if b, ok := f.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
		return 1
	}
	return 2
}

// texts is a flag that may be given several times.
type texts []string

func (t *texts) String() string { return strings.Join(*t, " ") }

func (t *texts) Set(s string) error {
	if s == "" {
		return errors.New("it is empty")
	}
	*t = append(*t, s)
	return nil
}

// durationVar defines a flag for a length of time, which is never negative.
func durationVar(fs *flag.FlagSet, p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	fs.Func(name, usage, func(s string) error {
		d, err := time.ParseDuration(s)
		if err == nil && d < 0 {
			err = errors.New("it is negative")
		}
		*p = d
		return err
	})
}

// want checks the number of arguments; max < 0 means any number.
func want(args []string, min, max int, what string) error {
	switch {
	case len(args) < min:
		return &usageError{"missing argument: " + what}
	case max >= 0 && len(args) > max:
		return &usageError{fmt.Sprintf("too many arguments: %d; it takes %s", len(args), what)}
	}
	return nil
}
