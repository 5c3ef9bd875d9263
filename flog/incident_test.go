package flog

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recorder collects what a Log says of its incidents.
func recorder(in *IncidentOptions) chan Incident {
	recorded := make(chan Incident, 100)
	in.Recorded = func(i Incident) { recorded <- i }
	return recorded
}

func TestAnIncidentHasWhatWasBeforeAndWhatFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &Options{Versions: map[string]string{"program": "1.2"}, Incidents: IncidentOptions{Dir: filepath.Join(t.TempDir(), "new")}}
		recorded := recorder(&opts.Incidents)
		l := newLog(t, opts)
		l.Log(t.Context(), Noisy, "before")
		l.Log(t.Context(), Weird, "trigger", Facility("net"), slog.Int("n", 1))
		time.Sleep(4 * time.Second)
		l.Log(t.Context(), Bad, "another trigger")
		synctest.Wait()
		assert.Len(t, names(t, opts.Incidents.Dir), 1)
		assert.Regexp(t, `\.flog\.tmp$`, names(t, opts.Incidents.Dir)[0])
		time.Sleep(2 * time.Second)
		i := <-recorded
		l.Log(t.Context(), Curious, "too late")

		assert.Regexp(t, `^incident-2000-01-01--00-00-00Z-[a-z2-7]{7}$`, i.Name)
		assert.Equal(t, filepath.Join(opts.Incidents.Dir, i.Name+".flog.bz2"), i.Path)
		assert.Equal(t, []string{i.Name + ".flog.bz2"}, names(t, opts.Incidents.Dir))
		info, err := os.Stat(i.Path)
		require.NoError(t, err)
		assert.EqualValues(t, 0o600, info.Mode())
		header, events := entries(t, i.Path)
		assert.Equal(t, "incident", header.Type)
		assert.Equal(t, map[string]string{"program": "1.2"}, header.Versions)
		assert.Equal(t, os.Getpid(), header.PID)
		assert.Equal(t, []string{"before", "trigger", "another trigger"}, messages(events))
		assert.Equal(t, events[1], *header.Trigger)
		assert.Equal(t, "trigger", i.Trigger.Message)
		assert.Equal(t, Stats{Events: 4, Declared: 1, Folded: 1, Recorded: 1}, l.Stats())

		l.Log(t.Context(), Bad, "the next one")
		require.NoError(t, l.Close()) // does not wait for what follows
		found, err := l.Incidents("")
		require.NoError(t, err)
		require.Len(t, found, 2)
		assert.Equal(t, i.Name, found[0].Name)
		found, err = l.Incidents(i.Name)
		require.NoError(t, err)
		assert.Equal(t, []string{"the next one"}, messages([]Event{found[0].Trigger}))
		r, err := l.OpenIncident(i.Name)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		for _, name := range []string{"", "../" + i.Name, i.Name + "/..", "incident-2000-01-01--00-00-00Z-aaaaaaa", i.Name + ".flog"} {
			_, err := l.OpenIncident(name)
			assert.ErrorIs(t, err, os.ErrNotExist, name)
		}
	})
}

func TestAnIncidentEndsAfterSomeEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := &Options{Incidents: IncidentOptions{Dir: t.TempDir(), TrailingEvents: 3, Plain: true}}
		recorded := recorder(&opts.Incidents)
		l := newLog(t, opts)
		begun := time.Now()
		for i := range 10 {
			l.Log(t.Context(), Operational+Level(i/5)*10, fmt.Sprint(i))
		}
		first, second := <-recorded, <-recorded
		assert.Equal(t, 5*time.Second, time.Since(begun), "the second has only one that follows")
		_, events := entries(t, first.Path)
		assert.Equal(t, []string{"0", "1", "2", "3", "4", "5", "6", "7", "8"}, messages(events))
		_, events = entries(t, second.Path)
		assert.Len(t, events, 10)
		assert.Equal(t, "9", second.Trigger.Message)
		assert.Equal(t, ".flog", filepath.Ext(first.Path))
	})
}

