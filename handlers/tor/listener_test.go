package tor_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func listen(t *testing.T, f *fakeTor, opts ...tor.ListenOption) *tor.Listener {
	t.Helper()
	l, err := tor.Listen(t.Context(), tor.Control(tor.ControlConfig{Address: f.Address}), 80, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, l.Close()) })
	return l
}

// upload tells of the upload of the service's descriptor.
func (f *fakeTor) upload(l *tor.Listener) {
	name := strings.TrimSuffix(l.Onion(), ".onion")
	f.event("HS_DESC UPLOAD %s UNKNOWN $A~a descriptor HSDIR_INDEX=1", name)
	f.event("HS_DESC UPLOADED %s UNKNOWN $A~a", name)
}

// awaitHints waits for the next change of the hints.
func awaitHints(t *testing.T, l *tor.Listener) []furl.Hint {
	t.Helper()
	_, changed := l.Hints()
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Fatal("the hints did not change")
	}
	hints, _ := l.Hints()
	return hints
}

// keyOf returns the key in a command ADD_ONION.
func keyOf(t *testing.T, command string) string {
	words := strings.Fields(command)
	require.GreaterOrEqual(t, len(words), 3)
	require.True(t, strings.HasPrefix(words[1], "ED25519-V3:"))
	return words[1]
}

func TestAServiceIsAdvertisedOnceItIsPublished(t *testing.T) {
	f := startTor(t, nil)
	l := listen(t, f)
	hints, changed := l.Hints()
	assert.Empty(t, hints)

	last := f.received("")
	assert.Equal(t, "SETEVENTS HS_DESC", last[len(last)-2], "or the news could be missed")
	assert.Equal(t, "ADD_ONION "+keyOf(t, last[len(last)-1])+" Port=80,"+l.Addr().String(), last[len(last)-1])

	f.event("HS_DESC UPLOADED %s UNKNOWN $A~a", strings.TrimSuffix(onion, ".onion"))
	f.event("STATUS_CLIENT NOTICE CIRCUIT_ESTABLISHED")
	f.upload(l)
	want := []furl.Hint{furl.StreamHint("tor", l.Onion(), 80)}
	assert.Equal(t, want, awaitHints(t, l))
	<-changed
	hints, changed = l.Hints()
	hints[0] = "changed:1:2"
	hints, _ = l.Hints()
	assert.Equal(t, want, hints)

	require.NoError(t, l.Close())
	<-changed
	hints, changed = l.Hints()
	assert.Empty(t, hints)
	assert.Nil(t, changed)
	assert.Equal(t, []string{"DEL_ONION " + strings.TrimSuffix(l.Onion(), ".onion")}, f.received("DEL_ONION"))
	f.await("the end of all connections", func() bool { return len(f.conns) == 0 })
}

func TestStreamsArriveFromTor(t *testing.T) {
	f := startTor(t, nil)
	dir, err := os.MkdirTemp("", "onion") // short
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	for name, opts := range map[string][]tor.ListenOption{
		"on a port":           nil,
		"on a port of choice": {tor.WithLocalAddress("[::1]:0")},
		"on a socket":         {tor.WithLocalAddress("unix:" + filepath.Join(dir, "socket"))},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, f, opts...)
			local, err := net.Dial(l.Addr().Network(), l.Addr().String())
			require.NoError(t, err)
			defer local.Close()
			stream, err := l.Accept()
			require.NoError(t, err)
			defer stream.Close()
			assert.Empty(t, stream.Host)
			assert.Nil(t, stream.Peer)
			_, err = local.Write([]byte("x"))
			require.NoError(t, err)
			_, err = stream.Read(make([]byte, 1))
			require.NoError(t, err)

			var accepting sync.WaitGroup
			accepting.Go(func() {
				_, err := l.Accept()
				assert.ErrorIs(t, err, net.ErrClosed)
			})
			require.NoError(t, l.Close())
			accepting.Wait()
			require.NoError(t, l.Close())
			_, err = stream.Write([]byte("x"))
			assert.NoError(t, err, "accepted streams stay open")
		})
	}
}

