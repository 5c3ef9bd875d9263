package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// agentVariable names the environment variable that makes this program serve
// requests as the implementation that it names, instead of leading a run.
const agentVariable = "FOOLSCAP_BENCH_AGENT"

// runAgentIfAsked does not return when this process was started as an agent.
func runAgentIfAsked() {
	name, asked := os.LookupEnv(agentVariable)
	if !asked {
		return
	}
	impl, ok := implementations[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "%s names no implementation: %q\n", agentVariable, name)
		os.Exit(2)
	}
	if err := (&agent{impl: impl}).run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// An agent carries out the requests of the leading process with one
// implementation.
type agent struct {
	impl implementation
	conn connection // opened by opConnect
	held []*heldConnection
	// latencies is kept from one measurement to the next, so that it does not
	// grow while time is taken.
	latencies []time.Duration
	profile   *os.File
}

// A heldConnection is one of many that are open while memory is measured.
type heldConnection struct {
	client client
	conn   connection
}

// callTimeout is far beyond what any call takes here, so that a contestant
// that hangs is an error and not a hanging run.
const callTimeout = 30 * time.Second

func (a *agent) run(in io.Reader, out io.Writer) error {
	requests, responses := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var req request
		if err := requests.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		resp, err := a.carryOut(req)
		if err != nil {
			resp = response{Error: err.Error()}
		}
		if err := responses.Encode(resp); err != nil {
			return err
		}
	}
}

func (a *agent) carryOut(req request) (response, error) {
	var (
		values map[string]float64
		err    error
	)
	switch req.Op {
	case opServe:
		at, err := a.impl.serve()
		return response{Addr: at.addr, Target: at.target}, err
	case opConnect:
		a.conn, err = connectFirst(a.impl, req.Target)
	case opLatency:
		values, err = a.latency(req)
	case opInFlight:
		values, err = a.inFlight(req)
	case opBulk:
		values, err = a.bulk(req)
	case opCalls:
		err = a.calls(req)
	case opFirst:
		values, err = a.first(req)
	case opConnections:
		values, err = a.connections(req)
	case opPrepare:
		err = a.prepare(req)
	case opHold:
		err = a.hold(req)
	case opExchange:
		err = a.exchange(req)
	case opMemory:
		values = memoryInUse()
	case opCounters:
		values = counters()
	case opProfile:
		err = a.startProfile(req.Path)
	case opProfiled:
		err = a.endProfile()
	default:
		err = fmt.Errorf("unknown operation %q", req.Op)
	}
	return response{Values: values}, err
}

func connectFirst(impl implementation, target string) (connection, error) {
	c, err := impl.newClient()
	if err != nil {
		return nil, err
	}
	return dial(c, target)
}

func dial(c client, target string) (connection, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	return c.dial(ctx, target)
}

// sinkOnce makes a call and checks its answer, with a context that a program
// would give it.
func sinkOnce(ctx context.Context, conn connection, data []byte) error {
	length, err := conn.sink(ctx, data)
	if err == nil && length != len(data) {
		err = fmt.Errorf("the answer was %d, the length was %d", length, len(data))
	}
	return err
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// latency takes the time of each call. The context of all of them is one that
// can be cancelled, as it would be in a program, but has no timer of its own
// for each call.
func (a *agent) latency(req request) (map[string]float64, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	data := make([]byte, req.Size)
	for end := time.Now().Add(seconds(req.WarmUp)); time.Now().Before(end); {
		if err := sinkOnce(ctx, a.conn, data); err != nil {
			return nil, err
		}
	}
	a.latencies = a.latencies[:0]
	now := time.Now()
	for end := now.Add(seconds(req.Seconds)); now.Before(end); {
		if err := sinkOnce(ctx, a.conn, data); err != nil {
			return nil, err
		}
		after := time.Now()
		a.latencies = append(a.latencies, after.Sub(now))
		now = after
	}
	slices.Sort(a.latencies)
	return map[string]float64{
		valueP50: quantile(a.latencies, 0.50).Seconds(),
		valueP99: quantile(a.latencies, 0.99).Seconds(),
	}, nil
}

func (a *agent) calls(req request) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	data := make([]byte, req.Size)
	for range req.Count {
		if err := sinkOnce(ctx, a.conn, data); err != nil {
			return err
		}
	}
	return nil
}

func (a *agent) inFlight(req request) (map[string]float64, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	data := make([]byte, req.Size)
	rate, err := throughput(req, func(int) error { return sinkOnce(ctx, a.conn, data) })
	return map[string]float64{valueRate: rate}, err
}

func (a *agent) bulk(req request) (map[string]float64, error) {
	if s, ok := a.conn.(streamer); ok {
		return streamed(s, req)
	}
	values, err := a.inFlight(req)
	if err != nil {
		return nil, err
	}
	return map[string]float64{valueBytesRate: values[valueRate] * float64(req.Size)}, nil
}

