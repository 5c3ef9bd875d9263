package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/foolscap-go/foolscap/tub"
)

// An exitCode is what the process ends with.
type exitCode int

// Scripts depend on the numbers: they do not change.
const (
	exitOK          exitCode = 0
	exitFailure     exitCode = 1
	exitUsage       exitCode = 2
	exitUnreachable exitCode = 3
	exitRemote      exitCode = 4
	exitNoAnswer    exitCode = 5
	exitPartly      exitCode = 6
	exitKilled      exitCode = 127
	exitInterrupted exitCode = 130
	exitNotRun      exitCode = 255
)

// kind is a word for programs, in the errors of --json.
func (c exitCode) kind() string {
	switch c {
	case exitUsage:
		return "usage"
	case exitUnreachable:
		return "unreachable"
	case exitRemote:
		return "remote-failure"
	case exitNoAnswer:
		return "no-answer"
	case exitPartly:
		return "partly"
	case exitKilled:
		return "killed"
	case exitInterrupted:
		return "interrupted"
	case exitNotRun:
		return "not-run"
	}
	return "failure"
}

// meaning explains the code in the help.
func (c exitCode) meaning() string {
	switch c {
	case exitOK:
		return "everything that was asked for is done"
	case exitFailure:
		return "what was asked for has failed"
	case exitUsage:
		return "wrong usage: nothing was tried"
	case exitUnreachable:
		return "no connection: the call was never sent, so it can be repeated"
	case exitRemote:
		return "the remote side has answered with a failure"
	case exitNoAnswer:
		return "the call was sent and no answer came: it may have run"
	case exitPartly:
		return "a part of it works, another does not"
	case exitKilled:
		return "the remote command was killed by a signal"
	case exitNotRun:
		return "the remote command was not run, or how it has ended is not known"
	}
	return "interrupted by a signal"
}

// usageError is the error of a command line that makes no sense.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// codedError is an error that knows its exit code.
type codedError struct {
	code exitCode
	text string
}

func (e *codedError) Error() string { return e.text }

// A notRunError says why a remote command has not run, or what is known of it. Its
// code stands apart from those of commands.
type notRunError struct{ err error }

func (e *notRunError) Error() string { return e.err.Error() }

func (e *notRunError) Unwrap() error { return e.err }

// codeOf classifies an error.
func codeOf(ctx context.Context, err error) exitCode {
	var usage *usageError
	var coded *codedError
	var failure *tub.Failure
	var call *tub.CallError
	var dial *tub.DialError
	var notRun *notRunError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &notRun):
		if ctx.Err() != nil {
			return exitInterrupted
		}
		return exitNotRun
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &call) && errors.As(call.Err, &failure):
		return exitRemote
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &dial):
		return exitUnreachable
	case call == nil:
		return exitFailure
	case call.Sent == tub.MayHaveRun && call.Method != lookupMethod:
		return exitNoAnswer
	case call.Sent == tub.Answered && !errors.Is(call, tub.ErrDeadReference):
		return exitFailure // the answer is of no use
	case errors.Is(call, tub.ErrDeadReference), errors.Is(call, context.DeadlineExceeded):
		return exitUnreachable
	}
	return exitFailure // refused on this side, before it was sent
}

// lookupMethod is the method of a connection by which the object of a FURL is
// looked up; repeating it does no harm.
const lookupMethod = "getReferenceByName"

// isLookup reports whether an error is that of the look-up.
func isLookup(err error) bool {
	var call *tub.CallError
	return errors.As(err, &call) && call.Method == lookupMethod
}

// staleName is said when the look-up has failed.
const staleName = "the Tub can be reached, but it does not give out the object: the name in the FURL may be out of date"

// errorDocument is what --json writes for an error.
type errorDocument struct {
	Error errorDetails `json:"error"`
}

type errorDetails struct {
	Kind    string         `json:"kind"`
	Code    exitCode       `json:"code"`
	Message string         `json:"message"`
	Remote  *remoteDetails `json:"remote,omitempty"`
	Hints   []hintFailure  `json:"hints,omitempty"`
}

type remoteDetails struct {
	Type      string   `json:"type"`
	Text      string   `json:"text"`
	Traceback string   `json:"traceback"`
	Parents   []string `json:"parents"`
}

type hintFailure struct {
	Hint  string `json:"hint"`
	Phase string `json:"phase"`
	Text  string `json:"text"`
}

// finish reports how a command has ended and returns the exit code.
func (e *env) finish(ctx context.Context, err error) int {
	code := codeOf(ctx, err)
	switch {
	case err == nil:
	case code == exitUsage:
		fmt.Fprintf(e.stderr, "%s %s\n%s\n", e.prefix(), e.safe(messageOf(err)),
			fmt.Sprintf("\"foolscap %s --help\" explains it", e.name))
	case e.reported:
	case e.json:
		if werr := e.writeJSON(errorDocument{e.details(code, err)}); werr != nil {
			fmt.Fprintf(e.stderr, "%s %s\n", e.prefix(), e.safe(messageOf(err)))
		}
	default:
		e.explain(code, err)
	}
	return int(code)
}

// explain tells a person what went wrong.
func (e *env) explain(code exitCode, err error) {
	var failure *tub.Failure
	if code != exitRemote && code != exitNotRun || !errors.As(err, &failure) {
		fmt.Fprintf(e.stderr, "%s %s\n", e.prefix(), e.safe(messageOf(err)))
		return
	}
	if isLookup(err) {
		fmt.Fprintf(e.stderr, "%s %s; it failed with %s\n", e.prefix(), staleName, e.safe(failure.Error()))
	} else {
		fmt.Fprintf(e.stderr, "%s the remote side failed with %s\n", e.prefix(), e.safe(failure.Error()))
	}
	if e.verbose && failure.Traceback != "" {
		for line := range strings.Lines(failure.Traceback) {
			fmt.Fprintf(e.stderr, "  | %s\n", e.safe(strings.TrimRight(line, "\n")))
		}
	}
}

func (e *env) prefix() string { return e.red(fmt.Sprintf("foolscap %s:", e.name)) }

func (e *env) details(code exitCode, err error) errorDetails {
	message := messageOf(err)
	var failure *tub.Failure
	remote := (code == exitRemote || code == exitNotRun) && errors.As(err, &failure)
	if remote && isLookup(err) {
		message = staleName + "; " + message
	}
	d := errorDetails{Kind: code.kind(), Code: code, Message: e.withoutSecrets(message)}
	if remote {
		d.Remote = &remoteDetails{
			Type:      e.withoutSecrets(failure.Type),
			Text:      e.withoutSecrets(failure.Text),
			Traceback: e.withoutSecrets(failure.Traceback),
			Parents:   []string{},
		}
		for _, p := range failure.Parents {
			d.Remote.Parents = append(d.Remote.Parents, e.withoutSecrets(p))
		}
	}
	var dial *tub.DialError
	if errors.As(err, &dial) {
		for _, h := range dial.Hints {
			phase, text := fateOf(h)
			d.Hints = append(d.Hints, hintFailure{Hint: string(h.Hint), Phase: phase, Text: e.withoutSecrets(text)})
		}
	}
	return d
}
