package quic

import "time"

// SetTimes is for handlers and listeners of one test, which calls the result in the end.
func SetTimes(idle, keep time.Duration) (restore func()) {
	oldIdle, oldKeep := idleTimeout, keepAlive
	idleTimeout, keepAlive = idle, keep
	return func() { idleTimeout, keepAlive = oldIdle, oldKeep }
}

// Crash ends a listener and its connections without a word to anybody.
func Crash(l *Listener) { l.endpoint.shut() }
