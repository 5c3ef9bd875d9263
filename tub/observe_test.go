package tub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// audit is an interceptor that writes down what it sees.
type audit struct {
	name  string
	mu    sync.Mutex
	log   *[]string
	calls []tub.CallInfo
}

func (a *audit) intercept(ctx context.Context, call *tub.CallInfo, next func(context.Context) (any, error)) (any, error) {
	a.mu.Lock()
	a.calls = append(a.calls, *call)
	*a.log = append(*a.log, a.name+" before "+call.Method)
	a.mu.Unlock()
	v, err := next(ctx)
	a.mu.Lock()
	*a.log = append(*a.log, a.name+" after "+call.Method)
	a.mu.Unlock()
	return v, err
}

func TestInterceptorsStandAroundCallsInTheirOrder(t *testing.T) {
	var inLog, outLog []string
	in1, in2 := &audit{name: "in1", log: &inLog}, &audit{name: "in2", log: &inLog}
	out1, out2 := &audit{name: "out1", log: &outLog}, &audit{name: "out2", log: &outLog}
	server := newServer(t, &tub.Options{Inbound: []tub.Interceptor{in1.intercept, in2.intercept}})
	client := newTub(t, &tub.Options{Outbound: []tub.Interceptor{out1.intercept, out2.intercept}})
	o := calculator()
	ref := connect(t, client, register(t, server, o))
	inLog, outLog, in1.calls = nil, nil, nil
	assert.Equal(t, 3, call[int](t, ref, "add", 1, tub.Keywords{"b": 2}))
	assert.Equal(t, []string{"in1 before add", "in2 before add", "in2 after add", "in1 after add"}, inLog)
	assert.Equal(t, []string{"out1 before add", "out2 before add", "out2 after add", "out1 after add"}, outLog)

	inbound, outbound := in1.calls[0], out1.calls[len(out1.calls)-1]
	assert.Equal(t, client.TubID(), inbound.Peer)
	assert.True(t, inbound.Inbound)
	assert.Same(t, o, inbound.Object)
	assert.Equal(t, "RICalculator.example.org", inbound.Interface)
	assert.Equal(t, struct{ A, B int }{1, 2}, *inbound.Args.(*struct{ A, B int }))
	assert.Equal(t, server.TubID(), outbound.Peer)
	assert.False(t, outbound.Inbound)
	assert.Nil(t, outbound.Object)
	assert.Equal(t, "RICalculator.example.org", outbound.Interface)
	assert.Equal(t, tub.Args{Positional: []any{1}, Keyword: map[string]any{"b": 2}}, outbound.Args)

	outLog = nil
	p, err := tub.Start[int](within(t), ref, "add", 1, 2)
	require.NoError(t, err)
	v, err := p.Wait(within(t))
	require.NoError(t, err)
	assert.Equal(t, 3, v)
	require.NoError(t, tub.Send(within(t), ref, "add", 1, 2))
	assert.Len(t, outLog, 8)
}

type keyOfTest struct{}

func TestInterceptorsRefuseAndChange(t *testing.T) {
	denied := errors.New("not for you")
	refuse := func(ctx context.Context, call *tub.CallInfo, next func(context.Context) (any, error)) (any, error) {
		if call.Method == "secret" {
			return nil, denied
		}
		v, err := next(context.WithValue(ctx, keyOfTest{}, "by the interceptor"))
		if n, ok := v.(int); ok && call.Inbound {
			v = n + 1
		}
		return v, err
	}
	ran := false
	o := tub.NewObject(
		tub.Method("secret", func(context.Context, tub.None) (int, error) { ran = true; return 1, nil }),
		tub.Method("open", func(ctx context.Context, _ tub.None) (int, error) {
			return len(ctx.Value(keyOfTest{}).(string)), nil
		}),
	)
	server := newServer(t, &tub.Options{Inbound: []tub.Interceptor{refuse}})
	f := register(t, server, o)
	ref := connect(t, newTub(t, nil), f)
	_, err := tub.Call[int](within(t), ref, "secret")
	var failure *tub.Failure
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "not for you", failure.Text)
	assert.False(t, ran)
	assert.Equal(t, len("by the interceptor")+1, call[int](t, ref, "open"))

	careful := newTub(t, &tub.Options{Outbound: []tub.Interceptor{refuse}})
	ref = connect(t, careful, f)
	_, err = tub.Call[int](within(t), ref, "secret")
	assert.ErrorIs(t, err, denied)
	assert.ErrorIs(t, tub.Send(within(t), ref, "secret"), denied)
	p, err := tub.Start[int](within(t), ref, "secret")
	require.NoError(t, err)
	_, err = p.Wait(within(t))
	assert.ErrorIs(t, err, denied)
	assert.False(t, ran)
}

