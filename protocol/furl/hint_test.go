package furl_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

func errorsIsTooLarge(err error) bool { return errors.Is(err, furl.ErrTooLarge) }

func TestTypeAndAddress(t *testing.T) {
	tests := []struct{ hint, typ, address string }{
		{"tcp:a.example:1", "tcp", "a.example:1"},
		{"a.example:1", "tcp", "a.example:1"},
		{"tor:80", "tcp", "tor:80"}, // one name and one number: a legacy hint
		{"type:123456", "tcp", "type:123456"},
		{"tor:x.onion:80", "tor", "x.onion:80"},
		{"x:", "x", ""},
		{"x:y", "x", "y"},
		{"systemd:fd=3", "systemd", "fd=3"},
		{"a_b:1", "a_b", "1"}, // an underscore is in no host name, so this is a type
		{":1", "", "1"},
		{"foo", "", "foo"},
		{"123", "", "123"},
		{"[::1]:5", "[", ":1]:5"}, // there is no legacy form for IPv6
		{"TCP:a:1", "TCP", "a:1"},
		{"a:\u0663", "a", "\u0663"}, // not an ASCII digit
	}
	for _, test := range tests {
		t.Run(test.hint, func(t *testing.T) {
			h, err := furl.ParseHint(test.hint)
			require.NoError(t, err)
			assert.Equal(t, test.typ, h.Type())
			assert.Equal(t, test.address, h.Address())
			assert.Equal(t, test.hint, h.String())
		})
	}
}

func TestParseHintRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":                         "",
		"a comma":                         "tcp:a:1,b",
		"a slash":                         "tcp:a:1/x",
		"a NUL":                           "tcp:a\x00:1",
		"a line end":                      "tcp:a:1\n",
		"an escape":                       "tcp:\x1b[31m:1",
		"a DEL":                           "tcp:a\x7f:1",
		"a C1 control":                    "tcp:\u0085:1",
		"invalid UTF-8":                   "tcp:\xc3:1",
		"more than can be the hint's own": "x:" + strings.Repeat("a", furl.MaxHintLength),
	} {
		t.Run(name, func(t *testing.T) {
			h, err := furl.ParseHint(text)
			var parseErr *furl.ParseError
			require.ErrorAs(t, err, &parseErr)
			require.ErrorIs(t, err, furl.ErrInvalid)
			assert.Equal(t, furl.PartHint, parseErr.Part)
			assert.Empty(t, h)
		})
	}
}

func TestHostPort(t *testing.T) {
	tests := []struct {
		hint, host string
		port       uint16
	}{
		{"tcp:a.example:1", "a.example", 1},
		{"a.example:65535", "a.example", 65535},
		{"tcp:a.example.:00080", "a.example.", 80},
		{"tcp:192.0.2.1:80", "192.0.2.1", 80},
		{"tor:abc.onion:80", "abc.onion", 80},
		{"tcp:[::1]:5", "::1", 5},
		{"tcp:[2001:DB8::1]:5", "2001:DB8::1", 5},
		{"tcp:[fe80::1%eth0]:5", "fe80::1%eth0", 5},
		{"tcp:[fe80::1%br-1_a.7]:5", "fe80::1%br-1_a.7", 5},
		{"tcp:[::ffff:1.2.3.4]:5", "::ffff:1.2.3.4", 5},
		{"tcp:1-2.example:5", "1-2.example", 5},
		{"tcp:1.2.3.a:5", "1.2.3.a", 5},
		{"tcp:0xg:5", "0xg", 5},
	}
	for _, test := range tests {
		t.Run(test.hint, func(t *testing.T) {
			host, port, err := furl.Hint(test.hint).HostPort()
			require.NoError(t, err)
			assert.Equal(t, test.host, host)
			assert.Equal(t, test.port, port)
		})
	}
}

