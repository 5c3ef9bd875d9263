package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The peers of a run are this program again: the test binary, here.
func TestMain(m *testing.M) {
	runAgentIfAsked()
	os.Exit(m.Run())
}

// testedContestants are those that need nothing but Go, and the ones with
// Python where the tests against real peers are on.
func testedContestants() (list string, chosen []contestant) {
	var names []string
	for _, c := range contestants {
		if c.allGo() || os.Getenv("FOOLSCAP_INTEGRATION") == "1" {
			names = append(names, c.name)
			chosen = append(chosen, c)
		}
	}
	return strings.Join(names, ","), chosen
}

// testSettings leave the count of round trips no doubt on a busy machine.
func testSettings() settings {
	s := quickSettings()
	s.roundTrip = 100 * time.Millisecond
	return s
}

func TestOneRunHasEveryFigureOfEveryContestant(t *testing.T) {
	list, chosen := testedContestants()
	o, err := run(t.Context(), testSettings(), list, "", io.Discard)
	require.NoError(t, err)

	for _, c := range chosen {
		for _, f := range figures {
			rounds := o.results[c.name][f.key]
			if !expected(c, f.key) {
				assert.Empty(t, rounds, "%s: %s", c.name, f.key)
				continue
			}
			if assert.Len(t, rounds, 1, "%s: %s", c.name, f.key) {
				assert.Positive(t, rounds[0], "%s: %s", c.name, f.key)
			}
		}
	}

	var table bytes.Buffer
	require.NoError(t, o.writeTable(&table))
	for _, f := range figures {
		assert.Contains(t, table.String(), f.title)
	}
	var report jsonReport
	var text bytes.Buffer
	require.NoError(t, o.writeJSON(&text))
	require.NoError(t, json.Unmarshal(text.Bytes(), &report))
	require.Len(t, report.Contestants, len(chosen))
	require.Len(t, report.Figures, len(figures))
	require.Len(t, report.Targets, len(targets))
	for _, f := range report.Figures {
		for _, c := range chosen {
			assert.Equal(t, o.results[c.name][f.Key], f.Values[c.name].Rounds, "%s: %s", c.name, f.Key)
		}
	}

	// These protocols say how many round trips they take: TCP and TLS one
	// each; gRPC waits for the settings of the server; then the call.
	for name, trips := range map[string]float64{baselineTLS: 3, baselineNetRPC: 3, baselineGRPC: 4} {
		assert.Equal(t, trips, math.Round(o.results[name][figureTrips][0]), name)
	}
	for _, c := range chosen {
		if c.allGo() && !c.overUDP() {
			assert.Equal(t, o.hellos[baselineTLS], o.hellos[c.name], "%s: TLS differs from bare TLS", c.name)
		}
	}
}

// expected tells which figures a contestant has.
func expected(c contestant, key string) bool {
	if c.name == answeredName {
		return key == figureBulk64K || key == figureBulk1M
	}
	switch key {
	case figureInFlight:
		return carriesCalls(c)
	case figureTrips, figureFirst:
		return overTCP(c)
	case figureFresh, figureLive, figureUsed:
		return oneKind(c) && c.allGo()
	case figureResident:
		return oneKind(c)
	case figureAllocs, figureBytes, figureWakeUps:
		return c.client != python || c.server != python
	default:
		return true
	}
}

func TestARunThatTakesNoTimesCanBeReported(t *testing.T) {
	s := testSettings()
	var err error
	s.measured, err = selectMeasurements("memory")
	require.NoError(t, err)
	o, err := run(t.Context(), s, baselineTLS, "", io.Discard)
	require.NoError(t, err)
	var table, text bytes.Buffer
	require.NoError(t, o.writeTable(&table))
	require.Contains(t, table.String(), figureByKey(figureFresh).title)
	require.NotContains(t, table.String(), figureByKey(figureP99).title)
	require.NoError(t, o.writeJSON(&text))
	require.True(t, json.Valid(text.Bytes()))
}

// A cancelWriter cancels when it is told of a certain round.
type cancelWriter struct {
	round  string
	cancel context.CancelFunc
}

