package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tor"
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

It listens on a free TCP port of 127.0.0.1, unless --listen says otherwise:
  tcp:IP:PORT, quic:IP:PORT  at one of your addresses, or at all of them with
                             0.0.0.0; then say with --location under which
                             name they find you
  tor, tor:PORT              as an onion service, by the tor that --tor names;
                             the FURL is printed once it is published

A Tub that is reached over tor and at an address shows that both are the same
machine, which it does only with --two-faces. --hidden makes a Tub that gives
its address away by nothing that it does.

With --cert, --furl-file and a --listen on a fixed port, or --onion-key for tor,
the FURL is the same the next time. Without --cert the Tub is a new one each
time.

SIGINT or SIGTERM lets the calls in progress end, for at most --grace; a second
one ends the program at once. An orderly end is a success.`,
		examples: `# Publish under a new FURL, on this machine only.
foolscap serve
# The same FURL each time, readable by you alone.
foolscap serve --cert tub.pem --furl-file my.furl --listen tcp:127.0.0.1:9999
# Be reached from elsewhere.
foolscap serve --listen tcp:0.0.0.0:9999 --location tcp:tub.example.org:9999
# By TCP and by QUIC.
foolscap serve --listen tcp:127.0.0.1:9999 --listen quic:127.0.0.1:9999
# As an onion service that is the same each time, by the tor that runs here.
foolscap serve --hidden --listen tor --tor control --onion-key onion.key \
    --cert tub.pem --furl-file onion.furl
# The same for one client only, who has made a key with foolscap clientkey.
foolscap serve --hidden --listen tor --tor control --onion-key onion.key \
    --cert tub.pem --furl-file onion.furl --authorize descriptor:x25519:KEY
# Watch who calls what.
foolscap serve --verbose`,
		codes: []exitCode{exitInterrupted},
		setup: setupServe,
	}
}

type serveFlags struct {
	routeFlags
	listen, locations              texts
	cert, name, furlFile, onionKey string
	authorized                     texts
	twoFaces, proofOfWork          bool
	grace                          time.Duration
}

func setupServe(fs *flag.FlagSet) runFunc {
	f := new(serveFlags)
	fs.Var(&f.listen, "listen", "listen at `TYPE:ADDRESS`, such as tcp:127.0.0.1:0 (the default), quic:[::1]:9999, or tor; repeatable")
	fs.Var(&f.locations, "location", "put this `HINT` into the FURL instead of the addresses listened on; repeatable")
	fs.StringVar(&f.cert, "cert", "", "keep the identity of the Tub in this `FILE`, which is made if there is none")
	fs.StringVar(&f.name, "name", "", "the `NAME` at the end of the FURL; one that can be guessed protects nothing, and it shows in the list of processes (default: random)")
	fs.StringVar(&f.furlFile, "furl-file", "", "write the FURL to this `FILE` (mode 0600), and use the name that is in it already")
	f.defineTor(fs, "make onion services by this `TOR`: control[:ADDRESS] or launch[:DIRECTORY], where ADDRESS is IP:PORT or unix:PATH (default control, at the usual port)")
	fs.StringVar(&f.onionKey, "onion-key", "", "keep the key of the onion service, and with it its address, in this `FILE`, which is made if there is none (default: a new one each time)")
	f.defineClientKeys(fs)
	fs.Var(&f.authorized, "authorize", "let only clients reach the onion service that have the private part of this `KEY`, or of another one given so: what foolscap clientkey prints; repeatable")
	fs.BoolVar(&f.proofOfWork, "proof-of-work", false, "have clients of the onion service show work when too many want in at a time; tor has to be 0.4.9 or newer")
	fs.BoolVar(&f.hidden, "hidden", false, "show nobody the address of this machine: refuse everything but tor")
	fs.BoolVar(&f.twoFaces, "two-faces", false, "be reached over tor and at an address by the same identity")
	durationVar(fs, &f.grace, "grace", 5*time.Second, "how long calls in progress may take at the end, a `DURATION` (default 5s)")
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
	listenings, locations, err := f.check(logger)
	if err != nil {
		return err
	}
	onion, err := f.onionOptions()
	if err != nil {
		return err
	}
	if err := f.checkFURLFile(ctx); err != nil {
		return err
	}
	r, err := f.open(ctx, e, "control", e.logger(slog.LevelWarn)) // the listener tells how tor gets on
	if err != nil {
		return err
	}
	defer r.close()
	id, err := servingIdentity(f.cert, logger)
	if err != nil {
		return err
	}
	t, err := r.newTub(id, &tub.Options{Logger: logger, Observer: observer(logger), TwoFaces: f.twoFaces})
	if err != nil {
		return err
	}
	defer t.Close()
	w := where{identity: id, locations: locations, via: r.via, onion: onion, logger: logger}
	if err := startListening(ctx, t, listenings, w); err != nil {
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

// check finds out what makes no sense in the flags, before anything is done.
func (f *serveFlags) check(logger *slog.Logger) ([]listening, []furl.Hint, error) {
	locations, err := f.parseLocations(logger)
	if err != nil {
		return nil, nil, err
	}
	var all []listening
	onions, hinted := 0, 0
	var everywhere listening // the first that stands for all addresses
	for _, text := range f.listen {
		l, err := parseListening(text)
		if err != nil {
			return nil, nil, err
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
	return all, locations, err
}

// onionOptions says what the onion service is to be like.
func (f *serveFlags) onionOptions() ([]tor.ListenOption, error) {
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
func (f *serveFlags) parseLocations(logger *slog.Logger) ([]furl.Hint, error) {
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

// checkFURLFile refuses a file that publish could not use, before anything is
// written to it.
func (f *serveFlags) checkFURLFile(ctx context.Context) error {
	info, err := os.Stat(f.furlFile)
	if f.furlFile == "" || err != nil || !info.Mode().IsRegular() {
		return nil // there is nothing in it that could be lost
	}
	if f.cert == "" {
		return fmt.Errorf("%s is there already, and without --cert each run is a new Tub, which cannot take over the FURL of another; give --cert in every run, or remove the file", f.furlFile)
	}
	if f.name == "" {
		return nil
	}
	text, err := takeFile(ctx, f.furlFile, "a FURL", maxFURLFile)
	if err != nil {
		return err
	}
	if old, err := furl.Parse(strings.TrimSpace(string(text))); err == nil && old.Name.Reveal() != f.name {
		return fmt.Errorf("%s holds a FURL with another name than --name; leave --name away to use that one, or remove the file", f.furlFile)
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
		return t.RegisterFile(f.furlFile, o)
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
