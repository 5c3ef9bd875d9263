package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/flog"
	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
)

// runFlogtool runs command lines of Foolscap's, and prints what they print as JSON.
const runFlogtool = `
import json, sys
from foolscap.logging.cli import run_flogtool
print(json.dumps([run_flogtool(args, run_by_human=False)[0] for args in json.loads(sys.argv[1])]))`

// flogtool runs command lines of Foolscap's, and returns what they print.
func flogtool(t *testing.T, commands ...[]string) (printed []string) {
	t.Helper()
	text, err := json.Marshal(commands)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), pypeer.Require(t), "-c", runFlogtool, string(text))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s%s", &stdout, &stderr)
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &printed))
	return printed
}

// flogIncident makes one with events of all sorts.
func flogIncident(t *testing.T, plain bool) flog.Incident {
	t.Helper()
	l, err := flog.New(&flog.Options{
		Versions: map[string]string{"a program": "1.2"}, Incidents: flog.IncidentOptions{Dir: t.TempDir(), Plain: plain},
	})
	require.NoError(t, err)
	logger := slog.New(l.Handler(nil)).With(flog.Facility("net.dial"))
	logger.Debug("naïve % %s %(x)s \"quoted\"\n\u2028", "format", "%(nothing)s", "level", "high", "time", "now", "message", 1, "args", 3, "num", "x",
		"incarnation", 1, "bytes", []byte("\x00b"), slog.Group("group", "n", 1.0, "list", []any{1, nil}))
	cause := l.Log(t.Context(), flog.Curious, "curious")
	logger.Error("it is broken", flog.Parent(cause), "failure", errors.New("first line\nsecond line"))
	logger.Info("after", flog.Facility("other"), "nan", []float64{1}, "when", time.Unix(0, 0), "for", time.Second)
	require.NoError(t, l.Close())
	found, err := l.Incidents("")
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

func TestPythonReadsOurIncidents(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{true, false} {
		i := flogIncident(t, plain)
		dumps := flogtool(t, []string{"dump", i.Path}, []string{"dump", "-v", "-r", "-t", "utc", i.Path}, []string{"dump", "-n", i.Path})
		printed, verbose, numbers := dumps[0], dumps[1], dumps[2]
		assert.Contains(t, printed, "a program: 1.2")
		assert.Contains(t, printed, fmt.Sprintf("PID: %d", os.Getpid()))
		assert.Contains(t, printed, "naïve % %s %(x)s \"quoted\"")
		assert.Regexp(t, `local#3 [\d:.]+: it is broken \[INCIDENT-TRIGGER\]\n FAILURE:\n first line\n second line\n`, printed)
		assert.Regexp(t, `local#4 [\d:.]+: after\n$`, printed)
		assert.NotContains(t, printed, "formatting failed")

		assert.Contains(t, verbose, "'type': 'incident'")
		assert.Contains(t, verbose, `'group': {'n': 1.0, 'list': [1, None]}`)
		assert.Contains(t, verbose, `'@': 'UnJSONable'`)
		assert.Contains(t, verbose, `'parent': 2`)
		assert.Contains(t, verbose, `'when': '1970-01-01T`)
		assert.Len(t, strings.Fields(numbers), 4*2)
	}
}

func TestPythonFiltersOurFiles(t *testing.T) {
	t.Parallel()
	i := flogIncident(t, false)
	for args, want := range map[string][]string{
		"--strip-facility=net":                             {"curious", "after"},
		"--before=1000000000":                              nil,
		"--from=loc --after=1000000000 --above=CURIOUS -v": {"curious", "it is broken"},
	} {
		filtered := filepath.Join(t.TempDir(), "filtered.flog.bz2")
		flogtool(t, append(append([]string{"filter"}, strings.Fields(args)...), i.Path, filtered))
		header, entries := flogEntries(t, filtered)
		assert.Equal(t, "it is broken", header.Trigger.Message)
		var got []string
		for _, e := range entries {
			got = append(got, e.Event.Message)
		}
		assert.Equal(t, want, got, args)
	}
}

func TestPythonClassifiesOurIncidents(t *testing.T) {
	t.Parallel()
	i := flogIncident(t, false)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "classify_broken.py"), []byte(
		"def classify_incident(trigger):\n    return 'broken' if 'broken' in trigger['message'] else None\n"), 0o600))
	assert.Equal(t, i.Path+": broken\n", flogtool(t, []string{"classify-incident", "-c", dir, i.Path})[0])
}

