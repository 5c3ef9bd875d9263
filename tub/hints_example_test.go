package tub_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// A phoneBook dials hints such as "phone:office": by TCP, at an address that it
// looks up itself.
type phoneBook struct {
	*tcp.Handler
	numbers map[string]furl.Hint
}

func (b *phoneBook) Dial(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
	number, ok := b.numbers[req.Hint.Address()]
	if !ok {
		return handlers.Stream{}, &handlers.Error{Phase: handlers.PhaseParse, Err: handlers.ErrInvalidHint}
	}
	req.Hint = number
	return b.Handler.Dial(ctx, req)
}

// A listener says under which hints it is reached, and the handler of their type
// dials them.
func ExampleTub_Handle() {
	ctx := context.Background()
	server, client := callingTub(), callingTub()
	defer server.Close()
	defer client.Close()
	l, err := tcp.Listen(ctx, "127.0.0.1:0", tcp.WithLocation("phone:office", "carrier-pigeon:roof"))
	check(err)
	_, err = server.Listen(l)
	check(err)
	f, err := server.Register(tub.NewObject(
		tub.Method("greet", func(context.Context, tub.None) (string, error) { return "Hello", nil }),
	))
	check(err)
	fmt.Println(f.Hints)

	office := furl.Hint("tcp:" + l.Addr().String())
	check(client.Handle("phone", &phoneBook{tcp.New(), map[string]furl.Hint{"office": office}}))
	text, err := tub.Call[string](ctx, client.Ref(f), "greet")
	check(err)
	fmt.Println(text)
	info, _ := client.Info(f.TubID)
	for _, h := range info.Hints {
		fmt.Println(h.Hint, h.Won, errors.Is(h.Err, handlers.ErrNoHandler))
	}
	// Output:
	// [phone:office carrier-pigeon:roof]
	// Hello
	// phone:office true false
	// carrier-pigeon:roof false true
}

// A hidden Tub takes nothing that would give the address of its machine away, and
// dials by nothing that does.
func Example_hidden() {
	ctx := context.Background()
	server, hidden := listeningTub(), callingTub(&tub.Options{Hidden: true})
	defer server.Close()
	defer hidden.Close()

	l, err := tcp.Listen(ctx, "127.0.0.1:0")
	check(err)
	_, err = hidden.Listen(l)
	var exposure *tub.ExposureError
	fmt.Println("listener:", errors.As(err, &exposure))
	fmt.Println("handler: ", errors.Is(hidden.Handle("tcp", tcp.New()), handlers.ErrRefusedByPolicy))

	f, err := server.Register(tub.NewObject())
	check(err)
	_, err = hidden.Connect(ctx, f)
	fmt.Println("dial:    ", errors.Is(err, handlers.ErrNoHandler))
	// Output:
	// listener: true
	// handler:  true
	// dial:     true
}
