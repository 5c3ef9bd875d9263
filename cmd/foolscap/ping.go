package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func pingCommand() *command {
	return &command{
		name:    "ping",
		args:    "FURL",
		summary: "try every hint of a FURL, and show how far each one gets",
		about: `Connects to the Tub of a FURL by each of its hints, independently of the others,
and looks the object up. For every hint it shows the handler that has dialled
it, how long each phase took in milliseconds, and if it did not work, the phase
in which it has failed and why.

Each hint is tried by a Tub of its own with a new identity, so that one that
works does not hide another one that does not. No method of the object is
called.

The FURL is a secret: give it as @FILE, or as - to read it from standard input.

It succeeds if at least one hint works; with --all, only if every one does.`,
		examples: `foolscap ping @demo.furl
# Are all the hints that we publish still good?
foolscap ping --all --timeout 5s @demo.furl
# Which ones fail?
foolscap ping --json @demo.furl | jq -r '.hints[] | select(.ok | not) | .hint'
# From behind a proxy; and by a tor that is started for it.
foolscap ping --socks 127.0.0.1:1080 @demo.furl
foolscap ping --tor launch @onion.furl`,
		codes: []exitCode{exitUnreachable, exitRemote, exitPartly, exitInterrupted},
		setup: setupPing,
	}
}

type pingFlags struct {
	routeFlags
	all     bool
	timeout time.Duration
}

func setupPing(fs *flag.FlagSet) runFunc {
	f := new(pingFlags)
	fs.BoolVar(&f.all, "all", false, "fail with code 6 if some hints work and others do not")
	f.define(fs)
	durationVar(fs, &f.timeout, "timeout", usualTimeout, "give each hint this `DURATION`; 0 for no limit but those of the phases (default 30s, or 3m for what goes over tor)")
	verbose := fs.Bool("verbose", false, "log what happens")
	return func(ctx context.Context, e *env, args []string) error {
		e.verbose = *verbose
		if err := want(args, 1, 1, "one FURL, @FILE or -"); err != nil {
			return err
		}
		return f.run(ctx, e, args[0])
	}
}

// maxPings is how many hints are tried at the same time.
const maxPings = 8

// A ping is what became of one hint.
type ping struct {
	hint    furl.Hint
	status  tub.HintStatus
	total   time.Duration // from the start to the answer of the look-up, or the failure
	err     error         // why there is no connection
	refused error         // why the object was not found, once connected
}

func (f *pingFlags) run(ctx context.Context, e *env, target string) error {
	address, err := e.furl(ctx, target)
	if err != nil {
		return furlUsage(err)
	}
	if len(address.Hints) == 0 {
		return &codedError{exitUnreachable, "the FURL has no hints, so there is nothing to try"}
	}
	logger := e.logger(slog.LevelWarn)
	r, err := f.open(ctx, e, "socks", logger)
	if err != nil {
		return err
	}
	defer r.close()
	pings := make([]ping, len(address.Hints))
	var done atomic.Int64
	trying := make([]atomic.Pointer[tub.Tub], len(pings)) // those in progress
	stop := e.progress(func() string {
		text := fmt.Sprintf("trying %d hints, %d done", len(pings), done.Load())
		for i := range trying {
			if t := trying[i].Load(); t != nil {
				info, _ := t.Info(address.TubID)
				if news := progressOf(info); news != "" {
					return text + "; " + news
				}
			}
		}
		return text
	})
	defer stop()
	slots := make(chan struct{}, maxPings)
	var wg sync.WaitGroup
	for i, hint := range address.Hints {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			pings[i] = f.try(ctx, r, &trying[i], logger, address, hint)
			done.Add(1)
		})
	}
	wg.Wait()
	stop()
	return f.report(ctx, e, address, pings)
}

