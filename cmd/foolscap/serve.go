package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"

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
	listenFlags
	cert, name, furlFile string
}

func setupServe(fs *flag.FlagSet) runFunc {
	f := new(serveFlags)
	f.defineListen(fs, "tcp:127.0.0.1:0")
	f.defineHost(fs)
	fs.StringVar(&f.cert, "cert", "", "keep the identity of the Tub in this `FILE`, which is made if there is none")
	fs.StringVar(&f.name, "name", "", "the `NAME` at the end of the FURL; one that can be guessed protects nothing, and it shows in the list of processes (default: random)")
	fs.StringVar(&f.furlFile, "furl-file", "", "write the FURL to this `FILE` (mode 0600), and use the name that is in it already")
	fs.StringVar(&f.onionKey, "onion-key", "", "keep the key of the onion service, and with it its address, in this `FILE`, which is made if there is none (default: a new one each time)")
	fs.BoolVar(&f.hidden, "hidden", false, "show nobody the address of this machine: refuse everything but tor")
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
	e.keepSecret(f.name)
	logger := e.logger(slog.LevelInfo)
	plan, err := f.check(logger)
	if err != nil {
		return err
	}
	if err := f.checkFURLFile(ctx); err != nil {
		return err
	}
	identity := func() (*tub.Identity, error) { return servingIdentity(f.cert, logger) }
	t, done, err := f.start(ctx, e, plan, identity, &tub.Options{Logger: logger})
	if err != nil {
		return err
	}
	defer done()
	address, err := f.publish(t, newDemo(t).object)
	if err != nil {
		return err
	}
	if err := e.announce(address); err != nil {
		return err
	}
	logger.Info("serving; interrupt to stop", "tub", t.TubID().String(), "hints", hintTexts(address.Hints))
	f.await(ctx, t, logger, func(context.Context) {})
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
