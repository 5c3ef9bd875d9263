package integration

import (
	"crypto/tls"
	"errors"
	"testing"

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
		if r.master != (peer.TubID < "m") {
			continue // there may be few TubIDs on the other side of that one
		}
		t.Run(r.String(), func(t *testing.T) {
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

func TestPeersThatCannotBeAgreedWith(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		python pypeer.Options
		tub    tub.Options
		want   error
		told   bool // Python finds fault only with what it is told, not with what it tells
	}{
		"of a later version":                    {python: pypeer.Options{HelloWith: map[string]string{"banana-negotiation-range": "4 9"}}, want: negotiate.ErrVersion},
		"of an earlier version":                 {python: pypeer.Options{HelloWith: map[string]string{"banana-negotiation-range": "1 2"}}, want: negotiate.ErrVersion},
		"that do not say their version":         {python: pypeer.Options{HelloWithout: []string{"banana-negotiation-range"}}, want: negotiate.ErrVersion},
		"with a vocabulary to come":             {python: pypeer.Options{HelloWith: map[string]string{"initial-vocab-table-range": "2 3"}}, want: negotiate.ErrVocab, told: true},
		"that do not say who they are":          {python: pypeer.Options{HelloWithout: []string{"my-tub-id"}}, want: negotiate.ErrWrongTub},
		"that say they are somebody else":       {python: pypeer.Options{HelloWith: map[string]string{"my-tub-id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}, want: negotiate.ErrWrongTub},
		"whose hello is too long":               {python: pypeer.Options{HelloWith: map[string]string{"x": longText(5000)}}, want: negotiate.ErrMalformed},
		"who fail with a text of their own":     {python: pypeer.Options{HelloWith: map[string]string{"error": "I do not like you"}}, want: negotiate.ErrRemote},
		"with TLS 1.2 where 1.3 is the lowest":  {python: pypeer.Options{TLS12: true}, tub: tub.Options{MinTLS: tls.VersionTLS13}},
		"with extensions that are no extension": {python: pypeer.Options{HelloWith: map[string]string{"foolscap-go-extensions": "ä"}}, want: negotiate.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.python.CertFile, _ = pypeer.WriteCert(t, pypeer.Middling)
			peer := pypeer.Start(t, test.python)
			root := publish(t, peer, "root", pypeer.KindRoot)
			for _, r := range roles {
				if test.told && !r.master {
					continue // it is the master who finds fault
				}
				t.Run(r.String(), func(t *testing.T) {
					tb := startTub(t, identity(t, r.accept(peer.TubID)), test.tub)
					if r.dials {
						_, err := tb.Connect(within(t), root)
						var dial *tub.DialError
						require.ErrorAs(t, err, &dial)
						if test.want != nil && !errors.Is(err, test.want) {
							// The other side may have been first to see it, and have told us in its words.
							var remote *negotiate.RemoteError
							if assert.ErrorAs(t, err, &remote, "want %v", test.want) {
								t.Logf("told by Python: %v", err)
							}
						}
					} else {
						listen(t, tb)
						_, err := peer.GetReference(register(t, tb, newDesk().object).Reveal())
						assert.Error(t, err)
					}
					settled(t, tb)
					peer.WaitConnections(0)
				})
			}
		})
	}
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
