package flog

import "strings"

// A ring keeps the latest events of one facility and class of levels, one
// after the other in memory that is used again and again: what is not at the
// end continues at the beginning.
type ring struct {
	arena []byte
	spans []span // a ring of its own: of count events, the oldest is at first
	first int
	count int
	live  int // bytes in use
	tail  int // where the next event may begin
}

type span struct{ at, n int }

// firstArena is the size of an arena that has something in it at all.
const firstArena = 1024

func (r *ring) record(i int) []byte {
	s := r.spans[(r.first+i)%len(r.spans)]
	return r.arena[s.at : s.at+s.n]
}

func (r *ring) drop() {
	r.live -= r.spans[r.first].n
	r.first = (r.first + 1) % len(r.spans)
	r.count--
}

// place finds n free bytes in a row.
func (r *ring) place(n int) (at int, ok bool) {
	if r.count == 0 {
		return 0, n <= len(r.arena)
	}
	head := r.spans[r.first].at
	switch {
	case r.tail > head && len(r.arena)-r.tail >= n:
		return r.tail, true
	case r.tail > head:
		return 0, head >= n
	default:
		return r.tail, head-r.tail >= n
	}
}

// push adds an event where place has found room.
func (r *ring) push(at int, rec []byte) {
	if r.count == len(r.spans) {
		spans := make([]span, max(2*len(r.spans), 8))
		for i := range r.count {
			spans[i] = r.spans[(r.first+i)%len(r.spans)]
		}
		r.spans, r.first = spans, 0
	}
	copy(r.arena[at:], rec)
	r.spans[(r.first+r.count)%len(r.spans)] = span{at, len(rec)}
	r.count++
	r.live += len(rec)
	r.tail = at + len(rec)
}

// resize moves the ring to an arena of another size, without the oldest events
// if it is too small.
func (r *ring) resize(size int) {
	for r.live > size {
		r.drop()
	}
	var arena []byte
	if size > 0 {
		arena = make([]byte, size)
	}
	at := 0
	for i := range r.count {
		s := &r.spans[(r.first+i)%len(r.spans)]
		copy(arena[at:], r.arena[s.at:s.at+s.n])
		s.at = at
		at += s.n
	}
	r.arena, r.tail = arena, at
}

// buffers are the rings of a Log, and share an allowance of memory.
type buffers struct {
	events     int // of a ring
	bytes      int // of a ring
	total      int // bytes of all rings
	facilities int

	used  int // bytes of all arenas
	rings map[string]*[8]ring
}

// add keeps a copy of an event, in place of older ones if need be.
func (b *buffers) add(facility string, level Level, rec []byte) {
	rings := b.rings[facility]
	if rings == nil {
		if len(b.rings) >= b.facilities {
			facility = "" // those that came too late share the buffers of those that have none
		}
		if rings = b.rings[facility]; rings == nil {
			rings = new([8]ring)
			b.rings[strings.Clone(facility)] = rings
		}
	}
	r := &rings[level.class()]
	for r.count >= b.events {
		r.drop()
	}
	at, ok := r.place(len(rec))
	for !ok {
		if !b.grow(r, len(rec)) {
			r.drop()
		}
		at, ok = r.place(len(rec))
	}
	r.push(at, rec)
}

// grow gives a ring a larger arena, if it may have one. What it takes for that
// when all is used up comes from the largest, as long as that has much more;
// and in any case when the ring is empty, so that every event is kept for a
// while.
func (b *buffers) grow(r *ring, need int) bool {
	size := max(2*len(r.arena), firstArena)
	for size < need {
		size *= 2
	}
	if size = min(size, b.bytes); size <= len(r.arena) {
		return false
	}
	for b.used+size-len(r.arena) > b.total {
		largest := b.largest(r)
		if largest == nil || r.count > 0 && len(largest.arena) < 2*size {
			return false
		}
		smaller := len(largest.arena) / 2
		if smaller < firstArena {
			smaller = 0
		}
		b.used -= len(largest.arena) - smaller
		largest.resize(smaller)
	}
	b.used += size - len(r.arena)
	r.resize(size)
	return true
}

// largest returns the ring with the most memory, other than one.
func (b *buffers) largest(other *ring) (largest *ring) {
	for _, rings := range b.rings {
		for i := range rings {
			if r := &rings[i]; r != other && len(r.arena) > 0 && (largest == nil || len(r.arena) > len(largest.arena)) {
				largest = r
			}
		}
	}
	return largest
}

// all copies everything that is kept, in no order.
func (b *buffers) all() (records [][]byte) {
	n, size := 0, 0
	for _, rings := range b.rings {
		for i := range rings {
			n += rings[i].count
			size += rings[i].live
		}
	}
	records = make([][]byte, 0, n)
	text := make([]byte, 0, size)
	for _, rings := range b.rings {
		for i := range rings {
			for j := range rings[i].count {
				begin := len(text)
				text = append(text, rings[i].record(j)...)
				records = append(records, text[begin:len(text):len(text)])
			}
		}
	}
	return records
}
