package integration

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
	"github.com/foolscap-go/foolscap/tub"
)

func TestPeersThatAreNotLikeTodaysFoolscap(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options options
		check   func(t *testing.T, c pypeer.Connection)
	}{
		"with the empty vocabulary only": {options{python: pypeer.Options{EmptyVocabulary: true}}, func(t *testing.T, c pypeer.Connection) {
			assert.Zero(t, c.Vocabulary)
		}},
		"that say nothing of vocabulary": {options{python: pypeer.Options{HelloWithout: []string{"initial-vocab-table-range"}}}, nil},
		"with TLS 1.2 only": {options{python: pypeer.Options{TLS12: true}}, func(t *testing.T, c pypeer.Connection) {
			assert.Equal(t, "TLSv1.2", c.TLS)
		}},
		"with TLS 1.2 and the empty vocabulary": {options{python: pypeer.Options{TLS12: true, EmptyVocabulary: true}}, nil},
		"without incarnations":                  {options{python: pypeer.Options{HelloWithout: []string{"my-incarnation", "last-connection"}}}, nil},
		"with keys of their own": {options{python: pypeer.Options{HelloWith: map[string]string{
			"colour": "red: blue", "zzz": "", "x-long": string(make([]byte, 0, 1)) + longText(2000),
		}}}, nil},
		"with versions to come": {options{python: pypeer.Options{HelloWith: map[string]string{"banana-negotiation-range": "1 9"}}}, nil},
		"with extensions that nobody knows": {options{python: pypeer.Options{HelloWith: map[string]string{
			"foolscap-go-extensions": "a-thing.1 another.2",
		}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachRole(t, test.options, func(t *testing.T, m *meeting) {
				for _, v := range []aValue{
					{here: []byte("list"), there: pypeer.Bytes("list")},
					{here: banana.Tuple{"none", nil, true, power(2, 80)}, there: pypeer.Tuple(pypeer.Text("none"), pypeer.None, pypeer.True, pypeer.BigInt(power(2, 80)))},
					{here: banana.NewDict([]byte("call"), banana.NewSet()), there: pypeer.Dict(pypeer.Bytes("call"), pypeer.Set())},
				} {
					assert.Equal(t, v.there, notationOf(t, call[any](t, m.root, "echo", v.here)))
					assert.Equal(t, v.there, m.ref.MustCall("echo", v.there))
				}
				assert.Equal(t, 4, call[int](t, m.root, "bounce", m.desk.object, 4))
				_, err := tub.Call[any](within(t), m.root, "fail", "no")
				assert.Equal(t, "builtins.ValueError", failed(t, err).Type)
				_, err = m.ref.Call("fail", pypeer.Text("no"))
				assert.Equal(t, "no", failedThere(t, err).Text)
				if test.check != nil {
					test.check(t, m.peer.Connections()[0])
				}
				m.assertNothingIsLeft(t)
			})
		})
	}
}

func longText(length int) string {
	text := make([]byte, length)
	for i := range text {
		text[i] = 'a' + byte(i%26)
	}
	return string(text)
}

