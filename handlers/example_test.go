package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Every handler fails in the same way: with the hint, the phase and a reason that
// errors.Is finds.
func ExampleDial() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	l.Close() // nothing accepts connections there now
	h := tcp.New()
	defer h.Close()
	for _, hint := range []string{l.Addr().String(), "127.0.0.1"} {
		_, err = handlers.Dial(context.Background(), h, handlers.DialRequest{Hint: furl.Hint("tcp:" + hint)})
		var failed *handlers.Error
		if errors.As(err, &failed) {
			fmt.Println(failed.Phase, errors.Is(err, handlers.ErrUnreachable), errors.Is(err, handlers.ErrInvalidHint))
		}
	}
	// Output:
	// dial true false
	// parse false true
}

// A dialer of others says nothing of what it reveals: whoever knows says it.
func ExampleDialerWithExposure() {
	private := handlers.DialerWithExposure(&net.Dialer{}, handlers.Exposure{HidesAddress: true, HidesLookups: true})
	fmt.Println(private.Exposure().Hidden())
	fmt.Println(private.Exposure().WithLookups()) // of a handler over it that looks up names itself
	fmt.Println(handlers.Exposure{})              // of one that does not say
	// Output:
	// true
	// reveals name look-ups
	// reveals the address and name look-ups
}
