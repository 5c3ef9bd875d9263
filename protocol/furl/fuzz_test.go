package furl_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// canary stands for the secret: no fuzz input contains it by chance.
const canary = "k7gq2vx4m5zj3wn6"

func FuzzFURL(f *testing.F) {
	for _, seed := range [][2]string{
		{"pb://" + tub + "@tcp:a.example:1,b:2/", ""},
		{"pb://" + tub + "ext@/", "/x@y?z"},
		{"pb://" + tub + "@tcp:[fe80::1%eth0]:1/", "\n"},
		{"pb://" + strings.ToUpper(tub) + "@/", ""},
		{"pb://" + tub, "@tcp:a:1/name"},
		{"", "pb://" + tub + "@tcp:a:1/name"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Contains(before+after, canary) {
			return // the canary could then stand in the open
		}
		text := before + canary + after
		parsed, err := furl.Parse(text)
		if err != nil {
			if strings.Contains(err.Error(), canary) {
				t.Fatalf("the error repeats the text: %v", err)
			}
			return
		}
		if len(text) > furl.MaxLength || len(parsed.Hints) > furl.MaxHints {
			t.Fatal("a limit did not hold")
		}
		if !parsed.TubID.Valid() {
			t.Fatalf("TubID %q", parsed.TubID)
		}
		again, err := furl.Parse(parsed.Reveal())
		if err != nil || !again.Equal(parsed) {
			t.Fatalf("no round trip: %v, %v", again, err)
		}
		if !strings.HasSuffix(text, parsed.Reveal()[len("pb://")+len(tub):]) {
			t.Fatal("more than an extension was dropped")
		}
		if strings.Contains(parsed.Name.Reveal(), canary) {
			for _, shown := range []string{parsed.String(), fmt.Sprintf("%v %+v %#v %q %s %v", parsed, parsed, parsed, parsed, parsed.Name, struct{ f furl.FURL }{parsed})} {
				if strings.Contains(shown, canary) {
					t.Fatalf("the secret is shown: %s", shown)
				}
			}
			if _, err := furl.Parse(parsed.String()); err == nil {
				t.Fatal("the redacted form was accepted")
			}
		}
	})
}

func FuzzHint(f *testing.F) {
	for _, seed := range []string{"tcp:a.example:1", "a:1", "tcp:[::1]:1", "tcp:[fe80::1%eth0]:65535",
		"tor:x.onion:80", "foo", "x:", ":", "tcp:127.1:1", "tcp:0x7f.1:1", "tcp:[::ffff:1.2.3.4]:5"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := furl.ParseHint(text)
		if err != nil {
			if h != "" || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Fatalf("hint %q, error %q", h, err)
			}
			return
		}
		if h.String() != text {
			t.Fatalf("%q became %q", text, h)
		}
		if h.Type() != "" && h.Address() != text && h.Type()+":"+h.Address() != text {
			t.Fatalf("type %q and address %q do not make %q", h.Type(), h.Address(), text)
		}
		parsed, err := furl.Parse("pb://" + tub + "@" + text + "/name")
		if err != nil || len(parsed.Hints) != 1 || parsed.Hints[0] != h {
			t.Fatalf("in a FURL %q becomes %v, %v", text, parsed, err)
		}
		host, port, err := h.HostPort()
		if err != nil {
			return
		}
		if host == "" || port == 0 || strings.ContainsAny(host, "[]/,@_ \r\n") && !strings.Contains(host, "%") {
			t.Fatalf("host %q, port %d", host, port)
		}
		host2, port2, err := furl.StreamHint("tcp", host, port).HostPort()
		if err != nil || host2 != host || port2 != port {
			t.Fatalf("%q %d became %q %d, %v", host, port, host2, port2, err)
		}
	})
}

func FuzzTubID(f *testing.F) {
	f.Add(tub)
	f.Add(tub + "extension")
	f.Add(strings.ToUpper(tub))
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := furl.ParseTubID(text)
		if err != nil {
			if id != "" || furl.TubID(text).Valid() {
				t.Fatalf("%q was refused: %v", text, err)
			}
			return
		}
		if !id.Valid() || !strings.HasPrefix(text, id.String()) || !strings.HasPrefix(text, id.Short()) {
			t.Fatalf("%q became %q", text, id)
		}
		if furl.TubID(text).Valid() != (text == id.String()) {
			t.Fatalf("Valid does not see the extension of %q", text)
		}
		if again, err := furl.ParseTubID(id.String()); err != nil || again != id {
			t.Fatalf("no round trip: %q, %v", again, err)
		}
	})
}
