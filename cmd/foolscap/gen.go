package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/foolscap-go/foolscap/cmd/foolscap/internal/gen"
)

func genCommand() *command {
	return &command{
		name:    "gen",
		args:    "FILE... | --print SOURCE... | --check OLD NEW",
		summary: "write typed stubs for Go interfaces, from Python ones too",
		about: `Writes FILE_foolscap.go next to each Go FILE: for every interface with a
directive a client (typed calls on a reference), a server adapter (an object of
an implementation), and the schema, which says what both may send.

  //foolscap:interface RIAdder.example.org
  type Adder interface {
      Add(ctx context.Context, a AddArgs) (int64, error)
      //foolscap:method readAll
      //foolscap:result bytes(max=1000)
      ReadAll(ctx context.Context, a tub.None) ([]byte, error)
  }

The fields of the second parameter are the arguments. The output depends on the
declarations alone. It is meant for go generate:

  //go:generate go tool foolscap gen $GOFILE

--from-python writes such interfaces for those of a Python module. What Go
cannot express becomes "any", and is told on standard error.

--print shows the schemas of SOURCEs; --check compares two, and fails if a
program of one would not understand one of the other. A SOURCE is a Go file or
the directory of a package, a Python file or module, or a file with the output
of --print, named *.schema. A Python module is imported, so its code runs.`,
		examples: `foolscap gen calculator.go
foolscap gen --from-python foolscap.logging.interfaces -o logs.go
# Keep what is on the wire now, and see later what a change would break.
foolscap gen --print calculator.go > v1.schema
foolscap gen --check v1.schema calculator.go
foolscap gen --check --json v1.schema server.py | jq .changes`,
		setup: setupGen,
	}
}

// genFlags are the flags of gen.
type genFlags struct {
	module       string // --from-python
	pkg          string
	out          string
	python       string
	check, print bool
}

func setupGen(fs *flag.FlagSet) runFunc {
	f := new(genFlags)
	fs.StringVar(&f.module, "from-python", "", "write Go interfaces for those of this Python `MODULE`, or file")
	fs.StringVar(&f.pkg, "package", "", "the `NAME` of their package; default: that of the module, in letters and digits")
	fs.StringVar(&f.out, "o", "", "write them to `FILE` rather than to standard output")
	fs.StringVar(&f.python, "python", "", "the `PROGRAM` that imports Python modules; default /usr/bin/python3, or else python3")
	fs.BoolVar(&f.check, "check", false, "compare two sources; exit code 1 if the second breaks what the first allows")
	fs.BoolVar(&f.print, "print", false, "show the schemas of sources")
	return f.run
}

func (f *genFlags) run(ctx context.Context, e *env, args []string) error {
	python := f.module != ""
	switch {
	case f.check && (f.print || python), f.print && python:
		return usagef("--from-python, --print and --check exclude each other")
	case !python && (f.pkg != "" || f.out != ""):
		return usagef("--package and -o belong to --from-python")
	case python:
		if err := want(args, 0, 0, "no arguments with --from-python"); err != nil {
			return err
		}
		return f.fromPython(ctx, e)
	case f.check:
		if err := want(args, 2, 2, "OLD and NEW with --check"); err != nil {
			return err
		}
		return f.compare(ctx, e, args[0], args[1])
	case f.print:
		if err := want(args, 1, -1, "what to show"); err != nil {
			return err
		}
		return f.show(ctx, e, args)
	}
	if err := want(args, 1, -1, "the Go files with the interfaces"); err != nil {
		return err
	}
	return e.genStubs(args)
}

// genDocument is what --json writes. What was not asked for is left out.
type genDocument struct {
	Files      []genFile      `json:"files,omitempty"`
	Interfaces []genInterface `json:"interfaces,omitempty"`
	Source     string         `json:"source,omitempty"`
	Notes      []string       `json:"notes,omitempty"`
	Changes    []genChange    `json:"changes,omitempty"`
	Breaks     *int           `json:"breaks,omitempty"`
	Error      *errorDetails  `json:"error,omitempty"`
}

type genFile struct {
	File       string   `json:"file"`
	Interfaces []string `json:"interfaces"`
	Written    bool     `json:"written"`
}

