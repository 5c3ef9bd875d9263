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

// SetStallTime replaces the time after which circuits are given up until the returned function is called.
func SetStallTime(d time.Duration) (restore func()) {
	before := stallTime
	stallTime = d
	return func() { stallTime = before }
}
