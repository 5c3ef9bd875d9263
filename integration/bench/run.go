package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// An outcome is all that a run found.
type outcome struct {
	settings    settings
	environment environment
	contestants []contestant
	hellos      map[string]serverHello // by contestant
	skipped     map[string]string      // contestants that could not run, and why
	results     results
	rounds      int // those that were completed
	// foreign is the part of the processors that others used during each
	// measurement that counts.
	foreign  []float64
	repeated int // measurements that were made again for that
}

// run measures every contestant in every round. A contestant that fails ends
// the run, since a table with a hole in it invites the wrong comparison; only
// a missing Python is put up with, unless it was asked for by name. When ctx
// ends, what the completed rounds found is the outcome, if there are any. An
// outcome that comes with an error is good: only the profiles are not.
func run(ctx context.Context, s settings, list, profileDir string, progress io.Writer) (_ *outcome, err error) {
	chosen, err := selectContestants(list)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "foolscap-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := newLauncher(dir)
	if err != nil {
		return nil, err
	}

	o := &outcome{
		settings: s, environment: describeMachine(),
		hellos: make(map[string]serverHello), skipped: make(map[string]string), results: make(results),
	}
	pythonVersion, pythonMissing := l.pythonVersion(ctx)
	o.environment.Python = pythonVersion
	for _, c := range chosen {
		if c.needsPython() && pythonMissing != nil {
			if list != "" {
				return nil, pythonMissing
			}
			o.skipped[c.name] = pythonMissing.Error()
			continue
		}
		o.contestants = append(o.contestants, c)
	}

	var entrants []*entrant
	defer func() {
		for _, e := range entrants {
			// When ctx has ended, the processes were killed.
			if stopped := e.stop(); ctx.Err() == nil {
				err = errors.Join(err, stopped)
			}
		}
	}()
	for _, c := range o.contestants {
		fmt.Fprintf(progress, "starting %s\n", c.title)
		e, err := enter(ctx, l, c, s)
		if err != nil {
			return nil, err
		}
		entrants = append(entrants, e)
	}
	for round := range s.rounds {
		err := o.round(ctx, round, entrants, progress)
		if ctx.Err() != nil && o.rounds > 0 {
			fmt.Fprintf(progress, "%v after %d rounds\n", context.Cause(ctx), o.rounds)
			return o, nil
		}
		if err != nil {
			return nil, err
		}
	}
	for _, e := range entrants {
		if profileDir == "" {
			break
		}
		fmt.Fprintf(progress, "profiling %s\n", e.title)
		if err := e.profile(ctx, profileDir); err != nil {
			return o, err
		}
	}
	return o, nil
}

// round makes each measurement of all contestants before it goes on to the
// next, so that what is compared was measured within seconds; another
// contestant begins in each round.
func (o *outcome) round(ctx context.Context, round int, entrants []*entrant, progress io.Writer) error {
	found := make(results)
	for _, m := range o.settings.measured {
		fmt.Fprintf(progress, "round %d of %d: %s\n", round+1, o.settings.rounds, m.name)
		for i := range entrants {
			e := entrants[(i+round)%len(entrants)]
			if !m.appliesTo(e.contestant) {
				continue
			}
			values, err := o.measure(ctx, m, e)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", e.name, m.name, err)
			}
			found.add(e.name, values)
		}
	}
	// A round counts as a whole or not at all.
	for name, values := range found {
		o.results.merge(name, values)
	}
	for _, e := range entrants {
		o.hellos[e.name] = e.hello
	}
	o.rounds++
	return nil
}

// tolerated is the part of the processors in other hands up to which a
// measurement counts at once. Beyond it, it is made again.
const tolerated = 0.1

// measure keeps the least disturbed of its attempts. What decides is never
// the outcome, only what others did meanwhile.
func (o *outcome) measure(ctx context.Context, m measurement, e *entrant) (map[string]float64, error) {
	var (
		kept  map[string]float64
		least float64
	)
	for attempt := 0; ; attempt++ {
		before := measureLoad(e.peers())
		values, err := m.run(ctx, e)
		if err != nil {
			return nil, err
		}
		disturbed := foreign(before, measureLoad(e.peers()))
		if attempt == 0 || disturbed < least {
			kept, least = values, disturbed
		}
		if m.untimed || least <= tolerated || attempt == o.settings.retries {
			break
		}
		o.repeated++
		if err := awaitQuiet(ctx); err != nil {
			return nil, err
		}
	}
	if !m.untimed {
		o.foreign = append(o.foreign, least)
	}
	return kept, nil
}

// awaitQuiet returns when others leave the processors alone, but does not wait
// for it for long.
func awaitQuiet(ctx context.Context) error {
	const (
		look     = 200 * time.Millisecond
		patience = 3 * time.Second
	)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		before := measureLoad(nil)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(look):
		}
		if foreign(before, measureLoad(nil)) <= tolerated {
			return nil
		}
	}
	return nil
}
