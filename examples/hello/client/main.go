// Command client calls the calculator whose FURL is its argument.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/foolscap-go/foolscap/tub"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: client FURL")
	}
	f, err := tub.ParseFURL(os.Args[1])
	check(err)
	id, err := tub.NewIdentity()
	check(err)
	t, err := tub.New(id, nil)
	check(err)
	defer t.Close()
	sum, err := tub.Call[int](context.Background(), t.Ref(f), "add", 1, 2)
	check(err)
	fmt.Println("1 + 2 =", sum)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
