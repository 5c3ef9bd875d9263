package tub_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// refusing is a dial that fails after a while.
func refusing(after time.Duration) dial {
	return func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
		select {
		case <-time.After(after):
			return handlers.Stream{}, &handlers.Error{Phase: handlers.PhaseDial, Err: handlers.ErrUnreachable}
		case <-ctx.Done():
			return handlers.Stream{}, ctx.Err()
		}
	}
}

// begun says when each hint was dialled.
func begun(info []tub.HintStatus, from time.Time) string {
	var all []string
	for _, s := range info {
		when := "never"
		if !s.Started.IsZero() {
			when = fmt.Sprint(s.Started.Sub(from))
		}
		all = append(all, fmt.Sprintf("%s %s", s.Hint, when))
	}
	return strings.Join(all, ", ")
}

func TestHintsAreDialledOneAfterTheOther(t *testing.T) {
	hides := handlers.Exposure{HidesAddress: true, HidesLookups: true}
	for _, test := range []struct {
		name      string
		anonymity tub.Anonymity
		hints     []furl.Hint
		want      string
		took      time.Duration
	}{
		{"one that swallows everything delays the next by the stagger", 0,
			[]furl.Hint{"hang:a", "hang:b", "mem:x"}, "hang:a 0s, hang:b 250ms, mem:x 500ms", 500 * time.Millisecond},
		{"one that fails delays it no more", 0,
			[]furl.Hint{"fail:a", "fail:b", "mem:x"}, "fail:a 0s, fail:b 100ms, mem:x 200ms", 200 * time.Millisecond},
		{"also when another one is in progress", 0,
			[]furl.Hint{"hang:a", "fail:b", "mem:x"}, "hang:a 0s, fail:b 250ms, mem:x 350ms", 350 * time.Millisecond},
		{"one that negotiates has twice as long again, once", 0,
			[]furl.Hint{"stall:a", "stall:b", "mem:x"}, "stall:a 0s, stall:b 750ms, mem:x 1s", time.Second},
		{"no handler", 0,
			[]furl.Hint{"none:a", "mem:x", "fail:a"}, "none:a never, mem:x 0s, fail:a never", 0},
		{"what hides the address waits until all others have failed", 0,
			[]furl.Hint{"hidden:x", "hang:b", "fail:b"}, "hidden:x 5.25s, hang:b 0s, fail:b 250ms", 5250 * time.Millisecond},
		{"and no longer", 0,
			[]furl.Hint{"hidden:x", "fail:a", "fail:b"}, "hidden:x 200ms, fail:a 0s, fail:b 100ms", 200 * time.Millisecond},
		{"what hides the address is preferred", tub.AnonymityPreferred,
			[]furl.Hint{"mem:x", "hidden:x"}, "mem:x never, hidden:x 0s", 0},
		{"what does not hide it is not used", tub.AnonymityRequired,
			[]furl.Hint{"mem:x", "hidden:nobody", "hidden:x"}, "mem:x never, hidden:nobody 0s, hidden:x 0s", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				server, client := newTub(t, nil), newTub(t, &tub.Options{Anonymity: test.anonymity})
				for _, hint := range []furl.Hint{"mem:x", "hidden:x"} {
					_, err := server.Listen(m.listen(hint))
					require.NoError(t, err)
				}
				f := register(t, server, calculator())
				h := handle(t, client, map[string]dial{"hang": hang, "fail": refusing(100 * time.Millisecond),
					"mem": m.dialer(), "stall": speaking(t, nil, silent)})
				hidden := &memoryHandler{name: "hidden", dials: map[string]dial{"hidden": m.dialer()}, exposure: hides}
				require.NoError(t, client.Handle("hidden", hidden))
				from := time.Now()
				ref, err := client.Connect(t.Context(), f.WithHints(test.hints...))
				require.NoError(t, err)
				defer ref.Close()
				assert.Equal(t, test.took, time.Since(from))
				info, _ := client.Info(server.TubID())
				assert.Equal(t, test.want, begun(info.Hints, from))
				for _, s := range info.Hints {
					if s.Hint.Type() == "mem" && test.anonymity == tub.AnonymityRequired {
						assert.ErrorIs(t, s.Err, handlers.ErrRefusedByPolicy)
						assert.Empty(t, h.seen())
					}
				}
			})
		})
	}
}

func TestALaterCallerAddsItsHints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server, client := newTub(t, nil), newTub(t, nil)
		_, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		f := register(t, server, calculator())
		handle(t, client, map[string]dial{"hang": hang, "mem": m.dialer()})
		from := time.Now()
		first := make(chan error)
		go func() {
			ref, err := client.Connect(t.Context(), f.WithHints("hang:a"))
			if err == nil {
				ref.Close()
			}
			first <- err
		}()
		synctest.Wait()
		time.Sleep(10 * time.Second) // on the clock of the bubble
		ref, err := client.Connect(t.Context(), f.WithHints("hang:a", "mem:x"))
		require.NoError(t, err)
		ref.Close()
		require.NoError(t, <-first)
		info, _ := client.Info(server.TubID())
		assert.Equal(t, "hang:a 0s, mem:x 10s", begun(info.Hints, from))
	})
}

func TestARankerOfOnesOwnDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var asked []tub.RankRequest
		ranker := func(r tub.RankRequest) []tub.RankedHint {
			asked = append(asked, r)
			return []tub.RankedHint{{"mem:x", 3 * time.Second}, {"odd:a", 0}, {"hang:b", time.Second}, {"hang:b", 0}, {"hang:a", -time.Second}}
		}
		server, client := newTub(t, nil), newTub(t, &tub.Options{Ranker: ranker, Stagger: time.Second})
		_, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		f := register(t, server, calculator())
		handle(t, client, map[string]dial{"hang": hang, "mem": m.dialer()})
		from := time.Now()
		ref, err := client.Connect(t.Context(), f.WithHints("hang:a", "hang:b", "hang:c", "none:a", "mem:x", "hang:a"))
		require.NoError(t, err)
		defer ref.Close()
		info, _ := client.Info(server.TubID())
		assert.Equal(t, "hang:a 0s, hang:b 0s, hang:c never, none:a never, mem:x 3s", begun(info.Hints, from))
		assert.ErrorIs(t, hint(t, info, "hang:c").Err, handlers.ErrRefusedByPolicy, "it was left out")
		assert.ErrorIs(t, hint(t, info, "none:a").Err, handlers.ErrNoHandler)
		require.Len(t, asked, 1)
		assert.Equal(t, server.TubID(), asked[0].Peer)
		assert.Equal(t, time.Second, asked[0].Stagger)
		var hints []furl.Hint
		for _, h := range asked[0].Hints {
			hints = append(hints, h.Hint)
		}
		assert.Equal(t, []furl.Hint{"hang:a", "hang:b", "hang:c", "mem:x"}, hints)
	})
}

func TestWhatHappenedToHintsIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server, client := newTub(t, nil), newTub(t, nil)
		_, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		f := register(t, server, calculator()).WithHints("hang:a", "fail:a", "mem:x")
		handle(t, client, map[string]dial{"hang": hang, "fail": refusing(0), "mem": m.dialer()})
		again := func() string {
			from := time.Now()
			ref := connect(t, client, f)
			defer ref.Close()
			b := client.Broker(server.TubID())
			b.Close(nil)
			<-b.Done()
			info, _ := client.Info(server.TubID())
			when := strings.Split(begun(info.Hints, from), ", ")
			slices.Sort(when)
			return strings.Join(when, ", ")
		}
		assert.Equal(t, "fail:a 250ms, hang:a 0s, mem:x 250ms", again())
		assert.Equal(t, "fail:a never, hang:a never, mem:x 0s", again(), "the last winner comes first")
	})
}

func TestWhatHappensOnTheWayToATubCanBeWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		server, client := newTub(t, nil), newTub(t, nil)
		l, err := server.Listen(m.listen("mem:x"))
		require.NoError(t, err)
		f := register(t, server, calculator())
		slow := func(ctx context.Context, req handlers.DialRequest) (handlers.Stream, error) {
			for _, text := range []string{"starting", "bootstrap 45%"} {
				req.Report(handlers.PhaseProxy, text)
				time.Sleep(time.Second) // on the clock of the bubble
			}
			return m.dialer()(ctx, req)
		}
		handle(t, client, map[string]dial{"mem": slow})
		var seen []string
		ctx, cancel := context.WithCancel(t.Context())
		watching := make(chan struct{})
		go func() {
			defer close(watching)
			for info := range client.WatchInfo(ctx, server.TubID()) {
				state := fmt.Sprint("connected ", info.Connected, ", lost ", !info.Lost.IsZero())
				for _, h := range info.Hints {
					state += fmt.Sprintf(", %s %s %q won %v", h.Hint, h.Phase, h.Text, h.Won)
				}
				if len(seen) == 0 || seen[len(seen)-1] != state {
					seen = append(seen, state)
				}
			}
		}()
		synctest.Wait()
		ref := connect(t, client, f)
		synctest.Wait()
		info, _ := client.Info(server.TubID())
		there, ok := server.Info(client.TubID())
		require.True(t, ok)
		assert.True(t, there.Inbound)
		assert.Equal(t, l.Hints(), there.Listener)
		assert.False(t, there.Established.IsZero())
		assert.Empty(t, info.Listener)
		server.Broker(client.TubID()).Close(nil)
		synctest.Wait()
		ref.Close()
		cancel()
		<-watching
		assert.Equal(t, "connected false, lost false", seen[0])
		assert.Subset(t, seen, []string{
			`connected false, lost false, mem:x proxy "starting" won false`,
			`connected false, lost false, mem:x proxy "bootstrap 45%" won false`,
		})
		assert.Contains(t, seen[len(seen)-1], "connected false, lost true, mem:x negotiate")
	})
}

func TestWatchingEndsWithTheTub(t *testing.T) {
	client := newTub(t, nil)
	n := 0
	for range client.WatchInfo(t.Context(), newIdentity(t).TubID()) {
		n++
		client.Close()
	}
	assert.Equal(t, 1, n)
}
