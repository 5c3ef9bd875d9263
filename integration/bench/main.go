// Command bench measures calls over mutual TLS on the loopback interface:
// Foolscap in Go beside what its users could take instead, and beside the
// ground under all of them, bare TLS. README.md says how to read what it
// prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	runAgentIfAsked()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A jsonFlag is given as -json, for JSON in place of the table, or with a
// file, for both.
type jsonFlag struct {
	set  bool
	file string
}

func (f *jsonFlag) String() string   { return f.file }
func (f *jsonFlag) IsBoolFlag() bool { return true }
func (f *jsonFlag) Set(value string) error {
	f.set = true
	if value != "true" {
		f.file = value
	}
	return nil
}

// joinJSONFile makes -json FILE what the flag package understands: the value
// of a flag that can do without one has to follow a sign of equality.
func joinJSONFile(args []string) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if (arg == "-json" || arg == "--json") && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			i++
			arg += "=" + args[i]
		}
		joined = append(joined, arg)
	}
	return joined
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var (
		flags    = flag.NewFlagSet("bench", flag.ContinueOnError)
		standard = defaultSettings()
		quick    = flags.Bool("quick", false, "one short round that shows that everything runs; its figures are worth little")
		rounds   = flags.Int("rounds", standard.rounds, "`number` of rounds whose median is quoted")
		duration = flags.Duration("time", seconds(standard.seconds), "`duration` of each measurement")
		hold     = flags.Int("connections", standard.connections, "`number` of connections held while memory is measured")
		trip     = flags.Duration("rtt", standard.roundTrip, "round trip `time` of the relay that counts round trips")
		procs    = flags.Int("processes", standard.processes, "2: client and server are two processes; 1: they share one")
		retries  = flags.Int("retries", standard.retries, "`number` of times that a measurement is made again while other programs use the processors")
		only     = flags.String("only", "", "comma separated `names` of contestants: "+names(contestants, contestant.label))
		measure  = flags.String("measure", "", "comma separated `names` of measurements: "+names(measurements, measurement.label))
		profiles = flags.String("profile", "", "`directory`, made if need be, for a CPU profile of each side in a last round that does not count")
		asJSON   jsonFlag
	)
	flags.Var(&asJSON, "json", "print JSON in place of the table; with a `file`, write JSON there and print the table")
	flags.SetOutput(stderr)
	if err := flags.Parse(joinJSONFile(args)); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	s := standard
	if *quick {
		s = quickSettings()
	}
	flags.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "rounds":
			s.rounds = *rounds
		case "time":
			s.seconds = duration.Seconds()
			s.warmUp = s.seconds / 5
		case "connections":
			s.connections = *hold
		case "rtt":
			s.roundTrip = *trip
		case "retries":
			s.retries = *retries
		}
	})
	s.processes = *procs
	var err error
	if s.measured, err = selectMeasurements(*measure); err != nil {
		return err
	}
	switch {
	case s.rounds < 1, s.connections < 1:
		return errors.New("-rounds and -connections are at least 1")
	case s.retries < 0:
		return errors.New("-retries is at least 0")
	case s.seconds < 0.01:
		return errors.New("-time is at least 10ms")
	case s.roundTrip < time.Millisecond:
		return errors.New("-rtt is at least 1ms")
	case s.processes != 1 && s.processes != 2:
		return errors.New("-processes is 1 or 2")
	}

	// What cannot be written is to be known before the minutes are spent.
	if *profiles != "" {
		if err := os.MkdirAll(*profiles, 0o777); err != nil {
			return err
		}
	}
	var jsonFile *os.File
	if asJSON.file != "" {
		if jsonFile, err = os.Create(asJSON.file); err != nil {
			return err
		}
		defer jsonFile.Close()
	}
	o, err := run(ctx, s, *only, *profiles, stderr)
	switch {
	case o == nil:
		return err
	case jsonFile != nil:
		return errors.Join(err, o.writeJSON(jsonFile), jsonFile.Close(), o.writeTable(stdout))
	case asJSON.set:
		return errors.Join(err, o.writeJSON(stdout))
	}
	return errors.Join(err, o.writeTable(stdout))
}
