// Command typed lets two Tubs talk to each other by what "foolscap gen" has
// made of the interface in guestbook.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sync"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/tub"
)

// A book is a Guestbook in memory.
type book struct {
	mu       sync.Mutex
	entries  []Entry
	watchers []Watcher
}

func (b *book) Sign(ctx context.Context, e Entry) (int64, error) {
	b.mu.Lock()
	b.entries = append(b.entries, e)
	n, watchers := len(b.entries), b.watchers
	b.mu.Unlock()
	for _, w := range watchers {
		if _, err := w.Signed(ctx, e); err != nil {
			return 0, err
		}
	}
	return int64(n), nil
}

func (b *book) Entries(_ context.Context, a EntriesArgs) ([]Entry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.First > int64(len(b.entries)) {
		return nil, errors.New("there is no such entry")
	}
	found := b.entries[a.First-1:]
	if a.Max == 0 { // the default is filled in for remote callers, not for those in this program
		a.Max = 100
	}
	return found[:min(int(a.Max), len(found))], nil
}

func (b *book) Count(context.Context, tub.None) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return int64(len(b.entries)), nil
}

func (b *book) Watch(_ context.Context, a WatchArgs) (tub.None, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers = append(b.watchers, a.Watcher)
	return tub.None{}, nil
}

// A printer is a Watcher.
type printer struct{ out io.Writer }

func (p *printer) Signed(_ context.Context, e Entry) (tub.None, error) {
	fmt.Fprintf(p.out, "%s has written: %s\n", e.Name, e.Text)
	return tub.None{}, nil
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer) error {
	owner, err := newTub()
	if err != nil {
		return err
	}
	defer owner.Close()
	l, err := tcp.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := owner.Listen(l); err != nil {
		return err
	}
	furl, err := owner.Register(NewGuestbookObject(&book{}))
	if err != nil {
		return err
	}
	visitor, err := newTub()
	if err != nil {
		return err
	}
	defer visitor.Close()
	return visit(ctx, NewGuestbookClient(visitor.Ref(furl)), out)
}

// visit writes into a guestbook, be it here or elsewhere.
func visit(ctx context.Context, g Guestbook, out io.Writer) error {
	if _, err := g.Watch(ctx, WatchArgs{&printer{out}}); err != nil {
		return err
	}
	for _, name := range []string{"Ada", "Grace"} {
		n, err := g.Sign(ctx, Entry{Name: name, Text: "I was here."})
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "that was entry %d\n", n)
	}
	last, err := g.Entries(ctx, EntriesArgs{First: 2})
	if err != nil {
		return err
	}
	n, err := g.Count(ctx, tub.None{})
	fmt.Fprintf(out, "the last one of %d is by %s\n", n, last[0].Name)
	return err
}

func newTub() (*tub.Tub, error) {
	id, err := tub.NewIdentity()
	if err != nil {
		return nil, err
	}
	return tub.New(id, &tub.Options{Stubs: []tub.Stub{GuestbookStub, WatcherStub}})
}
