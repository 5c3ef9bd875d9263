package tub_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/foolscap-go/foolscap/tub"
)

// Methods start in the order in which they were called, each when the one before
// has returned or given up its turn. This one waits for a later call, so it
// has to give it up first.
func ExampleYield() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()

	paid := make(chan string)
	furl, err := server.Register(tub.NewObject(
		tub.Method("await_payment", func(ctx context.Context, _ tub.None) (string, error) {
			fmt.Println("waiting")
			tub.Yield(ctx)
			select {
			case by := <-paid:
				return "paid by " + by, nil
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		}),
		tub.Method("pay", func(ctx context.Context, a struct{ Name string }) (tub.None, error) {
			fmt.Println("paying")
			paid <- a.Name
			return tub.None{}, nil
		}),
	))
	check(err)

	till := client.Ref(furl)
	receipt, err := tub.Start[string](ctx, till, "await_payment")
	check(err)
	check(tub.Send(ctx, till, "pay", "Alice"))
	text, err := receipt.Wait(ctx)
	check(err)
	fmt.Println(text)
	// Output:
	// waiting
	// paying
	// paid by Alice
}

// A method that keeps nobody waiting is declared so.
func ExampleConcurrent() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()

	opened := make(chan struct{})
	furl, err := server.Register(tub.NewObject(
		tub.Method("wait", func(ctx context.Context, _ tub.None) (string, error) {
			<-opened
			return "in", nil
		}, tub.Concurrent),
		tub.Method("open", func(context.Context, tub.None) (tub.None, error) {
			close(opened)
			return tub.None{}, nil
		}),
	))
	check(err)

	door := client.Ref(furl)
	waiting, err := tub.Start[string](ctx, door, "wait")
	check(err)
	_, err = tub.Call[tub.None](ctx, door, "open")
	check(err)
	text, err := waiting.Wait(ctx)
	check(err)
	fmt.Println(text)
	// Output: in
}

// The end of its context ends a call, but not the method: that learns of the end
// of the connection only.
func Example_cancellation() {
	server, client := listeningTub(), callingTub()
	defer server.Close()

	started, ended := make(chan struct{}), make(chan struct{})
	furl, err := server.Register(tub.NewObject(
		tub.Method("sleep", func(ctx context.Context, _ tub.None) (tub.None, error) {
			close(started)
			<-ctx.Done()
			close(ended)
			return tub.None{}, ctx.Err()
		}),
	))
	check(err)

	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-started
		cancel()
	}()
	_, err = tub.Call[tub.None](ctx, client.Ref(furl), "sleep")
	var call *tub.CallError
	if errors.As(err, &call) {
		fmt.Println(call.Sent, errors.Is(err, context.Canceled))
	}
	check(client.Close())
	<-ended
	fmt.Println("the method has ended")
	// Output:
	// may have run true
	// the method has ended
}

// A chain of calls, each on what the one before returns, takes the time of one.
func ExamplePromise() {
	ctx := context.Background()
	server, client := listeningTub(), callingTub()
	defer server.Close()
	defer client.Close()

	room := tub.NewObject(
		tub.Method("paint", func(ctx context.Context, a struct{ Color string }) (string, error) {
			return "it is " + a.Color, nil
		}),
	)
	furl, err := server.Register(tub.NewObject(
		tub.Method("find_room", func(ctx context.Context, a struct{ Name string }) (*tub.Object, error) {
			if a.Name != "kitchen" {
				return nil, errors.New("no such room")
			}
			return room, nil
		}),
	))
	check(err)

	house := client.Ref(furl)
	for _, name := range []string{"kitchen", "ballroom"} {
		promised, err := tub.Promise(ctx, house, "find_room", name)
		check(err)
		text, err := tub.Call[string](ctx, promised, "paint", "blue") // sent before there is an answer
		fmt.Println(text, errors.Is(err, tub.ErrNotRun))
	}
	// Output:
	// it is blue false
	//  true
}
