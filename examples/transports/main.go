//go:build unix

// Command transports shows two transports that are not part of Foolscap: one
// Tub listens on both, another calls it over each.
//
//	transports             shows them
//	transports relay PATH  connects standard input and output to a socket
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"github.com/foolscap-go/foolscap/examples/transports/child"
	"github.com/foolscap-go/foolscap/examples/transports/unixsock"
	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/tub"
)

func main() {
	log.SetFlags(0)
	ctx := context.Background()
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 0:
		err = show(ctx, os.Stdout)
	case len(args) == 2 && args[0] == "relay":
		err = child.Relay(ctx, args[1], os.Stdin, os.Stdout)
	default:
		err = errors.New("usage: transports, or transports relay PATH")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// show lets two Tubs talk over both transports.
func show(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "foolscap-") // mode 0700: nobody else gets in
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := newTub()
	if err != nil {
		return err
	}
	defer server.Close()

	near, err := unixsock.Listen(ctx, filepath.Join(dir, "calculator"))
	if err != nil {
		return err
	}
	if _, err := server.Listen(near); err != nil {
		return err
	}
	far := filepath.Join(dir, "for-children")
	l, err := child.Listen(ctx, far, "office")
	if err != nil {
		return err
	}
	if _, err := server.Listen(l); err != nil {
		return err
	}
	f, err := server.Register(tub.NewObject(
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
	))
	if err != nil {
		return err
	}

	// The command would be {"ssh", "-T", "office.example", "transports", "relay", far} if the server were elsewhere.
	self, err := os.Executable()
	if err != nil {
		return err
	}
	commands := map[string][]string{"office": {self, "relay", far}}
	for _, hint := range f.Hints {
		var h handlers.Handler = unixsock.New(dir)
		if hint.Type() == child.Type {
			h = child.New(commands)
		}
		client, err := newTub()
		if err != nil {
			return err
		}
		defer client.Close()
		if err := client.Handle(hint.Type(), h); err != nil {
			return err
		}
		sum, err := tub.Call[int](ctx, client.Ref(f), "add", 1, 2)
		if err != nil {
			return err
		}
		info, _ := client.Info(server.TubID())
		fmt.Fprintf(out, "over %-15s  1 + 2 = %d\n", info.Winner, sum)
	}
	return nil
}

// newTub makes a Tub that knows no transport yet.
func newTub() (*tub.Tub, error) {
	id, err := tub.NewIdentity()
	if err != nil {
		return nil, err
	}
	return tub.New(id, &tub.Options{NoHandlers: true})
}
