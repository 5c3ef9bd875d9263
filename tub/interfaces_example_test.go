package tub_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

// A Shelf says what goes over the wire.
type Shelf interface {
	Put(ctx context.Context, a Book) (int32, error)
	Titles(ctx context.Context, _ tub.None) ([]string, error)
}

type Book struct {
	Title string `schema:"text(min=1, max=20)"`
	Pages int16  `foolscap:",optional" schema:"int(min=1, max=9999)"`
}

var shelfInterface = tub.InterfaceOf[Shelf]("RIShelf.example.org", tub.Results{"Titles": "list(text(max=20), max=100)"})

type bookshelf struct{ titles []string }

func (s *bookshelf) Put(_ context.Context, b Book) (int32, error) {
	s.titles = append(s.titles, b.Title)
	return int32(len(s.titles)), nil
}

func (s *bookshelf) Titles(context.Context, tub.None) ([]string, error) { return s.titles, nil }

// An object that implements an interface is called by nothing else, and a
// reference that is assumed to have it sends nothing else. This is what
// "foolscap gen" writes.
func ExampleInterfaceOf() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()
	furl, err := server.Register(tub.NewObject(
		tub.Implements(shelfInterface),
		tub.MethodsOf[Shelf](new(bookshelf), nil),
	))
	check(err)
	fmt.Print(shelfInterface)

	ref, err := client.Connect(ctx, furl)
	check(err)
	fmt.Println(ref.Interface())
	n, err := tub.Call[int](ctx, ref, "put", "Walden", 350)
	fmt.Println(n, err)

	// Refused there, as it arrives.
	_, err = tub.Call[int](ctx, ref, "put", "")
	var failure *tub.Failure
	if errors.As(err, &failure) {
		fmt.Println("remote:", failure.Text)
	}

	// Refused here, before it is sent.
	ref.Assume(shelfInterface)
	_, err = tub.Call[int](ctx, ref, "put", "Walden", -1)
	var violation *banana.EncodeError
	if errors.As(err, &violation) {
		fmt.Println("local: ", violation)
	}
	// Output:
	// interface RIShelf.example.org
	//   put(title: text(min=1, max=20), pages: optional(int(min=1, max=9999))) -> int(min=-2147483648, max=2147483647)
	//   titles() -> list(text(max=20), max=100)
	// RIShelf.example.org
	// 1 <nil>
	// remote: argument "title" of put: expected at least 1 characters, got 0 bytes
	// local:  cannot encode: argument "pages" of put: expected int(min=1, max=9999), got -1
}
