package negotiate

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// shutdowns counts how often it was shut down.
type shutdowns struct{ atomic.Int32 }

func (s *shutdowns) Shutdown(error) { s.Add(1) }

const somebody furl.TubID = "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"

func TestOfManyOffersAtOnceOneIsAccepted(t *testing.T) {
	l := NewLedger(LedgerConfig{})
	offer := hello{incarnation: "them", last: &noConnection}
	var accepted, shut atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			c := new(shutdowns)
			link, err := l.offer(somebody, offer, c)
			if err == nil {
				accepted.Add(1)
				assert.NoError(t, link.Attach(c))
			} else {
				assert.ErrorIs(t, err, ErrDuplicate)
			}
			shut.Add(c.Load())
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, accepted.Load())
	assert.Zero(t, shut.Load())
}

func TestOfManyLinksThatReplaceEachOtherOneIsLeft(t *testing.T) {
	l := NewLedger(LedgerConfig{})
	var conns [50]shutdowns
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			// Each a restarted peer, that always replaces.
			link, err := l.offer(somebody, hello{incarnation: fmt.Sprint(i), last: &noConnection}, &conns[i])
			assert.NoError(t, err)
			if err := link.Attach(&conns[i]); err != nil {
				assert.ErrorIs(t, err, ErrReplaced)
			}
			if i%2 == 0 {
				link.Release()
			}
			l.Current(somebody)
		})
	}
	wg.Wait()
	for i := range conns {
		assert.LessOrEqual(t, conns[i].Load(), int32(1))
	}
	if last := l.Current(somebody); last != nil {
		assert.Zero(t, last.conn.(*shutdowns).Load())
		last.Release()
	}
	assert.Empty(t, l.links)
}

func TestTheOldConnectionIsShutDownBeforeTheNewOneIsAnnounced(t *testing.T) {
	l := NewLedger(LedgerConfig{})
	old := new(shutdowns)
	link, err := l.offer(somebody, hello{incarnation: "one", last: &noConnection}, old)
	require.NoError(t, err)
	require.NoError(t, link.Attach(old))
	_, err = l.offer(somebody, hello{incarnation: "two", last: &noConnection}, new(shutdowns))
	require.NoError(t, err)
	assert.EqualValues(t, 1, old.Load())
	assert.Nil(t, link.Connection())
	assert.ErrorIs(t, link.Attach(old), ErrReplaced)
}

func TestSeqnumsGoUpByOneWhileThereIsAConnection(t *testing.T) {
	l := NewLedger(LedgerConfig{})
	last := uint64(0)
	for i := range 10 {
		link, err := l.offer(somebody, hello{incarnation: fmt.Sprint(i), last: &noConnection}, new(shutdowns))
		require.NoError(t, err)
		if i == 0 {
			assert.Positive(t, link.id.seqnum)
			assert.Less(t, link.id.seqnum, uint64(1)<<31)
		} else {
			assert.Equal(t, last+1, link.id.seqnum)
		}
		last = link.id.seqnum
	}
}

func TestTheAgeOfAConnectionCountsForPeersThatSayNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(LedgerConfig{HandleOldDuplicates: time.Minute})
		old := new(shutdowns)
		_, err := l.offer(somebody, hello{}, old)
		require.NoError(t, err)
		time.Sleep(time.Minute - 1)
		_, err = l.offer(somebody, hello{}, new(shutdowns))
		require.ErrorIs(t, err, ErrDuplicate)
		time.Sleep(1)
		_, err = l.offer(somebody, hello{}, new(shutdowns))
		require.NoError(t, err)
		assert.EqualValues(t, 1, old.Load())
	})
}

func TestReleaseOnlyEndsItsOwnLink(t *testing.T) {
	l := NewLedger(LedgerConfig{})
	first, err := l.accept(somebody, connID{"m", 1}, l.now(), new(shutdowns))
	require.NoError(t, err)
	second, err := l.accept(somebody, connID{"m", 2}, l.now(), new(shutdowns))
	require.NoError(t, err)
	first.Release()
	assert.Same(t, second, l.Current(somebody))
	assert.ErrorIs(t, first.Attach(new(shutdowns)), ErrReplaced)
	second.Release()
	second.Release()
	assert.Nil(t, l.Current(somebody))
	assert.ErrorIs(t, second.Attach(new(shutdowns)), ErrReleased)
	assert.Equal(t, somebody, second.Peer())
	assert.WithinDuration(t, time.Now(), second.Since(), time.Minute)
}

