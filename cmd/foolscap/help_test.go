package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheOverviewListsEveryCommand(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"--help"}, {"-h"}} {
		r := foolscap(t, args...)
		assert.Equal(t, exitOK, r.code)
		assert.Empty(t, r.stderr)
		for _, c := range commands() {
			assert.Contains(t, r.stdout, "\n  "+c.name+" ")
			assert.Contains(t, r.stdout, c.summary)
		}
	}
}

func TestWithoutACommandTheOverviewIsAnError(t *testing.T) {
	r := foolscap(t)
	assert.Equal(t, exitUsage, r.code)
	assert.Empty(t, r.stdout)
	assert.Contains(t, r.stderr, "Usage: foolscap COMMAND")
}

func TestUnknownCommandsAreWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"server"}, {"help", "server"}, {"help", "call", "ping"}, {"help", "id", "make"}, {"help", "id", "show", "x"}, {"--json"}} {
		r := foolscap(t, args...)
		assert.Equal(t, exitUsage, r.code)
		assert.Empty(t, r.stdout)
		assert.Contains(t, r.stderr, `"foolscap help" lists`)
	}
}

func TestWhatWasMeantIsSuggested(t *testing.T) {
	for word, says := range map[string]string{
		"server": "did you mean serve?", "pnig": "did you mean ping?", "calls": "did you mean call?", "tokn": "did you mean tokens?",
		"--json": "flags stand behind it", "-v": "flags stand behind it",
	} {
		r := foolscap(t, word, "call", "@x", "y")
		assert.Equal(t, exitUsage, r.code)
		assert.Contains(t, r.stderr, says)
	}
	for _, word := range []string{"listen", "x", "", "publish"} {
		assert.NotContains(t, foolscap(t, word).stderr, "did you mean", word)
	}
}

func TestTheOverviewBeginsWithWhatCanBeRepeated(t *testing.T) {
	for line := range strings.Lines(overview()) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "foolscap" && fields[1] == "serve" {
			assert.Contains(t, fields, "--cert")
			assert.Contains(t, fields, "--furl-file")
		}
	}
	assert.Contains(t, overview(), "Flags stand anywhere behind the command")
}

func TestTheHelpKnowsVerbs(t *testing.T) {
	for _, verb := range []string{"create", "show"} {
		assert.Equal(t, foolscap(t, "help", "id"), foolscap(t, "help", "id", verb))
	}
}

func TestTheVersionIsShown(t *testing.T) {
	for _, word := range []string{"version", "--version"} {
		r := foolscap(t, word)
		assert.Equal(t, exitOK, r.code)
		assert.Empty(t, r.stderr)
		assert.Regexp(t, `^foolscap \S+, .*`+regexp.QuoteMeta(runtime.Version()), r.stdout)
	}
	var doc versionDocument
	require.NoError(t, json.Unmarshal([]byte(foolscap(t, "version", "--json").stdout), &doc))
	assert.NotEmpty(t, doc.Version)
	assert.Equal(t, runtime.Version(), doc.Go)
	assert.Equal(t, runtime.GOOS+"/"+runtime.GOARCH, doc.Platform)
}

func TestEveryCommandExplainsItself(t *testing.T) {
	for _, c := range everyCommand() {
		t.Run(c.name, func(t *testing.T) {
			name := strings.Fields(c.name)
			r := foolscap(t, append(name, "--help")...)
			assert.Equal(t, exitOK, r.code)
			assert.Empty(t, r.stderr)
			assert.Equal(t, r, foolscap(t, append([]string{"help"}, name...)...))
			assert.Equal(t, r, foolscap(t, append(name, "-h", "whatever else")...))
			for _, part := range []string{"foolscap " + c.name + ": " + c.summary, "Usage: foolscap " + c.name + " [flags]",
				"\nFlags:\n", "--json", "\nExamples:\n", "\nExit codes:\n  0 ", "\n  1 ", "\n  2 "} {
				assert.Contains(t, r.stdout, part)
			}
			for _, code := range c.codes {
				assert.Contains(t, r.stdout, code.meaning())
			}
			for line := range strings.Lines(r.stdout) {
				assert.LessOrEqual(t, utf8.RuneCountInString(line), 81, "does not fit a terminal: %s", line)
			}
			fs, _ := new(env).flags(c)
			fs.VisitAll(func(f *flag.Flag) {
				value, usage := flag.UnquoteUsage(f)
				_, isBool := f.Value.(interface{ IsBoolFlag() bool })
				assert.Equal(t, isBool, value == "", "--%s: the name of its value", f.Name)
				assert.NotEmpty(t, usage, "--%s", f.Name)
			})
		})
	}
}