func TestFoolscapsOwnCertificatesAreTaken(t *testing.T) {
	t.Parallel()
	peer := pypeer.Start(t, pypeer.Options{}) // RSA, X.509 version 1
	for _, r := range roles {
		t.Run(r.String(), func(t *testing.T) {
			// There may be few TubIDs on one side of that one, but of a Go Tub we can make any number.
			m := meet(t, peer, r, tub.Options{})
			assertOneConnection(t, m.tub, m.root, peer, m.ref)
			assert.Equal(t, "TLSv1.3", peer.Connections()[0].TLS)
		})
	}
	t.Run("with RSA on both sides", func(t *testing.T) {
		id, err := tub.NewIdentityOf(tub.RSA2048)
		require.NoError(t, err)
		tb := startTub(t, id, tub.Options{MinTLS: tls.VersionTLS13})
		ref := connect(t, tb, publish(t, peer, "root", pypeer.KindRoot))
		assert.Equal(t, 3, call[int](t, ref, "add", 1, 2))
	})
	t.Run("and they serve a Go Tub as its own", func(t *testing.T) {
		file := t.TempDir() + "/tub.pem"
		made := pypeer.Start(t, pypeer.Options{CertFile: file, NoListen: true})
		made.Kill()
		id, err := tub.LoadIdentity(file, nil)
		require.NoError(t, err)
		assert.EqualValues(t, made.TubID, id.TubID())
		tb := startTub(t, id, tub.Options{})
		listen(t, tb)
		ref := peer.MustGetReference(register(t, tb, newDesk().object).Reveal())
		assert.Equal(t, pypeer.Int(3), ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
		assert.Equal(t, made.TubID, ref.Describe().TubID)
	})
	t.Run("as Python takes ours", func(t *testing.T) {
		id, err := tub.NewIdentity()
		require.NoError(t, err)
		file := t.TempDir() + "/go.pem"
		require.NoError(t, id.Save(file))
		ours := pypeer.Start(t, pypeer.Options{CertFile: file})
		assert.EqualValues(t, id.TubID(), ours.TubID)
		tb := startTub(t, identity(t, pypeer.Middling), tub.Options{})
		assert.Equal(t, 3, call[int](t, connect(t, tb, publish(t, ours, "root", pypeer.KindRoot)), "add", 1, 2))
	})
}

// expiredCert writes an identity in the form that Foolscap gives its own, X.509 version 1 with an RSA key, whose
// certificate has expired.
func expiredCert(t *testing.T) (file string) {
	t.Helper()
	const program = `
import sys
from OpenSSL import crypto
key = crypto.PKey()
key.generate_key(crypto.TYPE_RSA, 2048)
certificate = crypto.X509()
certificate.get_subject().CN = "newpb_thingy"
certificate.set_issuer(certificate.get_subject())
certificate.set_serial_number(1)
certificate.set_notBefore(b"20010101000000Z")
certificate.set_notAfter(b"20020101000000Z")
certificate.set_pubkey(key)
certificate.sign(key, "sha256")
sys.stdout.buffer.write(crypto.dump_certificate(crypto.FILETYPE_PEM, certificate))
sys.stdout.buffer.write(crypto.dump_privatekey(crypto.FILETYPE_PEM, key))
`
	text, err := exec.Command(pypeer.Require(t), "-W", "ignore", "-c", program).Output()
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	require.NotNil(t, block)
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.Equal(t, 1, certificate.Version)
	require.True(t, certificate.NotAfter.Before(time.Now()))
	file = filepath.Join(t.TempDir(), "tub.pem")
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return file
}

func TestCertificatesThatHaveExpiredAreTaken(t *testing.T) {
	t.Parallel()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		name := tls.VersionName(version)
		python := pypeer.Options{TLS12: version == tls.VersionTLS12}
		t.Run("of Python over "+name, func(t *testing.T) {
			t.Parallel()
			python := python
			python.CertFile = expiredCert(t)
			peer := pypeer.Start(t, python)
			for _, r := range roles {
				t.Run(r.String(), func(t *testing.T) {
					m := meet(t, peer, r, tub.Options{})
					assertOneConnection(t, m.tub, m.root, peer, m.ref)
				})
			}
		})
		t.Run("of Go over "+name, func(t *testing.T) {
			t.Parallel()
			id, err := tub.LoadIdentity(expiredCert(t), nil)
			require.NoError(t, err)
			for _, r := range roles {
				t.Run(r.String(), func(t *testing.T) {
					python := python
					pythonIDs := pypeer.Less(id.TubID().String())
					if !r.master {
						pythonIDs = pypeer.Greater(id.TubID().String())
					}
					python.CertFile, _ = pypeer.WriteCert(t, pythonIDs)
					peer := pypeer.Start(t, python)
					m := meetAs(t, peer, r, id, tub.Options{}, func(tb *tub.Tub) { listen(t, tb) })
					assertOneConnection(t, m.tub, m.root, peer, m.ref)
				})
			}
		})
	}
}

