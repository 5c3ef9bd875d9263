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
		time.Sleep(time.Minute - 1*time.Nanosecond)
		_, err = l.offer(somebody, hello{}, new(shutdowns))
		require.ErrorIs(t, err, ErrDuplicate)
		time.Sleep(1 * time.Nanosecond)
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
	for name, test := range map[string]struct {
		first, second connID
		concurrent    bool
		refused       bool
	}{
		"the smaller of two numbers in a row is the one given up": {connID{"m", 8}, connID{"m", 7}, true, true},
		"even if there were many in between":                      {connID{"m", 7 + maxReordered}, connID{"m", 7}, true, true},
		"the greater one is the newer":                            {connID{"m", 7}, connID{"m", 8}, true, false},
		"numbers drawn at random say nothing":                     {connID{"m", 1999999999}, connID{"m", 5}, true, false},
		"nor do those of attempts one after the other":            {connID{"m", 8}, connID{"m", 7}, false, false},
		"another incarnation has other numbers":                   {connID{"m", 8}, connID{"n", 7}, true, false},
		"who calls a connection nothing has no order":             {connID{"m", 8}, connID{}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLedger(LedgerConfig{})
			began := l.now()
			first, err := l.accept(somebody, test.first, began, new(shutdowns))
			require.NoError(t, err)
			if !test.concurrent {
				began = l.now()
			}
			second, err := l.accept(somebody, test.second, began, new(shutdowns))
			if test.refused {
				assert.ErrorIs(t, err, ErrDuplicate)
				assert.Same(t, first, l.Current(somebody))
			} else {
				require.NoError(t, err)
				assert.Same(t, second, l.Current(somebody))
			}
		})
	}
}

// said is what a client would say of the last connection, were there no current
// one.
func said(t *testing.T, l *Ledger, peer furl.TubID) connID {
	t.Helper()
	if link := l.Current(peer); link != nil {
		_, err := l.dialling(peer, false)
		require.ErrorIs(t, err, ErrDuplicate)
		link.Release()
	}
	id, err := l.dialling(peer, false)
	require.NoError(t, err)
	return id
}

// remembered is how many peers without a connection a ledger knows.
func remembered(l *Ledger) int {
	return l.past.dialled.recent.Len() + l.past.others.recent.Len()
}

func numbered(i int) furl.TubID { return furl.TubIDOf([]byte{byte(i >> 8), byte(i)}) }

// meetOnce is a connection with a master that comes and goes.
func meetOnce(t *testing.T, l *Ledger, peer furl.TubID, id connID) {
	t.Helper()
	link, err := l.accept(peer, id, l.now(), new(shutdowns))
	require.NoError(t, err)
	link.Release()
}

func TestTheMemoryOfLastConnectionsIsBounded(t *testing.T) {
	l := NewLedger(LedgerConfig{Remember: 3})
	for i := range 4 {
		said(t, l, numbered(i))
		meetOnce(t, l, numbered(i), connID{"m", uint64(i)})
	}
	assert.Equal(t, 3, remembered(l))
	for i := 1; i < 4; i++ {
		assert.Equal(t, connID{"m", uint64(i)}, said(t, l, numbered(i)))
	}
	assert.Equal(t, noConnection, said(t, l, numbered(0)), "the one not used for longest is forgotten")

	// One that is used is not the next to be forgotten.
	assert.Equal(t, connID{"m", 2}, said(t, l, numbered(2)))
	said(t, l, numbered(9))
	assert.Equal(t, connID{"m", 2}, said(t, l, numbered(2)))
	assert.Equal(t, noConnection, said(t, l, numbered(3)))
	assert.Equal(t, 3, remembered(l))
	assert.Len(t, l.past.dialled.byPeer, 3)
}

func TestAConnectionIsNotForgottenWhileItLives(t *testing.T) {
	for name, dials := range map[string]bool{"we have dialled": true, "the peer has dialled": false} {
		t.Run(name, func(t *testing.T) {
			l := NewLedger(LedgerConfig{Remember: 4})
			if dials {
				said(t, l, somebody)
			}
			_, err := l.accept(somebody, connID{"m", 7}, l.now(), new(shutdowns))
			require.NoError(t, err)
			for i := range 100 {
				if dials {
					said(t, l, numbered(i))
				}
				meetOnce(t, l, numbered(i), connID{"m", 1})
			}
			assert.Equal(t, connID{"m", 7}, said(t, l, somebody))
		})
	}
}

func TestStrangersDoNotMakeUsForgetThosePeersThatWeDial(t *testing.T) {
	l := NewLedger(LedgerConfig{Remember: 8})
	strangers := func() {
		for i := range 100 {
			meetOnce(t, l, numbered(i), connID{"m", 1})
		}
	}
	said(t, l, somebody)
	meetOnce(t, l, somebody, connID{"m", 7})
	strangers()
	assert.Equal(t, connID{"m", 7}, said(t, l, somebody))

	// Neither when the peer was faster.
	meetOnce(t, l, somebody, connID{"m", 8})
	strangers()
	assert.Equal(t, connID{"m", 8}, said(t, l, somebody))

	// One that has only dialled us may be forgotten, but not once we dial it.
	other := furl.TubIDOf([]byte("other"))
	meetOnce(t, l, other, connID{"o", 1})
	meetOnce(t, l, numbered(1000), connID{"m", 1})
	assert.Equal(t, connID{"o", 1}, said(t, l, other))
	strangers()
	assert.Equal(t, connID{"o", 1}, said(t, l, other))
	assert.Equal(t, 2, l.past.others.recent.Len(), "a quarter")
	assert.Len(t, l.past.others.byPeer, 2)
}

func TestAnAttemptBesideAConnectionIsThatOfAPeerThatWeDial(t *testing.T) {
	l := NewLedger(LedgerConfig{Remember: 4})
	link, err := l.accept(somebody, connID{"m", 7}, l.now(), new(shutdowns))
	require.NoError(t, err)
	_, err = l.dialling(somebody, false)
	require.ErrorIs(t, err, ErrDuplicate)
	link.Release()
	for i := range 100 {
		meetOnce(t, l, numbered(i), connID{"m", 1})
	}
	assert.Equal(t, connID{"m", 7}, said(t, l, somebody))
}

func TestAMasterThatDoesNotNameAConnectionChangesNothing(t *testing.T) {
	l := NewLedger(LedgerConfig{})
	_, err := l.accept(somebody, connID{"m", 7}, l.now(), new(shutdowns))
	require.NoError(t, err)
	_, err = l.accept(somebody, connID{}, l.now(), new(shutdowns))
	require.NoError(t, err)
	assert.Equal(t, connID{"m", 7}, said(t, l, somebody))
}

func TestAMasterSaysThatItRemembersNothing(t *testing.T) {
	l := NewLedger(LedgerConfig{})
	link, err := l.offer(somebody, hello{}, new(shutdowns))
	require.NoError(t, err)
	link.Release()
	id, err := l.dialling(somebody, true)
	require.NoError(t, err)
	assert.Equal(t, noConnection, id)
	assert.Zero(t, remembered(l))
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
