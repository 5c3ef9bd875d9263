package negotiate

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestTwoTubsAgreeWhicheverIsMasterOnEveryStreamAndWithEveryCertificate(t *testing.T) {
	transports := map[string]transport{"a stream without a buffer": unbuffered, "a socket": loopback}
	kinds := map[string]kind{"P-256": p256, "RSA-2048": rsa2048, "an expired v1 RSA certificate": expiredV1}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for slaveKind, newSlave := range kinds {
			for masterKind, newMaster := range kinds {
				slaveCert, masterCert := newPair(t, newSlave, newMaster)
				for on, open := range transports {
					for _, clientIsMaster := range []bool{false, true} {
						t.Run(fmt.Sprintf("%s, slave %s, master %s, %s, client is master %t",
							tls.VersionName(version), slaveKind, masterKind, on, clientIsMaster), func(t *testing.T) {
							limit := func(c *LocalConfig) { c.MaxTLS = version }
							slave, master := newLocal(t, slaveCert, limit), newLocal(t, masterCert, limit)
							client, server := slave, master
							if clientIsMaster {
								client, server = master, slave
							}
							a, b := open(t)
							atClient, atServer := meet(t.Context(), a, b,
								ClientConfig{Local: client, Target: server.tubID, Host: "127.0.0.1"},
								ServerConfig{Find: answering(server)})
							require.NoError(t, atClient.err)
							require.NoError(t, atServer.err)

							assert.Equal(t, clientIsMaster, atClient.Master)
							assert.Equal(t, !clientIsMaster, atServer.Master)
							for _, end := range []struct {
								*Result
								own, peer *Local
							}{{atClient.Result, client, server}, {atServer.Result, server, client}} {
								assert.Same(t, end.own, end.Local)
								assert.Equal(t, end.peer.tubID, end.Peer)
								assert.Equal(t, end.peer.tubID, furl.TubIDOf(end.PeerCertificate.Raw))
								assert.Equal(t, 1, end.VocabIndex)
								assert.Empty(t, end.Extensions)
								assert.Empty(t, end.Buffered)
								assert.Equal(t, version, end.TLSVersion)
								assert.NotZero(t, end.CipherSuite)
								assert.Positive(t, end.Timings[PhaseTLS])
								assert.Zero(t, end.Timings[PhaseSlot])
								assert.Same(t, end.Link, end.own.ledger.Current(end.Peer))
							}
							assert.Equal(t, atClient.Link.id, atServer.Link.id, "both know the connection by the same name")
							requireTalk(t, atClient.Result, atServer.Result)
						})
					}
				}
			}
		}
	}
}

func TestTheCertificateOfARealTubOfPythonFoolscapIsAccepted(t *testing.T) {
	cert, err := tls.LoadX509KeyPair("testdata/foolscap-21.7.0.pem", "testdata/foolscap-21.7.0.pem")
	require.NoError(t, err)
	require.Equal(t, 1, cert.Leaf.Version, "an X.509 version that Go does not make")
	python, other := newLocal(t, &cert), newLocal(t, p256(t))
	require.EqualValues(t, "xf3j7bbdcopfic4uzbtb6l3cu2fzj24v", python.tubID, "as Python Foolscap calls it")
	for _, order := range [][2]*Local{{python, other}, {other, python}} {
		atClient, atServer := dial(t, order[0], order[1])
		require.NoError(t, atClient.err)
		require.NoError(t, atServer.err)
		atClient.Link.Release()
		atServer.Link.Release()
	}
}

