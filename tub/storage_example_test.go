package tub_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/foolscap-go/foolscap/tub"
)

// A program keeps whom it knows in a file, and finds them again.
func ExampleTub_Serialize() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()
	furl, err := server.Register(newAccount("Alice"))
	check(err)

	type state struct {
		Owner   string
		Account *tub.Ref
	}
	data, err := client.Serialize(state{"Alice", client.Ref(furl)})
	check(err)
	dir, err := os.MkdirTemp("", "")
	check(err)
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "state")
	check(os.WriteFile(file, data, 0o600)) // there are FURLs in it

	data, err = os.ReadFile(file)
	check(err)
	found, err := tub.Unserialize[state](ctx, client, data)
	check(err)
	balance, err := tub.Call[int](ctx, found.Account, "deposit", 100)
	check(err)
	fmt.Println(found.Owner, balance)
	// Output:
	// Alice 100
}
