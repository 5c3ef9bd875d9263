package main

import (
	"context"
	"flag"
	"log/slog"
	"strings"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// listenFlags say where a command listens, and how it gets to other Tubs.
type listenFlags struct {
	routeFlags
	byDefault             string // where to listen without --listen
	listen, locations     texts
	onionKey              string
	authorized            texts
	twoFaces, proofOfWork bool
	grace                 time.Duration
}

// defineListen defines the flags for where to listen.
func (f *listenFlags) defineListen(fs *flag.FlagSet, byDefault string) {
	f.byDefault = byDefault
	fs.Var(&f.listen, "listen", "listen at `TYPE:ADDRESS`, such as "+byDefault+" (the default), quic:[::1]:9999, or tor; repeatable")
	fs.Var(&f.locations, "location", "put this `HINT` into the FURL instead of the addresses listened on; repeatable")
	f.defineTwoFaces(fs)
}

func (f *listenFlags) defineTwoFaces(fs *flag.FlagSet) {
	fs.BoolVar(&f.twoFaces, "two-faces", false, "be reached over tor and at an address by the same identity")
}

// defineHost defines the flags for how to do it.
func (f *listenFlags) defineHost(fs *flag.FlagSet) {
	f.defineTor(fs, "make onion services by this `TOR`: control[:ADDRESS] or launch[:DIRECTORY], where ADDRESS is IP:PORT or unix:PATH (default control, at the usual port)")
	f.defineClientKeys(fs)
	fs.Var(&f.authorized, "authorize", "let only clients reach the onion service that have the private part of this `KEY`, or of another one given so: what foolscap clientkey prints; repeatable")
	fs.BoolVar(&f.proofOfWork, "proof-of-work", false, "have clients of the onion service show work when too many want in at a time; tor has to be 0.4.9 or newer")
	durationVar(fs, &f.grace, "grace", 5*time.Second, "how long calls in progress may take at the end, a `DURATION` (default 5s)")
}

// A listenPlan is what the flags ask for, when it makes sense.
type listenPlan struct {
	listenings []listening
	locations  []furl.Hint // nil for the addresses listened on
	onion      []tor.ListenOption
}

// start makes a Tub that listens, of an identity that is not asked for before the flags
// are known to be good. done closes it.
func (f *listenFlags) start(ctx context.Context, e *env, p listenPlan, identity func() (*tub.Identity, error), opts *tub.Options) (t *tub.Tub, done func(), err error) {
	r, err := f.open(ctx, e, "control", e.logger(slog.LevelWarn)) // the listener tells how tor gets on
	if err != nil {
		return nil, nil, err
	}
	t, err = f.startBy(ctx, r, p, identity, opts)
	if err != nil {
		r.close()
		return nil, nil, err
	}
	return t, func() {
		t.Close()
		r.close()
	}, nil
}

func (f *listenFlags) startBy(ctx context.Context, r *route, p listenPlan, identity func() (*tub.Identity, error), opts *tub.Options) (*tub.Tub, error) {
	id, err := identity()
	if err != nil {
		return nil, err
	}
	opts.Observer, opts.TwoFaces = observer(opts.Logger), f.twoFaces
	t, err := r.newTub(id, opts)
	if err != nil {
		return nil, err
	}
	w := where{identity: id, locations: p.locations, via: r.via, onion: p.onion, logger: opts.Logger}
	if err := startListening(ctx, t, p.listenings, w); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// await serves until ctx ends, and stops in good order: first what stop is for, then
// the Tub.
func (f *listenFlags) await(ctx context.Context, t *tub.Tub, logger *slog.Logger, stop func(ctx context.Context)) {
	<-ctx.Done()
	logger.Info("stopping; interrupt again to stop at once")
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.grace)
	defer cancel()
	stop(end)
	if err := t.Shutdown(end); err != nil {
		logger.Warn("calls were cut off", "grace", f.grace)
	}
}

// check finds out what makes no sense in the flags, before anything is done.
func (f *listenFlags) check(logger *slog.Logger) (p listenPlan, err error) {
	if len(f.listen) == 0 {
		f.listen = texts{f.byDefault}
	}
	locations, err := f.parseLocations(logger)
	if err != nil {
		return p, err
	}
	var all []listening
	onions, hinted := 0, 0
	var everywhere listening // the first that stands for all addresses
	for _, text := range f.listen {
		l, err := parseListening(text)
		if err != nil {
			return p, err
		}
		if l.transport.hides {
			onions++
		}
		switch {
		case !l.all:
			hinted++
		case everywhere.transport == nil:
			everywhere = l
		}
		all = append(all, l)
	}
	kind, _, _ := strings.Cut(f.tor, ":")
	switch {
	case f.hidden && onions < len(all):
		err = usagef("--hidden: tcp and quic reveal the address of this machine; a hidden Tub listens at tor only: --listen tor")
	case onions > 0 && onions < len(all) && !f.twoFaces:
		err = usagef("everybody could tell that the onion service and the other addresses are one machine; run two of them with a --cert of its own each, or say --two-faces")
	case onions > 0 && kind == "socks":
		err = usagef("--listen tor: an onion service needs a tor of which more than the SOCKS port is known: --tor control or --tor launch")
	case onions > 1:
		err = usagef("--listen tor: one is enough")
	case onions == 0 && (f.onionKey != "" || len(f.authorized) > 0 || f.proofOfWork):
		err = usagef("--onion-key, --authorize and --proof-of-work are for --listen tor")
	case onions == len(all) && locations != nil:
		err = usagef("--location is for what listens at an address; an onion service has one of its own")
	case hinted == 0 && locations == nil:
		err = usagef("--listen %s: nobody could connect, since an address that stands for all addresses needs a --location, for example --location %s:tub.example.org:%s",
			quote(everywhere.text), everywhere.transport.hintType, everywhere.port())
	}
	if err != nil {
		return p, err
	}
	opts, err := f.onionOptions()
	return listenPlan{all, locations, opts}, err
}

// onionOptions says what the onion service is to be like.
func (f *listenFlags) onionOptions() ([]tor.ListenOption, error) {
	var opts []tor.ListenOption
	if f.onionKey != "" {
		opts = append(opts, tor.WithKeyFile(f.onionKey))
	}
	for _, text := range f.authorized {
		key, err := tor.ParseClientKey(text)
		if err != nil {
			return nil, usagef("--authorize: %v; foolscap clientkey makes one", err)
		}
		opts = append(opts, tor.WithAuthorizedClients(key))
	}
	if f.proofOfWork {
		opts = append(opts, tor.WithProofOfWork(tor.ProofOfWork{}))
	}
	return opts, nil
}

// startListening listens, and lets the Tub accept when everything is
// advertised: nobody is to come before the object is published, nor to get a
// FURL with a part of the hints. All locations are advertised by the first that
// listens at an address: they are the Tub's.
func startListening(ctx context.Context, t *tub.Tub, all []listening, w where) (err error) {
	var acceptors []handlers.Acceptor
	defer func() {
		for _, a := range acceptors {
			a.Close()
		}
	}()
	for _, l := range all {
		a, err := l.listen(ctx, w)
		if err != nil {
			return err
		}
		acceptors = append(acceptors, a)
		if w.locations != nil && !l.transport.hides {
			w.locations = []furl.Hint{}
		}
	}
	for i, a := range acceptors {
		if !all[i].transport.hides {
			continue
		}
		w.logger.Info("waiting until the onion service is published; this may take a minute")
		if err := awaitHints(ctx, a); err != nil {
			return err
		}
	}
	for len(acceptors) > 0 {
		a := acceptors[0]
		acceptors = acceptors[1:] // it is the Tub's from now on
		if _, err := t.Listen(a); err != nil {
			return err
		}
	}
	return nil
}

// parseLocations reads the hints that are to be advertised. Of a type that is
// not built in, nobody here can say whether it is good.
func (f *listenFlags) parseLocations(logger *slog.Logger) ([]furl.Hint, error) {
	var locations []furl.Hint
	for _, text := range f.locations {
		hint, err := furl.ParseHint(text)
		if err != nil {
			return nil, usagef("--location %s: %v", quote(text), err)
		}
		switch info := judge(hint); {
		case !info.Handler:
			logger.Warn("only peers with a handler of their own for this type can use this location", "location", text, "built in", transportTypes())
		case info.Note != "":
			return nil, usagef("--location %s: %s", quote(text), info.Note)
		}
		locations = append(locations, hint)
	}
	return locations, nil
}

// observer logs what peers do. That a connection has ended, and why, the Tub
// logs itself.
func observer(logger *slog.Logger) tub.Observer {
	return func(ev tub.Event) {
		attrs := []any{"peer", ev.Peer.Short()}
		if ev.Err != nil {
			attrs = append(attrs, "error", ev.Err)
		}
		switch ev.Kind {
		case tub.EventConnect:
			logger.Debug("connected", attrs...)
		case tub.EventCall:
			way := "called"
			if !ev.Inbound {
				way = "calling"
			}
			logger.Debug(way, append(attrs, "method", ev.Method, "elapsed", ev.Elapsed)...)
		}
	}
}