func TestVocabularyIsTheHighestTableInCommon(t *testing.T) {
	slaveCert, masterCert := newPair(t, p256, p256)
	none := func(c *LocalConfig) { c.NoVocabulary = true }
	for name, test := range map[string]struct{ slave, master []func(*LocalConfig) }{
		"the slave has none":  {slave: []func(*LocalConfig){none}},
		"the master has none": {master: []func(*LocalConfig){none}},
	} {
		t.Run(name, func(t *testing.T) {
			slave, master := newLocal(t, slaveCert, test.slave...), newLocal(t, masterCert, test.master...)
			atClient, atServer := dial(t, slave, master)
			require.NoError(t, atClient.err)
			require.NoError(t, atServer.err)
			assert.Equal(t, 0, atClient.VocabIndex)
			assert.Equal(t, 0, atServer.VocabIndex)
		})
	}

	t.Run("nothing in common", func(t *testing.T) {
		slave, master := newLocal(t, slaveCert, none), newLocal(t, masterCert)
		master.vocab = numberRange{1, 1}
		atSlave, atMaster := dial(t, slave, master)
		for _, err := range []error{atSlave.err, atMaster.err} {
			assert.ErrorIs(t, err, ErrVocab)
			assert.ErrorContains(t, err, "I can't handle initial vocab set 0")
		}
		assert.ErrorIs(t, atSlave.err, ErrRemote)
		assert.NotErrorIs(t, atMaster.err, ErrRemote)
		assert.Nil(t, master.ledger.Current(slave.tubID))
	})
}

func TestExtensionsInForceAreThoseThatBothOffer(t *testing.T) {
	slaveCert, masterCert := newPair(t, p256, p256)
	for name, test := range map[string]struct{ slave, master, want []string }{
		"some in common":    {[]string{"z", "test.2", "a"}, []string{"test.2", "b", "a"}, []string{"a", "test.2"}},
		"nothing in common": {[]string{"a"}, []string{"b"}, nil},
		"only the slave":    {[]string{"a"}, nil, nil},
		"only the master":   {nil, []string{"a"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			slave := newLocal(t, slaveCert, func(c *LocalConfig) { c.Extensions = test.slave })
			master := newLocal(t, masterCert, func(c *LocalConfig) { c.Extensions = test.master })
			for _, order := range [][2]*Local{{slave, master}, {master, slave}} {
				atClient, atServer := dial(t, order[0], order[1])
				require.NoError(t, atClient.err)
				require.NoError(t, atServer.err)
				assert.Equal(t, test.want, atClient.Extensions)
				assert.Equal(t, test.want, atServer.Extensions)
				atClient.Link.Release()
				atServer.Link.Release()
			}
		})
	}
}

func TestAnAuthenticatedStreamStartsWithTheHello(t *testing.T) {
	slave, master := newTubs(t)
	for name, order := range map[string][2]*Local{"the client is slave": {slave, master}, "the client is master": {master, slave}} {
		t.Run(name, func(t *testing.T) {
			client, server := order[0], order[1]
			a, b := unbuffered(t)
			var phases []Phase
			atClient, atServer := meet(t.Context(), a, b,
				ClientConfig{Local: client, Target: server.tubID, Peer: leafOf(t, server), Progress: func(p Phase) { phases = append(phases, p) }},
				ServerConfig{Local: server, Peer: leafOf(t, client)})
			require.NoError(t, atClient.err)
			require.NoError(t, atServer.err)
			assert.Same(t, a, atClient.Conn, "the stream itself, not a wrapper")
			assert.Same(t, b, atServer.Conn)
			assert.Equal(t, []Phase{PhaseHello, PhaseDecision}, phases)
			assert.Zero(t, atClient.TLSVersion)
			assert.Equal(t, server.tubID, atClient.Peer)
			assert.Equal(t, client.tubID, atServer.Peer)
			requireTalk(t, atClient.Result, atServer.Result)
			atClient.Link.Release()
			atServer.Link.Release()
		})
	}
}

func TestAnAuthenticatedStreamToAnotherTubIsRefused(t *testing.T) {
	slave, master := newTubs(t)
	stranger := newLocal(t, p256(t))
	stream := feeding(helloOf(stranger).encode())
	_, err := Client(t.Context(), stream, ClientConfig{Local: slave, Target: master.tubID, Peer: leafOf(t, stranger)})
	assert.ErrorIs(t, err, ErrWrongTub)
	assert.Equal(t, string(errorBlock(textInternal)), stream.output(), "no hello, and not the reason")
	assert.True(t, stream.isClosed())
}

