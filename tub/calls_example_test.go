package tub_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/foolscap-go/foolscap/tub"
)

// Arguments are given by position or by name, results come in the type that
// is asked for.
func ExampleCall() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()

	type order struct {
		Item     string
		Quantity int
		Note     string `foolscap:"note,optional"`
	}
	furl, err := server.Register(tub.NewObject(
		tub.Method("order", func(ctx context.Context, a order) (map[string]int, error) {
			return map[string]int{a.Item: a.Quantity}, nil
		}),
	))
	check(err)

	shop, err := client.Connect(ctx, furl)
	check(err)
	stock, err := tub.Call[map[string]int](ctx, shop, "order", "tea", 3)
	check(err)
	fmt.Println(stock["tea"])
	stock, err = tub.Call[map[string]int](ctx, shop, "order", "cake", tub.Keywords{"quantity": 2, "note": "no nuts"})
	check(err)
	fmt.Println(stock["cake"])
	// Output:
	// 3
	// 2
}

// Many calls can be on their way at the same time. They start in the order in
// which they were sent.
func ExampleStart() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()

	var diary []string
	furl, err := server.Register(tub.NewObject(
		tub.Method("note", func(ctx context.Context, a struct{ Text string }) (int, error) {
			diary = append(diary, a.Text)
			return len(diary), nil
		}),
		tub.Method("read", func(ctx context.Context, _ tub.None) (string, error) {
			return strings.Join(diary, ", "), nil
		}),
	))
	check(err)
	ref := client.Ref(furl)

	one, err := tub.Start[int](ctx, ref, "note", "rose early")
	check(err)
	check(tub.Send(ctx, ref, "note", "had tea")) // nobody waits for this one
	two, err := tub.Start[string](ctx, ref, "read")
	check(err)

	text, err := two.Wait(ctx)
	check(err)
	n, err := one.Wait(ctx)
	check(err)
	fmt.Println(text)
	fmt.Println(n)
	// Output:
	// rose early, had tea
	// 1
}

type version interface {
	GetVersion(ctx context.Context, _ struct{}) (string, error)
	SetMaxSize(ctx context.Context, a struct{ Bytes int }) (tub.None, error)
}

type settings struct{ maxSize int }

func (s *settings) GetVersion(context.Context, struct{}) (string, error) { return "1.2", nil }

func (s *settings) SetMaxSize(_ context.Context, a struct{ Bytes int }) (tub.None, error) {
	s.maxSize = a.Bytes
	return tub.None{}, nil
}

// Reset is not in the interface, and so nobody can call it from outside.
func (s *settings) Reset() { s.maxSize = 0 }

// An interface stands for a table of methods; what else the implementation can
// do stays its own.
func ExampleMethodsOf() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()

	s := new(settings)
	furl, err := server.Register(tub.NewObject(
		tub.MethodsOf[version](s, tub.Names{"GetVersion": "remoteVersion"}),
	))
	check(err)
	ref := client.Ref(furl)
	v, err := tub.Call[string](ctx, ref, "remoteVersion")
	check(err)
	_, err = tub.Call[tub.None](ctx, ref, "set_max_size", 100)
	check(err)
	fmt.Println(v, s.maxSize)
	// Output: 1.2 100
}
