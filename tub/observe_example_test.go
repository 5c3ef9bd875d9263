package tub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/foolscap-go/foolscap/tub"
)

// The Logger is told what goes wrong, and at the level of LogLocalFailures also
// what methods fail with; an interceptor sees every call.
func Example_logging() {
	ctx := context.Background()
	withoutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "peer" {
			return slog.Attr{}
		}
		return a
	}
	audit := func(ctx context.Context, call *tub.CallInfo, next func(context.Context) (any, error)) (any, error) {
		result, err := next(ctx)
		fmt.Printf("%s%v: %v, %v\n", call.Method, call.Args, result, err)
		return result, err
	}
	server := listeningTub(&tub.Options{
		Logger:           slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime})),
		LogLocalFailures: slog.LevelWarn,
		Inbound:          []tub.Interceptor{audit},
	})
	client := callingTub()
	defer client.Close()
	furl, err := server.Register(tub.NewObject(
		tub.Method("divide", func(ctx context.Context, a struct{ A, B int }) (int, error) {
			if a.B == 0 {
				return 0, errors.New("division by zero")
			}
			return a.A / a.B, nil
		}),
	))
	check(err)

	ref := client.Ref(furl)
	_, err = tub.Call[int](ctx, ref, "divide", 6, 3)
	check(err)
	_, err = tub.Call[int](ctx, ref, "divide", 1, 0)
	fmt.Println(err != nil)
	check(server.Shutdown(ctx))
	// Output:
	// divide&{6 3}: 2, <nil>
	// divide&{1 0}: 0, division by zero
	// level=WARN msg="a method that the peer has called has failed" interface="" method=divide error="division by zero"
	// true
}
