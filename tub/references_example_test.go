package tub_test

import (
	"context"
	"fmt"

	"github.com/foolscap-go/foolscap/tub"
)

// newAccount returns an object for one person's money.
func newAccount(owner string) *tub.Object {
	balance := 0
	return tub.NewObject(
		tub.Interface("RIAccount.example.org"),
		tub.Value(owner),
		tub.Method("deposit", func(ctx context.Context, a struct{ Amount int }) (int, error) {
			balance += a.Amount
			return balance, nil
		}),
	)
}

// Objects are made as they are needed, and handed out as results. Nobody can
// reach one to whom it was not given. When it comes home, it is the object
// that it was.
func Example_references() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()

	furl, err := server.Register(tub.NewObject(
		tub.Method("open", func(ctx context.Context, a struct{ Owner string }) (*tub.Object, error) {
			return newAccount(a.Owner), nil
		}),
		tub.Method("whose", func(ctx context.Context, a struct{ Account *tub.Object }) (string, error) {
			return a.Account.Value().(string), nil
		}),
	))
	check(err)

	bank := client.Ref(furl)
	account, err := tub.Call[*tub.Ref](ctx, bank, "open", "Alice")
	check(err)
	defer account.Close() // or leave it to the garbage collector
	balance, err := tub.Call[int](ctx, account, "deposit", 100)
	check(err)
	owner, err := tub.Call[string](ctx, bank, "whose", account)
	check(err)
	fmt.Println(account.Interface())
	fmt.Println(owner, balance)
	// Output:
	// RIAccount.example.org
	// Alice 100
}