func (w cancelWriter) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.round)) {
		w.cancel()
	}
	return len(p), nil
}

func TestAnInterruptedRunReportsItsCompleteRounds(t *testing.T) {
	s := testSettings()
	s.rounds = 5
	var err error
	s.measured, err = selectMeasurements("latency,bulk64k")
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	o, err := run(ctx, s, baselineTLS, "", cancelWriter{"round 3 of 5: bulk64k", cancel})
	require.NoError(t, err)
	require.Equal(t, 2, o.rounds)
	require.Len(t, o.results[baselineTLS][figureP50], 2)
	require.Len(t, o.results[baselineTLS][figureBulk64K], 2)

	ctx, cancel = context.WithCancel(t.Context())
	_, err = run(ctx, s, baselineTLS, "", cancelWriter{"round 1 of 5: latency", cancel})
	require.ErrorIs(t, err, context.Canceled)
}

func TestClientAndServerCanShareAProcess(t *testing.T) {
	s := testSettings()
	s.processes = 1
	l, err := newLauncher(t.TempDir())
	require.NoError(t, err)
	e, err := enter(t.Context(), l, contestants[0], s)
	require.NoError(t, err)
	defer func() { require.NoError(t, e.stop()) }()
	require.Len(t, e.peers(), 1)
	values, err := measureLatency(t.Context(), e)
	require.NoError(t, err)
	require.Positive(t, values[figureP50])
}

func TestProfilesAreWrittenForBothSides(t *testing.T) {
	l, err := newLauncher(t.TempDir())
	require.NoError(t, err)
	e, err := enter(t.Context(), l, contestants[0], testSettings())
	require.NoError(t, err)
	defer func() { require.NoError(t, e.stop()) }()
	dir := t.TempDir()
	require.NoError(t, e.profile(t.Context(), dir))
	for _, name := range []string{"tls-latency-client.pprof", "tls-bulk1m-server.pprof"} {
		info, err := os.Stat(dir + "/" + name)
		require.NoError(t, err)
		require.Positive(t, info.Size())
	}
}

func TestAPeerReportsWhatItCannotDoAndGoesOn(t *testing.T) {
	l, err := newLauncher(t.TempDir())
	require.NoError(t, err)
	p, err := l.start(t.Context(), baselineTLS)
	require.NoError(t, err)
	_, err = p.ask(t.Context(), request{Op: "dance"})
	require.ErrorContains(t, err, `unknown operation "dance"`)
	_, err = p.ask(t.Context(), request{Op: opCounters})
	require.NoError(t, err)
	require.NoError(t, p.stop())
	_, err = p.ask(t.Context(), request{Op: opCounters})
	require.ErrorContains(t, err, "does not answer")
}

func TestEveryGoContestantAnswersCorrectly(t *testing.T) {
	for name, impl := range implementations {
		t.Run(name, func(t *testing.T) {
			at, err := impl.serve()
			require.NoError(t, err)
			require.Contains(t, at.target, at.addr)
			c, err := impl.newClient()
			require.NoError(t, err)
			// The second time shows that a client can dial again.
			for range 2 {
				conn, err := c.dial(t.Context(), at.target)
				require.NoError(t, err)
				for _, size := range []int{0, 1, callSize, large} {
					data := bytes.Repeat([]byte("foolscap"), size/8+1)[:size]
					length, err := conn.sink(t.Context(), data)
					require.NoError(t, err)
					require.Equal(t, size, length)
					back, err := conn.echo(t.Context(), data)
					require.NoError(t, err)
					require.True(t, bytes.Equal(data, back))
				}
				if s, ok := conn.(streamer); ok {
					require.NoError(t, s.stream(small, 3))
				}
				require.NoError(t, conn.close())
			}
		})
	}
}

