package tor

import (
	"sync"
	"time"

	"github.com/cretz/bine/control"
)

const (
	// quiet is how long no further upload may begin until the service counts as
	// published: tor uploads two descriptors, one after the other, and a client
	// looks for either.
	quiet = 500 * time.Millisecond

	// enough is how long after the first success the service counts as published
	// even if others are still missing: a client tries several places.
	enough = 5 * time.Second
)

// uploads watches a service's descriptors on their way to the directories that
// will tell clients about it. It calls published once, and rejected at most once.
type uploads struct {
	published func()
	rejected  func(reason string)
	warning   sync.Once

	mu             sync.Mutex
	begun, decided int
	stored         int
	settled, late  *time.Timer // nil until they are needed
	over           bool
}

func newUploads(published func(), rejected func(reason string)) *uploads {
	return &uploads{published: published, rejected: rejected}
}

// take takes an event that concerns the service.
func (u *uploads) take(e *control.HSDescEvent) {
	// Other failures are those of clients.
	isRejection := e.Action == "FAILED" && (e.Reason == "UPLOAD_REJECTED" || e.Reason == "UNEXPECTED")
	if isRejection {
		u.warning.Do(func() { u.rejected(e.Reason) })
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.over:
		return
	case e.Action == "UPLOAD":
		u.begun++
	case e.Action == "UPLOADED":
		u.decided++
		u.stored++
		if u.late == nil {
			u.late = time.AfterFunc(enough, u.done)
		}
	case isRejection:
		u.decided++
	}
	if u.settled != nil {
		u.settled.Stop()
	}
	if u.stored > 0 && u.decided >= u.begun {
		u.settled = time.AfterFunc(quiet, u.done)
	}
}

func (u *uploads) done() {
	if u.stop() {
		u.published()
	}
}

// stop ends the watching and reports whether it was still going on.
func (u *uploads) stop() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, timer := range []*time.Timer{u.settled, u.late} {
		if timer != nil {
			timer.Stop()
		}
	}
	first := !u.over
	u.over = true
	return first
}
