package flog

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const childVariable = "FLOG_TEST_CHILD"

// TestMain is the program that TestAKilledProgramLosesNoIncident kills, too.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}

// child records one incident after the other, and says how far it is.
func child(dir string) {
	recorded := make(chan string)
	l, err := New(&Options{Incidents: IncidentOptions{
		Dir: dir, Keep: -1, TrailingTime: 3 * time.Millisecond, Recorded: func(i Incident) { recorded <- i.Name },
	}})
	if err != nil {
		panic(err)
	}
	for i := range 1000 {
		for range 100 {
			l.log(context.Background(), Noisy, strings.Repeat("history ", 20), true, nil)
		}
		l.log(context.Background(), Bad, fmt.Sprint("incident ", i), true, nil)
		fmt.Println("recorded", <-recorded)
	}
}

func TestAKilledProgramLosesNoIncident(t *testing.T) {
	dir := t.TempDir()
	var recorded []string
	for round := range 10 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		// It dies some time after its first word, wherever it is then.
		var kill *time.Timer
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if kill == nil {
				kill = time.AfterFunc(time.Duration(round*round)*300*time.Microsecond, func() { _ = cmd.Process.Kill() })
			}
			recorded = append(recorded, strings.TrimPrefix(lines.Text(), "recorded "))
		}
		assert.Error(t, cmd.Wait(), "it was killed")
	}

	var begun []string // those with a header
	for _, name := range names(t, dir) {
		if name, ok := strings.CutSuffix(name, plainEnd+tempEnd); ok {
			if text, err := os.ReadFile(filepath.Join(dir, name+plainEnd+tempEnd)); err == nil && strings.Count(string(text), "\n") >= 2 {
				begun = append(begun, name)
			}
		}
	}
	l := newLog(t, &Options{Incidents: IncidentOptions{Dir: dir, Keep: -1}})
	require.NoError(t, l.Close())
	found, err := l.Incidents("")
	require.NoError(t, err)
	complete := make(map[string]bool)
	for _, i := range found {
		assert.False(t, complete[i.Name], "it is there twice")
		complete[i.Name] = true
		_, events := entries(t, i.Path)
		assert.NotEmpty(t, events)
	}
	assert.Len(t, names(t, dir), len(found), "nothing is left")
	for _, name := range append(begun, recorded...) {
		assert.True(t, complete[name], name)
	}
}