func TestAProgramSaysItselfWhatAnIncidentIs(t *testing.T) {
	dir := t.TempDir()
	l := newLog(t, &Options{Incidents: IncidentOptions{Dir: dir, TrailingEvents: -1, Qualify: func(e Event) bool {
		return strings.Contains(e.Message, "fire") && e.Num == 0
	}}})
	l.Log(t.Context(), Bad, "bad")
	assert.Zero(t, l.Stats().Declared)
	l.Log(t.Context(), Noisy, "fire!")
	require.NoError(t, l.Close())
	found, err := l.Incidents("")
	require.NoError(t, err)
	assert.Len(t, found, 1)
}

func TestIncidentsAreBoundedInSize(t *testing.T) {
	opts := &Options{Incidents: IncidentOptions{Dir: t.TempDir(), MaxBytes: 2000}}
	l := newLog(t, opts)
	for i := range 50 {
		l.Log(t.Context(), Noisy, fmt.Sprint(i))
	}
	l.Log(t.Context(), Bad, "bad")
	for i := range 50 {
		l.Log(t.Context(), Noisy, fmt.Sprint(i))
	}
	require.NoError(t, l.Close())
	found, err := l.Incidents("")
	require.NoError(t, err)
	require.Len(t, found, 1)
	header, events := entries(t, found[0].Path)
	assert.Equal(t, "bad", events[len(events)-1].Message)
	require.Len(t, header.Attrs, 1)
	assert.Equal(t, "dropped", header.Attrs[0].Key)
	assert.EqualValues(t, 51-len(events), header.Attrs[0].Value.Int64())
}

func TestOldIncidentsAreRemoved(t *testing.T) {
	const old = "incident-2001-01-01--00-00-0%dZ-aaaaaaa.flog.bz2"
	for name, test := range map[string]struct {
		opts IncidentOptions
		kept int // of ten old ones of 1000 bytes each, the first half of them old
	}{
		"by number":     {IncidentOptions{Keep: 4}, 3},
		"by size":       {IncidentOptions{KeepBytes: 3900}, 3},
		"by age":        {IncidentOptions{KeepFor: time.Hour}, 5},
		"never":         {IncidentOptions{Keep: -1, KeepBytes: -1}, 10},
		"but the last":  {IncidentOptions{KeepBytes: 1}, 0},
		"by a default":  {IncidentOptions{}, 10},
		"by everything": {IncidentOptions{Keep: 8, KeepBytes: 8900, KeepFor: time.Hour}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i := range 10 {
				path := filepath.Join(dir, fmt.Sprintf(old, i))
				require.NoError(t, os.WriteFile(path, make([]byte, 1000), 0o600))
				if i < 5 {
					require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(-2*time.Hour)))
				}
			}
			for _, other := range []string{"notes.txt", "incident-x.flog", "incident-2001-01-01--00-00-00Z-aaaaaaa.flog.gz"} {
				require.NoError(t, os.WriteFile(filepath.Join(dir, other), make([]byte, 1000), 0o600))
			}
			test.opts.Dir = dir
			l := newLog(t, &Options{Incidents: test.opts})
			l.Log(t.Context(), Bad, "bad")
			require.NoError(t, l.Close())
			kept := regexp.MustCompile(`incident-2001\S*aaaaaaa\.flog\.bz2`).FindAllString(strings.Join(names(t, dir), " "), -1)
			assert.Len(t, kept, test.kept)
			assert.Len(t, names(t, dir), test.kept+1+3)
			for _, k := range kept {
				assert.GreaterOrEqual(t, k, fmt.Sprintf(old, 10-test.kept))
			}
		})
	}
}

