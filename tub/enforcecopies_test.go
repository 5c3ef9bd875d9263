package tub_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/schema"
	"github.com/foolscap-go/foolscap/tub"
)

const bankText = `interface RIBank.example.org
  amount(v: copyable("example.Money", amount: int(max=100), currency: text(max=3))) -> int
  pointers(v: list(copyable("example.Money", amount: int(max=100), currency: text(max=3)))) -> int
  count(v: list(choice(copyable("example.Money", amount: int(max=100), currency: text), copyable("example.Time", seconds: int(max=100)), list(copyable("example.Money", amount: int(max=100), currency: text))))) -> int
  pay(amount: int) -> copyable("example.Money", amount: int(max=100), currency: text)
  twice(amount: int) -> list(copyable("example.Money", amount: int(max=100), currency: text))
`

func bank(part tub.Part) *tub.Object {
	paid := func(amount int64) *money { return &money{Amount: amount, Currency: "EUR"} }
	return tub.NewObject(part,
		tub.Method("amount", func(_ context.Context, a struct{ V money }) (int64, error) { return a.V.Amount, nil }),
		tub.Method("pointers", func(_ context.Context, a struct{ V []*money }) (int, error) { return len(a.V), nil }),
		tub.Method("count", func(_ context.Context, a struct{ V any }) (int, error) { return len(a.V.(*banana.List).Items), nil }),
		tub.Method("pay", func(_ context.Context, a struct{ Amount int64 }) (any, error) { return paid(a.Amount), nil }),
		tub.Method("twice", func(_ context.Context, a struct{ Amount int64 }) (any, error) {
			m := paid(a.Amount)
			return banana.NewList(m, m), nil
		}),
	)
}

func TestCopiesAreHeldToAnInterface(t *testing.T) {
	i := parseInterface(t, bankText)
	good, rich := &money{Amount: 3, Currency: "EUR"}, &money{Amount: 300, Currency: "EUR"}
	goods, riches, early, late := banana.NewList(good), banana.NewList(rich), time.Unix(5, 0), time.Unix(500, 0)
	for _, who := range []struct {
		name           string
		caller, callee bool // who enforces
	}{{"the callee", false, true}, {"the caller", true, false}, {"both", true, true}} {
		t.Run(who.name, func(t *testing.T) {
			part := tub.Interface(i.Name)
			if who.callee {
				part = tub.Implements(i)
			}
			caller := tub.Options{Copies: append(moneyAndTime, tub.CopyOf[other]("example.Other"))}
			if who.caller {
				caller.Interfaces = []*schema.Interface{i}
			}
			server := newServer(t, &tub.Options{Copies: moneyAndTime})
			ref := connect(t, newTub(t, &caller), register(t, server, bank(part)))
			for _, c := range []struct {
				name, method string
				arg          any
				wrong        string
			}{
				{"a value", "amount", *good, ""},
				{"a pointer", "amount", good, ""},
				{"too much", "amount", rich, "(example.Money).amount of amount: expected int(max=100)"},
				{"another class", "amount", other{1}, `expected copyable "example.Money", got copyable "example.Other"`},
				{"no copy", "amount", 1, "expected copyable, got integer"},
				{"two", "pointers", []*money{good, {Amount: 1, Currency: "EUR"}}, ""},
				{"one twice", "pointers", []*money{good, good}, ""},
				{"one twice, into any", "count", []*money{good, good}, ""},
				{"one twice, too much", "count", []*money{rich, rich}, "(example.Money).amount of count: expected int(max=100)"},
				{"a list of them twice", "count", banana.NewList(goods, goods), ""},
				{"a list of them twice, too much", "count", banana.NewList(riches, riches), "amount of count: expected int(max=100)"},
				{"one made by a function twice", "count", banana.NewList(&early, &early), ""},
				{"one made by a function, too late", "count", banana.NewList(&late), "(example.Time).seconds of count: expected int(max=100)"},
				{"a result", "pay", 7, ""},
				{"a result that is too much", "pay", 700, "result(example.Money).amount of pay"},
				{"one twice as a result", "twice", 7, ""},
				{"one twice as a result, too much", "twice", 700, "result[0](example.Money).amount of twice"},
			} {
				_, err := tub.Call[any](within(t), ref, c.method, c.arg)
				if c.wrong == "" {
					assert.NoError(t, err, c.name)
				} else {
					assert.ErrorContains(t, err, c.wrong, c.name)
				}
			}
			require.EqualValues(t, 7, call[money](t, ref, "pay", 7).Amount)
			both := call[[]*money](t, ref, "twice", 7)
			require.Same(t, both[0], both[1])
		})
	}
}

// What was let pass by one constraint is looked at again for another one.
func TestASharedCopyIsHeldToEachConstraint(t *testing.T) {
	i := parseInterface(t, `interface RITwo.example.org
  two(a: any, b: copyable("example.Money", amount: int(max=100), currency: text)) -> none
`)
	server := newServer(t, &tub.Options{Copies: moneyAndTime})
	ref := connect(t, newTub(t, &tub.Options{Copies: moneyAndTime}), register(t, server, tub.NewObject(tub.Implements(i),
		tub.Method("two", func(_ context.Context, a struct{ A, B any }) (tub.None, error) { return tub.None{}, nil }))))
	good, rich := &money{Amount: 3}, &money{Amount: 300}
	call[tub.None](t, ref, "two", good, good)
	_, err := tub.Call[tub.None](within(t), ref, "two", rich, rich)
	require.ErrorContains(t, err, `argument "b"["amount"] of two: expected int(max=100), got 300`)
}