func TestPeersThatCannotBeAgreedWith(t *testing.T) {
	t.Parallel()
	const unsaid = "internal server error, see logs"
	with := func(key, value string) pypeer.Options {
		return pypeer.Options{HelloWith: map[string]string{key: value}}
	}
	without := func(key string) pypeer.Options { return pypeer.Options{HelloWithout: []string{key}} }
	for name, test := range map[string]struct {
		python pypeer.Options
		tub    tub.Options
		want   error           // of Go, in every role
		phase  negotiate.Phase // in which it is
		says   string          // the text in it
		told   string          // what Python hears of it, if anything
		master bool            // only the master finds fault
	}{
		"of a later version":            {python: with("banana-negotiation-range", "4 9"), want: negotiate.ErrVersion, told: "You can't handle banana version 3"},
		"of an earlier version":         {python: with("banana-negotiation-range", "1 2"), want: negotiate.ErrVersion, told: "I can't handle banana version 2"},
		"that do not say their version": {python: without("banana-negotiation-range"), want: negotiate.ErrVersion, told: "No valid banana-negotiation sequence seen"},
		"with a vocabulary to come": {
			python: with("initial-vocab-table-range", "2 3"), want: negotiate.ErrVocab, phase: negotiate.PhaseDecision,
			told: "You can't handle initial vocab set 1", master: true,
		},
		"that do not say who they are":      {python: without("my-tub-id"), want: negotiate.ErrWrongTub, told: unsaid},
		"that say they are somebody else":   {python: with("my-tub-id", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), want: negotiate.ErrWrongTub, told: unsaid},
		"whose hello is too long":           {python: with("x", longText(5000)), want: negotiate.ErrMalformed, told: unsaid},
		"who fail with a text of their own": {python: with("error", "I do not like you"), want: negotiate.ErrRemote, says: `"I do not like you"`},
		"with TLS 1.2 where 1.3 is the lowest": {
			python: pypeer.Options{TLS12: true}, tub: tub.Options{MinTLS: tls.VersionTLS13},
			want: negotiate.ErrVersion, phase: negotiate.PhaseTLS,
		},
		"with extensions that are no extension": {python: with("foolscap-go-extensions", "ä"), want: negotiate.ErrMalformed, told: unsaid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.python.CertFile, _ = pypeer.WriteCert(t, pypeer.Middling)
			peer := pypeer.Start(t, test.python)
			root := publish(t, peer, "root", pypeer.KindRoot)
			for _, r := range roles {
				if test.master && !r.master {
					continue
				}
				t.Run(r.String(), func(t *testing.T) {
					ended := make(negotiations, 1)
					o := test.tub
					o.Observer = ended.observe
					tb := startTub(t, identity(t, r.accept(peer.TubID)), o)
					var there *pypeer.Error
					if r.dials {
						_, err := tb.Connect(within(t), root)
						var dial *tub.DialError
						require.ErrorAs(t, err, &dial)
						require.Len(t, dial.Hints, 1)
						assert.ErrorIs(t, dial.Hints[0].Err, <-ended)
						assertFailed(t, err, test.want, cmp.Or(test.phase, negotiate.PhaseHello))
						assert.ErrorContains(t, err, test.says)
						there = failureThere(t, peer)
					} else {
						listen(t, tb)
						_, err := peer.GetReference(register(t, tb, newDesk().object).Reveal())
						failed := <-ended
						assertFailed(t, failed, test.want, cmp.Or(test.phase, negotiate.PhaseHello))
						assert.ErrorContains(t, failed, test.says)
						require.ErrorAs(t, err, &there)
					}
					switch {
					case test.phase == negotiate.PhaseTLS:
						assert.Equal(t, "OpenSSL.SSL.Error", there.Type, "%v", there)
					case test.told != "" && r.master:
						assert.Equal(t, "foolscap.tokens.RemoteNegotiationError", there.Type)
						assert.Equal(t, "Banana negotiation failed: "+test.told, there.Text)
					default: // as the master, Python has decided before it is told anything
						assert.Contains(t, connectionEnded, there.Type, "%v", there)
					}
					settled(t, tb)
					peer.WaitConnections(0)
				})
			}
		})
	}
}

// connectionEnded are Python's exceptions of whoever has lost his connection.
var connectionEnded = []string{
	"twisted.internet.error.ConnectionLost", "twisted.internet.error.ConnectionDone", "foolscap.ipb.DeadReferenceError",
}

// failureThere waits until Python knows that a negotiation has failed, or that a connection has ended, and returns the
// exception.
func failureThere(t *testing.T, peer *pypeer.Peer) (failure *pypeer.Error) {
	t.Helper()
	name := ""
	require.Eventually(t, func() bool {
		for _, name = range []string{"negotiation_failed", "detached"} {
			if len(peer.Events(name)) > 0 {
				return true
			}
		}
		return false
	}, patience, time.Millisecond)
	require.NoError(t, peer.WaitEvent(name, nil).Get("error", &failure))
	return failure
}

// assertFailed makes sure that a negotiation has failed of something, in some phase.
func assertFailed(t *testing.T, err, want error, phase negotiate.Phase) {
	t.Helper()
	assert.ErrorIs(t, err, want)
	var failed *negotiate.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, phase.String(), failed.Phase.String(), "%v", err)
}

func TestAHelloOfOursHasNothingInItThatNeedNotBe(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		all := m.peer.Negotiations()
		hello := all[len(all)-1].Hello
		want := map[string]string{
			"banana-negotiation-range":  "3 3",
			"initial-vocab-table-range": "0 1",
			"my-tub-id":                 string(m.tub.TubID()),
			"my-incarnation":            hello["my-incarnation"],
			"foolscap-go-extensions":    "pipelining-1 streams-1",
		}
		if m.dials {
			want["last-connection"] = "none 0"
		}
		assert.Equal(t, want, hello)
		assert.Regexp(t, "^[0-9a-f]{16}$", hello["my-incarnation"])
		if m.master {
			assert.Equal(t, "1 bb33", all[len(all)-1].Decision["initial-vocab-table-index"])
			assert.Contains(t, all[len(all)-1].Decision["current-connection"], hello["my-incarnation"]+" ")
		}
		info, _ := m.tub.Info(furl.TubID(m.peer.TubID))
		assert.Equal(t, m.master, info.Master)
	})
}
