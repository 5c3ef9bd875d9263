package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

func demoCommand() *command {
	return &command{
		name:    "demo",
		summary: "let two Tubs of this process call each other, and measure it",
		about: `Makes two Tubs in this process and connects them through real sockets of this
machine, once for every transport that is built in: TCP, QUIC, TCP through a
SOCKS proxy, an onion service. The one serves a calculator and an echo object;
the other looks them up, checks what they answer, and then calls the calculator
as often as it can, first one call at a time and then with 64 calls in flight.

The table shows the hint and the handler that has dialled it, how long each
phase of the connection took in milliseconds, and the calls per second. Both
Tubs share this machine, so the figures are those of two busy programs on one.

A transport that this machine cannot use is left out, with the reason. So is tor
without --tor, since everything else stays within this machine. What --tor or
--socks has asked for has to work, or the command fails.

A SOCKS proxy that does not set TCP_NODELAY, such as microsocks, costs steps of
40 ms by delayed acknowledgements: they show in TLS, and with 64 calls in
flight. Dante, for one, does set it.`,
		examples: `foolscap demo
# Measure for longer.
foolscap demo --duration 3s
# With an onion service, by a tor that is started for it.
foolscap demo --tor launch
foolscap demo --json | jq '.transports[] | {hint, calls_per_second}'`,
		codes: []exitCode{exitUnreachable, exitInterrupted},
		setup: setupDemo,
	}
}

func setupDemo(fs *flag.FlagSet) runFunc {
	var duration time.Duration
	f := new(routeFlags)
	f.defineTor(fs, "show an onion service too, by this `TOR`: control[:ADDRESS] or launch[:DIRECTORY]; it needs a connection to the Tor network")
	f.defineSOCKS(fs, "go through the SOCKS5 proxy at this `ADDRESS`, IP:PORT or unix:PATH, rather than through a microsocks that is started for it")
	durationVar(fs, &duration, "duration", 400*time.Millisecond, "how long each of the two measurements of a transport takes, a `DURATION` (default 400ms)")
	verbose := fs.Bool("verbose", false, "log what happens")
	return func(ctx context.Context, e *env, args []string) error {
		e.verbose = *verbose
		if err := want(args, 0, 0, "no arguments"); err != nil {
			return err
		}
		if duration == 0 {
			return usagef("--duration has to be more than nothing")
		}
		all, err := f.demonstrations(ctx, e)
		if err != nil {
			return err
		}
		return e.demo(ctx, all, duration)
	}
}

// inFlight is the number of calls at a time of the second measurement.
const inFlight = 64

// demoDocument is what --json writes.
type demoDocument struct {
	Transports []demoRun     `json:"transports"`
	LeftOut    []leftOut     `json:"left_out"`
	Error      *errorDetails `json:"error,omitempty"`
}

// A demoRun is what was seen of one transport.
type demoRun struct {
	Transport string  `json:"transport"`
	Hint      string  `json:"hint"`
	Handler   string  `json:"handler"`
	Phases    phases  `json:"phases"`
	Single    float64 `json:"calls_per_second"`
	Many      float64 `json:"calls_per_second_64_in_flight"`

	times []time.Duration
}

type leftOut struct {
	Transport string `json:"transport"`
	Reason    string `json:"reason"`
}

func (e *env) demo(ctx context.Context, all []demonstration, duration time.Duration) error {
	doc := demoDocument{Transports: []demoRun{}, LeftOut: []leftOut{}}
	err := e.demoAll(ctx, all, duration, &doc)
	if err == nil && len(doc.Transports) == 0 {
		err = errors.New("this machine can use none of the transports")
	}
	if e.json {
		if err != nil {
			details := e.details(codeOf(ctx, err), err)
			doc.Error = &details
		}
		if werr := e.writeJSON(doc); werr != nil {
			return werr
		}
		e.reported = true
		return err
	}
	e.printDemo(&doc)
	return err
}

// demoAll shows one transport after the other, until one fails.
func (e *env) demoAll(ctx context.Context, all []demonstration, duration time.Duration, doc *demoDocument) error {
	for _, d := range all {
		if err := e.demoOne(ctx, d, duration, doc); err != nil {
			return err
		}
	}
	return nil
}

