package tub_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/foolscap-go/foolscap/tub"
)

// A facet gives away less than the whole object, a forwarder gives it until it is
// taken back. Here a guest may read a diary, three times at most, and not write.
func ExampleForward() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()

	text := "Dear diary"
	diary := tub.NewObject(
		tub.Method("read", func(context.Context, tub.None) (string, error) { return text, nil }),
		tub.Method("write", func(ctx context.Context, a struct{ Text string }) (tub.None, error) {
			text = a.Text
			return tub.None{}, nil
		}),
	)
	reader := tub.NewObject(tub.Interface("RIReader.example.org"), tub.Facet(diary, "read"))
	guest, revoke := tub.Forward(reader, tub.ForwardOptions{Calls: 3})
	furl, err := server.Register(guest)
	check(err)

	ref := client.Ref(furl)
	read, err := tub.Call[string](ctx, ref, "read")
	check(err)
	fmt.Println(read)
	_, err = tub.Call[any](ctx, ref, "write", "I was here")
	fmt.Println(err != nil)
	revoke()
	_, err = tub.Call[string](ctx, ref, "read")
	fmt.Println(errors.Is(err, tub.ErrRevoked))
	// Output:
	// Dear diary
	// true
	// true
}