func TestWhatADeadProcessHasLeftIsCompleted(t *testing.T) {
	const name = "incident-2001-01-01--00-00-00Z-"
	dir := t.TempDir()
	opts := &Options{Incidents: IncidentOptions{Dir: dir, TrailingEvents: -1, Plain: true}}
	l := newLog(t, opts)
	l.Log(t.Context(), Noisy, "before")
	l.Log(t.Context(), Bad, "bad")
	require.NoError(t, l.Close())
	whole, err := os.ReadFile(filepath.Join(dir, names(t, dir)[0]))
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(dir, names(t, dir)[0])))
	put := func(name string, text []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	put(name+"aaaaaaa.flog.tmp", whole)
	put(name+"bbbbbbb.flog.tmp", whole[:len(whole)-5])
	put(name+"bbbbbbb.flog.bz2.tmp", []byte("BZh"))
	put(name+"ccccccc.flog.tmp", whole[:50]) // within the header
	put(name+"ddddddd.flog.bz2.tmp", []byte("BZh"))
	put(name+"eeeeeee.flog.tmp", whole) // was complete already
	put(name+"eeeeeee.flog.bz2", []byte("complete"))
	put(name+"fffffff.flog", whole) // Python is about to complete this one
	put(name+"fffffff.flog.bz2.tmp", []byte("BZh"))
	alive, err := os.OpenFile(filepath.Join(dir, name+"ggggggg.flog.tmp"), os.O_CREATE|os.O_RDWR, 0o600)
	require.NoError(t, err)
	defer alive.Close()
	require.True(t, lock(alive))
	put(name+"ggggggg.flog.bz2.tmp", []byte("BZh"))
	put("incident-other.tmp", nil)

	l = newLog(t, &Options{Incidents: IncidentOptions{Dir: dir}})
	require.NoError(t, l.Close())
	assert.Equal(t, []string{
		name + "aaaaaaa.flog.bz2", name + "bbbbbbb.flog.bz2", name + "eeeeeee.flog.bz2", name + "fffffff.flog", name + "fffffff.flog.bz2.tmp",
		name + "ggggggg.flog.bz2.tmp", name + "ggggggg.flog.tmp", "incident-other.tmp",
	}, names(t, dir))
	_, events := entries(t, filepath.Join(dir, name+"aaaaaaa.flog.bz2"))
	assert.Equal(t, []string{"before", "bad"}, messages(events))
	_, events = entries(t, filepath.Join(dir, name+"bbbbbbb.flog.bz2"))
	assert.Equal(t, []string{"before"}, messages(events))
	assert.EqualValues(t, 2, l.Stats().Recorded)
}

func TestATroubleWithTheDiskIsNoIncident(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	l := newLog(t, &Options{Incidents: IncidentOptions{Dir: dir, Threshold: Noisy, TrailingEvents: -1}})
	require.NoError(t, l.Close()) // what it does at the start is over
	l = newLog(t, &Options{Incidents: IncidentOptions{Dir: dir, Threshold: Noisy, TrailingEvents: -1}})
	require.NoError(t, os.RemoveAll(dir))
	s := l.Subscribe(SubscribeOptions{CatchUp: true})
	l.Log(t.Context(), Noisy, "noisy")
	for e, err := range s.All(t.Context()) {
		require.NoError(t, err)
		if e.Message == "an incident could not be written" {
			v, ok := e.Attr("error")
			require.True(t, ok)
			assert.Contains(t, v.Any().(Failure).Text, "no such file")
			break
		}
	}
	require.NoError(t, l.Close())
	assert.EqualValues(t, 1, l.Stats().Declared)
	assert.EqualValues(t, 1, l.Stats().Lost)
}

func TestIncidentsThatComeFasterThanTheDiskAreCounted(t *testing.T) {
	proceed := make(chan struct{})
	opts := &Options{Incidents: IncidentOptions{Dir: t.TempDir(), TrailingEvents: -1}}
	begun := make(chan struct{}, 10)
	opts.Incidents.Recorded = func(Incident) {
		begun <- struct{}{}
		<-proceed
	}
	l := newLog(t, opts)
	l.Log(t.Context(), Bad, "written")
	<-begun
	l.Log(t.Context(), Bad, "waits")
	l.Log(t.Context(), Bad, "waits too")
	l.Log(t.Context(), Bad, "lost")
	close(proceed)
	require.NoError(t, l.Close())
	assert.Equal(t, Stats{Events: 4, Declared: 4, Lost: 1, Recorded: 3}, l.Stats())
}

func TestManyLogsShareAFolder(t *testing.T) {
	dir := t.TempDir()
	var logs []*Log
	for i := range 5 {
		l := newLog(t, &Options{Incidents: IncidentOptions{Dir: dir}})
		l.Log(t.Context(), Bad, fmt.Sprint(i))
		logs = append(logs, l)
	}
	for _, l := range logs {
		require.NoError(t, l.Close())
	}
	found, err := logs[0].Incidents("")
	require.NoError(t, err)
	assert.Len(t, found, 5)
	assert.Len(t, names(t, dir), 5)
}
