package tub_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/foolscap-go/foolscap/tub"
)

// A Booking is the class example.Booking in Python programs, with the attributes
// room, since and note.
type Booking struct {
	Room  string
	Since time.Time
	Note  string `foolscap:",optional"`
}

// A Moment is what time.Time is made into: a class with one attribute.
type Moment struct{ Seconds int64 }

var hotelCopies = []tub.Copy{
	tub.CopyOf[Booking]("example.Booking"),
	tub.CopyAs("example.Moment",
		func(t time.Time) (Moment, error) { return Moment{t.Unix()}, nil },
		func(m Moment) (time.Time, error) {
			if m.Seconds < 0 {
				return time.Time{}, errors.New("before 1970")
			}
			return time.Unix(m.Seconds, 0).UTC(), nil
		}),
}

// Types that both sides know travel by copy, as arguments and results, within
// other values and within each other.
func Example_copies() {
	ctx := context.Background()
	opts := &tub.Options{Copies: hotelCopies}
	server, client := listeningTub(opts), callingTub(opts)
	defer server.Close()
	defer client.Close()
	furl, err := server.Register(tub.NewObject(
		tub.Method("extend", func(ctx context.Context, a struct{ Booking *Booking }) (any, error) {
			a.Booking.Note = "extended"
			return a.Booking, nil
		}),
	))
	check(err)

	hotel := client.Ref(furl)
	booking := Booking{Room: "12", Since: time.Unix(0, 0).UTC()}
	extended, err := tub.Call[Booking](ctx, hotel, "extend", booking)
	check(err)
	fmt.Println(extended.Room, extended.Since.Year(), extended.Note)

	_, err = tub.Call[any](ctx, hotel, "extend", time.Now())
	fmt.Println(errors.Is(err, tub.RemoteType("foolscap.tokens.Violation")))
	// Output:
	// 12 1970 extended
	// true
}

// A method chooses the class of exception that it fails with; callers, in
// Python too, match it by name, or by the name of one of its base classes.
func ExampleRaise() {
	const soldOut = tub.RemoteType("example.shop.SoldOut")
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()
	furl, err := server.Register(tub.NewObject(
		tub.Method("buy", func(ctx context.Context, a struct{ Item string }) (int, error) {
			return 0, tub.Raise(soldOut, fmt.Errorf("no %s is left", a.Item), "builtins.LookupError")
		}),
	))
	check(err)

	_, err = tub.Call[int](ctx, client.Ref(furl), "buy", "tea")
	switch {
	case errors.Is(err, soldOut):
		fmt.Println("sold out")
	case errors.Is(err, tub.RemoteType("builtins.Exception")):
		fmt.Println("something else")
	}
	fmt.Println(errors.Is(err, tub.RemoteType("builtins.LookupError")))
	var failure *tub.Failure
	if errors.As(err, &failure) {
		fmt.Println(failure.Text)
	}
	// Output:
	// sold out
	// true
	// no tea is left
}