func flogEntries(t *testing.T, path string) (flog.Header, []flog.Entry) {
	t.Helper()
	r, err := flog.Open(path)
	require.NoError(t, err)
	defer r.Close()
	var all []flog.Entry
	for e, err := range r.Entries() {
		require.NoError(t, err, path)
		all = append(all, e)
	}
	assert.False(t, r.Truncated())
	return r.Header(), all
}

func TestWeReadAllThatPythonWrites(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	output, err := exec.CommandContext(ctx, pypeer.Require(t), "peers/logs.py", base).CombinedOutput()
	require.NoError(t, err, "%s", output)
	for pattern, check := range map[string]func(h flog.Header, from string){
		"incidents/incident-*.flog.bz2": func(h flog.Header, from string) {
			assert.Equal(t, "incident", h.Type)
			assert.NotZero(t, h.PID)
			assert.Equal(t, "21", h.Versions["foolscap"][:2])
			require.NotNil(t, h.Trigger)
			assert.Equal(t, flog.Scary, h.Trigger.Level)
			assert.Equal(t, "local", from)
		},
		"tail.flog": func(h flog.Header, from string) {
			assert.Equal(t, "tail", h.Type)
			assert.NotZero(t, h.PID)
			assert.Contains(t, h.Versions, "twisted")
			assert.Len(t, from, 8)
		},
		"gatherer/from-*Z.flog*": func(h flog.Header, from string) {
			assert.Equal(t, "gatherer", h.Type)
			assert.WithinDuration(t, time.Now(), h.Start, time.Minute)
			assert.Len(t, from, 32)
		},
		"observer.flog.bz2": func(h flog.Header, from string) {
			assert.Equal(t, "log-file-observer", h.Type)
			assert.Equal(t, "threshold", h.Attrs[0].Key)
			assert.Equal(t, "local", from)
		},
	} {
		paths, err := filepath.Glob(filepath.Join(base, pattern))
		require.NoError(t, err)
		require.Len(t, paths, 1, pattern)
		header, entries := flogEntries(t, paths[0])
		require.NotEmpty(t, entries, pattern)
		check(header, entries[0].From)

		// What Foolscap makes of the file is what we do.
		copied := filepath.Join(t.TempDir(), "copied.flog")
		w, err := flog.Create(copied, header)
		require.NoError(t, err)
		rewritten := filepath.Join(t.TempDir(), "rewritten.flog.bz2")
		header.Raw = nil
		again, err := flog.Create(rewritten, header)
		require.NoError(t, err)
		texts := make(map[string]flog.Event)
		for _, e := range entries {
			texts[e.Event.Text()] = e.Event
			assert.WithinDuration(t, time.Now(), e.Event.Time, time.Minute)
			assert.WithinDuration(t, time.Now(), e.Received, time.Minute)
			assert.Len(t, e.Event.Incarnation, 16)
			require.NoError(t, w.Write(e))
			e.Raw = nil
			require.NoError(t, again.Write(e))
		}
		require.NoError(t, w.Close())
		require.NoError(t, again.Close())
		dumps := flogtool(t, []string{"dump", "-v", paths[0]}, []string{"dump", "-v", copied},
			[]string{"dump", "-t", "epoch", paths[0]}, []string{"dump", "-t", "epoch", rewritten})
		assert.Equal(t, dumps[0], dumps[1], "nothing is lost")
		before := dumps[2]
		assert.Equal(t, before, dumps[3])
		if pattern == "observer.flog.bz2" || pattern[0] == 'i' {
			for _, text := range []string{"the first", "text and 0007", "not a number"} {
				require.Contains(t, texts, text, pattern)
				assert.Contains(t, before, ": "+text+"\n")
			}
			assert.Equal(t, "a.b", texts["the first"].Facility)
			second := texts["text and 0007"]
			assert.True(t, second.HasParent)
			assert.Equal(t, texts["the first"].Num, second.Parent)
			v, ok := second.Attr("data")
			require.True(t, ok)
			assert.Equal(t, flog.Opaque{Kind: "UnJSONable", Repr: "b'bytes'"}, v.Any())
			broken := texts[""]
			v, ok = broken.Attr("failure")
			require.True(t, ok)
			failure := v.Any().(flog.Failure)
			assert.Contains(t, failure.Text, "broken")
			assert.Contains(t, failure.Traceback, "ValueError")
		}
	}
}
