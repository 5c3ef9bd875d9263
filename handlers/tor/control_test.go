package tor_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tor"
)

const socksPorts = "GETINFO net/listeners/socks"

func listeners(quoted string) string { return "250-net/listeners/socks=" + quoted + "\r\n250 OK" }

// startBoth starts a control port that leads to a SOCKS port.
func startBoth(t *testing.T, set func(*fakeTor)) *fakeTor {
	server := startSOCKS(t, "tcp", 0)
	return startTor(t, func(f *fakeTor) {
		f.answers[socksPorts] = listeners(fmt.Sprintf("%q", server.Address))
		if set != nil {
			set(f)
		}
	})
}

func requireDial(t *testing.T, h handlers.Handler) (texts []string) {
	t.Helper()
	stream, err := handlers.Dial(t.Context(), h, handlers.DialRequest{
		Hint:     "tor:x.example:1",
		Progress: func(s handlers.Status) { texts = append(texts, s.Text) },
	})
	require.NoError(t, err)
	requireEcho(t, stream)
	require.NoError(t, stream.Close())
	return texts
}

func tryDial(t *testing.T, h handlers.Handler) error {
	stream, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: "tor:x.example:1"})
	if err == nil {
		stream.Close()
	}
	return err
}

func TestTorLetsUsIn(t *testing.T) {
	for name, test := range map[string]struct {
		set      func(*fakeTor)
		password string
	}{
		"without anything":                  {func(f *fakeTor) {}, ""},
		"by a password":                     {func(f *fakeTor) { f.methods, f.password = "HASHEDPASSWORD", `with "quotes" and ünïcode` }, `with "quotes" and ünïcode`},
		"by a cookie that is kept secret":   {func(f *fakeTor) { f.methods, f.cookie = "COOKIE,SAFECOOKIE", writeCookie(f.t) }, ""},
		"by a cookie, as it wants no other": {func(f *fakeTor) { f.methods, f.cookie = "SAFECOOKIE", writeCookie(f.t) }, "unwanted"},
		"by a password, as its cookie cannot be read": {func(f *fakeTor) {
			f.methods, f.cookie, f.password = "COOKIE,SAFECOOKIE,HASHEDPASSWORD", "/nonexistent", "secret"
		}, "secret"},
		"without the password that we have": {func(f *fakeTor) {}, "unwanted"},
	} {
		t.Run(name, func(t *testing.T) {
			f := startBoth(t, test.set)
			h := newHandler(t, tor.Control(tor.ControlConfig{Address: f.Address, Password: test.password}))
			requireDial(t, h)
		})
	}
}

