// Command survive has one FURL with a tcp, a quic and a tor hint, loses the transport that is in use again and again, and
// shows that the client stays connected.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"slices"
	"time"

	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/tub"
)

func main() {
	log.SetFlags(0)
	control := flag.String("control", os.Getenv("FOOLSCAP_TOR_CONTROL"), "use the tor with its control port at this `address`, IP:PORT or unix:PATH")
	launch := flag.Bool("launch", false, "start a tor, which connects to the Tor network")
	flag.Parse()
	var via *tor.Tor
	switch {
	case *launch && *control != "":
		log.Fatal("-launch and -control, or the FOOLSCAP_TOR_CONTROL that it defaults to, exclude each other")
	case *launch:
		via = tor.Launch(tor.LaunchConfig{})
	case *control != "":
		via = tor.Control(tor.ControlConfig{Address: *control})
	default:
		fmt.Println("no tor is given (-control, -launch), so there is no tor hint")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	check(run(ctx, os.Stdout, via))
}

func run(ctx context.Context, out io.Writer, via *tor.Tor) error {
	id, err := tub.NewIdentity()
	if err != nil {
		return err
	}
	// Who sees the FURL learns that the onion service and the addresses are one machine. Here that is no secret.
	server, err := tub.New(id, &tub.Options{TwoFaces: true})
	if err != nil {
		return err
	}
	defer server.Close()
	all := transports(ctx, id, via)
	for _, t := range all {
		if err := t.open(server); err != nil {
			return err
		}
		// Onion services take a while to be published.
		if _, err := server.WaitAdvertised(ctx); err != nil {
			return err
		}
	}
	furl, err := server.Register(tub.NewObject(
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
	))
	if err != nil {
		return err
	}

	client, err := newClient(via)
	if err != nil {
		return err
	}
	defer client.Close()
	connected := make(chan *tub.Ref)
	r, err := client.Reconnect(furl, func(ctx context.Context, ref *tub.Ref) {
		select {
		case connected <- ref:
		case <-ctx.Done():
		}
	}, &tub.ReconnectOptions{MaxDelay: 2 * time.Second})
	if err != nil {
		return err
	}
	defer r.Stop()

	// use waits for a connection, calls by it, and tells which hint it was made by.
	use := func() (*transport, error) {
		var ref *tub.Ref
		select {
		case ref = <-connected:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ctx.Err(), r.State().Err)
		}
		defer ref.Close()
		sum, err := tub.Call[int](ctx, ref, "add", 1, 2)
		if err != nil {
			return nil, err
		}
		info, _ := client.Info(furl.TubID)
		for _, hint := range info.Hints {
			if hint.Err != nil {
				fmt.Fprintln(out, "  failed:", hint.Hint)
			}
		}
		fmt.Fprintf(out, "  won:    %s, and 1 + 2 = %d\n", info.Winner, sum)
		i := slices.IndexFunc(all, func(t *transport) bool { return t.hintType == info.Winner.Type() })
		return all[i], nil
	}
	fmt.Fprintln(out, "connecting")
	var lost []*transport
	for range all {
		t, err := use()
		if err != nil {
			return err
		}
		if lost = append(lost, t); len(lost) == len(all) { // it is the last one
			if err := lost[0].open(server); err != nil {
				return err
			}
			fmt.Fprintln(out, lost[0].hintType, "is back")
		}
		t.lose()
		fmt.Fprintln(out, t.hintType, "is lost")
	}
	_, err = use()
	return err
}

// newClient makes a Tub that dials all three types of hints.
func newClient(via *tor.Tor) (*tub.Tub, error) {
	id, err := tub.NewIdentity()
	if err != nil {
		return nil, err
	}
	client, err := tub.New(id, nil)
	if err != nil {
		return nil, err
	}
	err = client.Handle("quic", quic.New())
	if err == nil && via != nil {
		var h *tor.Handler
		if h, err = tor.New(via); err == nil {
			err = client.Handle("tor", h)
		}
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
