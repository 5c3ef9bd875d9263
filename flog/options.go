package flog

import (
	"os"
	"time"
)

// Options says how a [Log] works. Zero values stand for the defaults.
type Options struct {
	// Threshold is the lowest level that is kept at all; 0 means Noisy. A
	// Handler says so to slog, so that what is below costs nothing.
	Threshold Level

	// BufferEvents and BufferBytes bound each buffer: one for every facility
	// and every one of Foolscap's levels. Defaults: 100 events, as in
	// Foolscap, and 64 KiB.
	BufferEvents, BufferBytes int
	// TotalBytes bounds all buffers together, at least to two of them; when it
	// is reached, the largest buffers give way. Default: 4 MiB.
	TotalBytes int
	// MaxFacilities bounds the facilities that have buffers of their own; the
	// others share those of events without a facility. Default: 64.
	MaxFacilities int
	// MaxEvent bounds one event in bytes: texts are cut, attributes left out
	// and counted in the attribute "attributes_dropped". Default: 16 KiB, and
	// never more than BufferBytes; at least 1 KiB.
	MaxEvent int

	// Versions are written into incidents; the program's own, for example.
	Versions map[string]string

	Incidents IncidentOptions
}

// IncidentOptions says what is an incident and what becomes of it.
type IncidentOptions struct {
	// Dir is the folder for the files, made if it is not there. Without one
	// there are no incidents. Several Logs and processes may share a folder.
	Dir string
	// Threshold is the level from which an event declares an incident; 0
	// means Weird.
	Threshold Level
	// Qualify decides instead of Threshold, if it is not nil. It is called for
	// every event by whoever logs it, so it must be fast, and costs the
	// decoding of the event.
	Qualify func(Event) bool

	// TrailingTime and TrailingEvents say how much of what follows belongs to
	// the incident: until one of them is reached. What would declare another
	// one meanwhile is a part of this one. Defaults: 5 seconds, 100 events;
	// negative: none.
	TrailingTime   time.Duration
	TrailingEvents int

	// MaxBytes bounds one incident, before compression; the oldest events are
	// left out, and counted in the header as "dropped". Default: 8 MiB.
	MaxBytes int
	// Keep, KeepBytes and KeepFor bound the files in Dir; the oldest are
	// removed, but never the latest. Defaults: 100 files, 64 MiB, and for
	// ever; negative: no bound.
	Keep      int
	KeepBytes int64
	KeepFor   time.Duration
	// Plain leaves the files uncompressed.
	Plain bool

	// Recorded is called with every incident once its file is complete, by the
	// goroutine that writes them. It must not call Close.
	Recorded func(Incident)
}

func or[T int | int64 | time.Duration | Level](value *T, byDefault T) {
	if *value == 0 {
		*value = byDefault
	}
}

func (o Options) complete() Options {
	or(&o.Threshold, Noisy)
	or(&o.BufferEvents, 100)
	or(&o.BufferBytes, 64<<10)
	or(&o.TotalBytes, 4<<20)
	or(&o.MaxFacilities, 64)
	or(&o.MaxEvent, 16<<10)
	o.BufferEvents = max(o.BufferEvents, 1)
	o.BufferBytes = max(o.BufferBytes, firstArena)
	o.TotalBytes = max(o.TotalBytes, 2*o.BufferBytes)
	o.MaxEvent = min(max(o.MaxEvent, firstArena), o.BufferBytes)
	i := &o.Incidents
	or(&i.Threshold, Weird)
	or(&i.TrailingTime, 5*time.Second)
	or(&i.TrailingEvents, 100)
	or(&i.MaxBytes, 8<<20)
	or(&i.Keep, 100)
	or(&i.KeepBytes, 64<<20)
	return o
}

var pid = os.Getpid()
