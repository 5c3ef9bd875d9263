package tub_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/foolscap-go/foolscap/tub"
)

// A Tub that keeps its identity in a file, and the names of its objects in others,
// can be found under the same FURLs after a restart.
func Example_identity() {
	dir, err := os.MkdirTemp("", "")
	check(err)
	defer os.RemoveAll(dir)
	run := func() tub.FURL {
		id, err := tub.LoadOrCreateIdentity(filepath.Join(dir, "tub.pem"), nil)
		check(err)
		t, err := tub.New(id, nil)
		check(err)
		defer t.Close()
		f, err := t.RegisterFile(filepath.Join(dir, "greeter.furl"), tub.NewObject(
			tub.Method("greet", func(context.Context, tub.None) (string, error) { return "Hello", nil }),
		))
		check(err)
		return f
	}
	first, second := run(), run()
	fmt.Println(first.Equal(second))

	// Printing a FURL shows no secret; only Reveal does.
	shown := strings.ReplaceAll(fmt.Sprint(first), first.TubID.String(), "TUBID")
	fmt.Println(shown)
	again, err := tub.ParseFURL(first.Reveal())
	check(err)
	fmt.Println(again.Equal(first))
	// Output:
	// true
	// pb://TUBID@/[redacted]
	// true
}
