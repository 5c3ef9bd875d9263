package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"strings"
	"time"
)

// settings are what the command line decides.
type settings struct {
	rounds      int
	seconds     float64       // of each measurement
	warmUp      float64       // seconds before each
	connections int           // held while memory is measured, by Go
	roundTrip   time.Duration // of the relay
	processes   int           // for the two sides of a contestant: 1 or 2
	retries     int           // of a measurement that others disturbed
	measured    []measurement // in this order
}

func defaultSettings() settings {
	return settings{
		rounds: 7, seconds: 1, warmUp: 0.2, connections: 200,
		roundTrip: 40 * time.Millisecond, processes: 2, retries: 2, measured: measurements,
	}
}

// quickSettings show that everything runs. What they measure is worth little.
func quickSettings() settings {
	return settings{
		rounds: 1, seconds: 0.1, warmUp: 0.02, connections: 20,
		roundTrip: 20 * time.Millisecond, processes: 2, measured: measurements,
	}
}

// An entrant is a contestant whose processes run and are connected.
type entrant struct {
	contestant
	settings settings
	launcher *launcher
	client   *peer
	server   *peer // the client when they share a process
	at       endpoint
	hello    serverHello
}

// enter starts the processes of a contestant.
func enter(ctx context.Context, l *launcher, c contestant, s settings) (*entrant, error) {
	e := &entrant{contestant: c, settings: s, launcher: l}
	if err := e.start(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, errors.Join(err, e.stop()))
	}
	return e, nil
}

func (e *entrant) start(ctx context.Context) (err error) {
	if e.server, err = e.launcher.start(ctx, e.contestant.server); err != nil {
		return err
	}
	if e.settings.processes == 1 && e.contestant.client == e.contestant.server {
		e.client = e.server
	} else if e.client, err = e.launcher.start(ctx, e.contestant.client); err != nil {
		return err
	}
	resp, err := e.server.ask(ctx, request{Op: opServe})
	if err != nil {
		return err
	}
	e.at = endpoint{addr: resp.Addr, target: resp.Target}
	if _, err := e.client.ask(ctx, request{Op: opConnect, Target: e.at.target}); err != nil {
		return err
	}
	if e.contestant.overUDP() {
		return nil
	}
	// Read off the wire what TLS agrees on.
	_, err = e.firstAnswer(ctx, 0)
	return err
}

func (e *entrant) stop() error {
	var errs []error
	for _, p := range e.peers() {
		errs = append(errs, p.stop())
	}
	return errors.Join(errs...)
}

// peers are the processes, the client's first.
func (e *entrant) peers() []*peer {
	var peers []*peer
	if e.client != nil {
		peers = append(peers, e.client)
	}
	if e.server != nil && e.server != e.client {
		peers = append(peers, e.server)
	}
	return peers
}

// A measurement yields one or more figures. Each is made of one contestant
// after the other before the next measurement begins.
type measurement struct {
	name    string
	applies func(contestant) bool // nil: to all
	run     func(context.Context, *entrant) (map[string]float64, error)
	// untimed is true when it takes no times, so that others do not disturb.
	untimed bool
	// bulk is true when it moves byte strings that are long.
	bulk bool
	// profiled is true when a profile of it says something.
	profiled bool
}

func (m measurement) label() string { return m.name }

// appliesTo says whether m is made of c. Bare TLS with answers is there to be
// compared in bulk transfers.
func (m measurement) appliesTo(c contestant) bool {
	if c.name == answeredName && !m.bulk {
		return false
	}
	return m.applies == nil || m.applies(c)
}

var measurements = []measurement{
	{name: "latency", run: measureLatency, profiled: true},
	{name: "inflight", run: measureInFlight, profiled: true, applies: carriesCalls},
	{name: "bulk64k", run: measureBulk(figureBulk64K, small), profiled: true, bulk: true},
	{name: "bulk1m", run: measureBulk(figureBulk1M, large), profiled: true, bulk: true},
	{name: "costs", run: measureCosts},
	{name: "memory", run: measureMemory, applies: oneKind, untimed: true},
	{name: "connections", run: measureConnections, profiled: true},
	{name: "roundtrips", run: measureRoundTrips, applies: overTCP},
}

