package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/foolscap-go/foolscap/handlers/tor"
)

func clientKeyCommand() *command {
	return &command{
		name:    "clientkey",
		args:    "create ONION FILE | show FILE",
		summary: "make a key with which an onion service admits you",
		about: `An onion service can be made so that only those find it whose key its operator
has authorised; others cannot even tell whether it is up. A client makes a key
for the service and gives the public part to the operator, by a way on which
nobody exchanges it for another. It is no secret.

  create ONION FILE  makes a key for the onion address, the part of a FURL from
                     "tor:" to the next colon, and prints the public part. A
                     file that is there already is never overwritten.
  show FILE          prints the public part again.

The operator runs foolscap serve with --authorize and what was printed, the
client foolscap call or ping with --client-key FILE. The file has mode 0600, in
the form of tor's own files *.auth_private.`,
		examples: `foolscap clientkey create ….onion service.key
foolscap clientkey show service.key`,
		verbs: []string{"create", "show"},
		setup: setupClientKey,
	}
}

// clientKeyDocument is what --json writes.
type clientKeyDocument struct {
	File  string `json:"file"`
	Onion string `json:"onion"`
	Key   string `json:"key"`
}

func setupClientKey(*flag.FlagSet) runFunc {
	return func(_ context.Context, e *env, args []string) error {
		switch {
		case len(args) == 3 && args[0] == "create":
			path := args[2]
			if _, err := tor.CreateClientKey(path, args[1]); errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s exists already; it is not overwritten, since a service may know the key in it", path)
			} else if err != nil {
				return err
			}
			return e.showClientKey(path)
		case len(args) == 2 && args[0] == "show":
			return e.showClientKey(args[1])
		}
		return usagef("%q or %q is expected", "create ONION FILE", "show FILE")
	}
}

func (e *env) showClientKey(path string) error {
	onion, key, err := tor.LoadClientKey(path, e.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	doc := clientKeyDocument{File: path, Onion: onion, Key: tor.FormatClientKey(key.PublicKey())}
	if e.json {
		return e.writeJSON(doc)
	}
	_, err = fmt.Fprintln(e.stdout, doc.Key)
	return err
}
