package main

import (
	"bytes"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"syscall"
	"time"
)

// memoryInUse collects garbage until nothing more comes free, and tells what
// is left. One collection is not enough: pools give up their contents at the
// second, stacks shrink by half at each, and what the last connection did may
// still be ending.
func memoryInUse() map[string]float64 {
	const (
		atLeast = 4
		atMost  = 25
	)
	var stats runtime.MemStats
	smallest := ^uint64(0)
	for round, unchanged := 0, 0; round < atMost && (round < atLeast || unchanged < 2); round++ {
		runtime.GC()
		runtime.ReadMemStats(&stats)
		if inUse := stats.HeapInuse + stats.StackInuse; inUse < smallest {
			smallest, unchanged = inUse, 0
		} else {
			unchanged++
		}
		// Goroutines that are ending get the processor.
		time.Sleep(5 * time.Millisecond)
	}
	return map[string]float64{
		valueHeap:     float64(stats.HeapInuse),
		valueLive:     float64(stats.HeapAlloc),
		valueStack:    float64(stats.StackInuse),
		valueResident: residentBytes(),
	}
}

// residentBytes is zero where the system does not tell.
func residentBytes() float64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return float64(pages) * float64(os.Getpagesize())
}

// counters tells what the process has used so far; the difference of two of
// them, divided by the calls between them, is the cost of a call.
func counters() map[string]float64 {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:objects"},
		{Name: "/gc/heap/tiny/allocs:objects"},
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/sched/latencies:seconds"},
	}
	metrics.Read(samples)
	// The runtime takes every eighth turn of a goroutine from waiting to
	// running into this histogram.
	const sampled = 8
	var wakeUps uint64
	for _, count := range samples[3].Value.Float64Histogram().Counts {
		wakeUps += sampled * count
	}
	values := map[string]float64{
		valueAllocs:  float64(samples[0].Value.Uint64() + samples[1].Value.Uint64()),
		valueBytes:   float64(samples[2].Value.Uint64()),
		valueWakeUps: float64(wakeUps),
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err == nil {
		values[valueSwitches] = float64(usage.Nvcsw)
		values[valueCPU] = cpuSeconds(&usage)
	}
	return values
}

func cpuSeconds(usage *syscall.Rusage) float64 {
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