// selectMeasurements returns those whose names are in the comma separated
// list, in the order of measurements; all of them when the list is empty.
func selectMeasurements(list string) ([]measurement, error) {
	return selected("measurement", measurements, measurement.label, list)
}

// carriesCalls is false for the contestant that has one answer outstanding at
// most: bare TLS, where a second block before the answer to the first would
// need what the other contestants are there to provide.
func carriesCalls(c contestant) bool { return c.client != baselineTLS && c.client != "quic" }

func overTCP(c contestant) bool { return !c.overUDP() }

// oneKind is true when both ends can be in one process.
func oneKind(c contestant) bool { return c.client == c.server }

func (e *entrant) timed(op string, size, parallel int) request {
	return request{
		Op: op, Size: size, Parallel: parallel,
		Seconds: e.settings.seconds, WarmUp: e.settings.warmUp,
	}
}

const (
	micro = 1e6
	milli = 1e3
	mega  = 1e6
	kibi  = 1024
)

func measureLatency(ctx context.Context, e *entrant) (map[string]float64, error) {
	resp, err := e.client.ask(ctx, e.timed(opLatency, callSize, 1))
	if err != nil {
		return nil, err
	}
	return map[string]float64{
		figureP50: resp.Values[valueP50] * micro,
		figureP99: resp.Values[valueP99] * micro,
	}, nil
}

func measureInFlight(ctx context.Context, e *entrant) (map[string]float64, error) {
	resp, err := e.client.ask(ctx, e.timed(opInFlight, callSize, inFlight))
	if err != nil {
		return nil, err
	}
	return map[string]float64{figureInFlight: resp.Values[valueRate]}, nil
}

func measureBulk(key string, size int) func(context.Context, *entrant) (map[string]float64, error) {
	return func(ctx context.Context, e *entrant) (map[string]float64, error) {
		resp, err := e.client.ask(ctx, e.timed(opBulk, size, blocks))
		if err != nil {
			return nil, err
		}
		return map[string]float64{key: resp.Values[valueBytesRate] / mega}, nil
	}
}

// measureCosts counts what sequential calls use up, in both processes. What
// only Go's runtime can tell is counted in the processes that are Go.
func measureCosts(ctx context.Context, e *entrant) (map[string]float64, error) {
	const trial = 100
	calls := func(count int) error {
		_, err := e.client.ask(ctx, request{Op: opCalls, Size: callSize, Count: count})
		return err
	}
	start := time.Now()
	if err := calls(trial); err != nil {
		return nil, err
	}
	fill := float64(trial) * e.settings.seconds / time.Since(start).Seconds()
	count := int(min(max(fill, trial), 20_000))

	before, err := e.counters(ctx)
	if err != nil {
		return nil, err
	}
	if err := calls(count); err != nil {
		return nil, err
	}
	after, err := e.counters(ctx)
	if err != nil {
		return nil, err
	}
	values := make(map[string]float64)
	for value, into := range map[string]struct {
		key   string
		scale float64
	}{
		valueAllocs:   {figureAllocs, 1},
		valueBytes:    {figureBytes, 1},
		valueWakeUps:  {figureWakeUps, 1},
		valueSwitches: {figureSwitches, 1},
		valueCPU:      {figureCPU, micro},
	} {
		if _, told := after[value]; told {
			values[into.key] = (after[value] - before[value]) * into.scale / float64(count)
		}
	}
	return values, nil
}

// counters are those of both processes together.
func (e *entrant) counters(ctx context.Context) (map[string]float64, error) {
	sum := make(map[string]float64)
	for _, p := range e.peers() {
		resp, err := p.ask(ctx, request{Op: opCounters})
		if err != nil {
			return nil, err
		}
		for value, amount := range resp.Values {
			sum[value] += amount
		}
	}
	return sum, nil
}

// pythonConnections is fewer than Go holds: each needs an RSA key.
const pythonConnections = 20

