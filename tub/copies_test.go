package tub_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

type money struct {
	Amount   int64
	Currency string
	Owner    any `foolscap:",optional"`
}

type other struct{ A int }

type seconds struct{ Seconds int64 }

var moneyAndTime = []tub.Copy{
	tub.CopyOf[money]("example.Money"),
	tub.CopyAs("example.Time",
		func(t time.Time) (seconds, error) { return seconds{t.Unix()}, nil },
		func(s seconds) (time.Time, error) {
			if s.Seconds < 0 {
				return time.Time{}, errors.New("before 1970")
			}
			return time.Unix(s.Seconds, 0), nil
		}),
}

// echoer returns what it gets, of whatever type.
func echoer() *tub.Object {
	type value[T any] struct{ V T }
	return tub.NewObject(
		tub.Method("any", func(_ context.Context, a value[any]) (any, error) { return a.V, nil }),
		tub.Method("money", func(_ context.Context, a value[money]) (money, error) { return a.V, nil }),
		tub.Method("moneys", func(_ context.Context, a value[[]*money]) (bool, error) { return a.V[0] == a.V[1], nil }),
		tub.Method("time", func(_ context.Context, a value[time.Time]) (time.Time, error) { return a.V, nil }),
		tub.Method("furl", func(_ context.Context, a value[furl.FURL]) (furl.FURL, error) { return a.V, nil }),
		tub.Method("self", func(ctx context.Context, _ tub.None) (*tub.Object, error) { return echoer(), nil }),
		tub.Method("kind", func(_ context.Context, a value[any]) (string, error) { return fmt.Sprintf("%T", a.V), nil }),
	)
}

func copying(t *testing.T) (server, client *tub.Tub, ref *tub.Ref) {
	server, client = newServer(t, &tub.Options{Copies: moneyAndTime}), newTub(t, &tub.Options{Copies: append(moneyAndTime, tub.CopyOf[other]("example.Other"))})
	return server, client, connect(t, client, register(t, server, echoer()))
}

func TestRegisteredTypesTravelByCopy(t *testing.T) {
	_, client, ref := copying(t)
	tea := &money{Amount: 3, Currency: "EUR"}
	assert.Equal(t, *tea, call[money](t, ref, "money", tea))
	assert.Equal(t, tea, call[any](t, ref, "any", *tea))
	assert.Equal(t, time.Unix(9, 0), call[time.Time](t, ref, "time", time.Unix(9, 5)))
	assert.True(t, call[bool](t, ref, "moneys", []*money{tea, tea}))
	assert.Equal(t, "*tub_test.money", call[string](t, ref, "kind", tea))
	list := call[*banana.List](t, ref, "any", banana.NewList(tea, tea))
	assert.Same(t, list.Items[0], list.Items[1])

	owner := calculator()
	assert.Same(t, owner, call[money](t, ref, "money", money{Amount: 1, Owner: owner}).Owner, "references travel within")

	// Arguments that come before it is known what they are for.
	self, err := tub.Promise(within(t), ref, "self")
	require.NoError(t, err)
	assert.Equal(t, *tea, call[money](t, self, "money", tea))
	assert.Equal(t, *tea, call[money](t, client.Ref(register(t, client, echoer())), "money", tea), "within one Tub as well")
}

func TestCopiesThatAreRefusedFailTheirCallAlone(t *testing.T) {
	server, _, ref := copying(t)
	for name, test := range map[string]struct {
		method string
		arg    any
		text   string
	}{
		"an unknown class":     {"any", other{1}, `argument "v": copyable of the unknown class "example.Other"`},
		"another class":        {"time", money{Owner: ref}, `argument "v": expected time.Time, got copyable "example.Money"`},
		"what a hook refuses":  {"time", time.Unix(-1, 0), `argument "v"(example.Time): before 1970`},
		"a dict for the class": {"money", map[string]int{"amount": 1}, `argument "v": expected copyable "example.Money", got dict`},
	} {
		_, err := tub.Call[any](within(t), ref, test.method, test.arg)
		require.ErrorIs(t, err, tub.RemoteType("foolscap.tokens.Violation"), name)
		var f *tub.Failure
		require.ErrorAs(t, err, &f, name)
		assert.Equal(t, test.text, f.Text, name)
	}
	_, err := tub.Call[time.Time](within(t), ref, "money", money{})
	var v *banana.Violation
	require.ErrorAs(t, err, &v)
	assert.Equal(t, `result: expected time.Time, got copyable "example.Money"`, v.Error())

	// A Tub that does not know the types can neither send nor receive them.
	bare := newTub(t, nil)
	plain := connect(t, bare, register(t, server, echoer()))
	_, err = tub.Call[any](within(t), plain, "any", time.Unix(1, 0))
	assert.ErrorContains(t, err, "time.Time has no exported fields")
	assert.Equal(t, 1, call[int](t, ref, "any", 1))
}

func TestOptionsWithCopiesThatCannotBe(t *testing.T) {
	for name, copies := range map[string][]tub.Copy{
		"the class is taken":       {tub.CopyOf[money]("a"), tub.CopyOf[other]("a")},
		"the type is taken":        {tub.CopyOf[money]("a"), tub.CopyOf[money]("b")},
		"the class is Failure's":   {tub.CopyOf[money]("twisted.python.failure.Failure")},
		"the class is SturdyRef's": {tub.CopyOf[money]("foolscap.SturdyRef")},
		"no type for it":           {tub.CopyOf[int]("a")},
	} {
		_, err := tub.New(newIdentity(t), &tub.Options{Copies: copies})
		assert.ErrorContains(t, err, "option Copies", name)
	}
}

func TestAFURLTravelsAsAValue(t *testing.T) {
	var log logs
	server, client, ref := copying(t)
	f := register(t, server, calculator()).WithHints("tcp:192.0.2.1:1", "odd:x")
	assert.True(t, f.Equal(call[furl.FURL](t, ref, "furl", f)))
	got := call[any](t, ref, "any", &f)
	require.IsType(t, &furl.FURL{}, got)
	assert.Equal(t, f.Reveal(), got.(*furl.FURL).Reveal())
	log.logger().Info("got", slog.Any("furl", got))
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v", got, got, got)+log.String(), f.Name.Reveal())
	assert.Equal(t, 3, call[int](t, connect(t, client, *got.(*furl.FURL)), "add", 1, 2))

	_, err := tub.Call[any](within(t), ref, "any", furl.FURL{})
	var e *banana.EncodeError
	require.ErrorAs(t, err, &e)
	assert.ErrorContains(t, err, "not complete")
}

func TestAFailureTravelsAsAValue(t *testing.T) {
	_, _, ref := copying(t)
	want := &tub.Failure{Type: "a.B", Text: "é", Parents: []string{"a.B", "a.C"}}
	got := call[any](t, ref, "any", banana.NewList(want, *want, want))
	assert.Equal(t, banana.NewList(want, want, want), got)
	assert.Equal(t, want, call[*tub.Failure](t, ref, "any", want))
	assert.Equal(t, "*broker.Failure", call[string](t, ref, "kind", want))
}
