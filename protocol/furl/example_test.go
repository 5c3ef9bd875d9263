package furl_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// A FURL is a secret because of its name, which is shown by Reveal only.
func ExampleParse() {
	f, err := furl.Parse("pb://aaaabbbbccccddddeeeeffffgggghhhh@tcp:example.org:9900,quic:[::1]:9900/secret")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(f)
	fmt.Println(f.TubID.Short(), f.Hints[0].Type(), f.Hints[1].Address())
	moved := f.WithHints(furl.StreamHint("tcp", "example.net", 80))
	fmt.Println(moved.Reveal())

	_, err = furl.Parse("pb://aaaabbbb@tcp:example.org:9900/secret")
	fmt.Println(errors.Is(err, furl.ErrInvalid), err)
	// Output:
	// pb://aaaabbbbccccddddeeeeffffgggghhhh@tcp:example.org:9900,quic:[::1]:9900/[redacted]
	// aaaabbbb tcp [::1]:9900
	// pb://aaaabbbbccccddddeeeeffffgggghhhh@tcp:example.net:80/secret
	// true furl: invalid TubID: has 8 characters, needs 32
}

// Hints of types that nobody here knows are kept as they are.
func ExampleHint_HostPort() {
	for _, h := range []furl.Hint{"tcp:example.org:9900", "example.org:9900", "tcp:[::1]:80", "carrier-pigeon:roof"} {
		host, port, err := h.HostPort()
		fmt.Println(h.Type(), host, port, err != nil)
	}
	// Output:
	// tcp example.org 9900 false
	// tcp example.org 9900 false
	// tcp ::1 80 false
	// carrier-pigeon  0 true
}