// measureMemory has both ends in one new process, where nothing else is.
func measureMemory(ctx context.Context, e *entrant) (_ map[string]float64, err error) {
	count := e.settings.connections
	if e.needsPython() {
		count = min(count, pythonConnections)
	}
	p, err := e.launcher.start(ctx, e.contestant.server)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	at, err := p.ask(ctx, request{Op: opServe})
	if err != nil {
		return nil, err
	}
	var held [3]map[string]float64 // before, fresh, used
	for i, req := range []request{
		{Op: opPrepare, Target: at.Target, Size: callSize, Count: count},
		{Op: opHold, Target: at.Target, Size: callSize},
		{Op: opExchange, Size: large},
	} {
		if _, err := p.ask(ctx, req); err != nil {
			return nil, err
		}
		resp, err := p.ask(ctx, request{Op: opMemory})
		if err != nil {
			return nil, err
		}
		held[i] = resp.Values
	}
	each := func(then map[string]float64, values ...string) (sum float64) {
		for _, value := range values {
			sum += (then[value] - held[0][value]) / float64(count) / kibi
		}
		return sum
	}
	values := map[string]float64{figureResident: each(held[1], valueResident)}
	if e.allGo() {
		values[figureFresh] = each(held[1], valueHeap, valueStack)
		values[figureLive] = each(held[1], valueLive, valueStack)
		values[figureUsed] = each(held[2], valueHeap, valueStack)
	}
	return values, nil
}

func measureConnections(ctx context.Context, e *entrant) (map[string]float64, error) {
	req := e.timed(opConnections, callSize, dialling)
	req.Target = e.at.target
	resp, err := e.client.ask(ctx, req)
	if err != nil {
		return nil, err
	}
	return map[string]float64{figureConnections: resp.Values[valueRate]}, nil
}

// measureRoundTrips dials through a relay twice, without a delay and with
// one. The difference is the delay and nothing else, since what the handshake
// costs in processor time is in both.
func measureRoundTrips(ctx context.Context, e *entrant) (map[string]float64, error) {
	near, err := e.firstAnswer(ctx, 0)
	if err != nil {
		return nil, err
	}
	far, err := e.firstAnswer(ctx, e.settings.roundTrip/2)
	if err != nil {
		return nil, err
	}
	return map[string]float64{
		figureFirst: near * milli,
		figureTrips: math.Max(0, far-near) / e.settings.roundTrip.Seconds(),
	}, nil
}

// firstAnswer tells the seconds from a dial through a relay to the answer to
// a first call.
func (e *entrant) firstAnswer(ctx context.Context, oneWay time.Duration) (float64, error) {
	r, err := startRelay(e.at.addr, oneWay)
	if err != nil {
		return 0, err
	}
	defer r.close()
	resp, err := e.client.ask(ctx, request{
		Op: opFirst, Size: callSize,
		Target: strings.Replace(e.at.target, e.at.addr, r.addr(), 1),
	})
	if err != nil {
		return 0, err
	}
	e.hello = r.negotiated()
	return resp.Values[valueSeconds], nil
}

// profile repeats what can be profiled and leaves a CPU profile of each Go
// process in dir. Nothing of it counts.
func (e *entrant) profile(ctx context.Context, dir string) error {
	sides := map[string]*peer{"client": e.client, "server": e.server}
	if e.client == e.server {
		sides = map[string]*peer{"both": e.client}
	}
	maps.DeleteFunc(sides, func(_ string, p *peer) bool { return p.name == python })
	for _, m := range e.settings.measured {
		if !m.profiled || !m.appliesTo(e.contestant) {
			continue
		}
		for side, p := range sides {
			path, err := filepath.Abs(filepath.Join(dir, fmt.Sprintf("%s-%s-%s.pprof", e.name, m.name, side)))
			if err != nil {
				return err
			}
			if _, err := p.ask(ctx, request{Op: opProfile, Path: path}); err != nil {
				return err
			}
		}
		if _, err := m.run(ctx, e); err != nil {
			return err
		}
		for _, p := range sides {
			if _, err := p.ask(ctx, request{Op: opProfiled}); err != nil {
				return err
			}
		}
	}
	return nil
}