// try connects by one hint. trying has its Tub meanwhile.
func (f *pingFlags) try(ctx context.Context, r *route, trying *atomic.Pointer[tub.Tub], logger *slog.Logger, address furl.FURL, hint furl.Hint) ping {
	p := ping{hint: hint}
	id, err := tub.NewIdentity()
	if err != nil {
		p.err = err
		return p
	}
	t, err := r.newTub(id, &tub.Options{Logger: logger})
	if err != nil {
		p.err = err
		return p
	}
	defer t.Close()
	trying.Store(t)
	defer trying.Store(nil)
	timeout := f.timeout
	if timeout == usualTimeout {
		timeout = 30 * time.Second
		if f.hidden || hint.Type() == "tor" {
			timeout = torTimeout
		}
	}
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	begun := time.Now()
	ref, err := t.Connect(ctx, address.WithHints(hint))
	p.total = time.Since(begun)
	var dial *tub.DialError
	switch {
	case errors.As(err, &dial):
		p.err = err
		if len(dial.Hints) > 0 {
			p.status = dial.Hints[0]
		}
		return p
	case err != nil:
		p.refused = err
	default:
		ref.Close()
	}
	if info, ok := t.Info(address.TubID); ok && len(info.Hints) > 0 {
		p.status = info.Hints[0]
	}
	return p
}

// pingDocument is what --json writes.
type pingDocument struct {
	TubID   string        `json:"tub"`
	Working int           `json:"working"`
	Failed  int           `json:"failed"`
	Hints   []pingedHint  `json:"hints"`
	Error   *errorDetails `json:"error,omitempty"`
}

type pingedHint struct {
	Hint    string `json:"hint"`
	Type    string `json:"type"`
	Handler string `json:"handler"`
	OK      bool   `json:"ok"`
	Phases  phases `json:"phases"`
	Failure *fate  `json:"failure,omitempty"`
}

type fate struct {
	Phase string `json:"phase"`
	Text  string `json:"text"`
}

// outcome says in which phase a hint has failed and why; ok if it has not.
func (p *ping) outcome() (phase, text string, ok bool) {
	switch {
	case p.err == nil && p.refused == nil:
		return "", "", true
	case p.refused != nil:
		return "lookup", messageOf(p.refused), false
	}
	phase, text = fateOf(p.status)
	if p.status.Err == nil {
		text = cause(p.err)
		if !p.status.Started.IsZero() {
			text += "; " + noFurther(p.status)
		}
	}
	return phase, text, false
}

// cause is what has ended an attempt, without the hints.
func cause(err error) string {
	var dial *tub.DialError
	if errors.As(err, &dial) && dial.Err != nil {
		return messageOf(dial.Err)
	}
	return messageOf(err)
}

func (f *pingFlags) report(ctx context.Context, e *env, address furl.FURL, pings []ping) error {
	doc := pingDocument{TubID: address.TubID.String()}
	var t table
	t.row(append(append([]any{"HINT", "HANDLER", "RESULT"}, phaseTitles...), "")...)
	refused := 0
	for i := range pings {
		p := &pings[i]
		phase, text, ok := p.outcome()
		result := cell{text: "ok", colour: green}
		all := times(p.status, p.total)
		row := pingedHint{
			Hint: string(p.hint), Type: p.hint.Type(), Handler: p.status.Handler, OK: ok, Phases: phasesOf(all),
		}
		if ok {
			doc.Working++
		} else {
			doc.Failed++
			text = e.withoutSecrets(text)
			row.Failure = &fate{phase, text}
			result = cell{text: "failed in " + phase, colour: red}
			if codeOf(context.Background(), p.refused) == exitRemote {
				refused++
			}
		}
		doc.Hints = append(doc.Hints, row)
		handler := row.Handler
		if handler == "" {
			handler = "-"
		}
		cells := []any{string(p.hint), handler, result}
		for _, d := range all {
			cells = append(cells, shown(d))
		}
		t.row(append(cells, text)...)
	}
	err := f.verdict(doc.Working, doc.Failed, refused)
	if ctx.Err() != nil {
		err = &codedError{exitInterrupted, "interrupted before every hint was tried"}
	}
	if e.json {
		if err != nil {
			details := e.details(codeOf(context.Background(), err), err)
			doc.Error = &details
		}
		if werr := e.writeJSON(doc); werr != nil {
			return werr
		}
		e.reported = true
		return err
	}
	fmt.Fprintf(e.stdout, "Tub %s, times in ms\n", address.TubID)
	t.write(e.stdout, e.colourOut)
	return err
}

func (f *pingFlags) verdict(working, failed, refused int) error {
	switch {
	case working > 0 && failed > 0 && f.all:
		return &codedError{exitPartly, fmt.Sprintf("%d of %d hints have failed", failed, working+failed)}
	case working > 0:
		return nil
	case refused > 0:
		return &codedError{exitRemote, staleName}
	}
	return &codedError{exitUnreachable, "no hint works"}
}
