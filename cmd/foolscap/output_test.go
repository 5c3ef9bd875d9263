package main

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// fullDisk takes some bytes and no more.
type fullDisk struct{ room int }

func (f *fullDisk) Write(p []byte) (int, error) {
	n := min(f.room, len(p))
	f.room -= n
	if n < len(p) {
		return n, errors.New("no space left")
	}
	return n, nil
}

func TestOutputThatIsLostIsAFailure(t *testing.T) {
	s := serve(t)
	pem := filepath.Join(t.TempDir(), "tub.pem")
	require.Equal(t, exitOK, foolscap(t, "id", "create", pem).code)
	for _, args := range [][]string{
		{"help"}, {"help", "ping"}, {"ping", "--help"}, {"version"}, {"demo", "--duration", "1ms"}, {"serve"}, {"call", "@" + s.file, "add", "2", "3"},
		{"ping", "@" + s.file}, {"furl", "@" + s.file}, {"id", "show", pem}, {"tokens"},
	} {
		for _, flags := range [][]string{nil, {"--json"}} {
			if args[len(args)-1] == "--help" || args[0] == "help" {
				flags = nil
			}
			args := append(args[:len(args):len(args)], flags...)
			stderr := watchFor("nothing in particular")
			code := run(t.Context(), args, strings.NewReader("00 88 0d 87 01 81 04 82 61 62 63 64 00 89"), &fullDisk{room: 1}, stderr)
			assert.Equal(t, int(exitFailure), code, "%q", args)
			assert.Equal(t, 1, strings.Count(stderr.String(), "no space left"), "%q: %s", args, stderr)
		}
	}
}

// Every command fails in its own ways, and --json tells all of them alike.
func TestEveryFailureIsToldInJSON(t *testing.T) {
	s := serve(t)
	f, err := furl.Parse(s.furl)
	require.NoError(t, err)
	nobody := f.WithHints(closedPort(t)).Reveal()
	half := f.WithHints(f.Hints[0], closedPort(t)).Reveal()
	badName := f
	badName.Name, err = furl.ParseSwissnum("a-name-that-is-not-there")
	require.NoError(t, err)
	slow := published(t, tub.Method("wait", func(ctx context.Context, _ tub.None) (tub.None, error) {
		<-ctx.Done()
		return tub.None{}, ctx.Err()
	})).Reveal()
	missing := filepath.Join(t.TempDir(), "missing")
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()

	for _, c := range []struct {
		name  string
		ctx   context.Context
		stdin string
		code  exitCode
		args  []string
	}{
		{"demo, interrupted", interrupted, "", exitInterrupted, []string{"demo"}},
		{"demo, used wrongly", nil, "", exitUsage, []string{"demo", "x"}},
		{"serve, the port is in use", nil, "", exitFailure, []string{"serve", "--listen", string(f.Hints[0])}},
		{"serve, the directory is missing", nil, "", exitFailure, []string{"serve", "--cert", missing + "/tub.pem"}},
		{"serve, the FURL is of another Tub", nil, "", exitFailure, []string{"serve", "--furl-file", s.file}},
		{"serve, used wrongly", nil, "", exitUsage, []string{"serve", "--listen", "tcp:127.0.0.1:99999"}},
		{"call, no file", nil, "", exitFailure, []string{"call", "@" + missing, "add"}},
		{"call, no identity", nil, "", exitFailure, []string{"call", "--cert", missing, s.furl, "add"}},
		{"call, nobody is there", nil, "", exitUnreachable, []string{"call", nobody, "add"}},
		{"call, the method fails", nil, "", exitRemote, []string{"call", s.furl, "fail", "text:boom"}},
		{"call, no such method", nil, "", exitRemote, []string{"call", s.furl, "nothing"}},
		{"call, no such object", nil, "", exitRemote, []string{"call", badName.Reveal(), "add"}},
		{"call, no answer", nil, "", exitNoAnswer, []string{"call", "--timeout", "300ms", slow, "wait"}},
		{"call, interrupted", interrupted, "", exitInterrupted, []string{"call", s.furl, "add"}},
		{"call, interrupted while it reads", interrupted, "", exitInterrupted, []string{"call", "-", "add"}},
		{"call, used wrongly", nil, "", exitUsage, []string{"call", s.furl, "add", "word"}},
		{"ping, no file", nil, "", exitFailure, []string{"ping", "@" + missing}},
		{"ping, nobody is there", nil, "", exitUnreachable, []string{"ping", nobody}},
		{"ping, no hints", nil, "", exitUnreachable, []string{"ping", f.WithHints().Reveal()}},
		{"ping, no such object", nil, "", exitRemote, []string{"ping", badName.Reveal()}},
		{"ping, one of two", nil, "", exitPartly, []string{"ping", "--all", half}},
		{"ping, interrupted", interrupted, "", exitInterrupted, []string{"ping", s.furl}},
		{"ping, used wrongly", nil, "", exitUsage, []string{"ping", "--timeout", "-1s", s.furl}},
		{"furl, none", nil, "x", exitFailure, []string{"furl"}},
		{"furl, used wrongly", nil, "", exitUsage, []string{"furl", "x", "y"}},
		{"id, no file", nil, "", exitFailure, []string{"id", "show", missing}},
		{"id, a file that exists", nil, "", exitFailure, []string{"id", "create", s.file}},
		{"id, used wrongly", nil, "", exitUsage, []string{"id", "make", missing}},
		{"tokens, no file", nil, "", exitFailure, []string{"tokens", missing}},
		{"tokens, damaged", nil, "00 88", exitFailure, []string{"tokens"}},
		{"tokens, interrupted", interrupted, "00 88 00 89", exitInterrupted, []string{"tokens"}},
		{"tokens, used wrongly", nil, "", exitUsage, []string{"tokens", "--vocab", "7"}},
		{"version, used wrongly", nil, "", exitUsage, []string{"version", "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := c.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			var stdout strings.Builder
			stderr := watchFor("nothing in particular")
			code := run(ctx, append([]string{c.args[0], "--json"}, c.args[1:]...), strings.NewReader(c.stdin), &stdout, stderr)
			require.Equal(t, c.code, exitCode(code), "%s%s", &stdout, stderr)
			assert.NotContains(t, stdout.String()+stderr.String(), s.secret)
			if c.code == exitUsage {
				assert.Empty(t, stdout.String())
				assert.Contains(t, stderr.String(), "--help")
				return
			}
			lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
			var doc errorDocument
			require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &doc), "%s", &stdout)
			assert.Equal(t, c.code, doc.Error.Code)
			assert.Equal(t, c.code.kind(), doc.Error.Kind)
			assert.NotEmpty(t, doc.Error.Message)
			assert.Empty(t, stderr.String())
			if c.args[0] != "tokens" {
				assert.Len(t, lines, 1)
			}
		})
	}
}