// streamed finds out while it warms up how many blocks fill the time, and
// then sends them as one stream.
func streamed(s streamer, req request) (map[string]float64, error) {
	const firstGuess = 16 << 20
	count := max(1, firstGuess/req.Size)
	var rate float64 // blocks per second
	for end := time.Now().Add(seconds(req.WarmUp)); ; {
		start := time.Now()
		if err := s.stream(req.Size, count); err != nil {
			return nil, err
		}
		rate = float64(count) / time.Since(start).Seconds()
		if !time.Now().Before(end) {
			break
		}
	}
	count = max(1, int(rate*req.Seconds))
	start := time.Now()
	if err := s.stream(req.Size, count); err != nil {
		return nil, err
	}
	return map[string]float64{
		valueBytesRate: float64(count) * float64(req.Size) / time.Since(start).Seconds(),
	}, nil
}

// throughput runs work over and over in as many goroutines as the request
// says, and counts what is completed between the end of the warm-up and the
// end of the time, which is extended for the slow: neither the start nor the
// end of the crowd is in it. work is told which of the goroutines it runs in.
func throughput(req request, work func(worker int) error) (rate float64, err error) {
	// A counter has a cache line for itself.
	type counter struct {
		atomic.Int64
		_ [56]byte
	}
	var (
		stop    atomic.Bool
		group   sync.WaitGroup
		counts  = make([]counter, req.Parallel)
		results = make(chan error, req.Parallel)
	)
	for worker := range req.Parallel {
		group.Go(func() {
			for !stop.Load() {
				if err := work(worker); err != nil {
					results <- err
					return
				}
				counts[worker].Add(1)
			}
		})
	}
	completed := func() (sum int64) {
		for i := range counts {
			sum += counts[i].Load()
		}
		return sum
	}
	// pause ends early when a worker fails.
	pause := func(d time.Duration) {
		if err == nil {
			select {
			case err = <-results:
			case <-time.After(d):
			}
		}
	}
	pause(seconds(req.WarmUp))
	start, before := time.Now(), completed()
	pause(seconds(req.Seconds))
	// A rate of a few completions would be chance, and of none, nothing.
	for err == nil && completed()-before < int64(req.Parallel) {
		pause(seconds(req.Seconds) / 4)
	}
	elapsed, after := time.Since(start), completed()
	stop.Store(true)
	group.Wait()
	close(results)
	for late := range results {
		err = errors.Join(err, late)
	}
	return float64(after-before) / elapsed.Seconds(), err
}

func (a *agent) first(req request) (map[string]float64, error) {
	c, err := a.impl.newClient()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	conn, err := dialAndCall(c, req.Target, make([]byte, req.Size))
	if err != nil {
		return nil, err
	}
	elapsed := time.Since(start)
	return map[string]float64{valueSeconds: elapsed.Seconds()}, conn.close()
}

// dialAndCall returns the connection after its first answer.
func dialAndCall(c client, target string, data []byte) (connection, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	conn, err := c.dial(ctx, target)
	if err != nil {
		return nil, err
	}
	if err := sinkOnce(ctx, conn, data); err != nil {
		return nil, errors.Join(err, conn.close())
	}
	return conn, nil
}

func (a *agent) connections(req request) (map[string]float64, error) {
	clients := make([]client, req.Parallel)
	for i := range clients {
		var err error
		if clients[i], err = a.impl.newClient(); err != nil {
			return nil, err
		}
	}
	data := make([]byte, req.Size)
	rate, err := throughput(req, func(worker int) error {
		conn, err := dialAndCall(clients[worker], req.Target, data)
		if err != nil {
			return err
		}
		return conn.close()
	})
	return map[string]float64{valueRate: rate}, err
}

// warmUpConnections is how many connections are opened and closed before
// memory is first looked at, so that what an implementation builds once is
// there already.
const warmUpConnections = 10

func (a *agent) prepare(req request) error {
	a.held = make([]*heldConnection, req.Count)
	for i := range a.held {
		c, err := a.impl.newClient()
		if err != nil {
			return err
		}
		a.held[i] = &heldConnection{client: c}
	}
	for _, h := range a.held[:min(warmUpConnections, len(a.held))] {
		conn, err := dialAndCall(h.client, req.Target, make([]byte, req.Size))
		if err != nil {
			return err
		}
		if err := conn.close(); err != nil {
			return err
		}
	}
	return nil
}

func (a *agent) hold(req request) error {
	data := make([]byte, req.Size)
	for _, h := range a.held {
		var err error
		if h.conn, err = dialAndCall(h.client, req.Target, data); err != nil {
			return err
		}
	}
	return nil
}

func (a *agent) exchange(req request) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	data := make([]byte, req.Size)
	for _, h := range a.held {
		back, err := h.conn.echo(ctx, data)
		if err != nil {
			return err
		}
		if len(back) != len(data) {
			return fmt.Errorf("%d bytes came back, sent were %d", len(back), len(data))
		}
	}
	return nil
}

func (a *agent) startProfile(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	a.profile = file
	return pprof.StartCPUProfile(file)
}

func (a *agent) endProfile() error {
	pprof.StopCPUProfile()
	return a.profile.Close()
}
