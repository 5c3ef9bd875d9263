package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/foolscap-go/foolscap/appserver"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func appCommand() *command {
	return &command{
		name:    "app",
		summary: "offer services under FURLs: take files, run commands; and use them",
		about: `An application server is a folder with services, each under a FURL of its own:
  upload-file   puts what clients send into a folder
  run-command   runs a command for clients, which see its output and its exit code
What is run, and where, is up to the server; clients can just use it. A FURL is
the right to do so: give it to whom you trust with that.

Folders and clients of Python's flappserver and flappclient work with ours, and
ours with them. docs/appserver.md has the details.`,
		examples: `# A drop box: two commands here, whose output has the FURL to give away ...
foolscap app create drop upload-file inbox
foolscap app run drop
# ... and one for who has it, in a file.
foolscap app upload @drop.furl picture.png
# The same as an onion service, by the tor that runs here.
foolscap app create --listen tor drop upload-file inbox
foolscap app run drop`,
		sub: []*command{
			appCreateCommand(), appAddCommand(), appListCommand(), appRemoveCommand(), appRunCommand(),
			appUploadCommand(), appRunCommandCommand(),
		},
	}
}

// serviceTypes are for the help.
const serviceTypes = `The TYPE of a service is one of these; its flags stand behind it:
  upload-file [--mode=MODE] [--max-size=SIZE] FOLDER
      puts files of clients into FOLDER, each as a whole or not at all, in the
      place of one of the same name. MODE is octal, 0644 by default; SIZE is
      such as 100M, by default there is no limit
  run-command [flags] FOLDER COMMAND [ARGUMENT]...
      runs COMMAND in FOLDER, with no more of the environment than PATH and the
      like, and kills it when its client goes away. Its flags:
      --accept-stdin             clients may send its standard input
      --no-stdout, --no-stderr   do not send these
      --log-stdin, --log-stdout, --no-log-stderr
                                 of these only stderr is logged by default
      --time-limit=DURATION      kill it after that time, such as 90s
      --env=NAME[=VALUE]         a variable of its environment; repeatable`

func appCreateCommand() *command {
	return &command{
		name:    "app create",
		args:    "DIR [TYPE [ARGUMENT]...]",
		summary: "make the folder of a server, with a first service",
		about: `Makes the folder DIR with a new identity, which keeps how the server is reached,
and with a first service if a TYPE is given, as "foolscap app add" does.

It will listen at tcp:127.0.0.1:3116, unless --listen says otherwise; see
"foolscap help serve". FURLs lead to that address, or to the --location. The
port has to be a fixed one: FURLs are to last. The address of an onion service
is known once "foolscap app run" has published it for the first time.

Python's flappserver can run the folder if it listens at one TCP address.

` + serviceTypes,
		examples: `foolscap app create drop upload-file --max-size=100M inbox
foolscap app create --listen tor drop upload-file inbox
foolscap app create --listen tcp:0.0.0.0:3116 \
    --location tcp:example.org:3116 drop upload-file inbox`,
		words: 2,
		setup: func(fs *flag.FlagSet) runFunc {
			f := new(listenFlags)
			f.defineListen(fs, "tcp:127.0.0.1:3116")
			comment := defineComment(fs)
			return func(_ context.Context, e *env, args []string) error {
				if err := want(args, 1, -1, "DIR [TYPE [ARGUMENT]...]"); err != nil {
					return err
				}
				return f.createServer(e, args[0], args[1:], *comment)
			}
		},
	}
}

func defineComment(fs *flag.FlagSet) *string {
	return fs.String("comment", "", "a `TEXT` that is shown with the service")
}

func (f *listenFlags) createServer(e *env, dir string, service []string, comment string) error {
	logger := e.logger(slog.LevelWarn)
	plan, err := f.check(logger)
	if err != nil {
		return err
	}
	port, err := portText(plan.listenings)
	if err != nil {
		return err
	}
	location := plan.locations
	if location == nil {
		for _, l := range plan.listenings {
			if !l.all && !l.transport.hides {
				location = append(location, furl.Hint(l.transport.hintType+":"+l.address))
			}
		}
	}
	s, err := appserver.Create(dir, nil, appserver.Settings{Port: port, Location: location, Umask: umask()}, &appserver.Options{Logger: logger})
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already; nothing is changed", dir)
	}
	if err != nil {
		return err
	}
	if len(service) > 0 {
		return e.addService(s, service, comment)
	}
	if e.json {
		return e.writeServices(s, nil)
	}
	fmt.Fprintf(e.stdout, "%s is the folder of Tub %s\n", clean(dir), s.Identity().TubID())
	fmt.Fprintln(e.stderr, `"foolscap app add" adds services, "foolscap app run" serves them`)
	return nil
}

