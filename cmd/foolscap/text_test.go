package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestForeignTextsCannotControlTheTerminal(t *testing.T) {
	for in, out := range map[string]string{
		"plain":            "plain",
		"héllo €":          "héllo €",
		"\x1b[31mred":      `\x1b[31mred`,
		"two\nlines\ttabs": `two\nlines\ttabs`,
		"\u009b31m":        `\u009b31m`,
		"\u202eltr":        `\u202eltr`,
		"\U000e0001":       `\U000e0001`,
		"\xff\uFFFD":       `\xff` + "\uFFFD",
		"\r\x00\x7f":       `\x0d\x00\x7f`,
	} {
		assert.Equal(t, out, clean(in))
	}
}

func TestJSONDocumentsAreEscaped(t *testing.T) {
	var b bytes.Buffer
	e := newEnv(nil, &b, io.Discard, noEnviron)
	text := "\x1b \u009b \u202e \x7f \U000e0001 é < \u2028"
	require.NoError(t, e.writeJSON(map[string]string{"a": text}))
	assert.Equal(t, `{"a":"\u001b \u009b \u202e \u007f \udb40\udc01 é < \u2028"}`+"\n", b.String())
	var back map[string]string
	require.NoError(t, json.Unmarshal(b.Bytes(), &back))
	assert.Equal(t, text, back["a"])
}

func TestSecretsAreLeftOutOfMessages(t *testing.T) {
	e := newEnv(nil, io.Discard, io.Discard, noEnviron)
	e.keepSecret("swissnum")
	e.keepSecret("abc")
	for in, out := range map[string]string{
		"no object swissnum here":    "no object [redacted] here",
		"swissnumswissnum":           "[redacted][redacted]",
		"abc is too short to matter": "abc is too short to matter",
		"get pb://ka5xurmkm6wb6vuzeo3jpxwrw6kla6ce@tcp:h:1/secret now": "get pb://ka5xurmkm6wb6vuzeo3jpxwrw6kla6ce@tcp:h:1/[redacted] now",
		`"pb://x@/a/b@c"`: `"pb://x@/[redacted]"`,
		"pb://":           "pb://",
	} {
		assert.Equal(t, out, e.withoutSecrets(in))
	}
}

func TestColourNeedsATerminalAndLeave(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // as good as a terminal
	require.NoError(t, err)
	defer null.Close()
	environ := func(name, value string) func(string) string {
		return func(asked string) string {
			if asked == name {
				return value
			}
			return ""
		}
	}
	assert.True(t, newEnv(nil, null, null, noEnviron).colourOut)
	assert.True(t, newEnv(nil, null, null, noEnviron).colourErr)
	assert.True(t, newEnv(nil, null, null, environ("NO_COLOR", "1")).terminalErr)
	for _, e := range []*env{
		newEnv(nil, null, null, environ("NO_COLOR", "1")),
		newEnv(nil, null, null, environ("TERM", "dumb")),
		newEnv(nil, io.Discard, io.Discard, noEnviron),
	} {
		assert.False(t, e.colourOut)
		assert.False(t, e.colourErr)
	}
	assert.Equal(t, "\x1b[31mfoolscap x:\x1b[0m", (&env{name: "x", colourErr: true}).prefix())
	assert.Equal(t, "foolscap x:", (&env{name: "x"}).prefix())
}

func TestColourDoesNotMoveTheColumns(t *testing.T) {
	var table table
	table.row("A", "BB", number("N"))
	table.row(cell{text: "green", colour: green}, "é\x1b", number("12"))
	var plain, coloured bytes.Buffer
	table.write(&plain, false)
	table.write(&coloured, true)
	assert.Equal(t, "A      BB      N\ngreen  é\\x1b  12\n", plain.String())
	assert.Equal(t, "A      BB      N\n\x1b[32mgreen\x1b[0m  é\\x1b  12\n", coloured.String())
}

func TestProgressIsShownOnATerminalOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		e := newEnv(nil, nil, &b, noEnviron)
		stop := e.progress(func() string { return "working" })
		time.Sleep(time.Minute)
		stop()
		assert.Empty(t, b.String())

		e.terminalErr = true
		stop = e.progress(func() string { return "quick" })
		time.Sleep(progressDelay / 2)
		stop()
		stop()
		assert.Empty(t, b.String())

		stop = e.progress(func() string { return "wor\x1bking" })
		time.Sleep(progressDelay + progressInterval + progressInterval/2)
		stop()
		assert.Equal(t, "\r\x1b[K"+`wor\x1bking (0 s)`+"\r\x1b[K"+`wor\x1bking (0 s)`+"\r\x1b[K", b.String())
	})
}