func TestHostPortRefuses(t *testing.T) {
	tests := []struct{ name, hint, reason string }{
		{"no colon", "foo", "type:host:port"},
		{"no address", "x:", "type:host:port"},
		{"no port", "tcp:a.example", "type:host:port"},
		{"an empty port", "tcp:a:", "not a number"},
		{"port 0", "tcp:a:0", "1..65535"},
		{"port 65536", "tcp:a:65536", "1..65535"},
		{"an endless port", "tcp:a:" + strings.Repeat("9", 100), "1..65535"},
		{"a legacy hint with too great a port", "type:123456", "1..65535"},
		{"a sign before the port", "tcp:a:+1", "not a number"},
		{"a service name", "tcp:a:http", "not a number"},
		{"digits of another script", "tcp:a:\u0663", "not a number"},
		{"an underscore", "tcp:under_score:1", "letters, digits"},
		{"a user before the host", "tcp:user@host:1", "letters, digits"},
		{"no host", "tcp::1", "empty"},
		{"a dot for a host", "tcp:.:1", "empty"},
		{"an empty label", "tcp:a..b:1", "empty label"},
		{"a long label", "tcp:" + strings.Repeat("a", 64) + ".b:1", "longer than DNS allows"},
		{"a long name", "tcp:" + strings.Repeat("a.", 127) + "b:1", "longer than a DNS name"},
		{"too many parts", "tcp:a:b:1", "too many"},
		{"IPv6 without brackets", "tcp:::1:1234", "brackets"},
		{"IPv6 without a port", "tcp:[::1]", "no ':' and port"},
		{"IPv6 with an empty port", "tcp:[::1]:", "not a number"},
		{"IPv4 in brackets", "tcp:[1.2.3.4]:5", "no valid IPv6"},
		{"a name in brackets", "tcp:[a.example]:5", "no valid IPv6"},
		{"an open bracket", "tcp:[::1:5", "no valid IPv6"},
		{"an empty zone", "tcp:[fe80::1%]:5", "no valid IPv6"},
		{"a zone that is no interface", "tcp:[fe80::1%e;h]:5", "no valid IPv6"},
		{"a zone on a mapped IPv4 address", "tcp:[::ffff:1.2.3.4%eth0]:5", "no valid IPv6"},
		{"IPv4 with a great part", "tcp:999.1.1.1:5", "four decimal parts"},
		{"IPv4 with an octal part", "tcp:127.0.0.01:5", "four decimal parts"},
		{"IPv4 of two parts", "tcp:127.1:5", "four decimal parts"},
		{"IPv4 as one number", "tcp:2130706433:5", "four decimal parts"},
		{"IPv4 in hexadecimal", "tcp:0x7F000001:5", "four decimal parts"},
		{"IPv4 with a hexadecimal part", "tcp:127.0.0.0x1:5", "four decimal parts"},
		{"IPv4 with an empty hexadecimal part", "tcp:127.0.0.0x:5", "four decimal parts"},
		{"IPv4 marked as complete", "tcp:127.0.0.1.:5", "four decimal parts"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			host, port, err := furl.Hint(test.hint).HostPort()
			var parseErr *furl.ParseError
			require.ErrorAs(t, err, &parseErr)
			assert.Equal(t, furl.PartHint, parseErr.Part)
			assert.Contains(t, parseErr.Reason, test.reason)
			assert.Empty(t, host)
			assert.Zero(t, port)
		})
	}
}

func TestStreamHintIsWhatHostPortReads(t *testing.T) {
	tests := []struct {
		typ, host string
		want      furl.Hint
	}{
		{"tcp", "a.example", "tcp:a.example:8"},
		{"tor", "x.onion", "tor:x.onion:8"},
		{"tcp", "192.0.2.1", "tcp:192.0.2.1:8"},
		{"tcp", "::1", "tcp:[::1]:8"},
		{"tcp", "[::1]", "tcp:[::1]:8"},
		{"tcp", "fe80::1%eth0", "tcp:[fe80::1%eth0]:8"},
	}
	for _, test := range tests {
		t.Run(string(test.want), func(t *testing.T) {
			h := furl.StreamHint(test.typ, test.host, 8)
			assert.Equal(t, test.want, h)
			assert.Equal(t, test.typ, h.Type())
			host, port, err := h.HostPort()
			require.NoError(t, err)
			assert.Equal(t, strings.Trim(test.host, "[]"), host)
			assert.Equal(t, uint16(8), port)
		})
	}
}
