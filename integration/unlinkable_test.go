package integration

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// Whoever sees two Tubs of one process must not be able to tell that they belong together. These tests look at all that
// they say before it is encrypted, and at what peers see of them afterwards: what is equal in it has to be the same for
// every Tub that this module makes.

// A tape is what one connection has carried.
type tape struct {
	mu       sync.Mutex
	toTarget bytes.Buffer
	toClient bytes.Buffer
}

func (r *tape) bytes() (toTarget, toClient []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.toTarget.Bytes()), bytes.Clone(r.toClient.Bytes())
}

// tapped passes one connection on to a target, and records it. It returns the address to dial.
func tapped(t *testing.T, target string) (addr string, recording *tape) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	recording = new(tape)
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	pass := func(dst io.Writer, src io.Reader, to *bytes.Buffer) {
		data := make([]byte, 64<<10)
		for {
			n, err := src.Read(data)
			recording.mu.Lock()
			to.Write(data[:n])
			recording.mu.Unlock()
			if _, werr := dst.Write(data[:n]); err != nil || werr != nil {
				return
			}
		}
	}
	running.Go(func() {
		client, err := l.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		server, err := net.Dial("tcp4", target)
		if err != nil {
			return
		}
		defer server.Close()
		var ways sync.WaitGroup
		ways.Go(func() {
			pass(server, client, &recording.toTarget)
			_ = server.Close()
		})
		pass(client, server, &recording.toClient)
		_ = client.Close()
		ways.Wait()
	})
	return l.Addr().String(), recording
}

// handshakes returns the messages of TLS that are not encrypted, by their type. Before them is the plaintext phase.
func handshakes(t *testing.T, stream []byte) map[byte][]byte {
	t.Helper()
	_, stream, ok := bytes.Cut(stream, []byte("\r\n\r\n"))
	require.True(t, ok, "there is no plaintext phase")
	const handshakeRecord = 22
	var content []byte
	for len(stream) > 5 && stream[0] == handshakeRecord {
		length := int(binary.BigEndian.Uint16(stream[3:5]))
		content = append(content, stream[5:5+length]...)
		stream = stream[5+length:]
	}
	messages := make(map[byte][]byte)
	for len(content) > 4 {
		kind, length := content[0], int(content[1])<<16|int(content[2])<<8|int(content[3])
		if 4+length > len(content) {
			break
		}
		messages[kind] = content[4 : 4+length]
		content = content[4+length:]
	}
	return messages
}

// Types of handshake messages and of extensions, by RFC 5246 and RFC 8446.
const (
	clientHello        = 1
	serverHello        = 2
	certificateMessage = 11
	serverKeyExchange  = 12
	certificateRequest = 13

	extServerName    = 0
	extALPN          = 16
	extSessionTicket = 35
	extPreSharedKey  = 41
	extKeyShare      = 51
)

// A greeting is a ClientHello or ServerHello in its parts.
type greeting struct {
	random, session []byte
	extensions      map[uint16][]byte
	rest            []byte // versions, cipher suites, compression
}

func parseGreeting(t *testing.T, message []byte, client bool) greeting {
	t.Helper()
	r := bytes.NewReader(message)
	take := func(n int) []byte {
		b := make([]byte, n)
		_, err := io.ReadFull(r, b)
		require.NoError(t, err)
		return b
	}
	var g greeting
	g.rest = append(g.rest, take(2)...)
	g.random = take(32)
	g.session = take(int(take(1)[0]))
	if client {
		g.rest = append(g.rest, take(int(binary.BigEndian.Uint16(take(2))))...)
		g.rest = append(g.rest, take(int(take(1)[0]))...)
	} else {
		g.rest = append(g.rest, take(3)...)
	}
	g.extensions = make(map[uint16][]byte)
	if r.Len() == 0 {
		return g
	}
	take(2)
	for r.Len() > 0 {
		kind := binary.BigEndian.Uint16(take(2))
		g.extensions[kind] = take(int(binary.BigEndian.Uint16(take(2))))
	}
	return g
}

// assertUnlike makes sure that two greetings have nothing in common that is not the same for everybody.
func assertUnlike(t *testing.T, a, b greeting) {
	t.Helper()
	assert.NotEqual(t, a.random, b.random)
	if len(a.session) > 0 {
		assert.NotEqual(t, a.session, b.session)
	}
	assert.Equal(t, a.rest, b.rest, "preferences are the same for all")
	for kind, content := range a.extensions {
		switch kind {
		case extKeyShare:
			assertSharesDiffer(t, content, b.extensions[kind])
		case extServerName, extALPN, extPreSharedKey:
			assert.Fail(t, "an extension that tells something", "%d", kind)
		case extSessionTicket:
			assert.Empty(t, content)
		default:
			assert.Equal(t, content, b.extensions[kind], "extension %d", kind)
		}
	}
	assert.Equal(t, len(a.extensions), len(b.extensions))
}

