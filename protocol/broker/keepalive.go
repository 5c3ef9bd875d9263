package broker

import "time"

// startKeepalive arms the timer that watches for silence.
func (b *Broker) startKeepalive() {
	if next := b.silenceStep(); next > 0 {
		b.mu.Lock()
		if b.err == nil {
			b.timer = time.AfterFunc(next, b.checkSilence)
		}
		b.mu.Unlock()
	}
}

// silenceStep is how long after the last byte something has to be done.
func (b *Broker) silenceStep() time.Duration {
	k, d := b.cfg.Keepalive, b.cfg.Disconnect
	if k <= 0 || d > 0 && d < k {
		return d
	}
	return k
}

// checkSilence runs when the peer may have been silent for long enough.
func (b *Broker) checkSilence() {
	silent := time.Since(start) - time.Duration(b.received.Load())
	k, d := b.cfg.Keepalive, b.cfg.Disconnect
	if d > 0 && silent >= d {
		b.end(ErrSilent)
		return
	}
	next := b.silenceStep() - silent
	if k > 0 && silent >= k {
		b.control(pingToken)
		next = k
	}
	if d > 0 {
		next = min(next, d-silent)
	}
	b.mu.Lock()
	if b.err == nil {
		b.timer.Reset(max(next, time.Millisecond))
	}
	b.mu.Unlock()
}

// Silence returns how long ago the peer was heard last.
func (b *Broker) Silence() time.Duration {
	return time.Since(start) - time.Duration(b.received.Load())
}
