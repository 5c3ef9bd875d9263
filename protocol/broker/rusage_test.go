package broker

import (
	"syscall"
	"testing"
)

func cpu() (us int64, vol int64) {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return r.Utime.Nano()/1000 + r.Stime.Nano()/1000, r.Nvcsw
}

func measure(b *testing.B) func() {
	u, v := cpu()
	return func() {
		u2, v2 := cpu()
		b.ReportMetric(float64(u2-u)/float64(b.N), "cpu-us/op")
		b.ReportMetric(float64(v2-v)/float64(b.N), "vcsw/op")
	}
}
