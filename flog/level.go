package flog

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// A Level says how bad an event is. Foolscap names eight, and a program may
// use those between and beyond.
type Level int

// Foolscap's levels.
const (
	Noisy       Level = 10 // of use to who debugs this very thing
	Operational Level = 20 // ordinary operation
	Unusual     Level = 23 // odd, but expected now and then
	Infrequent  Level = 25 // seldom, but no problem
	Curious     Level = 28 // worth a look one day
	Weird       Level = 30 // should not happen: declares an incident
	Scary       Level = 35 // likely to be a bug
	Bad         Level = 40 // something is broken
)

var levelNames = []struct {
	level Level
	name  string
}{
	{Noisy, "NOISY"}, {Operational, "OPERATIONAL"}, {Unusual, "UNUSUAL"}, {Infrequent, "INFREQUENT"},
	{Curious, "CURIOUS"}, {Weird, "WEIRD"}, {Scary, "SCARY"}, {Bad, "BAD"},
}

// extreme bounds the levels of slog that are told apart.
const extreme = 1 << 20

// LevelOf returns the level of a level of slog. It grows with it, by five for
// every two, so that all of Foolscap's levels have one of slog's:
//
//	slog     Foolscap
//	Debug    10 NOISY
//	Info     20 OPERATIONAL
//	Info+1   23 UNUSUAL
//	Info+2   25 INFREQUENT
//	Info+3   28 CURIOUS
//	Warn     30 WEIRD
//	Warn+2   35 SCARY
//	Error    40 BAD
//
// A program whose warnings are no incidents sets [IncidentOptions.Threshold].
func LevelOf(l slog.Level) Level {
	l = min(max(l, -extreme), extreme)
	return Operational + Level((5*l+1)>>1)
}

// Slog returns the highest level of slog whose LevelOf is not above l; for one
// that comes from LevelOf it is what that was made of.
func (l Level) Slog() slog.Level {
	l = (min(max(l, -2*extreme), 2*extreme) - Operational) * 2
	if l < 0 {
		l -= 4 // rounds down
	}
	return slog.Level(l / 5)
}

// String returns Foolscap's name of the level, or the number.
func (l Level) String() string {
	for _, n := range levelNames {
		if n.level == l {
			return n.name
		}
	}
	return strconv.Itoa(int(l))
}

// ParseLevel reads what String writes; names may be in lower case.
func ParseLevel(s string) (Level, error) {
	for _, n := range levelNames {
		if strings.EqualFold(n.name, s) {
			return n.level, nil
		}
	}
	if n, err := strconv.Atoi(s); err == nil {
		return Level(n), nil
	}
	return 0, fmt.Errorf("flog: %.20q is neither a number nor one of the levels NOISY, OPERATIONAL, UNUSUAL, INFREQUENT, CURIOUS, WEIRD, SCARY, BAD", s)
}

// class returns which of the eight buffers of a facility keeps the level.
func (l Level) class() int {
	c := 0
	for i, n := range levelNames {
		if l >= n.level {
			c = i
		}
	}
	return c
}
