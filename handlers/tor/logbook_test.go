package tor_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// logBook keeps what is logged. The zero value is ready to use.
type logBook struct {
	mu      sync.Mutex
	written strings.Builder
	changed chan struct{} // closed when something is written; nil if nobody waits
}

func (b *logBook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func (b *logBook) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return b.written.Write(line)
}

func (b *logBook) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.written.String()
}

// await waits until a text has been logged.
func (b *logBook) await(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		b.mu.Lock()
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		written, changed := b.written.String(), b.changed
		b.mu.Unlock()
		if strings.Contains(written, text) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%q was not logged:\n%s", text, written)
		}
	}
}