func TestWhatIsAskedOfTor(t *testing.T) {
	client, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	encoded := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(client.PublicKey().Bytes())
	for name, test := range map[string]struct {
		opts []tor.ListenOption
		want string // after the key and before the local address
		last string // after the local address
	}{
		"client authorisation":    {[]tor.ListenOption{tor.WithAuthorizedClients(client.PublicKey(), client.PublicKey())}, " Flags=V3Auth Port=80,", " ClientAuthV3=" + encoded + " ClientAuthV3=" + encoded},
		"proof of work":           {[]tor.ListenOption{tor.WithProofOfWork(tor.ProofOfWork{})}, " PoWDefensesEnabled=1 Port=80,", ""},
		"proof of work with rate": {[]tor.ListenOption{tor.WithProofOfWork(tor.ProofOfWork{QueueRate: 5, QueueBurst: 10})}, " PoWDefensesEnabled=1 PoWQueueRate=5 PoWQueueBurst=10 Port=80,", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := startTor(t, nil)
			l := listen(t, f, test.opts...)
			command := f.received("ADD_ONION")[0]
			assert.Equal(t, "ADD_ONION "+keyOf(t, command)+test.want+l.Addr().String()+test.last, command)
		})
	}
}

func TestAServiceIsHandedOverAgain(t *testing.T) {
	f := startTor(t, nil)
	l := listen(t, f)
	f.upload(l)
	want := awaitHints(t, l)

	f.disconnect()
	f.awaitCommand("ADD_ONION", 2)
	f.stop()
	f.restart()
	f.awaitCommand("ADD_ONION", 3)
	commands := f.received("ADD_ONION")
	assert.Equal(t, commands[0], commands[1])
	assert.Equal(t, commands[0], commands[2])
	hints, _ := l.Hints()
	assert.Equal(t, want, hints, "the address is as good as before")
}

func TestAServiceThatWasNotPublishedYetIsAdvertisedLater(t *testing.T) {
	f := startTor(t, nil)
	l := listen(t, f)
	f.disconnect()
	f.awaitCommand("ADD_ONION", 2)
	f.upload(l)
	assert.Len(t, awaitHints(t, l), 1)
}

func TestCloseEndsTheAttemptsToPublish(t *testing.T) {
	f := startTor(t, nil)
	var log logBook
	l := listen(t, f, tor.WithLogger(log.logger()))
	f.stop()
	log.await(t, "trying again")
	require.NoError(t, l.Close())
}

func TestATorThatTakesTheServiceAndEndsIsNotAskedAllTheTime(t *testing.T) {
	f := startTor(t, func(f *fakeTor) { f.last = "ADD_ONION" })
	listen(t, f)
	began := time.Now()
	f.awaitCommand("ADD_ONION", 4)
	assert.Greater(t, time.Since(began), 1500*time.Millisecond, "250 ms, 500 ms and 1 s")
}

func TestWhatIsLogged(t *testing.T) {
	f := startTor(t, func(f *fakeTor) {
		f.answers["GETINFO status/bootstrap-phase"] = "250-status/bootstrap-phase=" + bootstrapped(10) + "\r\n250 OK"
	})
	var log logBook
	via := tor.Control(tor.ControlConfig{Address: f.Address})
	l, err := tor.Listen(t.Context(), via, 80, tor.WithLogger(log.logger()))
	require.NoError(t, err)
	defer l.Close()
	log.await(t, "bootstrap 10%")
	f.event("STATUS_CLIENT %s", bootstrapped(100))
	f.event("HS_DESC FAILED %s UNKNOWN $A~a descriptor REASON=UPLOAD_REJECTED", strings.TrimSuffix(l.Onion(), ".onion"))
	log.await(t, "UPLOAD_REJECTED")
	f.upload(l)
	log.await(t, "is published")
	assert.Empty(t, via.Status(), "or it would be logged as something to wait for")
	assert.NotContains(t, log.text(), strings.TrimPrefix(keyOf(t, f.received("ADD_ONION")[0]), "ED25519-V3:"))
}

func TestAServiceKeepsItsAddress(t *testing.T) {
	f := startTor(t, nil)
	file := filepath.Join(t.TempDir(), "onion.key")
	first := listen(t, f, tor.WithKeyFile(file))
	require.NoError(t, first.Close())
	again := listen(t, f, tor.WithKeyFile(file))
	other := listen(t, f)
	assert.Equal(t, first.Onion(), again.Onion())
	assert.NotEqual(t, first.Onion(), other.Onion())
	commands := f.received("ADD_ONION")
	assert.Equal(t, keyOf(t, commands[0]), keyOf(t, commands[1]))

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, keyOf(t, commands[0])+"\n", string(text))
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	assert.Len(t, left, 1)
}

// torKey is a key that tor 0.4.9 has made.
const torKey = "ED25519-V3:yNRGQrcllXsC0ODLzpv6mC91Z6jI5wcyiO3kobv/Jm4SJCke+7fcLgzSxuJoeI7UhTX6e/lED2NpAMiOnxGmzQ=="