// assertSharesDiffer compares the key shares of TLS 1.3: beside lengths and groups, no eight bytes are the same.
func assertSharesDiffer(t *testing.T, a, b []byte) {
	t.Helper()
	const run = 8
	assert.Greater(t, len(a), run)
	for i := 0; i+run <= len(a); i++ {
		assert.False(t, bytes.Contains(b, a[i:i+run]), "a part of a key share is the same")
	}
}

// twoTubs are as different as two Tubs of one process can be expected to be.
func twoTubs(t *testing.T, accept func(string) bool) [2]*tub.Tub {
	t.Helper()
	var both [2]*tub.Tub
	for i := range both {
		for both[i] == nil {
			id, err := tub.NewIdentity()
			require.NoError(t, err)
			if accept(string(id.TubID())) {
				both[i] = startTub(t, id, tub.Options{})
			}
		}
	}
	return both
}

// block is the hello or decision of one side.
type block = map[string]string

// assertOnlyConstantsAreEqual compares two blocks line by line and word by word.
func assertOnlyConstantsAreEqual(t *testing.T, a, b block, constants ...string) {
	t.Helper()
	require.NotEmpty(t, a)
	for key, value := range a {
		// The extensions are the same in all programs of one version.
		if slices.Contains(constants, key) || strings.EqualFold(key, "foolscap-go-extensions") {
			assert.Equal(t, value, b[key], key)
			continue
		}
		words, others := strings.Fields(value), strings.Fields(b[key])
		require.Len(t, others, len(words), key)
		for i := range words {
			assert.NotEqual(t, words[i], others[i], key)
		}
	}
	assert.Len(t, b, len(a))
}

func TestTwoTubsOfOneProcessHaveNothingInCommonAsClients(t *testing.T) {
	t.Parallel()
	pythonCert, pythonID := pypeer.WriteCert(t, pypeer.Middling)
	for name, accept := range map[string]func(string) bool{"as masters": pypeer.Greater(pythonID), "as slaves": pypeer.Less(pythonID)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peer := pypeer.Start(t, pypeer.Options{CertFile: pythonCert})
			root := publish(t, peer, "root", pypeer.KindRoot)
			var greetings [2][]greeting
			var decisions []block
			var held []pypeer.Reference
			for i, tb := range twoTubs(t, accept) {
				listen(t, tb)
				for range 2 { // a second connection resumes nothing
					addr, recording := tapped(t, peer.Addr())
					ref := connect(t, tb, root.WithHints(furl.Hint("tcp:"+addr)))
					call[tub.None](t, ref, "log", newDesk().object)
					held = append(held, peer.Ref(peer.TakeLogged("root")[0].Handle()).Describe())
					toTarget, _ := recording.bytes()
					greetings[i] = append(greetings[i], parseGreeting(t, handshakes(t, toTarget)[clientHello], true))
					peer.Do("disconnect", nil, nil)
					peer.WaitConnections(0)
					settled(t, tb)
				}
			}
			for _, own := range greetings {
				assertUnlike(t, own[0], own[1])
			}
			assertUnlike(t, greetings[0][0], greetings[1][0])
			assertUnlike(t, greetings[0][1], greetings[1][1])

			negotiations := peer.Negotiations()
			require.Len(t, negotiations, 4)
			constants := []string{"banana-negotiation-range", "initial-vocab-table-range", "last-connection"}
			assertOnlyConstantsAreEqual(t, negotiations[0].Hello, negotiations[2].Hello, constants...)
			for _, n := range negotiations {
				if n.Decision != nil {
					decisions = append(decisions, n.Decision)
				}
			}
			if name == "as masters" {
				require.Len(t, decisions, 4)
				assertOnlyConstantsAreEqual(t, decisions[0], decisions[2], "banana-decision-version", "initial-vocab-table-index")
			}
			seen := make(map[string]bool)
			for _, reference := range held {
				f, err := furl.Parse(reference.FURL)
				require.NoError(t, err)
				assert.False(t, seen[f.Name.Reveal()], "two objects have one name")
				seen[secret(f).Name.Reveal()] = true
			}
		})
	}
}

// noTickets is a session cache that takes note of being used.
type noTickets struct{ used bool }

