package flog

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSubscribersCatchUpAndFollow(t *testing.T) {
	l := newLog(t, nil)
	l.Log(t.Context(), Noisy, "too noisy")
	l.Log(t.Context(), Bad, "old")
	l.Log(t.Context(), Operational, "also old")
	all := l.Subscribe(SubscribeOptions{CatchUp: true, Level: Operational})
	fresh := l.Subscribe(SubscribeOptions{})
	l.Log(t.Context(), Noisy, "too noisy")
	l.Log(t.Context(), Bad, "new")
	require.NoError(t, l.Close())
	for s, want := range map[*Subscription][]string{all: {"old", "also old", "new"}, fresh: {"too noisy", "new"}} {
		var got []string
		for e, err := range s.All(t.Context()) {
			require.NoError(t, err)
			got = append(got, e.Message)
		}
		assert.Equal(t, want, got)
		_, err := s.Next(t.Context())
		assert.ErrorIs(t, err, ErrClosed)
	}
}

func TestSlowSubscribersAreToldWhatTheyHaveLost(t *testing.T) {
	l := newLog(t, nil)
	s := l.Subscribe(SubscribeOptions{QueueEvents: 2})
	next := func() string {
		e, err := s.Next(t.Context())
		if lost, ok := errors.AsType[*LostError](err); ok {
			return fmt.Sprint("lost ", lost.Events)
		}
		require.NoError(t, err)
		return e.Message
	}
	for i := range 5 {
		l.Log(t.Context(), Bad, fmt.Sprint(i))
	}
	assert.Equal(t, "0", next())
	l.Log(t.Context(), Bad, "5")
	l.Log(t.Context(), Bad, "6")
	assert.Equal(t, []string{"1", "lost 3", "5", "lost 1"}, []string{next(), next(), next(), next()})
	l.Log(t.Context(), Bad, "7")
	assert.Equal(t, "7", next())

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Next(ctx)
	assert.ErrorIs(t, err, context.Canceled)
	s.Close()
	l.Log(t.Context(), Bad, "8")
	_, err = s.Next(t.Context())
	assert.ErrorIs(t, err, ErrClosed)
	assert.Empty(t, l.subscribers)
}

func TestSubscribersWaitForWhatComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, nil)
		s := l.Subscribe(SubscribeOptions{})
		got := make(chan string, 10)
		go func() {
			for e := range s.All(t.Context()) {
				got <- e.Message
			}
			close(got)
		}()
		synctest.Wait()
		l.Log(t.Context(), Bad, "now")
		assert.Equal(t, "now", <-got)
		require.NoError(t, l.Close())
		_, more := <-got
		assert.False(t, more)
	})
}
