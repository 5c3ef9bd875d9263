// Package flog is Foolscap's logging for Go programs: it keeps little while all
// goes well, and tells everything when something goes wrong.
//
// A [Log] keeps the latest events of each part of the program and each level in
// memory, the least important too. An event that should not have happened
// declares an incident: a file with all that is in memory, and what follows.
//
//	log, err := flog.New(&flog.Options{Incidents: flog.IncidentOptions{Dir: "incidents"}})
//	defer log.Close()
//	slog.SetDefault(slog.New(log.Handler(slog.NewTextHandler(os.Stderr, nil))))
//	t, err := tub.New(id, &tub.Options{Observer: flog.Observe(log)})
//
// Programs log through package slog, with a [Handler]; levels correspond as
// [LevelOf] says. Events have numbers, and a parent: the event that caused them,
// by [ContextWithCause] or [Parent]. [Observe] adds what a Tub does.
//
// Files are those of Python Foolscap, whose flogtool reads ours: a [Writer]
// writes them, a [Reader] reads both.
//
// Nothing here is held up by a disk or a subscriber. Incidents are written by a
// goroutine of the Log, and a program that ends should call [Log.Close], which
// waits for it; what a [Subscription] does not take in time is lost and counted.
// All memory is bounded, see [Options]. FURLs and swissnums are redacted
// wherever they are met; a TubID by itself looks like a swissnum, and is kept
// only if it is a furl.TubID or begins a FURL.
package flog