func appAddCommand() *command {
	return &command{
		name:    "app add",
		args:    "DIR TYPE [ARGUMENT]...",
		summary: "add a service, and print its FURL",
		about: `Adds a service to the folder DIR of a server, which may be running, and prints
its FURL: whoever has that can use the service. Folders among the arguments may
be relative to the current one.

` + serviceTypes,
		examples: `foolscap app add drop upload-file --mode=0600 inbox >drop.furl
foolscap app add --comment "what is new" drop run-command . git log -5
foolscap app add drop run-command --accept-stdin --time-limit=1m . ./filter`,
		words: 2,
		setup: func(fs *flag.FlagSet) runFunc {
			comment := defineComment(fs)
			return func(_ context.Context, e *env, args []string) error {
				if err := want(args, 2, -1, "DIR TYPE [ARGUMENT]..."); err != nil {
					return err
				}
				s, err := e.openServer(args[0])
				if err != nil {
					return err
				}
				return e.addService(s, args[1:], *comment)
			}
		},
	}
}

func (e *env) openServer(dir string) (*appserver.Server, error) {
	return appserver.Open(dir, &appserver.Options{Logger: e.logger(slog.LevelWarn)})
}

// addService adds a service, and prints its FURL alone.
func (e *env) addService(s *appserver.Server, words []string, comment string) error {
	service, err := s.Add(words[0], words[1:], comment)
	if errors.Is(err, appserver.ErrUnknownType) {
		return usagef("%s is no type of services; there are upload-file and run-command", quote(words[0]))
	}
	if err != nil {
		return err
	}
	if e.json {
		return e.writeJSON(documentOf(service))
	}
	if len(service.FURL.Hints) == 0 {
		fmt.Fprintf(e.stderr, "added as service %s; \"foolscap app run\" prints its FURL, once it is known where it is reached\n", service.Name)
		return nil
	}
	fmt.Fprintln(e.stdout, service.FURL.Reveal())
	return nil
}

func appListCommand() *command {
	return &command{
		name:    "app list",
		args:    "DIR",
		summary: "list the services of a server, with their FURLs",
		about: `Lists the services in the folder DIR of a server, with their FURLs: whoever has
these can use them.`,
		examples: `foolscap app list drop
# The first FURL, for a client.
foolscap app list --json drop | jq -r .services[0].furl`,
		setup: func(*flag.FlagSet) runFunc {
			return func(_ context.Context, e *env, args []string) error {
				if err := want(args, 1, 1, "DIR"); err != nil {
					return err
				}
				s, err := e.openServer(args[0])
				if err != nil {
					return err
				}
				return e.printServices(s)
			}
		},
	}
}

// servicesDocument is what --json writes of a server.
type servicesDocument struct {
	TubID    string            `json:"tub"`
	Location []string          `json:"location"`
	Services []serviceDocument `json:"services"`
}

type serviceDocument struct {
	Service string   `json:"service"`
	Type    string   `json:"type"`
	Args    []string `json:"args"`
	Comment string   `json:"comment,omitempty"`
	FURL    string   `json:"furl,omitempty"` // unless it leads nowhere yet
}

func documentOf(s appserver.Service) serviceDocument {
	d := serviceDocument{s.Name, s.Type, s.Args, s.Comment, ""}
	if len(s.FURL.Hints) > 0 {
		d.FURL = s.FURL.Reveal()
	}
	return d
}

// printServices prints all services with their FURLs.
func (e *env) printServices(s *appserver.Server) error {
	list, err := s.List()
	if err != nil {
		return err
	}
	return e.writeServices(s, list)
}

func (e *env) writeServices(s *appserver.Server, list []appserver.Service) error {
	set, err := s.Settings()
	if err != nil {
		return err
	}
	if e.json {
		doc := servicesDocument{s.Identity().TubID().String(), hintTexts(set.Location), []serviceDocument{}}
		for _, service := range list {
			doc.Services = append(doc.Services, documentOf(service))
		}
		return e.writeJSON(doc)
	}
	for _, service := range list {
		d := documentOf(service)
		fmt.Fprintf(e.stdout, "%s  %s\n", clean(d.Service), clean(strings.Join(append([]string{d.Type}, d.Args...), " ")))
		if d.Comment != "" {
			fmt.Fprintf(e.stdout, "   # %s\n", clean(d.Comment))
		}
		if d.FURL == "" {
			d.FURL = "(its FURL is known once the server has run)"
		}
		fmt.Fprintf(e.stdout, "   %s\n", d.FURL)
	}
	return nil
}

func appRemoveCommand() *command {
	return &command{
		name:    "app remove",
		args:    "DIR SERVICE",
		summary: "remove a service: its FURL is worth nothing any more",
		about: `Removes a service from the folder DIR of a server. SERVICE is its number in the
list. If the server runs, the service ends within a second, with all that it is
doing. Files that were uploaded stay where they are.`,
		examples: `foolscap app remove drop 1`,
		setup: func(*flag.FlagSet) runFunc {
			return func(_ context.Context, e *env, args []string) error {
				if err := want(args, 2, 2, "DIR SERVICE"); err != nil {
					return err
				}
				s, err := e.openServer(args[0])
				if err != nil {
					return err
				}
				service, err := s.Remove(args[1])
				if err != nil || !e.json {
					return err
				}
				return e.writeJSON(documentOf(service))
			}
		},
	}
}
