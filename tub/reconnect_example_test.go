package tub_test

import (
	"context"
	"fmt"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/tub"
)

// A Reconnector calls back with each connection that it makes: here, once more
// after the server was restarted under the same FURL.
func ExampleTub_Reconnect() {
	ctx := context.Background()
	client := callingTub()
	defer client.Close()
	id, err := tub.NewIdentity()
	check(err)
	start := func(address string) (*tub.Tub, tub.FURL) {
		server, err := tub.New(id, nil)
		check(err)
		l, err := tcp.Listen(ctx, address)
		check(err)
		_, err = server.Listen(l)
		check(err)
		furl, err := server.RegisterAs("news", tub.NewObject(
			tub.Method("latest", func(ctx context.Context, _ tub.None) (string, error) {
				return "all is well", nil
			}),
		))
		check(err)
		return server, furl
	}
	server, furl := start("127.0.0.1:0")

	latest := make(chan string)
	r, err := client.Reconnect(furl, func(ctx context.Context, news *tub.Ref) {
		text, err := tub.Call[string](ctx, news, "latest")
		check(err)
		latest <- text
	}, nil)
	check(err)
	defer r.Stop()
	fmt.Println(<-latest)

	check(server.Close())
	host, port, err := furl.Hints[0].HostPort()
	check(err)
	server, _ = start(fmt.Sprintf("%s:%d", host, port))
	defer server.Close()
	r.Reset() // we know that it is worth a try
	fmt.Println(<-latest)
	// Output:
	// all is well
	// all is well
}
