package flog

import (
	"bytes"
	"compress/bzip2"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func anEntry() Entry {
	return Entry{From: "abcdefgh", Received: time.UnixMicro(1_700_000_001_000_001), Event: Event{
		Num: 12, Incarnation: "0123456789abcdef", Time: time.UnixMicro(1_700_000_000_123_456), Level: Unusual, Facility: "net.dial",
		Parent: 3, HasParent: true, Message: "héllo \"you\"\n\x01\u2028\\", Attrs: []slog.Attr{
			slog.Int("int", -5), slog.Uint64("uint", math.MaxUint64), slog.Float64("float", 1.5), slog.Float64("whole", 2),
			slog.Bool("yes", true), slog.Any("nothing", nil), slog.String("text", "t"),
			slog.Group("group", slog.Int("a", 1), slog.Group("b", slog.Int("c", 2))),
			slog.Any("list", []any{int64(1), "two", []any{}, slog.GroupValue(slog.Int("x", 1))}),
			slog.Any("failure", Failure{"broken", "<repr>", "Traceback"}), slog.Any("bytes", Opaque{"UnJSONable", `b"x"`}),
			slog.Any("big", json.Number("123456789012345678901234567890")),
		},
	}}
}

func TestFilesHoldWhatWasWritten(t *testing.T) {
	trigger := anEntry().Event
	for _, name := range []string{"events.flog", "events.flog.bz2"} {
		path := filepath.Join(t.TempDir(), name)
		header := Header{
			Type: "incident", Versions: map[string]string{"a": "1", "b": "2"}, PID: 7, Start: time.Unix(1_700_000_000, 0), Trigger: &trigger,
			Attrs: []slog.Attr{slog.Int("dropped", 3)},
		}
		w, err := Create(path, header)
		require.NoError(t, err)
		require.NoError(t, w.Write(anEntry()))
		noTime := Entry{Event: Event{Num: 13}, From: "local", Received: time.Unix(5, 0)}
		require.NoError(t, w.Write(noTime))
		_, err = os.Stat(path)
		assert.ErrorIs(t, err, os.ErrNotExist, "it is not complete")
		require.NoError(t, w.Close())
		assert.Error(t, w.Write(anEntry()))
		assert.Equal(t, []string{name}, names(t, filepath.Dir(path)))
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.EqualValues(t, 0o600, info.Mode())

		r, err := Open(path)
		require.NoError(t, err)
		got := r.Header()
		assert.NotNil(t, got.Raw)
		got.Raw = nil
		assert.Equal(t, header, got)
		var all []Entry
		var copied bytes.Buffer
		again, err := NewWriter(&copied, r.Header())
		require.NoError(t, err)
		for e, err := range r.Entries() {
			require.NoError(t, err)
			require.NoError(t, again.Write(e))
			e.Raw = nil
			all = append(all, e)
		}
		require.NoError(t, r.Close())
		require.NoError(t, again.Close())
		noTime.Event.Time = noTime.Received
		assert.Equal(t, []Entry{anEntry(), noTime}, all)
		if !strings.HasSuffix(path, ".bz2") {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(text), copied.String())
		}
	}
}

func TestAbortedFilesLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(filepath.Join(dir, "a.flog.bz2"), Header{})
	require.NoError(t, err)
	w.Abort()
	w.Abort()
	assert.Error(t, w.Close())
	assert.Empty(t, names(t, dir))
	w, err = Create(filepath.Join(dir, "b.flog"), Header{})
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "b.flog"), 0o700))
	assert.Error(t, w.Close())
	assert.Equal(t, []string{"b.flog"}, names(t, dir))
	_, err = Create(filepath.Join(dir, "none", "c.flog"), Header{})
	assert.ErrorIs(t, err, os.ErrNotExist)
}

const aLine = `{"from": "local", "rx_time": 1.5, "d": {"num": 0, "time": 1, "level": 20, "incarnation": ["x", null], "message": "m"}}` + "\n"

