package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

// A gambler exchanges references with Python at random.
type gambler struct {
	m    *meeting
	rand *rand.Rand
	refs []*tub.Ref    // Python's objects
	own  []*tub.Object // which Python may hold
}

func (g *gambler) ref() *tub.Ref {
	if len(g.refs) == 0 {
		return g.m.root
	}
	return g.refs[g.rand.IntN(len(g.refs))]
}

func (g *gambler) object() *tub.Object {
	if len(g.own) < 10 || g.rand.IntN(5) == 0 {
		g.own = append(g.own, g.m.desk.child())
	}
	if len(g.own) > 30 {
		g.own = g.own[10:]
	}
	return g.own[g.rand.IntN(len(g.own))]
}

// mixture is a value with references of both sides in it, some of them more than once.
func (g *gambler) mixture(depth int) any {
	if depth == 0 {
		switch g.rand.IntN(4) {
		case 0:
			return g.object()
		case 1:
			return g.rand.IntN(1000)
		}
		return g.ref()
	}
	items := make([]any, g.rand.IntN(4))
	for i := range items {
		items[i] = g.mixture(g.rand.IntN(depth))
	}
	switch g.rand.IntN(3) {
	case 0:
		return banana.Tuple(items)
	case 1:
		d := banana.NewDict()
		for i, item := range items {
			_ = d.Set(fmt.Sprint(i), item)
		}
		return d
	}
	return banana.NewList(items...)
}

// keep takes the references in an answer, or leaves them to the garbage collector.
func (g *gambler) keep(v any) {
	if g.rand.IntN(4) == 0 {
		return
	}
	switch v := v.(type) {
	case *tub.Ref:
		g.refs = append(g.refs, v)
	case *banana.List:
		for _, item := range v.Items {
			g.keep(item)
		}
	case banana.Tuple:
		for _, item := range v {
			g.keep(item)
		}
	case *banana.Dict:
		for _, item := range v.All() {
			g.keep(item)
		}
	}
}

func (g *gambler) step(ctx context.Context) error {
	call := func(method string, args ...any) error {
		v, err := tub.Call[any](ctx, g.m.root, method, args...)
		if err == nil {
			g.keep(v)
		}
		return err
	}
	switch g.rand.IntN(16) {
	case 0, 1:
		return call("get_ref")
	case 2:
		return call("get_same")
	case 3:
		return call("get_self")
	case 4, 5:
		return call("hold", g.object())
	case 6:
		return call("hold_many", []any{g.object(), g.ref(), g.object()})
	case 7:
		if g.rand.IntN(4) > 0 {
			return call("get_same")
		}
		return call("get_held")
	case 8:
		return call("drop")
	case 9, 10:
		return call("echo", g.mixture(3))
	case 11:
		// Refused by Python: what it was sent must be released all the same.
		if _, err := tub.Call[any](ctx, g.m.root, "dance", g.mixture(2)); err == nil {
			return fmt.Errorf("there is a method dance")
		}
		return nil
	case 12:
		// Refused by us: what came is released.
		_, err := tub.Call[[]int](ctx, g.m.root, "echo", []any{1, g.object(), g.ref()})
		if err == nil {
			return fmt.Errorf("references fitted into integers")
		}
		return nil
	case 13:
		// Given up: the answer comes late, or the call never leaves.
		given, cancel := context.WithCancel(ctx)
		pending, err := tub.Start[any](given, g.m.root, "echo", g.mixture(2))
		if err != nil {
			cancel()
			return err
		}
		cancel()
		if v, err := pending.Wait(given); err == nil {
			g.keep(v)
		}
		return nil
	case 14:
		return tub.Send(ctx, g.m.root, "hold", g.object())
	}
	// Let go of some: by Close, or by forgetting.
	for range min(len(g.refs), 1+g.rand.IntN(10)) {
		i := g.rand.IntN(len(g.refs))
		if g.rand.IntN(2) == 0 {
			g.refs[i].Close()
		}
		g.refs[i] = g.refs[len(g.refs)-1]
		g.refs = g.refs[:len(g.refs)-1]
	}
	if g.rand.IntN(4) == 0 {
		runtime.GC()
	}
	return nil
}

// pythonsSteps are what Python calls meanwhile.
func pythonsSteps(m *meeting, r *rand.Rand, count int) []*pypeer.Pending {
	object := pypeer.Object(m.name)
	var pending []*pypeer.Pending
	for range count {
		switch r.IntN(8) {
		case 0:
			pending = append(pending, m.ref.Begin("get_ref"))
		case 1:
			pending = append(pending, m.ref.Begin("get_same"))
		case 2:
			pending = append(pending, m.ref.Begin("hold", object))
		case 3:
			pending = append(pending, m.ref.Begin("hold_many", pypeer.List(object, m.ref.Value(), pypeer.Method(m.name, "echo"))))
		case 4:
			pending = append(pending, m.ref.Begin("get_self"))
		case 5:
			pending = append(pending, m.ref.Begin("drop"))
		case 6:
			pending = append(pending, m.ref.Begin("echo", pypeer.List(object, m.ref.Value(), pypeer.Tuple(object))))
		case 7:
			pending = append(pending, m.peer.Begin("call_only", pypeer.Params{"ref": m.ref.Handle(), "method": "hold", "args": []pypeer.Value{object}}))
		}
	}
	return pending
}

func TestAfterManyRandomExchangesOfReferencesNothingIsLeft(t *testing.T) {
	t.Parallel()
	const gamblers, steps = 8, 60
	// What happens is the same each time, as far as one side alone decides it.
	seed := uint64(0)
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		seed++
		ctx := within(t)
		var all sync.WaitGroup
		for n := range gamblers {
			g := &gambler{m: m, rand: rand.New(rand.NewPCG(seed, uint64(n)))}
			all.Go(func() {
				for i := range steps {
					if !assert.NoError(t, g.step(ctx), "step %d of gambler %d", i, n) {
						return
					}
				}
				for _, ref := range g.refs {
					if g.rand.IntN(2) == 0 {
						ref.Close()
					}
				}
			})
		}
		for _, pending := range pythonsSteps(m, rand.New(rand.NewPCG(seed, gamblers)), 2*steps) {
			assert.NoError(t, pending.Result(nil))
		}
		all.Wait()
		m.assertNothingIsLeft(t)
	})
}