func TestAnObserverIsToldWhatHappens(t *testing.T) {
	var there, here events
	server := newServer(t, &tub.Options{Observer: there.observe, Limits: tub.Limits{Limits: banana.Limits{MaxToken: 5000}}})
	client := newTub(t, &tub.Options{Observer: here.observe})
	dead := deadHint(t)
	f := register(t, server, calculator())
	f.Hints = append([]furl.Hint{dead}, f.Hints...)
	ref := connect(t, client, f)
	call[int](t, ref, "add", 1, 2)
	_, err := tub.Call[any](within(t), ref, "missing")
	require.Error(t, err)
	_, err = tub.Call[any](within(t), ref, "echo", strings.Repeat("x", 6000))
	require.Error(t, err)
	require.NoError(t, client.Close())
	eventually(t, func() bool { return len(there.of(tub.EventDisconnect)) == 1 && len(here.of(tub.EventDisconnect)) == 1 }, "it is over")

	dials := here.of(tub.EventDial)
	require.Len(t, dials, 2)
	slices.SortFunc(dials, func(a, b tub.Event) int { return strings.Compare(fmt.Sprint(a.Err == nil), fmt.Sprint(b.Err == nil)) })
	assert.Equal(t, dead, dials[0].Hint)
	assert.Equal(t, string(handlers.PhaseDial), dials[0].Phase)
	assert.Error(t, dials[0].Err, "nobody is there, or the other was faster")
	assert.Equal(t, f.Hints[1], dials[1].Hint)
	assert.Equal(t, string(handlers.PhaseNegotiate), dials[1].Phase)
	assert.Equal(t, server.TubID(), dials[1].Peer)
	assert.Positive(t, dials[1].Elapsed)

	for side, e := range map[string]*events{"there": &there, "here": &here} {
		peer := server.TubID()
		if side == "there" {
			peer = client.TubID()
		}
		negotiated := e.of(tub.EventNegotiate)
		require.Len(t, negotiated, 1, side)
		assert.Equal(t, peer, negotiated[0].Peer)
		assert.Equal(t, side == "there", negotiated[0].Inbound)
		assert.NoError(t, negotiated[0].Err)
		connected := e.of(tub.EventConnect)
		require.Len(t, connected, 1, side)
		assert.Equal(t, peer, connected[0].Peer)
		for _, kind := range []eventKind{tub.EventCall, tub.EventReference, tub.EventDisconnect} {
			require.NotEmpty(t, e.of(kind), kind)
			for _, event := range e.of(kind) {
				assert.Equal(t, connected[0].ID, event.Parent, "it belongs to the connection")
			}
		}
		ids := make(map[uint64]bool)
		for _, event := range e.sofar() {
			assert.NotZero(t, event.ID)
			assert.False(t, ids[event.ID], "each has an ID of its own")
			ids[event.ID] = true
		}
	}
	var methods []string
	for _, e := range here.of(tub.EventCall) {
		methods = append(methods, fmt.Sprint(e.Method, " ", e.Err == nil))
	}
	assert.Equal(t, []string{"getReferenceByName true", "add true", "missing false", "echo false"}, methods)
	limits := there.of(tub.EventLimit)
	require.Len(t, limits, 1)
	var limit *banana.LimitError
	require.ErrorAs(t, limits[0].Err, &limit)
	assert.Equal(t, "MaxToken", limit.Limit)
	assert.Equal(t, "MaxToken", limits[0].Detail)
}

// Everything that two Tubs tell of themselves in an eventful life.
func TestNoSecretIsToldToLoggersObserversAndCallers(t *testing.T) {
	var told logs
	var seen events
	opts := func() *tub.Options { return &tub.Options{Logger: told.logger(), Observer: seen.observe} }
	server, client := newServer(t, opts()), newServer(t, opts())
	var secrets []string
	secret := func(f furl.FURL) furl.FURL {
		secrets = append(secrets, f.Name.Reveal())
		return f
	}
	var errs []error
	box, kept := keeper()
	o := calculator()
	f := secret(register(t, server, box))
	ref := connect(t, client, f)
	call[tub.None](t, ref, "keep", o)
	name, ok := client.PassingName(o)
	require.True(t, ok)
	secrets = append(secrets, name)
	theirs := kept()
	for _, f := range []furl.FURL{
		secret(named(t, server.TubID(), server.Hints()...)),
		secret(named(t, server.TubID())),
		secret(named(t, newIdentity(t).TubID(), append(server.Hints(), deadHint(t), "odd:x")...)),
		secret(named(t, client.TubID())),
	} {
		_, err := client.Connect(within(t), f)
		errs = append(errs, err)
		_, err = tub.Call[int](within(t), client.Ref(f), "add", 1, 2)
		errs = append(errs, err)
	}
	server.OnLookup(func(_ context.Context, name string) (*tub.Object, error) {
		return nil, errors.New("there is nothing under " + name) // a mistake that is easily made
	})
	_, err := client.Connect(within(t), secret(named(t, server.TubID())))
	errs = append(errs, err)
	server.Unregister(box)
	require.NoError(t, server.Close())
	_, err = tub.Call[any](within(t), ref, "keep", o)
	errs = append(errs, err)
	_, err = tub.Call[any](within(t), theirs, "add", 1, 2)
	errs = append(errs, err)
	info, _ := client.Info(server.TubID())

	text := told.String()
	for _, err := range errs {
		require.Error(t, err)
		text += fmt.Sprintf("%v %+v\n", err, err)
	}
	for _, e := range seen.sofar() {
		if e.Kind == tub.EventCall && e.Inbound {
			continue // what a method fails with is the program's own
		}
		text += fmt.Sprintf("%+v\n", e)
	}
	text += fmt.Sprintf("%+v", info)
	for _, s := range secrets {
		assert.NotContains(t, text, s)
	}
}

