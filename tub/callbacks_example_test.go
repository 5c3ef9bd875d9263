package tub_test

import (
	"context"
	"fmt"

	"github.com/foolscap-go/foolscap/tub"
)

// An object that is sent becomes a reference on the other side, which can call
// it: over the same connection, while the call is still going on, and without
// the sender having a listener.
func Example_callbacks() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()

	furl, err := server.Register(tub.NewObject(
		tub.Method("download", func(ctx context.Context, a struct{ Progress *tub.Ref }) (string, error) {
			for _, percent := range []int{50, 100} {
				if _, err := tub.Call[tub.None](ctx, a.Progress, "report", percent); err != nil {
					return "", err
				}
			}
			return "done", nil
		}),
	))
	check(err)

	progress := tub.NewObject(
		tub.Method("report", func(ctx context.Context, a struct{ Percent int }) (tub.None, error) {
			fmt.Println(a.Percent, "%")
			return tub.None{}, nil
		}),
	)
	result, err := tub.Call[string](ctx, client.Ref(furl), "download", progress)
	check(err)
	fmt.Println(result)
	// Output:
	// 50 %
	// 100 %
	// done
}
