package main

import (
	"context"
	"crypto/ecdh"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/tub"
)

// routeFlags say how a command gets to other Tubs.
type routeFlags struct {
	tor, torPassword  string
	clientKeys        texts
	socks, socksLogin string
	hidden            bool
}

// defineTor defines the flags that choose a tor. usage ends in what its default
// is.
func (f *routeFlags) defineTor(fs *flag.FlagSet, usage string) {
	fs.StringVar(&f.tor, "tor", "", usage)
	fs.StringVar(&f.torPassword, "tor-password", "", "show tor's control port the password in this `FILE`, rather than its cookie")
}

// defineClientKeys defines the flag of commands that dial onion services.
func (f *routeFlags) defineClientKeys(fs *flag.FlagSet) {
	fs.Var(&f.clientKeys, "client-key", "our key for an onion service that admits authorised clients only: a `FILE` made by foolscap clientkey; repeatable")
}

// defineSOCKS defines the flags that choose a proxy.
func (f *routeFlags) defineSOCKS(fs *flag.FlagSet, usage string) {
	fs.StringVar(&f.socks, "socks", "", usage)
	fs.StringVar(&f.socksLogin, "socks-login", "", "the `FILE` with USER:PASSWORD for the proxy, in one line")
}

// define defines the flags of commands that dial.
func (f *routeFlags) define(fs *flag.FlagSet) {
	f.defineTor(fs, "dial tor hints by this `TOR`: socks[:ADDRESS], control[:ADDRESS] or launch[:DIRECTORY], where ADDRESS is IP:PORT or unix:PATH (default socks, at the usual ports)")
	f.defineClientKeys(fs)
	f.defineSOCKS(fs, "dial tcp hints through the SOCKS5 proxy at this `ADDRESS`, IP:PORT or unix:PATH, and no quic hints")
	fs.BoolVar(&f.hidden, "hidden", false, "show nobody the address of this machine: dial tor and tcp hints by tor, and no others")
}

// A route is how a command gets to other Tubs. It makes Tubs that take it.
type route struct {
	via    *tor.Tor
	hold   *tor.Handler // keeps a tor that is launched between the Tubs
	dialer *socks.Dialer
	hidden bool
}

// open checks the flags. byDefault is what --tor is without a value. Nothing is
// contacted before the first dial.
func (f *routeFlags) open(ctx context.Context, e *env, byDefault string, logger *slog.Logger) (*route, error) {
	r := &route{hidden: f.hidden}
	var err error
	if r.dialer, err = f.proxy(ctx, e); err != nil {
		return nil, err
	}
	if r.via, err = f.chooseTor(ctx, e, byDefault, logger); err != nil {
		return nil, err
	}
	if r.hold, err = tor.New(r.via); err != nil {
		return nil, usagef("--tor %s: %v", quote(f.tor), err)
	}
	return r, nil
}

func (r *route) close() { r.hold.Close() }

func (f *routeFlags) chooseTor(ctx context.Context, e *env, byDefault string, logger *slog.Logger) (*tor.Tor, error) {
	choice := f.tor
	if choice == "" {
		choice = byDefault
	}
	kind, rest, _ := strings.Cut(choice, ":")
	if f.torPassword != "" && kind != "control" {
		return nil, usagef("--tor-password is for a control port: --tor control")
	}
	keys, err := f.loadClientKeys(logger)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "socks":
		if len(keys) > 0 {
			return nil, usagef("--client-key: a SOCKS port takes no keys: --tor control or --tor launch")
		}
		return tor.SOCKS(rest), nil
	case "control":
		password, err := e.secretLine(ctx, f.torPassword, "a password")
		return tor.Control(tor.ControlConfig{Address: rest, Password: password, ClientKeys: keys}), err
	case "launch":
		return tor.Launch(tor.LaunchConfig{DataDir: rest, ClientKeys: keys, Logger: logger}), nil
	}
	return nil, usagef("--tor %s: it is socks[:ADDRESS], control[:ADDRESS] or launch[:DIRECTORY]", quote(f.tor))
}