func TestReadingIsTolerantAndSaysWhatIsWrong(t *testing.T) {
	const header = `{"header": {"type": "tail", "pid": 1}}` + "\n"
	for name, test := range map[string]struct {
		text      string
		opens     string // why it does not
		events    int
		wrong     []string
		truncated bool
	}{
		"an empty file":              {text: "", opens: "not a flogfile"},
		"something else":             {text: strings.Repeat("something else", 10), opens: "not a flogfile"},
		"a FURL":                     {text: "pb://secret@tcp:1/secret\n", opens: "it is to be connected to"},
		"pickles":                    {text: "(dp0\nS'header'", opens: "pickles"},
		"half a magic":               {text: magic[:10], opens: "not a flogfile"},
		"bad bzip2":                  {text: "BZh9 and so on", opens: "bzip2"},
		"nothing but the magic":      {text: magic},
		"a header only":              {text: magic + header},
		"events":                     {text: magic + header + aLine + "\n" + aLine, events: 2},
		"no header":                  {text: magic + aLine + aLine, events: 2},
		"two files":                  {text: magic + header + aLine + magic + header + aLine, events: 2},
		"a last line without an end": {text: magic + header + aLine + strings.TrimSpace(aLine), events: 2},
		"half a last line":           {text: magic + header + aLine + aLine[:50], events: 1, truncated: true},
		"half a header":              {text: magic + header[:20], truncated: true},
		"lines that are wrong": {
			text: magic + header + aLine + "{\n[1]\n{}\n" + aLine + `{"d":1}` + "\n", events: 2,
			wrong: []string{"line 4: unexpected EOF", "line 5: it is no JSON object", "line 6: it holds neither", "line 8: it holds neither"},
		},
		"a wrong header":           {text: magic + "no\n" + aLine, events: 1, wrong: []string{"line 2: invalid character"}},
		"a long line":              {text: magic + header + strings.Repeat("x", MaxLine+1) + "\n" + aLine, events: 1, wrong: []string{"line 3: the line is too long"}},
		"a long last line":         {text: magic + header + aLine + strings.Repeat("x", MaxLine+1), events: 1, wrong: []string{"line 4: the line is too long"}},
		"deep nesting":             {text: magic + header + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "\n", wrong: []string{"nested too deeply"}},
		"what follows a value":     {text: magic + header + "{}{}\n", wrong: []string{"something follows"}},
		"numbers that JSON lacks":  {text: magic + header + `{"d": {"num": 1, "a": NaN, "b": -Infinity, "c": "NaN \" NaN", "d": [Infinity]}}` + "\n", events: 1},
		"types that are not right": {text: magic + header + `{"from": 1, "rx_time": "x", "d": {"num": -1, "time": "x", "level": 1e99, "incarnation": 3, "message": {}, "facility": null, "parent": 1.5}}` + "\n", events: 1},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := NewReader(strings.NewReader(test.text))
			if test.opens != "" {
				assert.ErrorIs(t, err, ErrFormat)
				assert.ErrorContains(t, err, test.opens)
				assert.NotContains(t, err.Error(), "secret")
				return
			}
			require.NoError(t, err)
			var wrong []string
			events := 0
			for _, err := range r.Entries() {
				if err == nil {
					events++
					continue
				}
				_, ok := errors.AsType[*LineError](err)
				require.True(t, ok)
				wrong = append(wrong, err.Error())
			}
			assert.Equal(t, test.events, events)
			require.Len(t, wrong, len(test.wrong))
			for i := range wrong {
				assert.Contains(t, wrong[i], test.wrong[i])
			}
			assert.Equal(t, test.truncated, r.Truncated())
		})
	}
}

func TestACompressedFileMayBeTruncated(t *testing.T) {
	var text, packed bytes.Buffer
	text.WriteString(magic)
	for i := range 4000 {
		fmt.Fprintf(&text, `{"d": {"num": %d, "message": "%x"}}`+"\n", i, rand.Uint64())
	}
	require.NoError(t, pack(&packed, bytes.NewReader(text.Bytes())))
	count := func(b []byte) (n int, truncated bool) {
		r, err := NewReader(bytes.NewReader(b))
		require.NoError(t, err)
		for _, err := range r.Entries() {
			require.NoError(t, err)
			n++
		}
		return n, r.Truncated()
	}
	n, truncated := count(packed.Bytes())
	assert.Equal(t, 4000, n)
	assert.False(t, truncated)
	n, truncated = count(packed.Bytes()[:packed.Len()-1000])
	assert.Greater(t, n, 1000)
	assert.Less(t, n, 4000)
	assert.True(t, truncated)

	packed.Bytes()[packed.Len()-1000] ^= 1
	r, err := NewReader(bytes.NewReader(packed.Bytes()))
	require.NoError(t, err)
	var last error
	for _, last = range r.Entries() {
	}
	assert.ErrorContains(t, last, "flog: after line ")
	assert.ErrorAs(t, last, new(bzip2.StructuralError))
}

