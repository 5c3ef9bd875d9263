// Command socks calls a server from a Tub that reaches others through a SOCKS5 proxy, and by no other way.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/tub"
)

func main() {
	log.SetFlags(0)
	proxy := flag.String("proxy", "", "use the proxy at this `address` (default: a microsocks that is started for it)")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	check(run(ctx, os.Stdout, *proxy))
}

func run(ctx context.Context, out io.Writer, proxy string) error {
	ours := proxy == ""
	stop := func() {}
	if ours {
		var err error
		if proxy, stop, err = startProxy(ctx); err != nil {
			return err
		}
		defer stop()
	}

	// An ordinary server, which knows nothing of proxies.
	server, err := newTub(nil)
	if err != nil {
		return err
	}
	defer server.Close()
	l, err := tcp.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := server.Listen(l); err != nil {
		return err
	}
	furl, err := server.Register(tub.NewObject(
		tub.Method("add", func(_ context.Context, a struct{ A, B int }) (int, error) { return a.A + a.B, nil }),
	))
	if err != nil {
		return err
	}

	// The client has no other handler for tcp hints than the one that goes through the proxy.
	client, err := newTub(&tub.Options{NoHandlers: true})
	if err != nil {
		return err
	}
	defer client.Close()
	d, err := socks.NewDialer("tcp", proxy)
	if err != nil {
		return err
	}
	if err := client.Handle("tcp", socks.New(d)); err != nil {
		return err
	}
	ref := client.Ref(furl)
	sum, err := tub.Call[int](ctx, ref, "add", 1, 2)
	if err != nil {
		return err
	}
	info, _ := client.Info(furl.TubID)
	fmt.Fprintf(out, "%s was dialled by: %s\n", info.Winner, info.Hints[0].Handler)
	fmt.Fprintln(out, "1 + 2 =", sum)
	if !ours {
		return nil
	}

	// Without the proxy there is no connection: nothing goes past it.
	stop()
	for err = nil; err == nil || errors.Is(err, tub.ErrDeadReference); { // until the loss of the connection is noticed
		_, err = tub.Call[int](ctx, ref, "add", 1, 2)
	}
	if !errors.Is(err, handlers.ErrProxyUnreachable) {
		return err
	}
	fmt.Fprintln(out, "without the proxy:", handlers.ErrProxyUnreachable)
	return nil
}

// startProxy starts a proxy and waits until it listens.
func startProxy(ctx context.Context) (address string, stop func(), err error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	cmd := exec.Command("microsocks", "-i", "127.0.0.1", "-p", strconv.Itoa(port))
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("%w; install it, or give the address of another proxy with -proxy", err)
	}
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return address, stop, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			stop()
			return "", nil, err
		}
	}
}

func newTub(opts *tub.Options) (*tub.Tub, error) {
	id, err := tub.NewIdentity()
	if err != nil {
		return nil, err
	}
	return tub.New(id, opts)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
