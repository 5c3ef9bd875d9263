package main

import (
	"fmt"
	"sync"
	"time"
)

const (
	progressDelay    = 400 * time.Millisecond // what is done by then needs no progress
	progressInterval = 100 * time.Millisecond
)

// progress shows on a terminal what a long operation is doing, in one line
// that stop takes away again. text is called from another goroutine.
func (e *env) progress(text func() string) (stop func()) {
	if !e.terminalErr {
		return func() {}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		begun := time.Now()
		wait := time.NewTimer(progressDelay)
		defer wait.Stop()
		shown := false
		for {
			select {
			case <-done:
				if shown {
					fmt.Fprint(e.stderr, "\r\x1b[K")
				}
				return
			case <-wait.C:
				shown = true
				seconds := time.Since(begun).Seconds()
				// %.70s, since what is wider than the terminal cannot be taken away.
				fmt.Fprintf(e.stderr, "\r\x1b[K%.70s (%.0f s)", clean(text()), seconds)
				wait.Reset(progressInterval)
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		wg.Wait()
	})
}