func TestTorDoesNotLetUsIn(t *testing.T) {
	file := func(size int) string {
		path := filepath.Join(t.TempDir(), "cookie")
		require.NoError(t, os.WriteFile(path, make([]byte, size), 0o600))
		return path
	}
	const proofs = "250 AUTHCHALLENGE SERVERHASH=%064d SERVERNONCE=%064d"
	const secret = "our password"
	for name, test := range map[string]struct {
		set  func(*fakeTor)
		says string
	}{
		"by a password that is wrong":            {func(f *fakeTor) { f.methods, f.password = "HASHEDPASSWORD", "right" }, "515"},
		"by a cookie that is not there":          {func(f *fakeTor) { f.methods, f.cookie = "SAFECOOKIE", "/nonexistent" }, "set a password on both sides"},
		"by a cookie that would be another file": {func(f *fakeTor) { f.methods, f.cookie = "SAFECOOKIE", file(33) }, "is no cookie"},
		"by a cookie that would be no file":      {func(f *fakeTor) { f.methods, f.cookie = "SAFECOOKIE", t.TempDir() }, "is no cookie"},
		"by a cookie that it does not know itself": {func(f *fakeTor) {
			f.methods, f.cookie = "SAFECOOKIE", file(32)
			f.answers["AUTHCHALLENGE"] = fmt.Sprintf(proofs, 0, 0)
		}, "does not know the cookie"},
		"by a challenge": {func(f *fakeTor) {
			f.methods, f.cookie = "SAFECOOKIE", file(32)
			f.answers["AUTHCHALLENGE"] = "513 Invalid"
		}, "513"},
		"by a method that nobody knows":           {func(f *fakeTor) { f.methods = "RETINA" }, "RETINA"},
		"by a cookie that would have to be shown": {func(f *fakeTor) { f.methods, f.cookie = "COOKIE", writeCookie(f.t) }, "COOKIE"},
	} {
		t.Run(name, func(t *testing.T) {
			f := startTor(t, test.set)
			via := tor.Control(tor.ControlConfig{Address: f.Address, Password: secret})
			err := dialError(t, t.Context(), newHandler(t, via), "tor:x.example:1")
			_, listenErr := tor.Listen(t.Context(), via, 80)
			for _, err := range []error{err, listenErr} {
				assert.ErrorIs(t, err, tor.ErrControlRefused)
				assert.ErrorIs(t, err, handlers.ErrProxyRefused)
				assert.ErrorContains(t, err, test.says)
				assert.NotContains(t, err.Error(), secret)
			}
			assert.Equal(t, handlers.PhaseDial, err.Phase)
			if f.methods == "COOKIE" {
				assert.Empty(t, f.received("AUTHENTICATE"), "it could be any file of that size")
			}
		})
	}
	t.Run("by a password, and none is given", func(t *testing.T) {
		f := startTor(t, func(f *fakeTor) { f.methods, f.password = "HASHEDPASSWORD", "right" })
		err := dialError(t, t.Context(), newHandler(t, tor.Control(tor.ControlConfig{Address: f.Address})), "tor:x.example:1")
		assert.ErrorIs(t, err, tor.ErrControlRefused)
		assert.ErrorContains(t, err, "none is given")
	})
}

func TestWhatIsNoControlPort(t *testing.T) {
	for name, greeting := range map[string]string{
		"says something else": "220 mail.example ESMTP\r\n",
		"says nothing":        "",
		"never ends a line":   strings.Repeat("x", 1<<20),
		"never ends":          strings.Repeat("250-PROTOCOLINFO 1\r\n", 1<<15),
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			var serving sync.WaitGroup
			serving.Go(func() {
				conn, err := l.Accept()
				if assert.NoError(t, err) {
					defer conn.Close()
					_, _ = conn.Write([]byte(greeting)) // it is cut off
				}
			})
			dialErr := dialError(t, t.Context(), newHandler(t, tor.Control(tor.ControlConfig{Address: l.Addr().String()})), "tor:x.example:1")
			assert.ErrorIs(t, dialErr, handlers.ErrProxyUnreachable)
			require.NoError(t, l.Close())
			serving.Wait()
		})
	}
	t.Run("is not there", func(t *testing.T) {
		err := dialError(t, t.Context(), newHandler(t, tor.Control(tor.ControlConfig{Address: unused(t)})), "tor:x.example:1")
		assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
		assert.Equal(t, handlers.PhaseDial, err.Phase)
	})
}

