package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func serveCommand() *command {
	return &command{
		name:    "serve",
		summary: "publish a demonstration object until interrupted",
		about: `Publishes an object that shows what can go over the wire, and prints its FURL
alone on the first line of standard output. Whoever has that line can call the
object, so it is a secret; everything else that is said goes to standard error.

The object has these methods, here with the types of Python:
  add(a, b)                      a + b: numbers, texts, bytes, lists or tuples
  echo(value)                    value, references included
  sink(data)                     the length of data
  fail(message)                  raises a ValueError with that message
  call_back(ref, method, value)  calls ref.method(value) and returns its answer
  hold(ref), drop()              keeps references; releases them, says how many

It listens on a free TCP port of 127.0.0.1, unless --listen says otherwise.
To be reached from other machines, listen on one of your addresses, or on all
(tcp:0.0.0.0:PORT) and say with --location under which name they find you.

With --cert and --furl-file the FURL is the same the next time. Without --cert
the Tub is a new one each time.

SIGINT or SIGTERM lets the calls in progress end, for at most --grace; a second
one ends the program at once. An orderly end is a success.`,
		examples: `# Publish under a new FURL, on this machine only.
foolscap serve
# The same FURL each time, readable by you alone.
foolscap serve --cert tub.pem --furl-file my.furl --listen tcp:127.0.0.1:9999
# Be reached from elsewhere.
foolscap serve --listen tcp:0.0.0.0:9999 --location tcp:tub.example.org:9999
# Watch who calls what.
foolscap serve --verbose`,
		setup: setupServe,
	}
}

type serveFlags struct {
	listen, locations    texts
	cert, name, furlFile string
	grace                time.Duration
}

func setupServe(fs *flag.FlagSet) runFunc {
	f := new(serveFlags)
	fs.Var(&f.listen, "listen", "listen at `TYPE:ADDRESS`, such as tcp:127.0.0.1:0 (the default) or tcp:[::1]:9999; repeatable")
	fs.Var(&f.locations, "location", "put this `HINT` into the FURL instead of the addresses listened on; repeatable")
	fs.StringVar(&f.cert, "cert", "", "keep the identity of the Tub in this `FILE`, which is made if there is none")
	fs.StringVar(&f.name, "name", "", "the `NAME` at the end of the FURL; one that can be guessed protects nothing, and it shows in the list of processes (default: random)")
	fs.StringVar(&f.furlFile, "furl-file", "", "write the FURL to this `FILE` (mode 0600), and use the name that is in it already")
	fs.DurationVar(&f.grace, "grace", 5*time.Second, "how long calls in progress may take at the end, a `DURATION` (default 5s)")
	verbose := fs.Bool("verbose", false, "log connections and calls")
	return func(ctx context.Context, e *env, args []string) error {
		e.verbose = *verbose
		if err := want(args, 0, 0, "no arguments, only flags"); err != nil {
			return err
		}
		return f.run(ctx, e)
	}
}

func (f *serveFlags) run(ctx context.Context, e *env) error {
	if len(f.listen) == 0 {
		f.listen = texts{"tcp:127.0.0.1:0"}
	}
	e.keepSecret(f.name)
	logger := e.logger(slog.LevelInfo)
	id, err := servingIdentity(f.cert, logger)
	if err != nil {
		return err
	}
	t, err := newTub(id, &tub.Options{Logger: logger, Observer: observer(logger)})
	if err != nil {
		return err
	}
	defer t.Close()
	if err := f.startListening(ctx, t, logger); err != nil {
		return err
	}
	address, err := f.publish(t, newDemo(t).object)
	if err != nil {
		return err
	}
	if err := e.announce(address); err != nil {
		return err
	}
	logger.Info("serving; interrupt to stop", "tub", t.TubID().String(), "hints", hintTexts(address.Hints))
	<-ctx.Done()

	logger.Info("stopping; interrupt again to stop at once")
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.grace)
	defer cancel()
	if err := t.Shutdown(end); err != nil {
		logger.Warn("calls were cut off", "grace", f.grace)
	}
	return nil
}

// servingIdentity returns the identity in a file, which is made if need be, or
// a new one.
func servingIdentity(path string, logger *slog.Logger) (*tub.Identity, error) {
	if path == "" {
		return tub.NewIdentity()
	}
	return tub.LoadOrCreateIdentity(path, logger)
}

// startListening listens wherever the flags say. All locations are advertised
// by the first listener: they are the Tub's.
func (f *serveFlags) startListening(ctx context.Context, t *tub.Tub, logger *slog.Logger) error {
	var locations []furl.Hint
	for _, text := range f.locations {
		hint, err := furl.ParseHint(text)
		if err != nil {
			return usagef("--location %s: %v", quote(text), err)
		}
		locations = append(locations, hint)
	}
	for _, text := range f.listen {
		where, err := furl.ParseHint(text)
		if err != nil {
			return usagef("--listen %s: %v", quote(text), err)
		}
		tr := findTransport(where.Type())
		if tr == nil {
			return usagef("--listen %s: give TYPE:ADDRESS with one of the types %s", quote(text), transportTypes())
		}
		acceptor, err := tr.listen(ctx, where.Address(), locations, logger)
		if err != nil {
			return fmt.Errorf("--listen %s: %w", quote(text), err)
		}
		if _, err := t.Listen(acceptor); err != nil {
			return err
		}
		if locations != nil {
			locations = []furl.Hint{}
		}
	}
	if len(t.Hints()) == 0 {
		return usagef("nobody could connect: an address that stands for all addresses needs a --location, for example --location tcp:tub.example.org:9999")
	}
	return nil
}

// publish registers the object under the name that the flags ask for.
func (f *serveFlags) publish(t *tub.Tub, o *tub.Object) (furl.FURL, error) {
	var address furl.FURL
	var err error
	if f.name != "" {
		if address, err = t.RegisterAs(f.name, o); err != nil {
			return address, err
		}
	}
	if f.furlFile != "" {
		if address, err = t.RegisterFile(f.furlFile, o); err != nil {
			return address, err
		}
		if f.name != "" && address.Name.Reveal() != f.name {
			return address, fmt.Errorf("%s holds a FURL with another name than --name; leave --name away to use that one, or remove the file", f.furlFile)
		}
		return address, nil
	}
	return t.Register(o)
}

// serveDocument is what --json writes once the object can be called.
type serveDocument struct {
	FURL  string   `json:"furl"`
	TubID string   `json:"tub"`
	Hints []string `json:"hints"`
}

// announce prints the FURL: the one place where that is what the user wants.
func (e *env) announce(f furl.FURL) error {
	if e.json {
		return e.writeJSON(serveDocument{f.Reveal(), f.TubID.String(), hintTexts(f.Hints)})
	}
	_, err := fmt.Fprintln(e.stdout, f.Reveal())
	return err
}

func hintTexts(hints []furl.Hint) []string {
	all := make([]string, len(hints))
	for i, h := range hints {
		all[i] = string(h)
	}
	return all
}

// observer logs what peers do.
func observer(logger *slog.Logger) tub.Observer {
	return func(ev tub.Event) {
		attrs := []any{"peer", ev.Peer.Short()}
		if ev.Err != nil {
			attrs = append(attrs, "error", ev.Err)
		}
		switch ev.Kind {
		case tub.EventConnect:
			logger.Debug("connected", attrs...)
		case tub.EventDisconnect:
			logger.Debug("disconnected", attrs...)
		case tub.EventCall:
			way := "called"
			if !ev.Inbound {
				way = "calling"
			}
			logger.Debug(way, append(attrs, "method", ev.Method, "elapsed", ev.Elapsed)...)
		}
	}
}