func TestPhasesAreReportedInTheirOrderWithTheirTimes(t *testing.T) {
	slave, master := newTubs(t)
	a, b := unbuffered(t)
	var phases []Phase
	atClient, atServer := meet(t.Context(), a, b,
		ClientConfig{
			Local: slave, Target: master.tubID,
			Progress:  func(p Phase) { phases = append(phases, p) },
			HelloSlot: func(context.Context) error { return nil },
		},
		ServerConfig{Find: answering(master)})
	require.NoError(t, atClient.err)
	require.NoError(t, atServer.err)
	assert.Equal(t, []Phase{PhasePlaintext, PhaseTLS, PhaseSlot, PhaseHello, PhaseDecision}, phases)
	for phase, spent := range atClient.Timings {
		assert.Positive(t, spent, Phase(phase).String())
	}
}

func TestBananaThatCameWithTheLastBlockIsHandedOn(t *testing.T) {
	slave, master := newTubs(t)
	d := decision{current: connID{"cafe", 7}, vocabIndex: 1}

	t.Run("behind the decision", func(t *testing.T) {
		stream := feeding(helloOf(master).encode(), d.encode(), []byte("\x00\x88banana"))
		res, err := Server(t.Context(), stream, ServerConfig{Local: slave, Peer: leafOf(t, master)})
		require.NoError(t, err)
		assert.Equal(t, "\x00\x88banana", string(res.Buffered))
		res.Link.Release()
	})
	t.Run("behind the hello of a slave that is in a hurry", func(t *testing.T) {
		stream := feeding(helloOf(slave).encode(), []byte("\x00\x88banana"))
		res, err := Server(t.Context(), stream, ServerConfig{Local: master, Peer: leafOf(t, slave)})
		require.NoError(t, err)
		assert.Equal(t, "\x00\x88banana", string(res.Buffered))
		res.Link.Release()
	})
	t.Run("more than fits", func(t *testing.T) {
		// What was not read with the block stays in the stream.
		long := make([]byte, 100_000)
		stream := feeding(helloOf(master).encode(), d.encode(), long)
		res, err := Server(t.Context(), stream, ServerConfig{Local: slave, Peer: leafOf(t, master)})
		require.NoError(t, err)
		rest, err := io.ReadAll(res.Conn)
		require.NoError(t, err)
		assert.Equal(t, len(long), len(res.Buffered)+len(rest))
		assert.LessOrEqual(t, len(res.Buffered), maxBlock)
		res.Link.Release()
	})
}

func TestTheDecisionGoesOutInAWriteOfItsOwn(t *testing.T) {
	slave, master := newTubs(t)
	a, b := unbuffered(t)
	type written struct{ hello, decision string }
	got := make(chan written, 1)
	go func() {
		// A read of a pipe never returns bytes of two writes.
		buf := make([]byte, 8192)
		n, _ := a.Read(buf)
		hello := string(buf[:n])
		a.Write(helloOf(slave).encode())
		n, _ = a.Read(buf)
		got <- written{hello, string(buf[:n])}
	}()
	res, err := Server(t.Context(), b, ServerConfig{Local: master, Peer: leafOf(t, slave)})
	require.NoError(t, err)
	w := <-got
	assert.Equal(t, string(helloOf(master).encode()), w.hello)
	assert.Equal(t, string(decision{current: res.Link.id, vocabIndex: 1}.encode()), w.decision)
}

func TestBytesBehindTheRequestAndItsAnswerAreThoseOfTLS(t *testing.T) {
	// A client that does not wait for the answer, and a server that speaks TLS
	// in the same packet.
	slave, master := newTubs(t)
	a, b := loopback(t)
	client := make(chan error, 1)
	go func() {
		config := slave.tls.Clone()
		err := tls.Client(&glued{Conn: a, request: appendRequest(nil, master.tubID, "")}, config).Handshake()
		client <- err
	}()
	_, err := Server(t.Context(), b, ServerConfig{Find: answering(master), Timeouts: Timeouts{Hello: time.Nanosecond}})
	require.NoError(t, <-client, "the handshake went well")
	var failed *Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, PhaseHello, failed.Phase)
	assert.Equal(t, slave.tubID, failed.Peer)
}

// glued writes a request together with what is written first, and drops the
// answer to it.
type glued struct {
	net.Conn
	request  []byte
	answered bool
}

func (g *glued) Write(p []byte) (int, error) {
	n, err := g.Conn.Write(append(g.request, p...))
	n -= len(g.request)
	g.request = nil
	return n, err
}

