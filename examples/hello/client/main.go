// Command client calls the calculator whose FURL is its argument, or stands in
// the file that its argument names behind an @.
package main

import (
	"context"
	"errors"
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
	text, err := read(os.Args[1])
	check(err)
	return text
}

func read(arg string) (string, error) {
	file, ok := strings.CutPrefix(arg, "@")
	switch {
	case ok:
		text, err := os.ReadFile(file)
		return strings.TrimSpace(string(text)), err
	case !strings.HasPrefix(arg, "pb:"):
		return "", errors.New("a FURL begins with pb:; a file that holds one is given as @FILE")
	}
	return arg, nil
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
