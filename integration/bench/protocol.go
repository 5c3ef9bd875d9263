package main

// Each side of a contestant is a process of its own, started by the one that
// the user ran and led by it over its standard input and output: a request, a
// JSON object on one line, is answered by a response, another one. The
// process ends when its standard input does. That is all a program has to do
// to stand beside the ones in Go; foolscap_peer.py is such a program.

// A request asks a peer for one thing.
type request struct {
	Op string `json:"op"`
	// Target is where to dial.
	Target string `json:"target,omitempty"`
	// Size is the number of bytes in each argument.
	Size int `json:"size"`
	// Count is how many calls to make, or connections to prepare.
	Count int `json:"count"`
	// Parallel is how many calls are in flight, or connections being dialled,
	// at any moment.
	Parallel int `json:"parallel"`
	// Seconds is how long to measure, and WarmUp how long to do the same
	// before that without measuring.
	Seconds float64 `json:"seconds"`
	WarmUp  float64 `json:"warm_up"`
	// Path is the file to write.
	Path string `json:"path,omitempty"`
}

// A response is what came of it.
type response struct {
	// Error is empty when the request was carried out.
	Error string `json:"error,omitempty"`
	// Addr and Target are set by opServe: see endpoint.
	Addr   string `json:"addr,omitempty"`
	Target string `json:"target,omitempty"`
	// Values are the numbers found, by the names below.
	Values map[string]float64 `json:"values,omitempty"`
}

// Operations. Those of the first group act on one connection that stays open
// for the whole run.
const (
	opServe    = "serve"    // start a server; Addr, Target
	opConnect  = "connect"  // open the connection to Target
	opLatency  = "latency"  // one call of Size after the other; valueP50, valueP99
	opInFlight = "inflight" // Parallel calls of Size at any moment; valueRate
	opBulk     = "bulk"     // the same, or a stream; valueBytesRate
	opCalls    = "calls"    // Count calls of Size one after the other

	opFirst       = "first"       // dial Target, call, close; valueSeconds to the answer
	opConnections = "connections" // the same over and over by Parallel clients; valueRate

	opPrepare  = "prepare"  // make Count clients for opHold, and warm up towards Target
	opHold     = "hold"     // one connection to Target and one call with each of them
	opExchange = "exchange" // Size bytes there and back over each
	opMemory   = "memory"   // what the process holds now; valueHeap, valueStack, valueResident

	opCounters = "counters"      // what the process has used so far; see counters
	opProfile  = "profile"       // write a CPU profile to Path from now on
	opProfiled = "profile_ended" // until now
)

// Values. Times are in seconds, sizes in bytes, rates per second.
const (
	valueP50       = "p50"
	valueP99       = "p99"
	valueRate      = "rate"
	valueBytesRate = "bytes_rate"
	valueSeconds   = "seconds"

	valueHeap     = "heap"     // spans of the Go heap in use
	valueLive     = "live"     // objects on the Go heap
	valueStack    = "stack"    // spans of goroutine stacks in use
	valueResident = "resident" // pages of the process in memory

	valueAllocs   = "allocs"   // objects allocated on the Go heap
	valueBytes    = "bytes"    // their bytes
	valueWakeUps  = "wake_ups" // goroutines that began to run, an estimate
	valueSwitches = "switches" // threads that gave up their processor to wait
	valueCPU      = "cpu"      // processor time, user and system
)