func TestAddressesAreThoseOfTor(t *testing.T) {
	const address = "asqyva4irpf77qqqu7agm6eofcy63pbnle4ng3yjhdln5kpwwqawa7qd.onion"
	file := filepath.Join(t.TempDir(), "onion.key")
	require.NoError(t, os.WriteFile(file, []byte(torKey+"\n"), 0o600))
	assert.Equal(t, address, listen(t, startTor(t, nil), tor.WithKeyFile(file)).Onion())
}

func TestKeyFilesThatAreNotUsed(t *testing.T) {
	good := torKey + "\n"
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		says string
	}{
		"one that others can write": {good, 0o620, "chmod 600"},
		"one of another kind":       {"RSA1024:" + strings.TrimPrefix(good, "ED25519-V3:"), 0o600, "is not a file with the key"},
		"one that tor would change": {strings.Replace(good, ":yN", ":zN", 1), 0o600, "is not a file with the key"},
		"the same at its end":       {"ED25519-V3:" + strings.Repeat("A", 86) + "==\n", 0o600, "is not a file with the key"},
		"one cut off":               {good[:50], 0o600, "is not a file with the key"},
		"an empty one":              {"", 0o600, "is not a file with the key"},
		"a long one":                {strings.Repeat(good, 1000), 0o600, "is not a file with the key"},
	} {
		t.Run(name, func(t *testing.T) {
			if runtime.GOOS == "windows" && test.mode != 0o600 {
				return // there are no such files
			}
			file := filepath.Join(t.TempDir(), "onion.key")
			require.NoError(t, os.WriteFile(file, []byte(test.text), 0o600))
			require.NoError(t, os.Chmod(file, test.mode))
			_, err := tor.Listen(t.Context(), tor.Control(tor.ControlConfig{Address: unused(t)}), 80, tor.WithKeyFile(file))
			assert.ErrorContains(t, err, test.says)
			if test.text != "" {
				assert.NotContains(t, err.Error(), "RGQrcllXsC")
				assert.NotContains(t, err.Error(), strings.Repeat("A", 10))
			}
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, test.text, string(text), "it is left as it is")
		})
	}
	t.Run("one that others can read is made private", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "onion.key")
		require.NoError(t, os.WriteFile(file, []byte(good), 0o600))
		require.NoError(t, os.Chmod(file, 0o644))
		var log logBook
		listen(t, startTor(t, nil), tor.WithKeyFile(file), tor.WithLogger(log.logger()))
		info, err := os.Stat(file)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		assert.Contains(t, log.text(), "others could read")
	})
	t.Run("a directory", func(t *testing.T) {
		_, err := tor.Listen(t.Context(), tor.Control(tor.ControlConfig{Address: unused(t)}), 80, tor.WithKeyFile(t.TempDir()))
		assert.ErrorContains(t, err, "not a regular file")
	})
	t.Run("one whose directory is missing", func(t *testing.T) {
		_, err := tor.Listen(t.Context(), tor.Control(tor.ControlConfig{Address: unused(t)}), 80, tor.WithKeyFile(filepath.Join(t.TempDir(), "no", "key")))
		assert.ErrorIs(t, err, os.ErrNotExist)
	})
}

func TestServicesThatCannotBeMade(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	f := startTor(t, nil)
	good := tor.Control(tor.ControlConfig{Address: f.Address})
	for name, test := range map[string]struct {
		ctx  context.Context
		via  *tor.Tor
		port uint16
		opts []tor.ListenOption
		is   error
		says string
	}{
		"by a SOCKS port":                 {t.Context(), tor.SOCKS(""), 80, nil, tor.ErrNoControl, "control port"},
		"at no port":                      {t.Context(), good, 0, nil, nil, "1..65535"},
		"when the context has ended":      {ended, good, 80, nil, context.Canceled, ""},
		"when there is no tor":            {t.Context(), tor.Control(tor.ControlConfig{Address: unused(t)}), 80, nil, handlers.ErrProxyUnreachable, ""},
		"for another sort of client":      {t.Context(), good, 80, []tor.ListenOption{tor.WithAuthorizedClients(otherKey(t).PublicKey())}, nil, "X25519"},
		"for no client":                   {t.Context(), good, 80, []tor.ListenOption{tor.WithAuthorizedClients(nil)}, nil, "X25519"},
		"at a local name":                 {t.Context(), good, 80, []tor.ListenOption{tor.WithLocalAddress("localhost:0")}, nil, "IP address"},
		"at a socket that cannot be said": {t.Context(), good, 80, []tor.ListenOption{tor.WithLocalAddress("unix:/tmp/a b")}, nil, "has no way to say"},
		"at an address in use":            {t.Context(), good, 80, []tor.ListenOption{tor.WithLocalAddress(f.Address)}, nil, "in use"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := tor.Listen(test.ctx, test.via, test.port, test.opts...)
			require.Nil(t, l)
			require.ErrorContains(t, err, test.says)
			assert.ErrorContains(t, err, "cannot make an onion service")
			if test.is != nil {
				assert.ErrorIs(t, err, test.is)
			}
		})
	}
	f.await("the end of all connections", func() bool { return len(f.conns) == 0 })
}