func TestTheTLSOfTheContestantsIsMutual(t *testing.T) {
	at, err := bareTLS{}.serve()
	require.NoError(t, err)
	addr, server, err := parsePinned(at.target)
	require.NoError(t, err)
	identity, err := newIdentity()
	require.NoError(t, err)

	t.Run("a client refuses another server than the pinned one", func(t *testing.T) {
		_, err := dialTLS(t.Context(), identity, addr+"/"+strings.Repeat("0", len(server)))
		require.ErrorContains(t, err, "pinned")
	})
	t.Run("a server refuses a client without a certificate", func(t *testing.T) {
		conn, err := dialTLS(t.Context(), tls.Certificate{}, at.target)
		require.NoError(t, err, "in TLS 1.3 the client learns of it with its first read")
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
		require.ErrorContains(t, err, "certificate required")
	})
}

// serverHelloBytes is what a server says first to a client in a handshake.
func serverHelloBytes(t *testing.T) []byte {
	t.Helper()
	identity, err := newIdentity()
	require.NoError(t, err)
	ours, theirs := net.Pipe()
	defer ours.Close()
	go tls.Server(theirs, serverTLS(identity)).HandshakeContext(t.Context())
	var hello bytes.Buffer
	client := tls.Client(teeConn{ours, &hello}, clientTLS(identity, fingerprint(identity.Certificate[0])))
	require.NoError(t, client.HandshakeContext(t.Context()))
	return hello.Bytes()
}

// A teeConn keeps what is read from it.
type teeConn struct {
	net.Conn
	kept *bytes.Buffer
}

func (c teeConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.kept.Write(p[:n])
	return n, err
}

func TestServerHelloIsReadWhereverTheBytesAreCut(t *testing.T) {
	sent := serverHelloBytes(t)
	record := 5 + int(sent[3])<<8 + int(sent[4])
	want := serverHello{cipher: tls.TLS_AES_128_GCM_SHA256, group: tls.X25519MLKEM768}
	for _, before := range []string{"", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.0\r\n\r\n"} {
		all := append([]byte(before), sent...)
		for n := range all {
			got, ok := parseServerHello(all[:n])
			if whole := n >= len(before)+record; whole {
				require.True(t, ok, n)
				require.Equal(t, want, got)
			} else {
				require.False(t, ok, n)
			}
		}
	}
	_, ok := parseServerHello([]byte("no TLS at all"))
	require.False(t, ok)
}

func TestMedianAndSpread(t *testing.T) {
	for _, test := range []struct {
		values         []float64
		median, spread float64
	}{
		{[]float64{5}, 5, 0},
		{[]float64{4, 2}, 3, 1. / 3},
		{[]float64{100, 1, 10}, 10, 0.9},
		{[]float64{8, 10, 12, 10, 1000}, 10, 0.2},
		{[]float64{0, 0, 0}, 0, 0},
	} {
		assert.InDelta(t, test.median, median(test.values), 1e-9, "%v", test.values)
		assert.InDelta(t, test.spread, spread(test.values), 1e-9, "%v", test.values)
	}
}

func TestTargetsAreJudgedByTheMedians(t *testing.T) {
	r := results{
		ours: {
			figureP50: {90, 100, 300}, figureInFlight: {100, 120, 50}, figureFresh: {65, 64, 63}, figureTrips: {6.1, 5.9, 6.2},
		},
		baselineTLS:    {figureP50: {50, 50, 50}},
		baselineNetRPC: {figureInFlight: {50, 40, 30}},
	}
	for _, test := range []struct {
		name     string
		target   target
		got      float64
		measured bool
		met      bool
	}{
		{"a ratio at its bound is met", target{figure: figureP50, than: baselineTLS, need: 2}, 2, true, true},
		{"a ratio where more is better and it is less", target{figure: figureInFlight, than: baselineNetRPC, need: 2.6}, 2.5, true, false},
		{"a plain number", target{figure: figureFresh, need: 64}, 64, true, true},
		{"a count is rounded", target{figure: figureTrips, need: 6, count: true}, 6.1, true, true},
		{"a number that is no count is not", target{figure: figureTrips, need: 6}, 6.1, true, false},
		{"no other contestant", target{figure: figureInFlight, than: baselineGRPC, need: 6}, 0, false, false},
		{"no figure of our own", target{figure: figureBulk1M, than: baselineTLS, need: 1}, 0, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			j := test.target.judge(r)
			require.Equal(t, test.measured, j.measured())
			if test.measured {
				require.InDelta(t, test.got, j.got, 1e-9)
				require.Equal(t, test.met, j.met())
			} else {
				require.Equal(t, "not measured", j.verdict())
			}
		})
	}
	j := target{figure: figureInFlight, than: baselineNetRPC, need: 2.5}.judge(r)
	require.InDelta(t, 2, j.middle, 1e-9)
	require.InDelta(t, 5./3, j.least, 1e-9)
	require.InDelta(t, 3, j.most, 1e-9)
}

