package tub

import (
	"cmp"
	"slices"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// schedule ranks hints and puts them behind those that wait already. Hints that
// nothing may dial fail at once.
func (a *attempt) schedule(fresh []*HintStatus) {
	t := a.t
	request := RankRequest{
		Peer:      a.peer,
		Anonymity: t.opts.Anonymity,
		Stagger:   t.opts.Stagger,
		Now:       now(),
	}
	if t.opts.Anonymity != AnonymityRequired {
		request.Networks = t.networks()
	}
	past := t.infos.past(a.peer)
	waiting := make(map[furl.Hint]*HintStatus)
	for _, s := range fresh {
		h, err := t.handler(s.Hint)
		if err != nil {
			a.fails(s, err)
			continue
		}
		waiting[s.Hint] = s
		rank := past[s.Hint]
		rank.Hint, rank.Exposure = s.Hint, h.Exposure()
		request.Hints = append(request.Hints, rank)
	}
	if len(waiting) == 0 {
		return
	}
	ranked := t.opts.Ranker(request)
	slices.SortStableFunc(ranked, func(a, b RankedHint) int { return cmp.Compare(a.Delay, b.Delay) })
	var last time.Duration
	var queue []queued
	for _, r := range ranked {
		s := waiting[r.Hint]
		if s == nil {
			continue // unknown, or twice
		}
		delete(waiting, r.Hint)
		delay := max(r.Delay, 0)
		queue = append(queue, queued{s, delay - last})
		last = delay
	}
	a.mu.Lock()
	if len(a.queue) == 0 {
		a.ranked = request.Now
	}
	a.queue = append(a.queue, queue...)
	if len(a.queue) > 0 && !a.scheduling && !a.ended {
		a.scheduling = true
		a.t.wg.Go(a.run)
	}
	a.mu.Unlock()
	for _, s := range waiting {
		a.fails(s, &handlers.Error{Hint: s.Hint, Phase: handlers.PhaseParse, Err: handlers.ErrRefusedByPolicy})
	}
}

// run begins with the hints in the queue, each at its time.
func (a *attempt) run() {
	for {
		a.mu.Lock()
		if a.ended || len(a.queue) == 0 {
			a.scheduling = false
			a.mu.Unlock()
			return
		}
		wait := a.due()
		if wait <= 0 {
			s := a.queue[0].status
			a.queue = a.queue[1:]
			a.began, a.failed, a.grace = now(), false, 0
			s.Started = a.began
			a.running++
			a.t.wg.Go(func() { a.try(s) })
			a.mu.Unlock()
			a.t.infos.signal()
			continue
		}
		a.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-a.wake:
		case <-a.ctx.Done():
		}
		timer.Stop()
	}
}

// due returns how long the next hint has to wait. mu is held.
func (a *attempt) due() time.Duration {
	next := a.queue[0]
	switch {
	case a.began.IsZero():
		return next.gap - time.Since(a.ranked)
	case a.running == 0:
		return 0
	case a.failed && next.gap <= a.t.opts.Stagger: // a longer one lasts until all before it have failed
		return 0
	}
	return next.gap + a.grace - time.Since(a.began)
}

// signal makes run look again.
func (a *attempt) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
