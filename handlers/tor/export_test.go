package tor

import "time"

// SetUsualSOCKS replaces the usual SOCKS ports until the returned function is called.
func SetUsualSOCKS(at ...string) (restore func()) {
	before := usualSOCKS
	usualSOCKS = nil
	for _, text := range at {
		usualSOCKS = append(usualSOCKS, address{"tcp", text})
	}
	return func() { usualSOCKS = before }
}

// Status returns what those who wait for the tor are told.
func (t *Tor) Status() string {
	text, _ := t.status.get()
	return text
}

// SetControlTimeout replaces the time that tor has for an answer until the returned function is called.
func SetControlTimeout(d time.Duration) (restore func()) {
	before := controlTimeout
	controlTimeout = d
	return func() { controlTimeout = before }
}

// SetStallTime replaces the time after which circuits are given up until the returned function is called.
func SetStallTime(d time.Duration) (restore func()) {
	before := stallTime
	stallTime = d
	return func() { stallTime = before }
}