func (g *glued) Read(p []byte) (int, error) {
	if !g.answered {
		g.answered = true
		if _, err := io.ReadFull(g.Conn, make([]byte, len(response))); err != nil {
			return 0, err
		}
	}
	return g.Conn.Read(p)
}

func TestTheClientTellsNobodyWhomItLooksFor(t *testing.T) {
	slave, master := newTubs(t)
	a, b := unbuffered(t)
	seen := make(chan *tls.ClientHelloInfo, 1)
	master.tls.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		seen <- hello
		return nil, nil
	}
	atClient, atServer := meet(t.Context(), a, b,
		ClientConfig{Local: slave, Target: master.tubID, Host: "a.name.example"},
		ServerConfig{Find: answering(master)})
	require.NoError(t, atClient.err)
	require.NoError(t, atServer.err)
	hello := <-seen
	assert.Empty(t, hello.ServerName)
	assert.Empty(t, hello.SupportedProtos)
}

func TestTheClientDoesNotShowItsCertificateToAnotherTub(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			slave, master := newTubs(t)
			a, b := loopback(t)
			server := make(chan *tls.Conn, 1)
			go func() {
				// Somebody who sits at the address of the master, with a key of
				// his own.
				answerRequest(b)
				conn := tls.Server(b, &tls.Config{
					Certificates: []tls.Certificate{*p256(t)},
					ClientAuth:   tls.RequestClientCert,
					MaxVersion:   version,
				})
				conn.Handshake()
				server <- conn
			}()
			_, err := Client(t.Context(), a, ClientConfig{Local: slave, Target: master.tubID})
			assert.ErrorIs(t, err, ErrWrongTub)
			var failed *Error
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, PhaseTLS, failed.Phase)
			assert.Equal(t, master.tubID, failed.Target)
			assert.Empty(t, failed.Peer, "the TubID that was not proven")
			assert.Empty(t, (<-server).ConnectionState().PeerCertificates)
		})
	}
}

// answerRequest plays the part of a server before TLS.
func answerRequest(conn net.Conn) {
	conn.Read(make([]byte, maxBlock))
	io.WriteString(conn, response)
}

func TestARefusedCertificateIsReportedAsSuch(t *testing.T) {
	slave, master := newTubs(t)
	refusing := func(config *tls.Config, conn net.Conn) {
		config.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return io.ErrNoProgress }
		answerRequest(conn)
		tls.Server(conn, config).Handshake()
		conn.Close()
	}

	for _, test := range []struct {
		version uint16
		phase   Phase // in which the client hears of it
	}{{tls.VersionTLS12, PhaseTLS}, {tls.VersionTLS13, PhaseHello}} {
		t.Run("ours by a server with "+tls.VersionName(test.version), func(t *testing.T) {
			a, b := loopback(t)
			config := master.tls.Clone()
			config.MaxVersion = test.version
			go refusing(config, b)
			_, err := Client(t.Context(), a, ClientConfig{Local: slave, Target: master.tubID})
			assert.ErrorIs(t, err, ErrCertificate)
			assert.ErrorContains(t, err, "does not accept ours")
			var failed *Error
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, test.phase, failed.Phase)
		})
	}

	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run("a missing one by our server with "+tls.VersionName(version), func(t *testing.T) {
			a, b := unbuffered(t)
			go func() {
				a.Write(appendRequest(nil, master.tubID, ""))
				io.ReadFull(a, make([]byte, len(response)))
				conn := tls.Client(a, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
				conn.Handshake()
				io.Copy(io.Discard, conn)
			}()
			_, err := Server(t.Context(), b, ServerConfig{Find: answering(master)})
			assert.ErrorIs(t, err, ErrCertificate)
			assert.ErrorContains(t, err, "we do not accept")
		})
	}

	t.Run("one that Go does not parse", func(t *testing.T) {
		negative := certificateV1(t, big.NewInt(-1))
		a, b := unbuffered(t)
		go func() {
			answerRequest(b)
			conn := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{*negative}})
			conn.Handshake()
			b.Close()
		}()
		_, err := Client(t.Context(), a, ClientConfig{Local: slave, Target: furl.TubIDOf(negative.Certificate[0])})
		assert.ErrorIs(t, err, ErrCertificate)
		assert.ErrorContains(t, err, "negative serial number")
	})
}

