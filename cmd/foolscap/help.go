package main

import (
	"flag"
	"fmt"
	"strings"
)

// overview is what "foolscap help" prints.
func overview() string {
	var b strings.Builder
	b.WriteString(`foolscap shows and uses Foolscap, remote calls between objects that are named by
secret addresses (FURLs).

Usage: foolscap COMMAND [flags] [arguments]

Commands:
`)
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-8s %s\n", c.name, c.summary)
	}
	b.WriteString(`
"foolscap help COMMAND" or "foolscap COMMAND --help" explains a command, with
examples. All commands take --json. Flags stand anywhere behind the command; "--"
ends them.

Begin with:
  # See it work, within this machine.
  foolscap demo
  # In one terminal: publish an object, and keep its FURL in a file.
  foolscap serve --cert demo.pem --furl-file demo.furl
  # In another: call it.
  foolscap call @demo.furl add 2 3
`)
	return b.String()
}

// groupHelp is the help of a group of commands.
func groupHelp(c *command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "foolscap %s: %s\n\nUsage: foolscap %s COMMAND [flags] [arguments]\n\n%s\n\nCommands:\n",
		c.name, c.summary, c.name, strings.TrimSpace(c.about))
	for _, s := range c.sub {
		fmt.Fprintf(&b, "  %-16s %s\n", s.name, s.summary)
	}
	fmt.Fprintf(&b, "\n\"foolscap help %s COMMAND\" explains a command, with examples.\n\nExamples:\n%s\n",
		c.name, indent(strings.TrimSpace(c.examples)))
	return b.String()
}

// helpText is the help of one command.
func helpText(c *command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "foolscap %s: %s\n\nUsage: foolscap %s [flags]", c.name, c.summary, c.name)
	if c.args != "" {
		b.WriteString(" " + c.args)
	}
	fmt.Fprintf(&b, "\n\n%s\n\nFlags:\n", strings.TrimSpace(c.about))
	fs, _ := new(env).flags(c)
	fs.VisitAll(func(f *flag.Flag) { b.WriteString(flagText(f)) })
	fmt.Fprintf(&b, "\nExamples:\n%s\n\nExit codes:\n", indent(strings.TrimSpace(c.examples)))
	for _, code := range append([]exitCode{exitOK, exitFailure, exitUsage}, c.codes...) {
		fmt.Fprintf(&b, "  %-4d %s\n", code, code.meaning())
	}
	return b.String()
}

// flagText describes a flag. The name of its value stands in backquotes in the
// usage; a default that is worth telling is told there too.
func flagText(f *flag.Flag) string {
	value, usage := flag.UnquoteUsage(f)
	head := "--" + f.Name
	if value != "" {
		head += " " + value
	}
	lines := wrap(usage, 80-flagIndent)
	if len(head) > flagIndent-3 {
		lines = append([]string{""}, lines...)
	}
	var b strings.Builder
	for i, line := range lines {
		if i > 0 {
			head = ""
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("  %-*s %s", flagIndent-3, head, line), " ") + "\n")
	}
	return b.String()
}

// flagIndent is the column in which the descriptions of flags begin.
const flagIndent = 24

// wrap breaks a text into lines of at most width bytes.
func wrap(text string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len(*last)+1+len(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(s, "\n", "\n  ")
}
