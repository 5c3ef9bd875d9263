// Command client calls the calculator whose FURL is its argument, or stands in
// the file that its argument names behind an @.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/foolscap-go/foolscap/tub"
)

func main() {
	f, err := tub.ParseFURL(argument())
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

// argument returns the FURL. On a command line others can read it, in a file of
// mode 0600 they cannot.
func argument() string {
	if len(os.Args) != 2 {
		log.Fatal("usage: client FURL or client @FILE")
	}
	file, ok := strings.CutPrefix(os.Args[1], "@")
	if !ok {
		return os.Args[1]
	}
	text, err := os.ReadFile(file)
	check(err)
	return strings.TrimSpace(string(text))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