func TestAControlPortThatFailsHalfway(t *testing.T) {
	notReady := "250-status/bootstrap-phase=" + bootstrapped(10) + "\r\n250 OK"
	for name, test := range map[string]struct {
		set  func(*fakeTor)
		is   error
		says string
	}{
		"and hangs up while it is authenticated to": {func(f *fakeTor) { f.answers["AUTHENTICATE"], f.last = "", "AUTHENTICATE" }, handlers.ErrProxyUnreachable, "EOF"},
		"and makes no sense while it is": {func(f *fakeTor) {
			f.methods, f.cookie, f.answers["AUTHCHALLENGE"] = "SAFECOOKIE", writeCookie(f.t), "250 OK"
		}, handlers.ErrProxyUnreachable, "AUTHCHALLENGE"},
		"and hangs up afterwards":                      {func(f *fakeTor) { f.last = "SETEVENTS" }, handlers.ErrProxyUnreachable, "has been lost"},
		"and does not say where its SOCKS port is":     {func(f *fakeTor) { f.answers[socksPorts] = "510 Command filtered" }, handlers.ErrProxyRefused, "say in SOCKS"},
		"and tells nothing of itself":                  {func(f *fakeTor) { f.answers["SETEVENTS"] = "510 Command filtered" }, handlers.ErrProxyRefused, "SETEVENTS STATUS_CLIENT"},
		"and does not say how far it is":               {func(f *fakeTor) { f.answers["GETINFO status/bootstrap-phase"] = "510 Command filtered" }, handlers.ErrProxyRefused, "let a filter"},
		"and falls silent":                             {func(f *fakeTor) { f.answers[socksPorts] = "" }, handlers.ErrProxyUnreachable, "has not answered"},
		"and is silent from the beginning":             {func(f *fakeTor) { f.answers["PROTOCOLINFO"] = "" }, handlers.ErrProxyUnreachable, "has not answered"},
		"and answers more than it was asked":           {func(f *fakeTor) { f.answers["GETINFO status/bootstrap-phase"] = notReady + "\r\n250 surplus" }, handlers.ErrProxyUnreachable, "has closed the control connection"},
		"and says afterwards what is no answer at all": {func(f *fakeTor) { f.answers["GETINFO status/bootstrap-phase"] = notReady + "\r\nxyz" }, handlers.ErrProxyUnreachable, "has closed the control connection"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "silent") {
				defer tor.SetControlTimeout(50 * time.Millisecond)()
			}
			f := startBoth(t, test.set)
			h := newHandler(t, tor.Control(tor.ControlConfig{Address: f.Address}), tor.WithTimeout(10*time.Second))
			err := dialError(t, t.Context(), h, "tor:x.example:1")
			assert.Equal(t, handlers.PhaseDial, err.Phase)
			assert.ErrorIs(t, err, test.is)
			assert.ErrorContains(t, err, test.says)
			assert.NotErrorIs(t, err, tor.ErrControlRefused)
			assert.NotErrorIs(t, err, handlers.ErrTimeout, "it was noticed")
			f.await("the end of the connection", func() bool { return len(f.conns) == 0 })
		})
	}
}

func TestAnAnswerToNothingEndsTheControlConnection(t *testing.T) {
	f := startBoth(t, nil)
	h := newHandler(t, tor.Control(tor.ControlConfig{Address: f.Address}))
	requireDial(t, h)
	f.say("250 OK")
	f.await("the end of the connection", func() bool { return len(f.conns) == 0 })
	requireDial(t, h)
	assert.Equal(t, 2, f.opened)
}

func TestTheSOCKSPortIsLearned(t *testing.T) {
	tcp, unix := startSOCKS(t, "tcp", 0), startSOCKS(t, "unix", 0)
	for name, list := range map[string]string{
		"the only one":               fmt.Sprintf("%q", tcp.Address),
		"the first of several":       fmt.Sprintf("%q %q", tcp.Address, "127.0.0.1:1"),
		"a socket":                   fmt.Sprintf("%q %q", "unix:"+unix.Address, tcp.Address),
		"the first that makes sense": fmt.Sprintf("%q %q", "nonsense", tcp.Address),
	} {
		t.Run(name, func(t *testing.T) {
			f := startTor(t, func(f *fakeTor) { f.answers[socksPorts] = listeners(list) })
			requireDial(t, newHandler(t, tor.Control(tor.ControlConfig{Address: f.Address})))
		})
	}
	t.Run("but not if it is given", func(t *testing.T) {
		f := startTor(t, nil)
		requireDial(t, newHandler(t, tor.Control(tor.ControlConfig{Address: f.Address, SOCKS: tcp.Address})))
		assert.Empty(t, f.received(socksPorts))
	})
	t.Run("but there is none", func(t *testing.T) {
		f := startTor(t, func(f *fakeTor) { f.answers[socksPorts] = listeners("") })
		via := tor.Control(tor.ControlConfig{Address: f.Address})
		err := dialError(t, t.Context(), newHandler(t, via), "tor:x.example:1")
		assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
		assert.ErrorContains(t, err, "add SocksPort")
		l, listenErr := tor.Listen(t.Context(), via, 80)
		require.NoError(t, listenErr, "an onion service needs none")
		require.NoError(t, l.Close())
	})
}

