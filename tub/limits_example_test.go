package tub_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

// What exceeds a limit fails its call: at the receiver before memory is spent on
// it, at the sender before anything is sent. The connection lives.
func Example_limits() {
	ctx := context.Background()
	small := &tub.Options{Limits: tub.Limits{Limits: banana.Limits{MaxMessage: 1000}}}
	server, client, smallClient := listeningTub(small), callingTub(), callingTub(small)
	defer server.Close()
	defer client.Close()
	defer smallClient.Close()
	furl, err := server.Register(tub.NewObject(
		tub.Method("length", func(ctx context.Context, a struct{ Data []byte }) (int, error) {
			return len(a.Data), nil
		}),
	))
	check(err)

	ref := client.Ref(furl)
	_, err = tub.Call[int](ctx, ref, "length", make([]byte, 2000))
	fmt.Println(errors.Is(err, tub.RemoteType("foolscap.tokens.Violation")))
	n, err := tub.Call[int](ctx, ref, "length", make([]byte, 500))
	fmt.Println(n, err)

	_, err = tub.Call[int](ctx, smallClient.Ref(furl), "length", make([]byte, 2000))
	var limit *banana.LimitError
	if errors.As(err, &limit) {
		fmt.Println(limit.Limit)
	}
	// Output:
	// true
	// 500 <nil>
	// MaxMessage
}