func TestTorRefusesAService(t *testing.T) {
	for name, test := range map[string]struct{ answer, says string }{
		"because it has one with this key":      {"550 Onion address collision", "runs a service with this key already"},
		"because it does not understand":        {"513 Unrecognized argument", "an older tor may not know all of it"},
		"and repeats the secret that was asked": {"512 Bad key KEY", "an older tor may not know all of it"},
		"but makes another one":                 {"250-ServiceID=" + strings.TrimSuffix(onion, ".onion") + "\r\n250 OK", "another address"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "onion.key")
			secret := strings.TrimPrefix(torKey, "ED25519-V3:")
			require.NoError(t, os.WriteFile(file, []byte(torKey), 0o600))
			f := startTor(t, func(f *fakeTor) { f.answers["ADD_ONION"] = strings.ReplaceAll(test.answer, "KEY", secret) })
			_, err := tor.Listen(t.Context(), tor.Control(tor.ControlConfig{Address: f.Address}), 80, tor.WithKeyFile(file))
			assert.ErrorContains(t, err, test.says)
			assert.NotContains(t, err.Error(), secret)
			f.await("the end of all connections", func() bool { return len(f.conns) == 0 })
		})
	}
}

func TestListenEndsWithItsContext(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough of it")
	var listening sync.WaitGroup
	listening.Go(func() {
		_, err := tor.Listen(ctx, tor.Control(tor.ControlConfig{Address: silent.Addr().String()}), 80)
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, cause)
	})
	_, err = silent.Accept()
	require.NoError(t, err)
	cancel(cause)
	listening.Wait()
}

func TestListenEndsWithItsContextWhileTheServiceIsHandedOver(t *testing.T) {
	cause := errors.New("enough of it")
	for name, test := range map[string]struct {
		timeout time.Duration
		is, not []error
	}{
		"when it is cancelled": {time.Minute, []error{context.Canceled, cause}, []error{handlers.ErrProxyUnreachable}},
		"when its time is up":  {100 * time.Millisecond, []error{context.DeadlineExceeded, handlers.ErrProxyUnreachable}, []error{context.Canceled}},
	} {
		for _, silentAt := range []string{"PROTOCOLINFO", "ADD_ONION"} {
			t.Run(name+" at "+silentAt, func(t *testing.T) {
				f := startBoth(t, nil)
				via := tor.Control(tor.ControlConfig{Address: f.Address})
				requireDial(t, newHandler(t, via))
				f.change(func() { f.answers[silentAt] = "" })
				asked := len(f.received(silentAt))
				ctx, cancel := context.WithCancelCause(t.Context())
				ctx, stop := context.WithTimeout(ctx, test.timeout)
				defer stop()
				var listening sync.WaitGroup
				listening.Go(func() {
					_, err := tor.Listen(ctx, via, 80)
					for _, is := range test.is {
						assert.ErrorIs(t, err, is)
					}
					for _, not := range test.not {
						assert.NotErrorIs(t, err, not)
					}
					assert.NotContains(t, err.Error(), "does not behave like")
				})
				f.awaitCommand(silentAt, asked+1)
				if test.timeout == time.Minute {
					cancel(cause)
				}
				listening.Wait()
				cancel(nil)
			})
		}
	}
	t.Run("when a filter is in the way", func(t *testing.T) {
		f := startTor(t, func(f *fakeTor) { f.answers["SETEVENTS HS_DESC"] = "510 Command filtered" })
		_, err := tor.Listen(t.Context(), tor.Control(tor.ControlConfig{Address: f.Address}), 80)
		assert.ErrorIs(t, err, handlers.ErrProxyRefused)
		assert.ErrorContains(t, err, "HS_DESC")
	})
}

func TestWhatTheListenerReveals(t *testing.T) {
	f := startTor(t, nil)
	assert.True(t, listen(t, f).Exposure().Hidden())
	assert.Equal(t, handlers.Exposure{}, listen(t, f, tor.WithLocalAddress("0.0.0.0:0")).Exposure())
}