func bootstrapped(percent int) string {
	return fmt.Sprintf(`NOTICE BOOTSTRAP PROGRESS=%d TAG=x SUMMARY="Something with \"quotes\""`, percent)
}

func TestADialWaitsUntilTorIsReady(t *testing.T) {
	f := startBoth(t, func(f *fakeTor) {
		f.answers["GETINFO status/bootstrap-phase"] = "250-status/bootstrap-phase=" + bootstrapped(10) + "\r\n250 OK"
	})
	h := newHandler(t, tor.Control(tor.ControlConfig{Address: f.Address}))
	told := make(chan string, 100)
	var dialling sync.WaitGroup
	dialling.Go(func() {
		stream, err := handlers.Dial(t.Context(), h, handlers.DialRequest{Hint: "tor:x.example:1", Progress: func(s handlers.Status) { told <- s.Text }})
		if assert.NoError(t, err) {
			stream.Close()
		}
	})
	await := func(text string) {
		for got := ""; got != text; {
			select {
			case got = <-told:
			case <-time.After(10 * time.Second):
				t.Fatalf("nothing was told of %q", text)
			}
		}
	}
	await("bootstrap 10%") // what was before that may have been too short to be told
	f.event("STATUS_CLIENT %s", bootstrapped(45))
	await("bootstrap 45%")
	f.event("STATUS_CLIENT NOTICE CIRCUIT_ESTABLISHED")
	f.event("STATUS_CLIENT %s", bootstrapped(100))
	await("waiting for tor to reach x.example:1")
	dialling.Wait()
	assert.NotContains(t, requireDial(t, h), "bootstrap 45%", "it is ready now")
}

func TestTheErrorSaysHowFarTorHasCome(t *testing.T) {
	f := startBoth(t, func(f *fakeTor) {
		f.answers["GETINFO status/bootstrap-phase"] = "250-status/bootstrap-phase=" + bootstrapped(10) + "\r\n250 OK"
	})
	h := newHandler(t, tor.Control(tor.ControlConfig{Address: f.Address}), tor.WithTimeout(200*time.Millisecond))
	err := dialError(t, t.Context(), h, "tor:x.example:1")
	assert.ErrorIs(t, err, handlers.ErrTimeout)
	assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
	assert.ErrorContains(t, err, "bootstrap 10%")
}

func TestADialFailsWhenTorEndsWhileItWaits(t *testing.T) {
	f := startBoth(t, func(f *fakeTor) {
		f.answers["GETINFO status/bootstrap-phase"] = "250-status/bootstrap-phase=" + bootstrapped(10) + "\r\n250 OK"
	})
	h := newHandler(t, tor.Control(tor.ControlConfig{Address: f.Address}))
	var dialling sync.WaitGroup
	dialling.Go(func() {
		err := dialError(t, t.Context(), h, "tor:x.example:1")
		assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
		assert.ErrorContains(t, err, "tor has ended")
	})
	f.awaitCommand("GETINFO status", 1)
	f.disconnect()
	dialling.Wait()
}

func TestOneControlConnectionServesAllDials(t *testing.T) {
	f := startBoth(t, nil)
	via := tor.Control(tor.ControlConfig{Address: f.Address})
	one, two := newHandler(t, via), newHandler(t, via)
	var dialling sync.WaitGroup
	for range 8 {
		dialling.Go(func() { requireDial(t, one) })
		dialling.Go(func() { requireDial(t, two) })
	}
	dialling.Wait()
	assert.Len(t, f.received("PROTOCOLINFO"), 1)

	require.NoError(t, one.Close())
	requireDial(t, two)
	require.NoError(t, two.Close())
	f.await("the end of the connection", func() bool { return len(f.conns) == 0 })
	requireDial(t, newHandler(t, via))
	assert.Len(t, f.received("PROTOCOLINFO"), 2, "it can be used again")
}