// loadClientKeys reads the keys of --client-key.
func (f *routeFlags) loadClientKeys(logger *slog.Logger) (map[string]*ecdh.PrivateKey, error) {
	keys := make(map[string]*ecdh.PrivateKey)
	for _, path := range f.clientKeys {
		onion, key, err := tor.LoadClientKey(path, logger)
		if err != nil {
			return nil, err
		}
		if keys[onion] != nil {
			return nil, usagef("--client-key: there are two keys for %s", onion)
		}
		keys[onion] = key
	}
	return keys, nil
}

// proxy returns the dialer of --socks, nil without it.
func (f *routeFlags) proxy(ctx context.Context, e *env) (*socks.Dialer, error) {
	switch {
	case f.socks == "" && f.socksLogin != "":
		return nil, usagef("--socks-login is for the proxy of --socks, which is not given")
	case f.socks == "":
		return nil, nil
	case f.hidden:
		return nil, usagef("a SOCKS proxy knows the address of this machine, so --socks and --hidden exclude each other; if it is that of a tor, give it as --tor socks:ADDRESS")
	}
	network, address := "tcp", f.socks
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	} else if _, err := checkAddress(address); err != nil {
		return nil, usagef("--socks %s: it is IP:PORT or unix:PATH", quote(f.socks))
	}
	var opts []socks.Option
	if f.socksLogin != "" {
		login, err := e.secretLine(ctx, f.socksLogin, "a login")
		if err != nil {
			return nil, err
		}
		user, password, ok := strings.Cut(login, ":")
		if !ok {
			return nil, fmt.Errorf("%s: it has to hold USER:PASSWORD in one line", f.socksLogin)
		}
		e.keepSecret(password)
		opts = append(opts, socks.WithCredentials(user, password))
	}
	d, err := socks.NewDialer(network, address, opts...)
	if err != nil {
		return nil, usagef("--socks %s: %v", quote(f.socks), err)
	}
	return d, nil
}

// secretLine reads the one line of a file; "" for no file.
func (e *env) secretLine(ctx context.Context, path, what string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := takeFile(ctx, path, what, maxSecretFile)
	if err != nil {
		return "", err
	}
	line := strings.TrimRight(string(text), "\r\n")
	if line == "" || strings.ContainsAny(line, "\r\n") {
		return "", fmt.Errorf("%s: it has to hold one line, with %s", path, what)
	}
	e.keepSecret(line)
	return line, nil
}

const maxSecretFile = 4 << 10

// newTub makes a Tub that takes the route. opts are changed.
func (r *route) newTub(id *tub.Identity, opts *tub.Options) (*tub.Tub, error) {
	opts.Hidden = r.hidden
	opts.NoHandlers = r.hidden || r.dialer != nil
	t, err := tub.New(id, opts)
	if err != nil {
		return nil, err
	}
	if err := r.register(t); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (r *route) register(t *tub.Tub) error {
	onions, err := tor.New(r.via)
	if err != nil {
		return err
	}
	if err := t.Handle("tor", onions); err != nil {
		return err
	}
	switch {
	case r.hidden:
		if err := t.Handle("tcp", onions); err != nil {
			return err
		}
		return t.Handle("quic", notDialled{"--hidden", "that would show the address of this machine"})
	case r.dialer != nil:
		if err := t.Handle("tcp", socks.New(r.dialer)); err != nil {
			return err
		}
		return t.Handle("quic", notDialled{"--socks", "that would go past the proxy"})
	}
	return t.Handle("quic", quic.New())
}

// progressOf says what the way to a Tub waits for, such as a tor that starts; ""
// if no handler has told.
func progressOf(info tub.ConnInfo) string {
	for _, h := range info.Hints {
		if h.Text != "" && h.Err == nil && !h.Won {
			return h.Hint.Type() + ": " + h.Text
		}
	}
	return ""
}

const (
	// usualTimeout stands for a --timeout that is not given.
	usualTimeout time.Duration = -1
	// torTimeout is what it is for tor, which may have to be started first.
	torTimeout = 3 * time.Minute
)
