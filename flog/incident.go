package flog

import (
	"context"
	"log/slog"
	"time"
)

// An Incident is an event that should not have happened, in a file with
// everything around it.
type Incident struct {
	// Name is incident-YYYY-MM-DD--HH-MM-SSZ-UNIQUE: names sort by time.
	Name string
	Path string
	// Trigger is the event that has declared it.
	Trigger Event
}

// A recording is an incident that is being collected. What can change is
// protected by the Log's mu.
type recording struct {
	trigger  []byte
	snapshot [][]byte // what was in the buffers, the trigger included
	deadline time.Time
	left     int // events that may follow
	trailing [][]byte
	full     chan struct{} // closed when none may
}

// add takes an event that follows, if it still belongs to the incident.
func (r *recording) add(rec []byte) bool {
	if r.left == 0 || !time.Now().Before(r.deadline) {
		return false
	}
	r.trailing = append(r.trailing, rec)
	if r.left--; r.left == 0 {
		close(r.full)
	}
	return true
}

// declare begins an incident, unless the trigger belongs to the last one. It is
// called with mu held. One incident may be written and two wait; what
// comes on top of that, because the disk is so slow, is lost.
func (l *Log) declare(trigger []byte) {
	if l.current != nil {
		l.stats.Folded++
		return
	}
	l.stats.Declared++
	if len(l.incidents) == cap(l.incidents) {
		l.stats.Lost++
		return
	}
	in := &l.opts.Incidents
	rec := &recording{
		trigger:  trigger,
		snapshot: l.buffers.all(),
		deadline: time.Now().Add(in.TrailingTime),
		left:     max(in.TrailingEvents, 0),
		full:     make(chan struct{}),
	}
	if in.TrailingTime > 0 && rec.left > 0 {
		l.current = rec
	} else {
		rec.left = 0
		close(rec.full)
	}
	l.incidents <- rec
}

// writeIncidents is the goroutine that does all work on files.
func (l *Log) writeIncidents() {
	l.recover()
	l.prune()
	for {
		select {
		case rec := <-l.incidents:
			l.record(rec)
		case <-l.ended:
			for {
				select {
				case rec := <-l.incidents:
					l.record(rec)
				default:
					return
				}
			}
		}
	}
}

func (l *Log) record(rec *recording) {
	incident, err := l.write(rec)
	l.mu.Lock()
	if err != nil {
		l.stats.Lost++
	} else {
		l.stats.Recorded++
	}
	l.mu.Unlock()
	if err != nil {
		l.complain("an incident could not be written", err)
		return
	}
	l.prune()
	if l.opts.Incidents.Recorded != nil {
		l.opts.Incidents.Recorded(incident)
	}
}

// trail waits for what follows and returns it.
func (l *Log) trail(rec *recording) [][]byte {
	timer := time.NewTimer(time.Until(rec.deadline))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-rec.full:
	case <-l.ended:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	rec.left = 0
	if l.current == rec {
		l.current = nil
	}
	return rec.trailing
}

// complain logs a trouble with files, which is no incident itself.
func (l *Log) complain(message string, err error) {
	l.log(context.Background(), Curious, message, false, []slog.Attr{Facility("foolscap.flog"), slog.Any("error", err)})
}
