package flog_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/foolscap-go/foolscap/flog"
)

func Example() {
	dir, err := os.MkdirTemp("", "incidents")
	check(err)
	defer os.RemoveAll(dir)
	events, err := flog.New(&flog.Options{Incidents: flog.IncidentOptions{Dir: dir}})
	check(err)
	logger := slog.New(events.Handler(nil)).With(flog.Facility("disk"))

	logger.Debug("opened", "file", "a.txt")
	logger.Info("saved", "file", "a.txt", "bytes", 12)
	logger.Error("the disk is full", "error", errors.New("no space left"))
	check(events.Close())

	incidents, err := events.Incidents("")
	check(err)
	for _, i := range incidents {
		file, err := events.OpenIncident(i.Name)
		check(err)
		for entry, err := range file.Entries() {
			check(err)
			e := entry.Event
			fmt.Println(e.Num, e.Level, e.Facility, e.Text(), e.Attrs)
		}
		check(file.Close())
	}
	// Output:
	// 1 NOISY disk opened [file=a.txt]
	// 2 OPERATIONAL disk saved [file=a.txt bytes=12]
	// 3 BAD disk the disk is full [error=no space left]
}

func ExampleContextWithCause() {
	events, err := flog.New(nil)
	check(err)
	defer events.Close()
	logger := slog.New(events.Handler(nil))

	request := flog.ContextWithCause(context.Background())
	logger.InfoContext(request, "a request has come in")
	query := flog.ContextWithCause(request)
	logger.DebugContext(query, "the database is asked")
	logger.DebugContext(query, "the database has answered")
	logger.InfoContext(request, "the request is answered")
	for _, e := range events.Events() {
		fmt.Println(e.Num, "of", e.Parent, e.Message)
	}
	// Output:
	// 1 of 0 a request has come in
	// 2 of 1 the database is asked
	// 3 of 2 the database has answered
	// 4 of 1 the request is answered
}

func ExampleLog_Subscribe() {
	events, err := flog.New(nil)
	check(err)
	events.Log(context.Background(), flog.Operational, "before")
	s := events.Subscribe(flog.SubscribeOptions{CatchUp: true})
	events.Log(context.Background(), flog.Unusual, "after")
	check(events.Close())
	for e, err := range s.All(context.Background()) {
		var lost *flog.LostError
		if errors.As(err, &lost) {
			fmt.Println("here", lost.Events, "are missing")
			continue
		}
		fmt.Println(e.Level, e.Message)
	}
	// Output:
	// OPERATIONAL before
	// UNUSUAL after
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