func TestTheCompressorIsSound(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 250_000)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	few := bytes.Map(func(r rune) rune { return 'a' + r%3 }, noise)
	for name, text := range map[string][]byte{
		"nothing": nil, "a byte": {0}, "noise": noise, "few letters": few, "one letter": bytes.Repeat([]byte("a"), 300_000),
		"a period": bytes.Repeat([]byte(aLine), 3000), "two letters": bytes.Repeat([]byte("ab"), 150_000), "runs": bytes.Repeat([]byte("aaaab"), 50_000),
		"Fibonacci": fibonacci(250_000),
	} {
		var packed bytes.Buffer
		require.NoError(t, pack(&packed, bytes.NewReader(text)), name)
		got, err := io.ReadAll(bzip2.NewReader(&packed))
		require.NoError(t, err, name)
		assert.True(t, bytes.Equal(text, got), name)
	}
}

// fibonacci is a word that suffix arrays find hard.
func fibonacci(n int) []byte {
	a, b := []byte("b"), []byte("a")
	for len(b) < n {
		a, b = b, append(b[:len(b):len(b)], a...)
	}
	return b[:n]
}

func TestFormatsOfPythonAreUnderstood(t *testing.T) {
	attrs := []slog.Attr{
		slog.String("s", "text"), slog.Int("i", 42), slog.Float64("f", 1.5), slog.Any("none", nil), slog.Any("list", []any{int64(1)}),
		slog.Any("o", Opaque{"UnJSONable", "b'x'"}),
	}
	for format, want := range map[string]string{
		"plain": "plain", "100%% of %(s)s": "100% of text", "%(i)d %(i)04d %(i)x %(i)s %(i)r %(i).1f": "42 0042 2a 42 42 42.0",
		"%(f)s %(f).2f %(f)d": "1.5 1.50 1", "%(s)r %(s)8s|%(s)-8s|": "'text'     text|text    |", "%(none)s %(missing)s": "None %(missing)s",
		"%(o)s %(list)s": "b'x' [1]", "#%(num)d %(message)s %(level)d %(facility)s": "#3 m 20 f", "50% done": "50% done", "%(i)9999999d": "%(i)9999999d",
	} {
		e := Event{Num: 3, Message: "m", Level: 20, Facility: "f", Attrs: append([]slog.Attr{slog.String("format", format)}, attrs...)}
		assert.Equal(t, want, e.Text())
	}
	args := Event{Message: "%s is %d%%, %s", Attrs: []slog.Attr{slog.Any("args", []any{"it", int64(5)})}}
	assert.Equal(t, "it is 5%, %s", args.Text())
	assert.Equal(t, "50%s", Event{Message: "50%s"}.Text())
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(magic + `{"header": {"type": "incident", "trigger": {"num": 1}, "versions": {"a": 1}}}` + "\n" + aLine))
	f.Add([]byte(magic + `{"from": "x", "d": {"format": "%(a)s", "a": NaN, "f": {"@": "Failure"}, "args": [1, {}, null]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := NewReader(bytes.NewReader(text))
		if err != nil {
			return
		}
		for e, err := range r.Entries() {
			if err != nil {
				continue
			}
			_ = e.Event.Text()
			e.Raw = nil
			line := appendEntry(nil, e)
			if !json.Valid(line) {
				t.Fatalf("%q becomes %q", text, line)
			}
			again, err := NewReader(io.MultiReader(strings.NewReader(magic), bytes.NewReader(line)))
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range again.Entries() {
				if err != nil {
					t.Fatalf("%q: %v", line, err)
				}
			}
		}
	})
}
