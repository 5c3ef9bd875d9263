package main

// A figure is one row of the table.
type figure struct {
	key   string
	title string
	unit  string
	// higher is true when more is better.
	higher bool
	// digits follow the decimal point in the table.
	digits int
}

// Keys of figures.
const (
	figureP50         = "latency_p50"
	figureP99         = "latency_p99"
	figureInFlight    = "calls_in_flight"
	figureBulk64K     = "bulk_64k"
	figureBulk1M      = "bulk_1m"
	figureAllocs      = "allocs_per_call"
	figureBytes       = "alloc_bytes_per_call"
	figureWakeUps     = "wakeups_per_call"
	figureSwitches    = "switches_per_call"
	figureCPU         = "cpu_per_call"
	figureFresh       = "memory_fresh"
	figureLive        = "memory_live"
	figureUsed        = "memory_used"
	figureResident    = "memory_resident"
	figureConnections = "connections"
	figureTrips       = "round_trips"
	figureFirst       = "first_answer"
)

// What the contestants are asked for.
const (
	callSize = 64 // bytes in the argument of a small call
	inFlight = 64 // calls at any moment
	small    = 64 << 10
	large    = 1 << 20
	blocks   = 4 // large arguments at any moment
	dialling = 4 // connections being made at any moment
)

var figures = []figure{
	{figureP50, "sequential call, p50", "µs", false, 1},
	{figureP99, "sequential call, p99", "µs", false, 1},
	{figureInFlight, "calls, 64 in flight", "1/s", true, 0},
	{figureBulk64K, "bulk, 4 × 64 KiB in flight", "MB/s", true, 1},
	{figureBulk1M, "bulk, 4 × 1 MiB in flight", "MB/s", true, 1},
	{figureAllocs, "allocations per call", "", false, 1},
	{figureBytes, "allocated per call", "B", false, 0},
	{figureWakeUps, "goroutine wake-ups per call", "", false, 1},
	{figureSwitches, "thread waits per call", "", false, 1},
	{figureCPU, "processor time per call", "µs", false, 1},
	{figureFresh, "idle connection, fresh", "KiB", false, 1},
	{figureLive, "idle connection, fresh, live objects and stacks", "KiB", false, 1},
	{figureUsed, "idle connection, after 1 MiB each way", "KiB", false, 1},
	{figureResident, "idle connection, fresh, resident", "KiB", false, 1},
	{figureConnections, "connections", "1/s", true, 1},
	{figureFirst, "dial to first answer", "ms", false, 2},
	{figureTrips, "round trips to first answer", "", false, 1},
}

func figureByKey(key string) figure {
	for _, f := range figures {
		if f.key == key {
			return f
		}
	}
	panic("no figure is called " + key)
}

// results are the values of each round, by contestant and figure.
type results map[string]map[string][]float64

// add puts one value of each figure behind those that are there.
func (r results) add(contestant string, values map[string]float64) {
	for key, value := range values {
		r.merge(contestant, map[string][]float64{key: {value}})
	}
}

func (r results) merge(contestant string, values map[string][]float64) {
	if r[contestant] == nil {
		r[contestant] = make(map[string][]float64)
	}
	for key, more := range values {
		r[contestant][key] = append(r[contestant][key], more...)
	}
}
