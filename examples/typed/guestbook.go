package main

import (
	"context"

	"github.com/foolscap-go/foolscap/tub"
)

//go:generate go run github.com/foolscap-go/foolscap/cmd/foolscap gen $GOFILE

// A Guestbook is what visitors write in.
//
//foolscap:interface RIGuestbook.example.org
type Guestbook interface {
	// Sign adds an entry and returns its number.
	Sign(ctx context.Context, a Entry) (int64, error)
	// Entries returns those from the number First on, at most Max of them.
	//
	//foolscap:result list(struct(name: text(max=40), text: text(max=1000)), max=100)
	Entries(ctx context.Context, a EntriesArgs) ([]Entry, error)
	// Count returns how many there are.
	//
	//foolscap:method howMany
	Count(ctx context.Context, a tub.None) (int64, error)
	// Watch has somebody told of every further entry.
	Watch(ctx context.Context, a WatchArgs) (tub.None, error)
}

// A Watcher is told what is written.
//
//foolscap:interface RIWatcher.example.org
type Watcher interface {
	Signed(ctx context.Context, a Entry) (tub.None, error)
}

// An Entry is what a visitor has written.
type Entry struct {
	Name string `schema:"text(min=1, max=40)"`
	Text string `schema:"text(max=1000)"`
}

// EntriesArgs are the arguments of [Guestbook.Entries].
type EntriesArgs struct {
	First int64 `schema:"int(min=1, max=1000000)"`
	Max   int64 `foolscap:",optional" schema:"int(min=1, max=100)" default:"100"`
}

// WatchArgs are the arguments of [Guestbook.Watch].
type WatchArgs struct{ Watcher Watcher }