func TestTheMemoryOfACallIsCountedWhileItRuns(t *testing.T) {
	g := newGate()
	server := newServer(t, nil)
	ref := connect(t, newTub(t, nil), register(t, server, tub.NewObject(
		tub.Method("hold", func(_ context.Context, a struct{ Data []byte }) (int, error) {
			close(g.begun)
			<-g.proceed
			return len(a.Data), nil
		}),
	)))
	p, err := tub.Start[int](within(t), ref, "hold", make([]byte, 100_000))
	require.NoError(t, err)
	<-g.begun
	assert.Greater(t, server.MemoryUsed(), int64(99_000))
	close(g.proceed)
	n, err := p.Wait(within(t))
	require.NoError(t, err)
	assert.Equal(t, 100_000, n)
	eventually(t, func() bool { return server.MemoryUsed() < 10_000 }, "it is given back")
}

func TestTheMemoryOfATubIsAnOption(t *testing.T) {
	server := newServer(t, &tub.Options{Memory: 50_000})
	ref := connect(t, newTub(t, nil), register(t, server, calculator()))
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
	_, err := tub.Call[any](within(t), ref, "echo", make([]byte, 100_000))
	assert.ErrorContains(t, err, "Memory")
	assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
}

func TestFailuresAreLoggedAndTheirTypesHiddenWhereTheOptionsSaySo(t *testing.T) {
	var atServer, atClient logs
	p := newPair(t,
		&tub.Options{Logger: atServer.logger(), LogLocalFailures: slog.LevelWarn},
		&tub.Options{Logger: atClient.logger(), LogRemoteFailures: slog.LevelInfo, HideRemoteTypes: true})
	f := register(t, p.server, tub.NewObject(tub.Method("fail", func(context.Context, tub.None) (tub.None, error) {
		return tub.None{}, errors.New("no such luck")
	}), tub.Method("tell", func(context.Context, tub.None) (tub.None, error) {
		return tub.None{}, fmt.Errorf("cannot reach %q: %w", p.furl.Reveal(), errors.New("no "+p.furl.Reveal()+" here"))
	}), tub.Method("nil", func(context.Context, tub.None) (tub.None, error) {
		return tub.None{}, (*nilError)(nil)
	})))
	_, err := tub.Call[any](within(t), connect(t, p.client, f), "fail")
	failure, ok := errors.AsType[*tub.Failure](err)
	require.True(t, ok)
	assert.Equal(t, tub.RemoteException, failure.Type)
	assert.Equal(t, "errors.errorString: no such luck", failure.Text)
	assert.Regexp(t, `level=WARN msg="a method that the peer has called has failed" .*method=fail error="no such luck"`, atServer.String())
	assert.Regexp(t, `level=INFO msg="a call has failed at the peer" .*method=fail type=errors.errorString`, atClient.String())
	assert.NotContains(t, atClient.String(), "no such luck")

	_, err = tub.Call[any](within(t), connect(t, p.client, f), "tell")
	assert.ErrorContains(t, err, p.furl.Reveal(), "what a caller is told is up to the method")
	assert.Contains(t, atServer.String(), string(p.furl.TubID)+"@")
	assert.Regexp(t, `no pb://[^ ]*/\[redacted\] here`, atServer.String())
	assert.NotContains(t, atServer.String(), p.furl.Name.Reveal())
	_, err = tub.Call[any](within(t), connect(t, p.client, f), "nil")
	assert.ErrorContains(t, err, "cannot be described")
}

type nilError struct{ text string }

func (e *nilError) Error() string { return e.text }
