package tub_test

import (
	"context"
	"fmt"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/tub"
)

// An unresolved reference connects when it is called, and connects anew when
// the connection was lost: here, because the server was restarted. It comes
// back under the same FURL, as it has the same identity, port and name.
func ExampleTub_Ref() {
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
		furl, err := server.RegisterAs("greeter", tub.NewObject(
			tub.Method("greet", func(ctx context.Context, a struct{ Name string }) (string, error) {
				return "Hello, " + a.Name, nil
			}),
		))
		check(err)
		return server, furl
	}

	server, furl := start("127.0.0.1:0")
	greeter := client.Ref(furl)
	text, err := tub.Call[string](ctx, greeter, "greet", "Alice")
	check(err)
	fmt.Println(text)

	lost := make(chan struct{})
	greeter.OnDisconnect(func(error) { close(lost) })
	check(server.Close())
	<-lost
	host, port, err := furl.Hints[0].HostPort()
	check(err)
	server, _ = start(fmt.Sprintf("%s:%d", host, port))
	defer server.Close()
	text, err = tub.Call[string](ctx, greeter, "greet", "Bob")
	check(err)
	fmt.Println(text)
	// Output:
	// Hello, Alice
	// Hello, Bob
}
