package tub_test

import (
	"context"
	"fmt"

	"github.com/foolscap-go/foolscap/tub"
)

// A function that is sent becomes a function on the other side, which can call
// it: over the same connection, while the call is still going on, and without
// the sender having a listener. In Python it is a bound method.
func Example_callbacks() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()

	type progress struct{ Percent int }
	furl, err := server.Register(tub.NewObject(
		tub.Method("download", func(ctx context.Context, a struct {
			Report func(context.Context, progress) (tub.None, error)
		}) (string, error) {
			for _, percent := range []int{50, 100} {
				if _, err := a.Report(ctx, progress{percent}); err != nil {
					return "", err
				}
			}
			return "done", nil
		}),
	))
	check(err)

	report := func(ctx context.Context, p progress) (tub.None, error) {
		fmt.Println(p.Percent, "%")
		return tub.None{}, nil
	}
	result, err := tub.Call[string](ctx, client.Ref(furl), "download", report)
	check(err)
	fmt.Println(result)
	// Output:
	// 50 %
	// 100 %
	// done
}
