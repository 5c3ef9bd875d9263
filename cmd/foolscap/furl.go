package main

import (
	"context"
	"flag"
	"fmt"
	"unicode/utf8"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

func furlCommand() *command {
	return &command{
		name:    "furl",
		args:    "[FURL]",
		summary: "check a FURL, and show its parts without its secret",
		about: `Reads a FURL, checks it and shows its parts: the TubID, the hints and what this
program could dial them with. The secret name at the end is left out, so that
the output can go into a log or a mail; --reveal shows it.

The FURL is given itself, as @FILE, or as - to read it from standard input,
which is also what happens without an argument.

It fails if the text is no FURL. Nothing is connected to; for that there is
"foolscap ping".`,
		examples: `foolscap furl @demo.furl
# From the clipboard, so that the secret is in no history.
xclip -o | foolscap furl
# The TubID alone.
foolscap furl --json @demo.furl | jq -r .tub`,
		codes: []exitCode{exitInterrupted},
		setup: setupFURL,
	}
}

func setupFURL(fs *flag.FlagSet) runFunc {
	reveal := fs.Bool("reveal", false, "show the secret name too")
	return func(ctx context.Context, e *env, args []string) error {
		if err := want(args, 0, 1, "one FURL, @FILE or -"); err != nil {
			return err
		}
		if len(args) == 0 {
			args = []string{"-"}
		}
		f, err := e.furl(ctx, args[0])
		if err != nil {
			return err
		}
		return e.showFURL(f, *reveal)
	}
}

// furlDocument is what --json writes.
type furlDocument struct {
	FURL       string     `json:"furl"`
	TubID      string     `json:"tub"`
	Hints      []hintInfo `json:"hints"`
	Name       string     `json:"name"`
	NameLength int        `json:"name_length"`
	Notes      []string   `json:"notes"`
}

type hintInfo struct {
	Hint    string `json:"hint"`
	Type    string `json:"type"`
	Address string `json:"address"`
	Handler bool   `json:"handler"`
	Note    string `json:"note,omitempty"`
}

func (e *env) showFURL(f furl.FURL, reveal bool) error {
	doc := furlDocument{
		FURL: f.String(), TubID: f.TubID.String(), Hints: []hintInfo{}, Name: f.Name.String(),
		NameLength: utf8.RuneCountInString(f.Name.Reveal()), Notes: []string{},
	}
	if reveal {
		doc.FURL, doc.Name = f.Reveal(), f.Name.Reveal()
	}
	usable := 0
	for _, h := range f.Hints {
		info := judge(h)
		if info.Note == "" {
			usable++
		}
		doc.Hints = append(doc.Hints, info)
	}
	switch {
	case len(f.Hints) == 0:
		doc.Notes = append(doc.Notes, "it has no hints: it leads somewhere only over a connection that is there already")
	case usable == 0:
		doc.Notes = append(doc.Notes, "this program can use none of the hints")
	}
	if doc.NameLength < guessable {
		doc.Notes = append(doc.Notes, fmt.Sprintf("the name has only %d characters: if somebody can guess it, it protects nothing", doc.NameLength))
	}
	if e.json {
		return e.writeJSON(doc)
	}
	return e.printFURL(doc)
}

// guessable is the length below which a name draws a remark. Names that
// programs invent have 32 characters.
const guessable = 16

// judge says what this program makes of a hint.
func judge(h furl.Hint) hintInfo {
	info := hintInfo{Hint: string(h), Type: h.Type(), Address: h.Address()}
	info.Handler = findTransport(info.Type) != nil
	if !info.Handler {
		info.Note = "no handler for this type is built in"
	} else if err := checkHint(h); err != nil {
		info.Note = err.Error()
	}
	return info
}

func (e *env) printFURL(doc furlDocument) error {
	var t table
	t.row("FURL", doc.FURL)
	t.row("TubID", doc.TubID)
	t.row("name", fmt.Sprintf("%s (%d characters)", doc.Name, doc.NameLength))
	t.write(e.stdout, e.colourOut)
	if len(doc.Hints) > 0 {
		fmt.Fprintln(e.stdout)
		t = table{}
		t.row("HINT", "TYPE", "ADDRESS", "")
		for _, h := range doc.Hints {
			note := cell{text: "can be dialled", colour: green}
			if h.Note != "" {
				note = cell{text: h.Note, colour: red}
			}
			t.row(h.Hint, h.Type, h.Address, note)
		}
		t.write(e.stdout, e.colourOut)
	}
	for _, note := range doc.Notes {
		fmt.Fprintf(e.stdout, "\nNote: %s.\n", clean(note))
	}
	return nil
}