func TestEveryTargetSpeaksOfAFigure(t *testing.T) {
	for _, target := range targets {
		require.NotPanics(t, func() { figureByKey(target.figure) }, target.title)
	}
}

func TestColumnsAreAligned(t *testing.T) {
	require.Equal(t, ""+
		"             a    b\n"+
		"latency  µs     1.5\n"+
		"x                20\n", alignTable([][]string{
		{"", "", "a", "b"}, {"latency", "µs", "", "1.5"}, {"x", "", "", "20"},
	}, 2))
}

func TestCommandLineIsChecked(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"-only", "tls,carrier-pigeon"}, `"carrier-pigeon"`},
		{[]string{"-measure", "latency,weight"}, `"weight"`},
		{[]string{"-only", "tls,"}, `""`},
		{[]string{"-rounds", "0"}, "-rounds"},
		{[]string{"-time", "1ms"}, "-time"},
		{[]string{"-rtt", "0"}, "-rtt"},
		{[]string{"-processes", "3"}, "-processes"},
		{[]string{"-retries", "-1"}, "-retries"},
		{[]string{"-json", "out.json", "more"}, `"more"`},
		{[]string{"-swift"}, "not defined"},
	} {
		err := command(t.Context(), test.args, io.Discard, io.Discard)
		require.ErrorContains(t, err, test.says)
	}
}

func TestWhatCannotBeWrittenEndsTheRunBeforeItBegins(t *testing.T) {
	file := t.TempDir() + "/file"
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, args := range [][]string{{"-json", file + "/out.json"}, {"-profile", file + "/profiles"}} {
		var table, progress bytes.Buffer
		err := command(t.Context(), append(args, "-quick", "-only", baselineTLS), &table, &progress)
		require.ErrorContains(t, err, file)
		require.Empty(t, table.String())
		require.Empty(t, progress.String())
	}
}

// A writerFunc is called when it is told of certain progress.
type writerFunc struct {
	word string
	f    func() error
}

func (w writerFunc) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.word)) {
		if err := w.f(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func TestProfilesThatFailCostNoFigures(t *testing.T) {
	dir := t.TempDir() + "/made/if/need/be"
	out := t.TempDir() + "/out.json"
	var table bytes.Buffer
	remove := writerFunc{"profiling", func() error { return os.Remove(dir) }}
	err := command(t.Context(), []string{"-quick", "-only", baselineTLS, "-measure", "latency", "-profile", dir, "-json", out}, &table, remove)
	require.ErrorContains(t, err, dir)
	require.Contains(t, table.String(), figureByKey(figureP50).title)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	require.True(t, json.Valid(text))
}

func TestSelectionKeepsTheOrderOfTheTable(t *testing.T) {
	chosen, err := selectContestants("grpc, tls")
	require.NoError(t, err)
	require.Equal(t, "tls,grpc", names(chosen, contestant.label))
	everything, err := selectMeasurements("")
	require.NoError(t, err)
	require.Len(t, everything, len(measurements))
}

func TestJSONFlagTakesAFileOrNone(t *testing.T) {
	require.Equal(t, []string{"-json=out.json", "-quick"}, joinJSONFile([]string{"-json", "out.json", "-quick"}))
	require.Equal(t, []string{"-json", "-quick"}, joinJSONFile([]string{"-json", "-quick"}))
	require.Equal(t, []string{"-quick", "--json"}, joinJSONFile([]string{"-quick", "--json"}))
}