func (c *noTickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *noTickets) Put(_ string, s *tls.ClientSessionState) {
	c.used = c.used || s != nil
}

// visit connects to a Go Tub as a stranger, with a version of TLS, and returns what the Tub has said in the open, its
// certificate, and its hello.
func visit(t *testing.T, addr string, id furl.TubID, visitor tls.Certificate, version uint16) (map[byte][]byte, *x509.Certificate, block) {
	t.Helper()
	addr, recording := tapped(t, addr)
	conn, err := net.Dial("tcp4", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprintf(conn, "GET /id/%s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n", id)
	require.NoError(t, err)
	reply := make([]byte, 0, 200)
	for !bytes.HasSuffix(reply, []byte("\r\n\r\n")) {
		n, err := conn.Read(reply[len(reply) : len(reply)+1])
		require.NoError(t, err)
		reply = reply[:len(reply)+n]
	}
	cache := new(noTickets)
	secure := tls.Client(conn, &tls.Config{
		InsecureSkipVerify: true, MinVersion: version, MaxVersion: version,
		Certificates: []tls.Certificate{visitor}, ClientSessionCache: cache,
	})
	require.NoError(t, secure.HandshakeContext(within(t)))
	header, err := textproto.NewReader(bufio.NewReader(secure)).ReadMIMEHeader()
	require.NoError(t, err)
	hello := make(block)
	for key := range header {
		hello[key] = header.Get(key)
	}
	assert.False(t, cache.used, "a session ticket")
	_, toClient := recording.bytes()
	return handshakes(t, toClient), secure.ConnectionState().PeerCertificates[0], hello
}

func TestTwoTubsOfOneProcessHaveNothingInCommonAsServers(t *testing.T) {
	t.Parallel()
	tubs := twoTubs(t, func(string) bool { return true })
	var addrs [2]string
	for i, tb := range tubs {
		addrs[i] = listen(t, tb)
	}
	own, err := tub.NewIdentity()
	require.NoError(t, err)
	visitor := certificateOf(t, own)
	for name, version := range map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			var open [2]map[byte][]byte
			var certificates [2]*x509.Certificate
			var hellos [2]block
			for i, tb := range tubs {
				open[i], certificates[i], hellos[i] = visit(t, addrs[i], tb.TubID(), visitor, version)
			}
			a, b := parseGreeting(t, open[0][serverHello], false), parseGreeting(t, open[1][serverHello], false)
			if version == tls.VersionTLS13 {
				// The session is that of the client, sent back.
				a.session, b.session = nil, nil
			} else {
				// The signature behind the share begins alike as often as not.
				assertSharesDiffer(t, open[0][serverKeyExchange][4:40], open[1][serverKeyExchange][4:40])
				assert.Equal(t, open[0][certificateRequest], open[1][certificateRequest])
				assert.Less(t, len(open[0][certificateRequest]), 100, "nobody is named there")
				assert.NotEqual(t, open[0][certificateMessage], open[1][certificateMessage])
			}
			assertUnlike(t, a, b)
			assertOnlyConstantsAreEqual(t, hellos[0], hellos[1], "Banana-Negotiation-Range", "Initial-Vocab-Table-Range")
			assertCertificatesTellNothing(t, certificates[0], certificates[1])
			assertCertificatesTellNothing(t, certificates[0], visitor.Leaf)
		})
	}
}

// assertCertificatesTellNothing makes sure that two certificates differ in their keys and in nothing else.
func assertCertificatesTellNothing(t *testing.T, a, b *x509.Certificate) {
	t.Helper()
	assert.NotEqual(t, a.PublicKey, b.PublicKey)
	assert.NotEqual(t, a.Signature, b.Signature)
	assert.Equal(t, a.SerialNumber, b.SerialNumber)
	assert.Equal(t, a.RawSubject, b.RawSubject)
	assert.Equal(t, a.RawIssuer, b.RawIssuer)
	assert.Equal(t, a.NotBefore, b.NotBefore)
	assert.Equal(t, a.NotAfter, b.NotAfter)
	assert.Equal(t, a.Extensions, b.Extensions)
	assert.Equal(t, a.SignatureAlgorithm, b.SignatureAlgorithm)
}

func certificateOf(t *testing.T, id *tub.Identity) tls.Certificate {
	t.Helper()
	text, err := id.PEM()
	require.NoError(t, err)
	certificate, err := tls.X509KeyPair(text, text)
	require.NoError(t, err)
	leaf, _ := pem.Decode(text)
	certificate.Leaf, err = x509.ParseCertificate(leaf.Bytes)
	require.NoError(t, err)
	return certificate
}
