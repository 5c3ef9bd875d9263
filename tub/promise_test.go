package tub_test

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func reviewPair(t *testing.T, serverOpts *tub.Options) (server, client *tub.Tub, m *memory) {
	m = newMemory()
	server, client = newTub(t, serverOpts), newTub(t, nil)
	_, err := server.Listen(m.listen("mem:x"))
	require.NoError(t, err)
	handle(t, client, map[string]dial{"mem": m.dialer()})
	return
}

func TestAHiddenTubDoesNotTellPeersOfItsMachineByWhatBuildsOnAFailure(t *testing.T) {
	const secret = "/srv/alice/at/192.0.2.77"
	for _, how := range []string{"promise", "panic"} {
		t.Run(how, func(t *testing.T) {
			go_ := make(chan struct{})
			server, client, _ := reviewPair(t, &tub.Options{Hidden: true})
			f := register(t, server, tub.NewObject(
				tub.Method("open", func(_ context.Context, a struct{}) (*tub.Object, error) {
					<-go_
					return nil, &fs.PathError{Op: "open", Path: secret, Err: fs.ErrNotExist}
				}),
				tub.Method("panics", func(_ context.Context, a struct{}) (any, error) {
					panic(&fs.PathError{Op: "open", Path: secret, Err: fs.ErrNotExist})
				})))
			ref := connect(t, client, f)
			var err error
			if how == "panic" {
				_, err = tub.Call[any](within(t), ref, "panics")
			} else {
				p, e := tub.Promise(within(t), ref, "open")
				require.NoError(t, e)
				// What a peer sees of it is in the promise of the promise.
				p2, e := tub.Promise(within(t), p, "anything")
				require.NoError(t, e)
				pending, e := tub.Start[any](within(t), p2, "anything")
				require.NoError(t, e)
				close(go_)
				_, err = pending.Wait(within(t))
			}
			require.Error(t, err)
			assert.NotContains(t, err.Error(), secret)
		})
	}
}

func TestManyReferencesAtOnce(t *testing.T) {
	server, client, _ := reviewPair(t, nil)
	const many = 40
	begun := make(chan struct{})
	var refs []*tub.Ref
	for range many {
		refs = append(refs, client.Ref(register(t, server, calculator())))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	failed := map[string]int{}
	for _, r := range refs {
		wg.Go(func() {
			<-begun
			if _, err := tub.Call[int](within(t), r, "add", 1, 2); err != nil {
				mu.Lock()
				failed[fmt.Sprint(err)]++
				mu.Unlock()
			}
		})
	}
	close(begun)
	wg.Wait()
	for e, n := range failed {
		t.Errorf("%d of %d: %s", n, many, e)
	}
}

func TestAReferenceAsItsOwnArgument(t *testing.T) {
	server, client, _ := reviewPair(t, nil)
	ref := client.Ref(register(t, server, calculator()))
	_, err := tub.Call[any](within(t), ref, "echo", ref)
	assert.NoError(t, err)
}

func TestTheRankersFirstDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server, client := newTub(t, nil), newTub(t, &tub.Options{Ranker: func(r tub.RankRequest) []tub.RankedHint {
			return []tub.RankedHint{{Hint: "mem:x", Delay: 2 * time.Second}}
		}})
		_, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		handle(t, client, map[string]dial{"mem": m.dialer()})
		from := time.Now()
		f := register(t, server, calculator())
		connect(t, client, f)
		info, _ := client.Info(server.TubID())
		assert.Equal(t, "mem:x 2s", begun(info.Hints, from))
	})
}

// On 32 bits.
func TestLongDelaysAreInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hints := []furl.Hint{"fail:a", "mem:x"}
		m := newMemory()
		server, client := newTub(t, nil), newTub(t, &tub.Options{Ranker: func(r tub.RankRequest) []tub.RankedHint {
			return []tub.RankedHint{{Hint: hints[0]}, {Hint: hints[1], Delay: 30 * time.Second}}
		}})
		_, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		handle(t, client, map[string]dial{"mem": m.dialer(), "fail": refusing(time.Second)})
		from := time.Now()
		f := register(t, server, calculator())
		f.Hints = hints
		connect(t, client, f)
		info, _ := client.Info(server.TubID())
		assert.Equal(t, "fail:a 0s, mem:x 1s", begun(info.Hints, from))
	})
}

func TestHiddenLocations(t *testing.T) {
	hidden := newTub(t, &tub.Options{Hidden: true})
	a := newMemory().listen("x:y")
	_, err := hidden.Listen(exposedAcceptor{a, hidesAll})
	require.NoError(t, err)
	for _, h := range []furl.Hint{"tcp:192.0.2.1", "tcp:192.0.2.1:port", "x:192.0.2.1:1:2", "tcp:2001:db8::1:1", "tcp:192.0.2.1:99999", "tcp:my_host.example:1", "tcp:127.1:1"} {
		a.advertise(h)
		assert.Empty(t, hidden.Hints(), h)
	}
}
