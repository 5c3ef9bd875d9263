// Command onion runs a hidden Tub on an onion service, and calls it from another hidden Tub, over Tor.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"time"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/tub"
)

func main() {
	log.SetFlags(0)
	control := flag.String("control", os.Getenv("FOOLSCAP_TOR_CONTROL"), "use the tor with its control port at this `address`, IP:PORT or unix:PATH")
	launch := flag.Bool("launch", false, "start a tor, which connects to the Tor network")
	key := flag.String("key", "", "keep the key of the onion service, and with it the address, in this `file`")
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
		check(inPrivateNetwork())
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	check(run(ctx, os.Stdout, via, *key))
}

// inPrivateNetwork runs this program once more, beside a Tor network of its own.
func inPrivateNetwork() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Println("no tor is given (-control, -launch), so a private Tor network has to do")
	cmd := exec.Command("go", append([]string{"run", "github.com/foolscap-go/foolscap/integration/tornetwork", self}, os.Args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

func run(ctx context.Context, out io.Writer, via *tor.Tor, keyFile string) error {
	server, err := hiddenTub()
	if err != nil {
		return err
	}
	defer server.Close()
	var opts []tor.ListenOption // without a key file, the address is a new one each time
	if keyFile != "" {
		opts = append(opts, tor.WithKeyFile(keyFile))
	}
	l, err := tor.Listen(ctx, via, 3457, opts...)
	if err != nil {
		return err
	}
	if _, err := server.Listen(l); err != nil {
		return err
	}
	fmt.Fprintln(out, "server: publishing", l.Onion())
	hints, err := server.WaitAdvertised(ctx) // a FURL without the hint would be of no use
	if err != nil {
		return err
	}
	furl, err := server.Register(tub.NewObject(
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
	))
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "server: published, the hint is", hints[0])

	// Listening at an address would tell everybody where the onion service is.
	open, err := tcp.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, err = server.Listen(open) // which closes it if it is not taken
	var exposure *tub.ExposureError
	if !errors.As(err, &exposure) {
		return fmt.Errorf("a hidden Tub has taken a TCP listener: %v", err)
	}
	fmt.Fprintln(out, "server: no TCP:", exposure.Reason)

	client, err := hiddenTub()
	if err != nil {
		return err
	}
	defer client.Close()
	dial, err := tor.New(via)
	if err != nil {
		return err
	}
	if err := client.Handle("tor", dial); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		said := ""
		for info := range client.WatchInfo(watching, furl.TubID) {
			for _, hint := range info.Hints {
				if hint.Text != "" && hint.Text != said {
					said = hint.Text
					fmt.Fprintln(out, "client:", hint.Phase, said)
				}
			}
		}
	}()
	sum, err := tub.Call[int](ctx, client.Ref(furl), "add", 1, 2)
	stop()
	<-watched
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "client: 1 + 2 =", sum)
	return nil
}

// hiddenTub makes a Tub that takes nothing which could show where it is.
func hiddenTub() (*tub.Tub, error) {
	id, err := tub.NewIdentity()
	if err != nil {
		return nil, err
	}
	return tub.New(id, &tub.Options{Hidden: true})
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
