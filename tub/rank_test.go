package tub_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestRank(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return at.Add(-d) }
	both := "10.1.2.3/24 2001:db8:1::5/64 fd00:1::1/64 fe80::1/64 127.0.0.1/8 ::1/128"
	for _, test := range []struct {
		name      string
		hints     string // what hides the address begins with "tor:"
		networks  string
		anonymity tub.Anonymity
		won       map[string]time.Duration // ago
		failed    map[string]time.Duration
		want      string // hint@delay in milliseconds
	}{
		{name: "nothing", hints: "", want: ""},
		{name: "one", hints: "tcp:a.example:1", want: "tcp:a.example:1@0"},
		{
			name: "by scope", networks: both,
			hints: "odd:thing tcp:a.example:1 tcp:192.168.7.7:1 tcp:198.51.100.1:1 tcp:10.1.2.9:1 tcp:127.0.0.1:1 tcp:0.0.0.0:1",
			want:  "tcp:127.0.0.1:1@0 tcp:10.1.2.9:1@100 tcp:198.51.100.1:1@200 odd:thing@300 tcp:a.example:1@400 tcp:192.168.7.7:1@500 tcp:0.0.0.0:1@600",
		},
		{
			name: "families take turns, IPv6 first", networks: both,
			hints: "tcp:198.51.100.1:1 tcp:198.51.100.2:1 tcp:198.51.100.3:1 tcp:[2001:db8:2::1]:1 tcp:[2001:db8:2::2]:1",
			want:  "tcp:[2001:db8:2::1]:1@0 tcp:198.51.100.1:1@100 tcp:[2001:db8:2::2]:1@200 tcp:198.51.100.2:1@300 tcp:198.51.100.3:1@400",
		},
		{
			name: "a family that the machine lacks comes last", networks: "10.1.2.3/24 fe80::1/64 ::1/128",
			hints: "tcp:[2001:db8:2::1]:1 tcp:a.example:1 198.51.100.1:1",
			want:  "198.51.100.1:1@0 tcp:a.example:1@100 tcp:[2001:db8:2::1]:1@200",
		},
		{
			name: "private networks and link-local addresses that are ours", networks: both,
			hints: "tcp:[fd00:2::1]:1 tcp:[fd00:1::9]:1 tcp:[fe80::2%25eth0]:1 tcp:[fe80::2%eth0]:1 tcp:[::ffff:10.1.2.4]:1",
			want:  "tcp:[fd00:1::9]:1@0 tcp:[::ffff:10.1.2.4]:1@100 tcp:[fe80::2%25eth0]:1@200 tcp:[fe80::2%eth0]:1@300 tcp:[fd00:2::1]:1@400",
		},
		{
			name: "a machine without any network", networks: "127.0.0.1/8",
			hints: "tcp:198.51.100.1:1 tcp:10.1.2.3:1 tcp:a.example:1 tcp:[::1]:1",
			want:  "tcp:[::1]:1@0 tcp:a.example:1@100 tcp:198.51.100.1:1@200 tcp:10.1.2.3:1@300",
		},
		{
			name:  "what hides the address comes later",
			hints: "tor:b.onion:1 tcp:a.example:1 tor:a.onion:1 tcp:b.example:1",
			want:  "tcp:a.example:1@0 tcp:b.example:1@100 tor:b.onion:1@5100 tor:a.onion:1@5200",
		},
		{
			name: "or first", anonymity: tub.AnonymityPreferred,
			hints: "tcp:a.example:1 tor:b.onion:1 tcp:b.example:1 tor:a.onion:1",
			want:  "tor:b.onion:1@0 tor:a.onion:1@100 tcp:a.example:1@30100 tcp:b.example:1@30200",
		},
		{
			name: "or alone", anonymity: tub.AnonymityRequired,
			hints: "tcp:a.example:1 tor:b.onion:1 tcp:127.0.0.1:1",
			want:  "tor:b.onion:1@0",
		},
		{
			name: "addresses mean nothing to what hides them", networks: both, anonymity: tub.AnonymityRequired,
			hints: "tor:a.onion:1 tor:127.0.0.1:1 tor:10.1.2.3:1",
			want:  "tor:a.onion:1@0 tor:127.0.0.1:1@100 tor:10.1.2.3:1@200",
		},
		{
			name: "the last winner comes first", networks: both,
			hints: "tcp:127.0.0.1:1 tcp:a.example:1 tcp:b.example:1",
			won:   map[string]time.Duration{"tcp:a.example:1": time.Hour, "tcp:b.example:1": time.Minute},
			want:  "tcp:b.example:1@0 tcp:127.0.0.1:1@100 tcp:a.example:1@200",
		},
		{
			name:  "but not before a group that is to be tried first",
			hints: "tcp:a.example:1 tor:a.onion:1", won: map[string]time.Duration{"tor:a.onion:1": time.Minute},
			want: "tcp:a.example:1@0 tor:a.onion:1@5000",
		},
		{
			name: "what has lately failed comes last", networks: both,
			hints:  "tcp:127.0.0.1:1 tcp:a.example:1 tcp:b.example:1 tor:a.onion:1",
			failed: map[string]time.Duration{"tcp:127.0.0.1:1": 9 * time.Minute, "tcp:a.example:1": 11 * time.Minute},
			want:   "tcp:a.example:1@0 tcp:b.example:1@100 tcp:127.0.0.1:1@200 tor:a.onion:1@5200",
		},
		{
			name:   "also when it had won before",
			hints:  "tcp:a.example:1 tcp:b.example:1",
			won:    map[string]time.Duration{"tcp:a.example:1": time.Hour},
			failed: map[string]time.Duration{"tcp:a.example:1": time.Minute},
			want:   "tcp:b.example:1@0 tcp:a.example:1@100",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := tub.RankRequest{Anonymity: test.anonymity, Stagger: 100 * time.Millisecond, Now: at}
			for text := range strings.FieldsSeq(test.hints) {
				h := tub.RankHint{Hint: furl.Hint(text)}
				if h.Hint.Type() == "tor" {
					h.Exposure = handlers.Exposure{HidesAddress: true, HidesLookups: true}
				}
				if d, ok := test.won[text]; ok {
					h.Won = ago(d)
				}
				if d, ok := test.failed[text]; ok {
					h.Failed = ago(d)
				}
				r.Hints = append(r.Hints, h)
			}
			for text := range strings.FieldsSeq(test.networks) {
				r.Networks = append(r.Networks, netip.MustParsePrefix(text))
			}
			var got []string
			for _, h := range tub.Rank(r) {
				got = append(got, fmt.Sprintf("%s@%d", h.Hint, h.Delay.Milliseconds()))
			}
			assert.Equal(t, test.want, strings.Join(got, " "))
		})
	}
}