// demoOne shows one transport.
func (e *env) demoOne(ctx context.Context, d demonstration, duration time.Duration, doc *demoDocument) error {
	s, err := newStage(e)
	if err != nil {
		return err
	}
	defer s.close()
	var measuring atomic.Bool
	stop := e.progress(func() string {
		info, _ := s.client.Info(s.server.TubID())
		news := progressOf(info)
		switch {
		case measuring.Load() && news != "":
			return d.name + "; " + news
		case measuring.Load():
			return "measuring " + d.name
		}
		if news := s.news.last(); news != "" {
			return "preparing " + d.name + "; " + news
		}
		return "preparing " + d.name
	})
	defer stop()
	if err := d.prepare(ctx, s); err != nil {
		if ctx.Err() != nil {
			return err
		}
		if d.asked {
			return &codedError{exitUnreachable, d.name + ": " + messageOf(err)}
		}
		doc.LeftOut = append(doc.LeftOut, leftOut{d.name, messageOf(err)})
		return nil
	}
	measuring.Store(true)
	run, err := demonstrate(ctx, s.server, s.client, duration)
	if err != nil {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	run.Transport = d.name
	doc.Transports = append(doc.Transports, run)
	return nil
}

// demonstrate publishes two objects in one Tub and calls them from the other.
func demonstrate(ctx context.Context, server, client *tub.Tub, duration time.Duration) (demoRun, error) {
	var run demoRun
	calculator, err := server.Register(tub.NewObject(
		tub.Interface("RICalculator.foolscap-go"),
		tub.Method("add", func(_ context.Context, a struct{ A, B int64 }) (int64, error) { return a.A + a.B, nil }),
	))
	if err != nil {
		return run, err
	}
	echo, err := server.Register(tub.NewObject(
		tub.Interface("RIEcho.foolscap-go"),
		tub.Method("echo", func(_ context.Context, a struct{ Value any }) (any, error) { return a.Value, nil }),
	))
	if err != nil {
		return run, err
	}
	begun := time.Now()
	calc, err := client.Connect(ctx, calculator)
	if err != nil {
		return run, err
	}
	total := time.Since(begun)
	if info, ok := client.Info(server.TubID()); ok && len(info.Hints) > 0 {
		h := info.Hints[0]
		run.Hint, run.Handler = string(h.Hint), h.Handler
		run.times = times(h, total)
		run.Phases = phasesOf(run.times)
	}
	sum, err := tub.Call[int64](ctx, calc, "add", 2, 3)
	if err != nil {
		return run, err
	}
	if sum != 5 {
		return run, fmt.Errorf("the calculator says that 2 + 3 is %d", sum)
	}
	parrot, err := client.Connect(ctx, echo)
	if err != nil {
		return run, err
	}
	if err := checkEcho(ctx, parrot); err != nil {
		return run, err
	}
	if run.Single, err = measure(ctx, calc, 1, duration); err != nil {
		return run, err
	}
	run.Many, err = measure(ctx, calc, inFlight, duration)
	return run, err
}

// checkEcho sends a value of many types and with a cycle there and back.
func checkEcho(ctx context.Context, parrot *tub.Ref) error {
	cycle := banana.NewList("text", []byte("bytes"), banana.Tuple{int64(1), 2.5, nil, true}, banana.NewSet(int64(7)))
	cycle.Items = append(cycle.Items, cycle)
	back, err := tub.Call[any](ctx, parrot, "echo", cycle)
	if err != nil {
		return err
	}
	sent, err := writeNotation(cycle, nil)
	if err != nil {
		return err
	}
	received, err := writeNotation(back, nil)
	if err != nil {
		return err
	}
	if string(sent) != string(received) {
		return fmt.Errorf("sent %s, but the echo was %s", sent, received)
	}
	return nil
}

// measure counts the calls per second with as many callers.
func measure(ctx context.Context, calc *tub.Ref, callers int, duration time.Duration) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var calls atomic.Int64
	var wg sync.WaitGroup
	begun := time.Now()
	for range callers {
		wg.Go(func() {
			for n := int64(0); n == 0 || time.Since(begun) < duration; n++ {
				sum, err := tub.Call[int64](ctx, calc, "add", n, 1)
				if err == nil && sum != n+1 {
					err = fmt.Errorf("the calculator says that %d + 1 is %d", n, sum)
				}
				if err != nil {
					cancel(err)
					return
				}
				calls.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(calls.Load()) / time.Since(begun).Seconds(), context.Cause(ctx)
}

func (e *env) printDemo(doc *demoDocument) {
	var t table
	t.row(append(append([]any{"TRANSPORT", "HINT", "HANDLER"}, phaseTitles...),
		number("CALLS/S"), number("64 IN FLIGHT"))...)
	for _, run := range doc.Transports {
		row := []any{run.Transport, run.Hint, run.Handler}
		for _, d := range run.times {
			row = append(row, shown(d))
		}
		t.row(append(row, rate(run.Single), rate(run.Many))...)
	}
	if len(doc.Transports) > 0 {
		fmt.Fprintln(e.stdout, "Two Tubs in this process, over mutual TLS; times of the phases in ms")
		t.write(e.stdout, e.colourOut)
	}
	for _, l := range doc.LeftOut {
		fmt.Fprintf(e.stdout, "Left out: %s: %s\n", clean(l.Transport), clean(l.Reason))
	}
}

func rate(perSecond float64) cell {
	return cell{text: fmt.Sprintf("%.0f", perSecond), colour: green, right: true}
}
