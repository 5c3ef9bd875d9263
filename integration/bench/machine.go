package main

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// An environment is what the figures depend on beside the contestants.
type environment struct {
	Go         string `json:"go"`
	System     string `json:"system"`
	Processor  string `json:"processor,omitempty"`
	Processors int    `json:"processors"`
	Python     string `json:"python,omitempty"`
}

func describeMachine() environment {
	env := environment{
		Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Processors: runtime.NumCPU(),
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				env.Processor = strings.TrimSpace(value)
				break
			}
		}
	}
	return env
}

// A load is how the processors have spent their time until a moment, in
// seconds of one processor.
type load struct {
	at   time.Time
	idle float64 // all of them
	own  float64 // with this process, the children that are gone and those that live
}

// measureLoad takes the zero load where the system does not tell.
//
// The time that /proc/stat calls busy is found by looking now and then, and
// misses programs that run in short turns; the time it calls idle is measured.
func measureLoad(children []*peer) load {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return load{}
	}
	l := load{at: time.Now()}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	const idle, ioWait = 4, 5 // fields: the name, user, nice, system, idle, iowait
	for i, field := range bytes.Fields(line) {
		if i != idle && i != ioWait {
			continue
		}
		ticks, err := strconv.ParseFloat(string(field), 64)
		if err != nil {
			return load{}
		}
		l.idle += ticks / ticksPerSecond
	}
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var usage syscall.Rusage
		if syscall.Getrusage(who, &usage) == nil {
			l.own += cpuSeconds(&usage)
		}
	}
	for _, p := range children {
		l.own += processSeconds(p.cmd.Process.Pid)
	}
	return l
}

// ticksPerSecond is the unit of /proc on every Linux.
const ticksPerSecond = 100

func processSeconds(pid int) float64 {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	// The name of the program ends with the last parenthesis.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const user, system = 11, 12
	if len(fields) <= system {
		return 0
	}
	var sum float64
	for _, i := range []int{user, system} {
		ticks, err := strconv.ParseFloat(string(fields[i]), 64)
		if err != nil {
			return 0
		}
		sum += ticks
	}
	return sum / ticksPerSecond
}

// foreign is the part of the processors' time that others used between two
// loads, the host of a virtual machine included.
func foreign(before, after load) float64 {
	total := after.at.Sub(before.at).Seconds() * float64(runtime.NumCPU())
	if before.at.IsZero() || total <= 0 {
		return 0
	}
	idle, own := after.idle-before.idle, after.own-before.own
	return max(0, total-idle-own) / total
}