// everyCommand has the commands of groups in the place of these.
func everyCommand() (all []*command) {
	for _, c := range commands() {
		if c.sub != nil {
			all = append(all, c.sub...)
		} else {
			all = append(all, c)
		}
	}
	return all
}

func TestAGroupListsItsCommands(t *testing.T) {
	group, _ := findCommand([]string{"app"})
	r := foolscap(t, "app", "--help")
	assert.Equal(t, result{code: exitOK, stdout: r.stdout}, r)
	assert.Equal(t, r, foolscap(t, "help", "app"))
	for _, c := range group.sub {
		assert.Contains(t, r.stdout, "\n  "+c.name+" ")
	}
	assert.Equal(t, result{code: exitUsage, stderr: r.stdout}, foolscap(t, "app"))
	assert.Contains(t, foolscap(t, "app", "upolad", "@f").stderr, "did you mean app upload?")
	assert.Contains(t, foolscap(t, "app", "whatever").stderr, `"foolscap help app" lists`)
	assert.Equal(t, exitUsage, foolscap(t, "help", "app", "whatever").code)
}

// What the help shows has to work: the flags of its examples exist.
func TestTheExamplesOfTheHelpParse(t *testing.T) {
	for _, c := range everyCommand() {
		t.Run(c.name, func(t *testing.T) {
			examples := 0
			for line := range strings.Lines(c.examples) {
				_, words, ok := strings.Cut(strings.TrimSpace(line), "foolscap ")
				if line[0] == '#' || !ok {
					continue
				}
				words, _, _ = strings.Cut(words, " | ")
				found, rest := findCommand(strings.Fields(words))
				require.NotNil(t, found, line)
				require.Equal(t, c.name, found.name, line)
				fs, _ := new(env).flags(c)
				_, err := parseFlags(fs, rest, c.words)
				assert.NoError(t, err, line)
				examples++
			}
			assert.Positive(t, examples)
		})
	}
}

// What users copy shows no FURL to others, and keeps the exit codes.
func TestTheDocumentationShowsTheSafeWay(t *testing.T) {
	for _, name := range []string{"README.md", "docs/cli.md", "examples/hello/README.md"} {
		text, err := os.ReadFile("../../" + name)
		require.NoError(t, err)
		for _, unsafe := range []string{"$(cat", "foolscap call FURL add", "foolscap ping FURL", "go run ./cmd/foolscap"} {
			assert.NotContains(t, string(text), unsafe, name)
		}
	}
}

// docs/cli.md is written by hand: it has to know every command, flag and code.
func TestTheDocumentationIsComplete(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	require.NoError(t, err)
	doc := string(text)
	for _, c := range everyCommand() {
		assert.Contains(t, doc, "\n## "+c.name+"\n")
		fs, _ := new(env).flags(c)
		fs.VisitAll(func(f *flag.Flag) {
			assert.Contains(t, doc, "`--"+f.Name, "of %s", c.name)
		})
	}
	for _, code := range []exitCode{exitFailure, exitUsage, exitUnreachable, exitRemote, exitNoAnswer, exitPartly, exitKilled, exitInterrupted, exitNotRun} {
		assert.Contains(t, doc, fmt.Sprintf("\n| %d | `%s` | ", code, code.kind()))
	}
}