func TestOnlyTheLeafOfAChainIsThePeer(t *testing.T) {
	authority := rsa2048(t)
	leaf := p256(t)
	leaf.Certificate = append(leaf.Certificate, authority.Certificate[0])
	chained, other := newLocal(t, leaf), newLocal(t, p256(t))
	require.Equal(t, furl.TubIDOf(leaf.Certificate[0]), chained.tubID)
	atClient, atServer := dial(t, chained, other)
	require.NoError(t, atClient.err)
	require.NoError(t, atServer.err)
	assert.Equal(t, chained.tubID, atServer.Peer)
}

func TestATubWithoutTheRightKeyIsNotBelieved(t *testing.T) {
	// The certificate of another is no secret.
	stolen, own := p256(t), p256(t)
	thief := &tls.Certificate{Certificate: stolen.Certificate, PrivateKey: own.PrivateKey}
	victim, honest := newLocal(t, thief), newLocal(t, p256(t))
	for _, order := range [][2]*Local{{victim, honest}, {honest, victim}} {
		a, b := loopback(t)
		atClient, atServer := meet(t.Context(), a, b,
			ClientConfig{Local: order[0], Target: order[1].tubID}, ServerConfig{Find: answering(order[1])})
		assert.Error(t, atClient.err)
		assert.Error(t, atServer.err)
	}
	assert.Nil(t, honest.ledger.Current(victim.tubID))
}

func TestOneListenerAnswersForSeveralTubs(t *testing.T) {
	client := newLocal(t, p256(t))
	first, second := newLocal(t, p256(t)), newLocal(t, p256(t))
	for _, target := range []*Local{first, second} {
		a, b := unbuffered(t)
		atClient, atServer := meet(t.Context(), a, b,
			ClientConfig{Local: client, Target: target.tubID},
			ServerConfig{Find: answering(first, second)})
		require.NoError(t, atClient.err)
		require.NoError(t, atServer.err)
		assert.Same(t, target, atServer.Local)
		assert.NotEqual(t, first.ledger.Incarnation(), second.ledger.Incarnation(), "nothing on the wire ties them together")
	}
}

func TestNewCertificatesAreWhatOtherImplementationsAccept(t *testing.T) {
	for _, kind := range []KeyKind{P256, RSA2048} {
		t.Run(kind.String(), func(t *testing.T) {
			cert, err := NewCertificate(kind)
			require.NoError(t, err)
			leaf := cert.Leaf
			assert.Equal(t, cert.Certificate[0], leaf.Raw)
			assert.Equal(t, 3, leaf.Version)
			assert.Equal(t, big.NewInt(1), leaf.SerialNumber)
			assert.Equal(t, leaf.RawSubject, leaf.RawIssuer)
			assert.Empty(t, leaf.Extensions)
			assert.True(t, leaf.NotBefore.Before(time.Now().AddDate(-10, 0, 0)), "clocks may be wrong")
			assert.Equal(t, 9999, leaf.NotAfter.Year())
			if kind == RSA2048 {
				assert.Equal(t, 2048, leaf.PublicKey.(*rsa.PublicKey).N.BitLen())
			}
			client, server := newLocal(t, cert), newLocal(t, p256(t))
			atClient, atServer := dial(t, client, server)
			require.NoError(t, atClient.err)
			require.NoError(t, atServer.err)
		})
	}
	_, err := NewCertificate(KeyKind(9))
	assert.ErrorContains(t, err, "KeyKind(9)")
}

