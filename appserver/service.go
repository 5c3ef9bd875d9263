package appserver

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/foolscap-go/foolscap/tub"
)

// A Type is a kind of service: what "upload-file" stands for in the list of a Server's
// services.
type Type struct {
	// Name is what the type is called in the list.
	Name string
	// Usage are the arguments that it takes, for people: "[--mode=MODE] FOLDER".
	Usage string
	// Check is asked when a service is added, and returns the arguments as they are to
	// be kept, or what is wrong with them. Paths that are relative to the current
	// folder become absolute here. nil takes everything.
	Check func(args []string) ([]string, error)
	// New makes the object of a service when a peer asks for it first, and again
	// after the service was changed. What the service does is to stop when ctx ends:
	// the service was removed, or the Server does not serve any more. An error goes
	// to the peer, and to the log. New is called in any goroutine.
	New func(ctx context.Context, c Config) (*tub.Object, error)
}

// A Config is what a service is made of.
type Config struct {
	// Dir is the service's own folder, for what it wants to keep.
	Dir string
	// Base is the folder of the server: what relative paths in Args are relative to.
	Base string
	Args []string
	// Tub is what the service is offered by.
	Tub    *tub.Tub
	Logger *slog.Logger

	begin func() (end func(), err error)
}

// Begin says that something begins which the stop of [Server.Serve] is to wait for,
// until end is called. It fails when it is too late for that.
func (c Config) Begin() (end func(), err error) { return c.begin() }

// from makes a path in Args absolute.
func (c Config) from(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.Base, path)
}

// options makes a set of flags for the arguments of a service. As with those of Python's
// services, flags stand before what is no flag.
func options(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	return fs
}

// parse parses the arguments of a service.
func parse(fs *flag.FlagSet, args []string) error {
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return errors.New("arguments of a service ask for help")
	}
	return err
}

// quota bounds how much is done at a time.
type quota chan struct{}

var errBusy = errors.New("the service is busy; try again later")

// take returns what gives back what it takes.
func (q quota) take() (give func(), err error) {
	select {
	case q <- struct{}{}:
		return func() { <-q }, nil
	default:
		return nil, errBusy
	}
}
