package main

import "math"

// A target is what the project has set itself for one of its figures: a
// multiple of the same figure of another contestant, or a plain number.
type target struct {
	title  string
	figure string
	than   string  // the other contestant; empty when need is a plain number
	need   float64 // 0 when the comparison is there to explain another one
	// count is true when the figure is a whole number that was measured: it
	// is rounded before it is judged.
	count bool
}

var targets = []target{
	{"sequential call, p50, against bare TLS", figureP50, baselineTLS, 2, false},
	{"64 in flight, against net/rpc", figureInFlight, baselineNetRPC, 2.5, false},
	{"64 in flight, against gRPC-go", figureInFlight, baselineGRPC, 6, false},
	{"bulk, 1 MiB, against bare TLS", figureBulk1M, baselineTLS, 0.85, false},
	{"bulk, 64 KiB, against bare TLS", figureBulk64K, baselineTLS, 0.75, false},
	{"bulk, 1 MiB, against TLS with answers", figureBulk1M, answeredName, 0, false},
	{"bulk, 64 KiB, against TLS with answers", figureBulk64K, answeredName, 0, false},
	{"fresh idle connection, both ends, KiB", figureFresh, "", 64, false},
	{"round trips to first answer", figureTrips, "", 6, true},
}

// A judgement is what became of a target.
type judgement struct {
	target
	// got is the ratio of the medians, or the median. It is NaN when one of
	// the contestants was not there.
	got float64
	// middle, least and most are the median and the bounds of the same within
	// each round. Where the speed of the machine changes in the course of a
	// run, middle is the better witness: what a round compares was measured
	// within seconds.
	middle, least, most float64
}

func (j judgement) measured() bool { return !math.IsNaN(j.got) }

func (j judgement) met() bool {
	got := j.got
	if j.count {
		got = math.Round(got)
	}
	if figureByKey(j.figure).higher {
		return got >= j.need
	}
	return got <= j.need
}

func (t target) judge(r results) judgement {
	j := judgement{target: t, got: math.NaN()}
	rounds := r[ours][t.figure]
	if len(rounds) == 0 {
		return j
	}
	j.got = median(rounds)
	if t.than != "" {
		other := r[t.than][t.figure]
		if len(other) != len(rounds) {
			j.got = math.NaN()
			return j
		}
		j.got /= median(other)
		ratios := make([]float64, len(rounds))
		for i := range rounds {
			ratios[i] = rounds[i] / other[i]
		}
		rounds = ratios
	}
	j.middle = median(rounds)
	j.least, j.most = bounds(rounds)
	return j
}
