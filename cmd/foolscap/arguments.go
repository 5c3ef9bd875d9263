package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/foolscap-go/foolscap/tub"
)

// An argument of a call is JSON in the notation, or begins with one of these
// prefixes, with which no JSON text begins; name=… in front of it makes it a
// keyword argument, and no JSON text looks like that either.
const (
	prefixText  = "text:"
	prefixBytes = "bytes:"
	prefixFile  = "file:"
)

// maxArgument bounds what is read from a file or from standard input for one
// argument, in bytes. Peers refuse far smaller messages.
const maxArgument = 256 << 20

// readArguments makes the arguments of a call of those of the command line.
func (e *env) readArguments(ctx context.Context, words []string, r *notationReader) (tub.Args, error) {
	type argument struct {
		name  string // "" if it has none
		where string // for errors
		ready any    // unless node is set
		node  *node
	}
	all := make([]argument, len(words))
	position := 0
	for i, word := range words {
		a := &all[i]
		text := word
		if name, rest, ok := strings.Cut(word, "="); ok && isName(name) {
			a.name, text = name, rest
			a.where = "argument " + name
		} else {
			position++
			a.where = fmt.Sprintf("argument %d", position)
		}
		var err error
		if a.ready, a.node, err = e.readArgument(ctx, text, r); err != nil {
			return tub.Args{}, wrapArgument(err, a.where)
		}
	}
	var args tub.Args
	for _, a := range all {
		v := a.ready
		if a.node != nil {
			var err error
			if v, err = r.value(a.node); err != nil {
				return args, wrapArgument(err, a.where)
			}
		}
		if a.name == "" {
			args.Positional = append(args.Positional, v)
			continue
		}
		if _, twice := args.Keyword[a.name]; twice {
			return args, usagef("%s is given twice", a.where)
		}
		if args.Keyword == nil {
			args.Keyword = make(map[string]any)
		}
		args.Keyword[a.name] = v
	}
	return args, nil
}

// readArgument reads one argument, as far as it can be read without the
// others: they may share parts.
func (e *env) readArgument(ctx context.Context, text string, r *notationReader) (ready any, n *node, err error) {
	if rest, ok := strings.CutPrefix(text, prefixText); ok {
		if !utf8.ValidString(rest) {
			return nil, nil, usagef("a text has to be UTF-8; use %s or %s", prefixBytes, prefixFile)
		}
		return rest, nil, nil
	}
	if rest, ok := strings.CutPrefix(text, prefixBytes); ok {
		return []byte(rest), nil, nil
	}
	if path, ok := strings.CutPrefix(text, prefixFile); ok {
		ready, err = takeFile(ctx, path, "an argument", maxArgument)
		return ready, nil, err
	}
	source := []byte(text)
	if text == "-" {
		if source, err = e.takeStdin(ctx, "an argument", maxArgument); err != nil {
			return nil, nil, err
		}
	}
	n, err = r.parse(source)
	if err != nil && text != "-" && !strings.ContainsAny(text[:min(len(text), 1)], `{["-0123456789`) {
		if isName(text) {
			return nil, nil, usagef(`%q is not JSON; a text is written %s%s, or '"%s"' with quotes that the shell leaves alone`,
				text, prefixText, text, text)
		}
		return nil, nil, usagef(`%s is not JSON; put %s in front of a text`, quote(text), prefixText)
	}
	return nil, n, err
}

// isName reports whether a word can be the name of a keyword argument.
func isName(s string) bool {
	for i, r := range s {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || !unicode.IsDigit(r)) {
			return false
		}
	}
	return s != ""
}

// wrapArgument says which argument is at fault. That is wrong usage, unless a
// file cannot be read, the reading was interrupted, or a FURL in it leads
// nowhere.
func wrapArgument(err error, where string) error {
	var dial *tub.DialError
	var call *tub.CallError
	if isFileError(err) || errors.Is(err, errInterrupted) || errors.As(err, &dial) || errors.As(err, &call) {
		return fmt.Errorf("%s: %w", where, err)
	}
	return usagef("%s: %v", where, err)
}
