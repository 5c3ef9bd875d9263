package flog

import (
	"log/slog"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLevelsCorrespond(t *testing.T) {
	for l, want := range map[slog.Level]Level{
		slog.LevelDebug: Noisy, slog.LevelInfo: Operational, slog.LevelWarn: Weird, slog.LevelError: Bad,
		slog.LevelInfo + 1: Unusual, slog.LevelInfo + 2: Infrequent, slog.LevelInfo + 3: Curious, slog.LevelWarn + 2: Scary,
	} {
		assert.Equal(t, want, LevelOf(l))
		assert.Equal(t, l, want.Slog())
		parsed, err := ParseLevel(want.String())
		assert.NoError(t, err)
		assert.Equal(t, want, parsed)
	}
	for l := slog.Level(-2000); l < 2000; l++ {
		assert.Less(t, LevelOf(l), LevelOf(l+1))
		assert.Equal(t, l, LevelOf(l).Slog())
	}
	for l := Level(-2000); l < 2000; l++ {
		assert.LessOrEqual(t, l.Slog(), (l + 1).Slog())
		assert.LessOrEqual(t, LevelOf(l.Slog()), l)
	}
	for _, extreme := range []int{math.MinInt, math.MaxInt} {
		assert.Equal(t, extreme < 0, LevelOf(slog.Level(extreme)) < -1000)
		assert.Equal(t, extreme < 0, Level(extreme).Slog() < -1000)
	}
	_, err := ParseLevel("loud")
	assert.ErrorContains(t, err, "OPERATIONAL")
}
