package tub_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/tub"
)

// NoSuchItem is what remote callers, those in Python too, see as a KeyError.
type NoSuchItem struct{ Item string }

func (e *NoSuchItem) Error() string { return "there is no " + e.Item }

func (e *NoSuchItem) RemoteType() (string, []string) {
	return "example.shop.NoSuchItem", []string{"example.shop.NoSuchItem", "builtins.KeyError", "builtins.Exception"}
}

// An error says what the remote method has failed with, or else whether the
// call may have run.
func Example_errors() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer client.Close()

	furl, err := server.Register(tub.NewObject(
		tub.Method("price", func(ctx context.Context, a struct{ Item string }) (int, error) {
			return 0, &NoSuchItem{a.Item}
		}),
	))
	check(err)
	shop, err := client.Connect(ctx, furl)
	check(err)

	_, err = tub.Call[int](ctx, shop, "price", "tea")
	var failure *tub.Failure
	if errors.As(err, &failure) {
		fmt.Println(failure.Type, failure.IsType("builtins.KeyError"), failure.Text)
	}

	lost := make(chan struct{})
	shop.OnDisconnect(func(reason error) { close(lost) })
	check(server.Close())
	<-lost
	_, err = tub.Call[int](ctx, shop, "price", "tea")
	var call *tub.CallError
	if errors.As(err, &call) {
		fmt.Println(call.Sent, errors.Is(err, tub.ErrDeadReference))
	}

	_, err = client.Connect(ctx, furl)
	var dial *tub.DialError
	if errors.As(err, &dial) {
		fmt.Println(len(dial.Hints), errors.Is(err, handlers.ErrUnreachable))
	}
	// Output:
	// example.shop.NoSuchItem true there is no tea
	// not sent true
	// 1 true
}