func TestASlaveReadsDecisionsInAnyOrder(t *testing.T) {
	l := NewLedger(LedgerConfig{})
	began := l.now() // of both negotiations
	second, err := l.accept(somebody, connID{"m", 8}, began, new(shutdowns))
	require.NoError(t, err)
	_, err = l.accept(somebody, connID{"m", 7}, began, new(shutdowns))
	assert.ErrorIs(t, err, ErrDuplicate, "the master has given up the seventh")
	assert.Same(t, second, l.Current(somebody))

	// Later on, a smaller number is that of a master that has begun anew.
	third, err := l.accept(somebody, connID{"m", 3}, l.now(), new(shutdowns))
	require.NoError(t, err)
	assert.Same(t, third, l.Current(somebody))

	// And another incarnation has other numbers.
	_, err = l.accept(somebody, connID{"n", 2}, began, new(shutdowns))
	assert.NoError(t, err)
}

// said is what a client would say of the last connection, were there no current
// one.
func said(t *testing.T, l *Ledger, peer furl.TubID) connID {
	t.Helper()
	if link := l.Current(peer); link != nil {
		_, err := l.dialling(peer)
		require.ErrorIs(t, err, ErrDuplicate)
		link.Release()
	}
	id, err := l.dialling(peer)
	require.NoError(t, err)
	return id
}

func TestTheMemoryOfLastConnectionsIsBounded(t *testing.T) {
	l := NewLedger(LedgerConfig{Remember: 3})
	peer := func(i int) furl.TubID { return furl.TubIDOf([]byte{byte(i)}) }
	for i := range 4 {
		link, err := l.accept(peer(i), connID{"m", uint64(i)}, l.now(), new(shutdowns))
		require.NoError(t, err)
		link.Release()
	}
	assert.Len(t, l.last, 3)
	assert.Equal(t, noConnection, said(t, l, peer(0)), "the one not used for longest is forgotten")
	for i := 1; i < 4; i++ {
		assert.Equal(t, connID{"m", uint64(i)}, said(t, l, peer(i)))
	}

	// One that is heard of again is not the next to be forgotten.
	_, err := l.accept(peer(1), connID{"m", 10}, l.now(), new(shutdowns))
	require.NoError(t, err)
	_, err = l.accept(peer(9), connID{"m", 9}, l.now(), new(shutdowns))
	require.NoError(t, err)
	assert.Equal(t, connID{"m", 10}, said(t, l, peer(1)))
	assert.Equal(t, noConnection, said(t, l, peer(2)))

	// An old master that does not say how it calls the connection changes
	// nothing.
	_, err = l.accept(peer(1), connID{}, l.now(), new(shutdowns))
	require.NoError(t, err)
	assert.Equal(t, connID{"m", 10}, said(t, l, peer(1)))
}

func TestWaitReturnsTheNextConnectionThatIsAttached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(LedgerConfig{})
		var wg sync.WaitGroup
		var links [3]*Link
		for i := range links {
			wg.Go(func() {
				var err error
				links[i], err = l.Wait(t.Context(), somebody)
				assert.NoError(t, err)
			})
		}
		synctest.Wait()

		// One that comes to nothing, and one to somebody else, wake nobody up.
		lost, err := l.accept(somebody, connID{"m", 1}, l.now(), new(shutdowns))
		require.NoError(t, err)
		lost.Release()
		other, err := l.accept("other", connID{"m", 1}, l.now(), new(shutdowns))
		require.NoError(t, err)
		require.NoError(t, other.Attach(new(shutdowns)))
		link, err := l.accept(somebody, connID{"m", 2}, l.now(), new(shutdowns))
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, 3, l.waiters[somebody].waiting)

		require.NoError(t, link.Attach(new(shutdowns)))
		wg.Wait()
		for i := range links {
			assert.Same(t, link, links[i])
		}
		again, err := l.Wait(t.Context(), somebody)
		require.NoError(t, err)
		assert.Same(t, link, again)
		assert.NotNil(t, again.Connection())
		assert.Empty(t, l.waiters)
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(LedgerConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				_, err := l.Wait(ctx, somebody)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			})
		}
		wg.Wait()
		assert.Empty(t, l.waiters, "nothing is left of those who waited")
	})
}

func TestIncarnationsAreOfEachTubAlone(t *testing.T) {
	a, b := NewLedger(LedgerConfig{}), NewLedger(LedgerConfig{})
	assert.Regexp(t, "^[0-9a-f]{16}$", a.Incarnation())
	assert.NotEqual(t, a.Incarnation(), b.Incarnation())
}
