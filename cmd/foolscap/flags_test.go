package main

import (
	"flag"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFlagsMayStandAnywhere(t *testing.T) {
	for _, c := range []struct {
		name       string
		args       []string
		positional []string
		verbose    bool
		timeout    time.Duration
	}{
		{"none", []string{"a", "b"}, []string{"a", "b"}, false, 0},
		{"in front", []string{"--verbose", "--timeout", "1s", "a"}, []string{"a"}, true, time.Second},
		{"behind", []string{"a", "-verbose", "-timeout=2s"}, []string{"a"}, true, 2 * time.Second},
		{"in between", []string{"a", "--timeout", "3s", "b", "--verbose=false", "c"}, []string{"a", "b", "c"}, false, 3 * time.Second},
		{"negative numbers are none", []string{"-1", "-2.5", "-.5", "--verbose"}, []string{"-1", "-2.5", "-.5"}, true, 0},
		{"standard input is none", []string{"-", "--verbose"}, []string{"-"}, true, 0},
		{"two dashes end them", []string{"--verbose", "--", "--timeout", "--"}, []string{"--timeout", "--"}, true, 0},
		{"an empty argument is none", []string{"", "--verbose"}, []string{""}, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := flag.NewFlagSet("", flag.ContinueOnError)
			verbose := fs.Bool("verbose", false, "")
			timeout := fs.Duration("timeout", 0, "")
			positional, err := parseFlags(fs, c.args, 0)
			require.NoError(t, err)
			assert.Equal(t, c.positional, positional)
			assert.Equal(t, c.verbose, *verbose)
			assert.Equal(t, c.timeout, *timeout)
		})
	}
}

func TestAFlagMayHaveTwoDashesAsItsValue(t *testing.T) {
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	name := fs.String("name", "", "")
	positional, err := parseFlags(fs, []string{"--name", "--", "a"}, 0)
	require.NoError(t, err)
	assert.Equal(t, "--", *name)
	assert.Equal(t, []string{"a"}, positional)
}

func TestWrongFlagsAreErrors(t *testing.T) {
	for _, args := range [][]string{
		{"--nothing"}, {"a", "--timeout"}, {"--timeout", "soon"}, {"--verbose=maybe"}, {"--listen", ""}, {"---verbose"}, {"--=x"},
	} {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		fs.Bool("verbose", false, "")
		fs.Duration("timeout", 0, "")
		fs.Var(new(texts), "listen", "")
		_, err := parseFlags(fs, args, 0)
		assert.Error(t, err, "%q", args)
	}
}

func TestWrongUsageIsTold(t *testing.T) {
	for _, args := range [][]string{
		{"demo", "--nothing"}, {"demo", "--duration", "-1s"}, {"call", "--timeout", "-1s", "@x", "y"}, {"ping", "--timeout=-1ns", "@x"},
		{"version", "argument"},
		{"demo", "argument"}, {"demo", "--duration", "0s"},
		{"serve", "argument"}, {"serve", "--listen", "udp:127.0.0.1:1"}, {"serve", "--listen", "a,b"},
		{"serve", "--location", "a/b"}, {"serve", "--listen", "tcp:0.0.0.0:0"},
		{"call"}, {"call", "pb://x"}, {"call", "pb://x", "add"}, {"call", "nothing", "add"}, {"call", "-", "add"},
		{"ping"}, {"ping", "a", "b"}, {"ping", "pb://x"}, {"ping", "--timeout", "x"},
		{"furl", "a", "b"}, {"id"}, {"id", "show"}, {"id", "make", "x"}, {"id", "create", "--kind", "dsa", "x"},
		{"serve", "--hidden"}, {"serve", "--hidden", "--listen", "quic:127.0.0.1:0"}, {"serve", "--listen", "tor", "--listen", "tcp:127.0.0.1:0"},
		{"serve", "--listen", "tor", "--tor", "socks"}, {"serve", "--listen", "tor", "--listen", "tor:1"}, {"serve", "--onion-key", "x"},
		{"serve", "--proof-of-work"}, {"serve", "--authorize", "descriptor:x25519:"}, {"serve", "--listen", "tor", "--authorize", "descriptor:x25519:AA"},
		{"clientkey"}, {"clientkey", "create", "x"}, {"clientkey", "show"}, {"clientkey", "make", "x", "y"},
		{"serve", "--listen", "tor", "--location", "tcp:a.example.org:1"}, {"serve", "--tor", "vpn"}, {"serve", "--tor", "control:localhost:1"},
		{"ping", "--tor", "vpn", someFURL}, {"ping", "--tor", "socks:x", someFURL}, {"ping", "--tor", "launch", "--tor-password", "x", someFURL},
		{"ping", "--socks", "localhost:1", someFURL}, {"ping", "--socks", "127.0.0.1:1", "--hidden", someFURL}, {"ping", "--socks-login", "x", someFURL},
		{"call", "--tor", "vpn", someFURL, "add"}, {"demo", "--tor", "vpn"}, {"demo", "--socks", "x"},
		{"tokens", "a", "b"}, {"tokens", "--vocab", "2"}, {"tokens", "--vocab", "-1"},
	} {
		r := foolscap(t, args...)
		assert.Equal(t, exitUsage, r.code, "%q: %s", args, r.stderr)
		assert.Empty(t, r.stdout, "%q", args)
		assert.Contains(t, r.stderr, `"foolscap `+args[0]+` --help" explains it`, "%q", args)
	}
}