func TestAControlConnectionThatIsLostIsMadeAgain(t *testing.T) {
	f := startBoth(t, nil)
	h := newHandler(t, tor.Control(tor.ControlConfig{Address: f.Address}))
	requireDial(t, h)
	f.stop()
	require.Eventually(t, func() bool {
		return tryDial(t, h) != nil // it is noticed in a moment
	}, 10*time.Second, time.Millisecond)
	f.restart()
	requireDial(t, h)
	assert.Equal(t, 2, f.opened)
}

func TestClientKeysAreGivenToTorAndTakenBack(t *testing.T) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	name := strings.TrimSuffix(onion, ".onion")
	secret := base64.StdEncoding.EncodeToString(key.Bytes())
	config := func(f *fakeTor) tor.ControlConfig {
		return tor.ControlConfig{Address: f.Address, ClientKeys: map[string]*ecdh.PrivateKey{onion: key}}
	}
	t.Run("when they are new to it", func(t *testing.T) {
		f := startBoth(t, nil)
		h := newHandler(t, tor.Control(config(f)))
		requireDial(t, h)
		assert.Equal(t, []string{"ONION_CLIENT_AUTH_ADD " + name + " x25519:" + secret}, f.received("ONION_CLIENT"))
		f.disconnect()
		f.await("the end of the connection", func() bool { return len(f.conns) == 0 })
		require.Eventually(t, func() bool {
			return tryDial(t, h) == nil && len(f.received("ONION_CLIENT_AUTH_ADD")) == 2
		}, 10*time.Second, time.Millisecond, "a tor that has been restarted would know no keys")
		require.NoError(t, h.Close())
		assert.Equal(t, []string{"ONION_CLIENT_AUTH_REMOVE " + name}, f.received("ONION_CLIENT_AUTH_REMOVE"))
		f.await("the end of the key", func() bool { return len(f.keys) == 0 })
	})
	t.Run("when it cannot be used after all", func(t *testing.T) {
		f := startBoth(t, func(f *fakeTor) { f.answers[socksPorts] = "510 Command filtered" })
		require.Error(t, tryDial(t, newHandler(t, tor.Control(config(f)))))
		f.await("the end of the key", func() bool { return len(f.keys) == 0 })
	})
	t.Run("when it has tried without", func(t *testing.T) {
		f := startBoth(t, func(f *fakeTor) { f.answers["ONION_CLIENT_AUTH_ADD"] = "252 Registered client and decrypted desc" })
		h := newHandler(t, tor.Control(config(f)))
		requireDial(t, h)
		require.NoError(t, h.Close())
		assert.Len(t, f.received("ONION_CLIENT_AUTH_REMOVE"), 1)
	})
	t.Run("unless it has had them already", func(t *testing.T) {
		f := startBoth(t, func(f *fakeTor) { f.keys = map[string]bool{name: true} })
		h := newHandler(t, tor.Control(config(f)))
		requireDial(t, h)
		require.NoError(t, h.Close())
		assert.Empty(t, f.received("ONION_CLIENT_AUTH_REMOVE"))
	})
	t.Run("and stay secret when it refuses them", func(t *testing.T) {
		f := startBoth(t, func(f *fakeTor) { f.answers["ONION_CLIENT_AUTH_ADD"] = "512 Cannot decode x25519:" + secret })
		err := dialError(t, t.Context(), newHandler(t, tor.Control(config(f))), "tor:x.example:1")
		assert.ErrorIs(t, err, handlers.ErrProxyRefused)
		assert.ErrorContains(t, err, "the client key for "+onion)
		assert.NotContains(t, err.Error(), secret)
	})
	for what, keys := range map[string]map[string]*ecdh.PrivateKey{
		"a key for no onion":    {"x.example": key},
		"no key":                {onion: nil},
		"a key of another sort": {onion: otherKey(t)},
	} {
		t.Run("but not "+what, func(t *testing.T) {
			for _, via := range []*tor.Tor{tor.Control(tor.ControlConfig{ClientKeys: keys}), tor.Launch(tor.LaunchConfig{ClientKeys: keys})} {
				_, err := tor.New(via)
				assert.ErrorContains(t, err, "a client key for")
			}
		})
	}
}

func otherKey(t *testing.T) *ecdh.PrivateKey {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}
