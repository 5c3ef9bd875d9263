package appserver_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/foolscap-go/foolscap/appserver"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/tub"
)

// A server with a service type of its own beside those that are there.
func Example() {
	check := func(err error) {
		if err != nil {
			log.Fatal(err)
		}
	}
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "appserver")
	check(err)
	defer os.RemoveAll(dir)

	greeter := appserver.Type{
		Name: "greeter",
		New: func(_ context.Context, c appserver.Config) (*tub.Object, error) {
			return tub.NewObject(tub.Method("greet", func(context.Context, tub.None) (string, error) {
				return "hello " + strings.Join(c.Args, " "), nil
			})), nil
		},
	}
	s, err := appserver.Create(filepath.Join(dir, "server"), nil, appserver.Settings{}, &appserver.Options{Types: []appserver.Type{greeter}})
	check(err)
	server, err := tub.New(s.Identity(), nil)
	check(err)
	defer server.Close()
	l, err := tcp.Listen(ctx, "127.0.0.1:0")
	check(err)
	_, err = server.Listen(l)
	check(err)
	stop, err := s.Serve(server)
	check(err)
	defer stop(ctx)

	greeting, err := s.Add("greeter", []string{"world"}, "")
	check(err)
	drop, err := s.Add("upload-file", []string{dir}, "a drop box")
	check(err)

	id, err := tub.NewIdentity()
	check(err)
	client, err := tub.New(id, nil)
	check(err)
	defer client.Close()
	text, err := tub.Call[string](ctx, client.Ref(greeting.FURL), "greet")
	check(err)
	fmt.Println(text)
	check(appserver.Upload(ctx, client.Ref(drop.FURL), "note", strings.NewReader("had tea")))
	note, err := os.ReadFile(filepath.Join(dir, "note"))
	check(err)
	fmt.Println(string(note))
	// Output:
	// hello world
	// had tea
}