func TestALocalThatCouldNotNegotiateIsNotMade(t *testing.T) {
	cert, ledger := p256(t), NewLedger(LedgerConfig{})
	tooMany := make([]string, 17)
	for i := range tooMany {
		tooMany[i] = fmt.Sprintf("x%d", i)
	}
	for name, cfg := range map[string]LocalConfig{
		"no certificate":           {Ledger: ledger},
		"an empty certificate":     {Certificate: &tls.Certificate{}, Ledger: ledger},
		"no key":                   {Certificate: &tls.Certificate{Certificate: cert.Certificate}, Ledger: ledger},
		"no ledger":                {Certificate: cert},
		"TLS bounds crossed":       {Certificate: cert, Ledger: ledger, MaxTLS: tls.VersionTLS11},
		"an extension in capitals": {Certificate: cert, Ledger: ledger, Extensions: []string{"Nope"}},
		"an empty extension":       {Certificate: cert, Ledger: ledger, Extensions: []string{""}},
		"an extension twice":       {Certificate: cert, Ledger: ledger, Extensions: []string{"a", "a"}},
		"too many extensions":      {Certificate: cert, Ledger: ledger, Extensions: tooMany},
	} {
		local, err := NewLocal(cfg)
		assert.Error(t, err, name)
		assert.Nil(t, local, name)
	}
}

func TestAnOldTLSVersionIsSpokenOnlyWhenAllowed(t *testing.T) {
	slaveCert, masterCert := newPair(t, p256, p256)
	old := func(c *LocalConfig) { c.MinTLS, c.MaxTLS = tls.VersionTLS10, tls.VersionTLS10 }
	lowered := func(c *LocalConfig) { c.MinTLS = tls.VersionTLS10 }
	atClient, atServer := dial(t, newLocal(t, slaveCert, old), newLocal(t, masterCert, lowered))
	require.NoError(t, atClient.err)
	require.NoError(t, atServer.err)
	assert.EqualValues(t, tls.VersionTLS10, atServer.TLSVersion)

	for name, test := range map[string]struct{ client, server func(*LocalConfig) }{
		"a client that is too old": {old, func(*LocalConfig) {}},
		"a server that is too old": {func(*LocalConfig) {}, old},
	} {
		atClient, atServer = dial(t, newLocal(t, slaveCert, test.client), newLocal(t, masterCert, test.server))
		for side, err := range map[string]error{"client": atClient.err, "server": atServer.err} {
			assert.ErrorIs(t, err, ErrVersion, "%s, seen by the %s", name, side)
			var failed *Error
			require.ErrorAs(t, err, &failed)
			assert.Equal(t, PhaseTLS, failed.Phase)
		}
	}
}

func TestAConnectionHoldsNothingOfItsNegotiation(t *testing.T) {
	slave, master := newTubs(t)
	type remains struct {
		negotiation weak.Pointer[negotiation]
		buffer      weak.Pointer[byte]
	}
	// As Client and Server do it, which keep the negotiation to themselves.
	run := func(conn net.Conn, how func(*negotiation) error) (*Result, remains) {
		n := begin(t.Context(), conn, Timeouts{}, nil, PhasePlaintext)
		r, err := n.end(how(n))
		assert.NoError(t, err)
		if err == nil {
			assert.NoError(t, r.Link.Attach(new(shutdowns)))
		}
		return r, remains{weak.Make(n), weak.Make(&n.buf[:1][0])}
	}
	a, b := loopback(t)
	var results [2]*Result
	var left [2]remains
	var wg sync.WaitGroup
	wg.Go(func() {
		results[0], left[0] = run(a, func(n *negotiation) error {
			n.local, n.target, n.client = slave, master.tubID, true
			return n.dialled(t.Context(), ClientConfig{Local: slave, Target: master.tubID})
		})
	})
	wg.Go(func() {
		results[1], left[1] = run(b, func(n *negotiation) error {
			return n.accepted(ServerConfig{Find: answering(master)})
		})
	})
	wg.Wait()
	runtime.GC()
	for _, l := range left {
		assert.Nil(t, l.negotiation.Value())
		assert.Nil(t, l.buffer.Value())
	}
	requireTalk(t, results[0], results[1])
}

func BenchmarkNegotiation(b *testing.B) {
	slave, master := newTubs(b)
	b.ReportAllocs()
	for b.Loop() {
		near, far := loopback(b)
		atClient, atServer := meet(b.Context(), near, far,
			ClientConfig{Local: slave, Target: master.tubID}, ServerConfig{Find: answering(master)})
		if atClient.err != nil || atServer.err != nil {
			b.Fatal(atClient.err, atServer.err)
		}
		atClient.Link.Release()
		atServer.Link.Release()
		near.Close()
		far.Close()
	}
}
