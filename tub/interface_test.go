package tub_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/schema"
	"github.com/foolscap-go/foolscap/tub"
)

// A ledger is a remote interface, and so is its clerk.
type ledger interface {
	Post(ctx context.Context, a entry) (clerk, error)
	ReadAll(ctx context.Context, a tub.None) ([]byte, error)
	Raw(ctx context.Context, a tub.Args) (any, error)
}

type clerk interface {
	Who(ctx context.Context, a struct{ All []clerk }) (string, error)
}

type entry struct {
	Text   string `schema:"text(max=10)"`
	Amount int8   `foolscap:",optional" default:"1"`
}

func TestARemoteInterfaceIsDerivedFromAGoOne(t *testing.T) {
	i := tub.InterfaceOf[ledger]("RILedger.example.org",
		tub.Names{"ReadAll": "readAll"}, tub.Results{"ReadAll": "bytes(max=100)"}, tub.Refers[clerk]("RIClerk.example.org"))
	assert.Equal(t, `interface RILedger.example.org
  post(text: text(max=10), amount: optional(int(min=-128, max=127), default=1)) -> interface("RIClerk.example.org")
  raw(...)
  readAll() -> bytes(max=100)
`, i.String())
	assert.Equal(t, "interface RIClerk\n  who(all: list(referenceable)) -> text\n", tub.InterfaceOf[clerk]("RIClerk").String(),
		"without Refers nobody knows the name")
}

// An auditor extends clerk.
type auditor interface {
	clerk
	Audit(ctx context.Context, a tub.None) (tub.None, error)
}

func TestAnInterfaceExtendsOthers(t *testing.T) {
	i := tub.InterfaceOf[auditor]("RIAuditor.example.org", tub.Extends("RIPerson.example.org", "RIClerk.example.org"))
	text := "interface RIAuditor.example.org extends RIClerk.example.org, RIPerson.example.org\n  audit() -> none\n  who(all: list(referenceable)) -> text\n"
	assert.Equal(t, text, i.String())
	again, err := schema.ParseInterface(text)
	require.NoError(t, err)
	assert.Equal(t, text, again.String())
	assert.True(t, i.Is("RIPerson.example.org"))
}

// A person is an auditor, and so a clerk.
type person struct{ auditor }

// Whoever extends another interface goes by the Stub of its own, whichever comes first.
func TestAValueGoesByTheStubThatSaysMost(t *testing.T) {
	of := func(name string) *tub.Object { return tub.NewObject(tub.Interface(name)) }
	stubs := []tub.Stub{
		tub.StubOf(func(*tub.Ref) clerk { return nil }, func(clerk) *tub.Object { return of("RIClerk") }),
		tub.StubOf(func(*tub.Ref) auditor { return nil }, func(auditor) *tub.Object { return of("RIAuditor") }),
	}
	for range 2 {
		stubs[0], stubs[1] = stubs[1], stubs[0]
		server := newServer(t, &tub.Options{Stubs: stubs})
		ref := connect(t, newTub(t, nil), register(t, server, tub.NewObject(
			tub.Method("get", func(context.Context, tub.None) (any, error) { return &person{}, nil }))))
		assert.Equal(t, "RIAuditor", call[*tub.Ref](t, ref, "get").Interface())
	}
}

func TestWhatIsNoRemoteInterface(t *testing.T) {
	type odd interface {
		M(ctx context.Context, a struct{ C chan int }) (int, error)
	}
	for says, f := range map[string]func(){
		"there is no interface":                                   func() { tub.Implements(nil) },
		"it has to be an interface":                               func() { tub.InterfaceOf[int]("RI") },
		"it has no method Red":                                    func() { tub.InterfaceOf[ledger]("RI", tub.Names{"Red": "read"}) },
		"it has no method Blue":                                   func() { tub.InterfaceOf[ledger]("RI", tub.Results{"Blue": "any"}) },
		"method ReadAll: its result: schema: at 1: unknown":       func() { tub.InterfaceOf[ledger]("RI", tub.Results{"ReadAll": "bites"}) },
		"method Close: it has to be func(context.Context, A) (R,": func() { tub.InterfaceOf[interface{ Close() error }]("RI") },
		"type chan int has no form":                               func() { tub.InterfaceOf[odd]("RI") },
		"RI extends RIBase twice, or is that itself":              func() { tub.InterfaceOf[clerk]("RI", tub.Extends("RIBase", "RIBase")) },
		`"an odd name" cannot be the name of an interface`:        func() { tub.InterfaceOf[clerk]("an odd name") },
	} {
		func() {
			defer func() { assert.Contains(t, recover(), says) }()
			f()
		}()
	}
}

func TestAnObjectImplementsAllOfAnInterface(t *testing.T) {
	i := tub.InterfaceOf[clerk]("RIClerk.example.org")
	who := tub.Method("who", func(context.Context, struct{ All []*tub.Ref }) (string, error) { return "", nil })
	assert.Equal(t, "RIClerk.example.org", tub.NewObject(tub.Implements(i), who).Interface())
	assert.PanicsWithValue(t, `foolscap: method "who" of RIClerk.example.org is missing`,
		func() { tub.NewObject(tub.Implements(i)) })
}

func TestAReferenceHasTheInterfaceThatIsAssumed(t *testing.T) {
	t.Parallel()
	p := newPair(t, nil, nil)
	plain := connect(t, p.client, register(t, p.server, tub.NewObject()))
	plain.Assume(tub.InterfaceOf[clerk]("RIClerk.example.org"))
	assert.Equal(t, "RIClerk.example.org", plain.Interface())
	p.ref.Assume(tub.InterfaceOf[clerk]("RIClerk.example.org"))
	assert.Equal(t, "RICalculator.example.org", p.ref.Interface(), "what the object says of itself counts more")
}

func TestKeywordsAreReadyWhenTheyAreNil(t *testing.T) {
	var k tub.Keywords
	k.Set("a", 1)
	k.Set("a", 2)
	assert.Equal(t, tub.Keywords{"a": 2}, k)
}
