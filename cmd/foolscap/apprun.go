package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/foolscap-go/foolscap/appserver"
	"github.com/foolscap-go/foolscap/tub"
)

func appRunCommand() *command {
	return &command{
		name:    "app run",
		args:    "DIR",
		summary: "serve the services of a server until interrupted",
		about: `Serves the services in the folder DIR, of ours or of Python's flappserver, where
its file "port" says, and prints them with their FURLs as soon as they can be
used. Services can be added and removed meanwhile.

An onion service is made by the tor that --tor names; its key is in the file
onion.key of the folder, so that it keeps its address. A server that is reached
as an onion service alone shows nobody the address of this machine.

SIGINT or SIGTERM lets uploads and commands end, for at most --grace; then they
are given up, and commands killed. A second signal ends the program at once.`,
		examples: `foolscap app run drop
# An onion service by a tor that is started for it, for one client only.
foolscap app run --tor launch --authorize descriptor:x25519:KEY drop`,
		codes: []exitCode{exitInterrupted},
		setup: func(fs *flag.FlagSet) runFunc {
			f := new(listenFlags)
			f.defineHost(fs)
			f.defineTwoFaces(fs)
			verbose := fs.Bool("verbose", false, "log connections and calls")
			return func(ctx context.Context, e *env, args []string) error {
				e.verbose = *verbose
				if err := want(args, 1, 1, "DIR"); err != nil {
					return err
				}
				return f.runServer(ctx, e, args[0])
			}
		},
	}
}

func (f *listenFlags) runServer(ctx context.Context, e *env, dir string) error {
	logger := e.logger(slog.LevelInfo)
	s, err := appserver.Open(dir, &appserver.Options{Logger: logger})
	if err != nil {
		return err
	}
	set, err := s.Settings()
	if err != nil {
		return err
	}
	plan, err := f.planOf(s, set, logger)
	if err != nil {
		return err
	}
	if set.Umask != 0 {
		setUmask(set.Umask)
	}
	identity := func() (*tub.Identity, error) { return s.Identity(), nil }
	// No service here needs objects of third Tubs, and to be introduced to them by
	// clients would make this Tub dial where they want.
	t, done, err := f.start(ctx, e, plan, identity, &tub.Options{Logger: logger, Introductions: tub.IntroductionsRefused})
	if err != nil {
		return err
	}
	defer done()
	stop, err := s.Serve(t)
	if err != nil {
		return err
	}
	if err := e.printServices(s); err != nil {
		stop(ctx)
		return err
	}
	logger.Info("serving; interrupt to stop", "tub", t.TubID().String(), "hints", hintTexts(t.Hints()))
	f.await(ctx, t, logger, stop)
	return nil
}

// planOf is what the folder says about how the server is reached.
func (f *listenFlags) planOf(s *appserver.Server, set appserver.Settings, logger *slog.Logger) (listenPlan, error) {
	file := filepath.Join(s.Dir(), "port")
	hides := true
	var hidden []string // types of hints that listeners have themselves
	for line := range strings.Lines(set.Port) {
		text, err := listenText(strings.TrimSpace(line))
		if err != nil {
			return listenPlan{}, fmt.Errorf("%s: %w", file, err)
		}
		f.listen = append(f.listen, text)
		l, err := parseListening(text)
		if err != nil {
			return listenPlan{}, fmt.Errorf("%s: %s", file, err) // not of the command line
		}
		if l.transport.hides {
			hidden = append(hidden, l.transport.hintType)
		} else {
			hides = false
		}
	}
	if len(f.listen) == 0 {
		return listenPlan{}, fmt.Errorf("%s does not say where to listen; write %s into it, for example", file, "tcp:3116:interface=127.0.0.1")
	}
	for _, hint := range set.Location {
		if !slices.Contains(hidden, hint.Type()) {
			f.locations = append(f.locations, string(hint))
		}
	}
	f.hidden = hides
	if len(hidden) > 0 {
		f.onionKey = filepath.Join(s.Dir(), "onion.key")
	}
	return f.check(logger)
}

// portText is what the file "port" says about listenings: one a line, TCP as Twisted
// writes its endpoints, so that Python's flappserver takes a lone one.
func portText(all []listening) (string, error) {
	var lines []string
	for _, l := range all {
		if l.transport.hides {
			lines = append(lines, l.text)
			continue
		}
		host, port, err := net.SplitHostPort(l.address)
		if err != nil {
			return "", err
		}
		if l.port() == "PORT" {
			return "", usagef("--listen %s: the port has to be a fixed one, since FURLs are to last", quote(l.text))
		}
		if l.transport.hintType != "tcp" {
			lines = append(lines, l.transport.hintType+":"+l.address)
			continue
		}
		line := "tcp:" + port
		if strings.Contains(host, ":") {
			line = "tcp6:" + port
		}
		if host != "" {
			line += ":interface=" + strings.ReplaceAll(host, ":", `\:`)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n"), nil
}

// listenText is the value of --listen that a line of the file "port" stands for.
func listenText(line string) (string, error) {
	kind, rest, _ := strings.Cut(line, ":")
	if kind != "tcp" && kind != "tcp6" && findTransport(kind) != nil {
		return line, nil
	}
	if _, err := strconv.Atoi(line); err == nil { // a port alone
		kind, rest = "tcp", line
	}
	port, host := "", ""
	if kind == "tcp6" {
		host = "::"
	}
	for i, field := range splitEndpoint(rest) {
		name, value, named := strings.Cut(field, "=")
		switch {
		case !named && i == 0:
			port = field
		case named && name == "port":
			port = value
		case named && name == "interface":
			host = value
		case named && name == "backlog":
		default:
			return "", fmt.Errorf("%s is not understood: it is to be such as tcp:3116:interface=127.0.0.1, quic:127.0.0.1:3116 or tor", quote(line))
		}
	}
	if kind != "tcp" && kind != "tcp6" {
		return "", fmt.Errorf("%s is not understood: of Twisted's endpoints only tcp and tcp6 are known here", quote(line))
	}
	return "tcp:" + net.JoinHostPort(host, port), nil
}

// splitEndpoint splits at colons without a backslash.
func splitEndpoint(s string) []string {
	const colon = "\x00"
	fields := strings.Split(strings.ReplaceAll(s, `\:`, colon), ":")
	for i := range fields {
		fields[i] = strings.ReplaceAll(fields[i], colon, ":")
	}
	return fields
}
