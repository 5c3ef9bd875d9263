package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"time"

	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// dialFlags are those of commands that use the object of one FURL.
type dialFlags struct {
	routeFlags
	cert    string
	timeout time.Duration
}

func (f *dialFlags) define(fs *flag.FlagSet, timeout string) {
	fs.StringVar(&f.cert, "cert", "", "be the Tub whose identity is in this `FILE` (default: a new one)")
	f.routeFlags.define(fs)
	durationVar(fs, &f.timeout, "timeout", usualTimeout, timeout)
}

// errTimeout is why a call ends that takes longer than --timeout.
var errTimeout = errors.New("the time is up (--timeout)")

func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, errTimeout)
}

// A dialing is a Tub that is to connect to that of a FURL.
type dialing struct {
	tub     *tub.Tub
	address furl.FURL
	limited context.Context // by --timeout, from now on
	close   func()
}

// prepare checks the flags and the FURL that an argument stands for. Nothing is
// contacted yet.
func (f *dialFlags) prepare(ctx context.Context, e *env, target string) (*dialing, error) {
	address, err := e.furl(ctx, target)
	if err != nil {
		return nil, furlUsage(err)
	}
	logger := e.logger(slog.LevelWarn)
	id, err := callingIdentity(f.cert, logger)
	if err != nil {
		return nil, err
	}
	if id.TubID() == address.TubID {
		return nil, usagef("the FURL is of the Tub of --cert itself; call it as another Tub, or without --cert")
	}
	r, err := f.open(ctx, e, "socks", logger)
	if err != nil {
		return nil, err
	}
	t, err := r.newTub(id, &tub.Options{Logger: logger, TracesFromPeers: true})
	if err != nil {
		r.close()
		return nil, err
	}
	if f.timeout == usualTimeout {
		f.timeout = time.Minute
		if f.tor != "" || f.hidden {
			f.timeout = torTimeout
		}
	}
	limited, cancel := withTimeout(ctx, f.timeout)
	return &dialing{t, address, limited, func() {
		cancel()
		t.Close()
		r.close()
	}}, nil
}

// progress says what connecting waits for.
func (d *dialing) progress(e *env) (stop func()) {
	return e.progress(func() string {
		info, _ := d.tub.Info(d.address.TubID)
		if news := progressOf(info); news != "" {
			return "connecting to Tub " + d.address.TubID.Short() + "; " + news
		}
		return "connecting to Tub " + d.address.TubID.Short()
	})
}

// finish lets what was sent last get through.
func (d *dialing) finish(ctx context.Context) {
	end, cancel := withTimeout(ctx, time.Second)
	defer cancel()
	d.tub.Shutdown(end)
}

// callingIdentity returns the identity in a file, or a new one. A file that is
// not there is an error: a call as somebody else would be of no use.
func callingIdentity(path string, logger *slog.Logger) (*tub.Identity, error) {
	if path == "" {
		return tub.NewIdentity()
	}
	return tub.LoadIdentity(path, logger)
}

// furlUsage makes wrong usage of the error of a FURL, unless a file is at fault
// or the reading was interrupted.
func furlUsage(err error) error {
	var usage *usageError
	if isFileError(err) || errors.Is(err, errInterrupted) || errors.As(err, &usage) {
		return err
	}
	return &usageError{err.Error()}
}
