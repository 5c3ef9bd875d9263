package tub_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/foolscap-go/foolscap/tub"
)

// A method that takes a reader reads what is at its caller, piece by piece; one
// that returns a reader lets the caller read.
func Example_readers() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()

	var file bytes.Buffer
	furl, err := server.Register(tub.NewObject(
		tub.Method("put", func(_ context.Context, a struct{ Data io.Reader }) (int64, error) {
			return io.Copy(&file, a.Data)
		}),
		tub.Method("get", func(context.Context, tub.None) (io.ReadCloser, error) {
			return io.NopCloser(&file), nil
		}),
	))
	check(err)
	ref := client.Ref(furl)

	n, err := tub.Call[int64](ctx, ref, "put", strings.NewReader("as long as you like"))
	check(err)
	fmt.Println(n, "bytes")

	r, err := tub.Call[io.ReadCloser](ctx, ref, "get")
	check(err)
	defer r.Close()
	text, err := io.ReadAll(r)
	check(err)
	fmt.Println(string(text))
	// Output:
	// 19 bytes
	// as long as you like
}