type genInterface struct {
	Name   string `json:"name"`
	Schema string `json:"schema"`
}

type genChange struct {
	Interface string `json:"interface"`
	Breaks    bool   `json:"breaks"`
	Text      string `json:"text"`
}

func (e *env) genStubs(files []string) error {
	var doc genDocument
	for _, name := range files {
		s, err := gen.Stubs(name)
		if err != nil {
			return err
		}
		written, err := replaceFile(s.File, s.Source)
		if err != nil {
			return err
		}
		doc.Files = append(doc.Files, genFile{s.File, s.Interfaces, written})
	}
	if e.json {
		return e.writeJSON(doc)
	}
	for _, f := range doc.Files {
		state := "is up to date"
		if f.Written {
			state = "written"
		}
		fmt.Fprintf(e.stdout, "%s %s: %s\n", f.File, state, strings.Join(f.Interfaces, ", "))
	}
	return nil
}

// replaceFile leaves a file alone that has the content already, so that what
// goes by its date is not done again.
func replaceFile(name string, content []byte) (written bool, err error) {
	if old, err := os.ReadFile(name); err == nil && string(old) == string(content) {
		return false, nil
	}
	return true, os.WriteFile(name, content, 0o644)
}

func (f *genFlags) fromPython(ctx context.Context, e *env) error {
	s, err := gen.FromPython(ctx, f.python, f.module, f.pkg)
	if err != nil {
		return err
	}
	doc := genDocument{Notes: s.Notes}
	if f.out == "" {
		doc.Source = string(s.Source)
	} else {
		written, err := replaceFile(f.out, s.Source)
		if err != nil {
			return err
		}
		doc.Files = []genFile{{f.out, s.Interfaces, written}}
	}
	if e.json {
		return e.writeJSON(doc)
	}
	e.notes(s.Notes)
	fmt.Fprint(e.stdout, doc.Source)
	return nil
}

// notes tells of what was made less strict than it is in the source.
func (e *env) notes(notes []string) {
	for _, n := range notes {
		fmt.Fprintf(e.stderr, "foolscap gen: %s\n", e.safe(n))
	}
}

func (f *genFlags) show(ctx context.Context, e *env, sources []string) error {
	var doc genDocument
	for i, source := range sources {
		s, err := gen.Read(ctx, f.python, source)
		if err != nil {
			return err
		}
		doc.Notes = append(doc.Notes, s.Notes...)
		if !e.json {
			e.notes(s.Notes)
			if i > 0 {
				fmt.Fprintln(e.stdout)
			}
			fmt.Fprint(e.stdout, s.Text())
			continue
		}
		for _, i := range s.Interfaces {
			doc.Interfaces = append(doc.Interfaces, genInterface{i.Name, i.String()})
		}
	}
	if e.json {
		return e.writeJSON(doc)
	}
	return nil
}

func (f *genFlags) compare(ctx context.Context, e *env, older, newer string) error {
	before, err := gen.Read(ctx, f.python, older)
	if err != nil {
		return err
	}
	after, err := gen.Read(ctx, f.python, newer)
	if err != nil {
		return err
	}
	doc := genDocument{Breaks: new(int), Notes: append(before.Notes, after.Notes...)}
	for _, c := range gen.Compare(before, after) {
		doc.Changes = append(doc.Changes, genChange{c.Interface, c.Breaks, c.Text})
		if c.Breaks {
			*doc.Breaks++
		}
	}
	if *doc.Breaks > 0 {
		err = fmt.Errorf("%d of %d changes break what %s allows", *doc.Breaks, len(doc.Changes), older)
	}
	if e.json {
		if err != nil {
			details := e.details(exitFailure, err)
			doc.Error = &details
		}
		e.reported = true
		if werr := e.writeJSON(doc); werr != nil {
			return werr
		}
		return err
	}
	e.notes(doc.Notes)
	for _, c := range doc.Changes {
		verb := "allows  "
		if c.Breaks {
			verb = "BREAKS  "
		}
		fmt.Fprintf(e.stdout, "%s%s: %s\n", verb, c.Interface, c.Text)
	}
	if len(doc.Changes) == 0 {
		fmt.Fprintln(e.stdout, "nothing changes on the wire")
	}
	return err
}
