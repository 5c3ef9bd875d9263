package flog

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBuffersKeepTheLatestOfEachFacilityAndLevel(t *testing.T) {
	l := newLog(t, &Options{BufferEvents: 3})
	for i := range 10 {
		l.Log(t.Context(), Noisy, fmt.Sprint("noisy ", i))
	}
	l.Log(t.Context(), Bad, "bad")
	l.Log(t.Context(), Noisy, "other", Facility("other"))
	l.Log(t.Context(), Noisy-1, "below the threshold")
	assert.Equal(t, []string{"noisy 7", "noisy 8", "noisy 9", "bad", "other"}, messages(l.Events()))
	assert.EqualValues(t, 12, l.Stats().Events)
}

func TestBuffersAreBoundedInBytes(t *testing.T) {
	l := newLog(t, &Options{BufferBytes: 4000, TotalBytes: 20_000, MaxFacilities: 5})
	newest := make(map[string]string)
	for i := range 3000 {
		facility := fmt.Sprint("facility", i%17)
		message := fmt.Sprint(i, strings.Repeat("x", i*7%900))
		l.Log(t.Context(), []Level{Noisy, Operational, Bad, 33}[i%4], message, Facility(facility))
		if i%17 < 5 {
			newest[facility] = message
		}
		total := 0
		for _, rings := range l.buffers.rings {
			for i := range rings {
				assert.LessOrEqual(t, len(rings[i].arena), 4000)
				total += len(rings[i].arena)
			}
		}
		require.Equal(t, total, l.buffers.used)
		require.LessOrEqual(t, total, 20_000)
		require.LessOrEqual(t, len(l.buffers.rings), 6)
	}
	kept := l.Events()
	assert.Contains(t, messages(kept), newest["facility4"])
	assert.Greater(t, len(kept), 10)
	for i, e := range kept {
		text := strings.TrimRight(e.Message, "x")
		assert.Equal(t, fmt.Sprint(e.Num-1), text, "nothing is mixed up")
		if i > 0 {
			assert.Greater(t, e.Num, kept[i-1].Num)
		}
	}
}

func TestEveryEventIsKeptForAWhile(t *testing.T) {
	l := newLog(t, &Options{BufferBytes: 8000, TotalBytes: 16_000})
	for i := range 50 {
		l.Log(t.Context(), Noisy, strings.Repeat("x", 700), Facility(fmt.Sprint(i%5)))
		events := l.Events()
		require.NotEmpty(t, events)
		assert.EqualValues(t, i+1, events[len(events)-1].Num)
	}
}

func TestManyMayLogAtOnce(t *testing.T) {
	l := newLog(t, &Options{BufferEvents: 10_000, BufferBytes: 4 << 20, TotalBytes: 16 << 20})
	s := l.Subscribe(SubscribeOptions{QueueEvents: 10_000, QueueBytes: 4 << 20})
	logger := slog.New(l.Handler(nil))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 200 {
				logger.Info("message", "i", i)
			}
		})
	}
	all.Wait()
	require.NoError(t, l.Close())
	assert.Len(t, l.Events(), 1600)
	next := uint64(1)
	for e, err := range s.All(t.Context()) {
		require.NoError(t, err)
		assert.Equal(t, next, e.Num)
		next++
	}
	assert.EqualValues(t, 1601, next)
	assert.Zero(t, l.Log(t.Context(), Bad, "too late"))
}
