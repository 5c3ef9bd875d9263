package negotiate

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// rsaKey is shared: RSA keys are slow to make, and another certificate of the
// same key is another Tub.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// A kind is a way to make certificates, each of another Tub.
type kind func(t testing.TB) *tls.Certificate

func p256(t testing.TB) *tls.Certificate {
	cert, err := NewCertificate(P256)
	require.NoError(t, err)
	return cert
}

func rsa2048(t testing.TB) *tls.Certificate {
	return certificate(t, rsaKey(), func(c *x509.Certificate) {
		c.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	})
}

// certificate is self-signed, with a template to be changed by the test.
func certificate(t testing.TB, key crypto.Signer, change func(*x509.Certificate)) *tls.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// expiredV1 is what a Tub of Python Foolscap has that was made long ago: X.509
// version 1, which crypto/x509 reads but does not make.
func expiredV1(t testing.TB) *tls.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	return certificateV1(t, serial)
}

func certificateV1(t testing.TB, serial *big.Int) *tls.Certificate {
	key := rsaKey()
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	name, err := asn1.Marshal(pkix.Name{CommonName: "newpb_thingy"}.ToRDNSequence())
	require.NoError(t, err)
	sha256WithRSA := pkix.AlgorithmIdentifier{
		Algorithm:  asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11},
		Parameters: asn1.NullRawValue,
	}
	type validity struct{ NotBefore, NotAfter time.Time }
	made := time.Date(2009, time.March, 1, 12, 0, 0, 0, time.UTC)
	tbs, err := asn1.Marshal(struct {
		Serial    *big.Int
		Algorithm pkix.AlgorithmIdentifier
		Issuer    asn1.RawValue
		Validity  validity
		Subject   asn1.RawValue
		PublicKey asn1.RawValue
	}{
		serial, sha256WithRSA, asn1.RawValue{FullBytes: name},
		validity{made, made.AddDate(1, 0, 0)},
		asn1.RawValue{FullBytes: name}, asn1.RawValue{FullBytes: public},
	})
	require.NoError(t, err)
	digest := sha256.Sum256(tbs)
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	require.NoError(t, err)
	der, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: tbs}, sha256WithRSA, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// newLocal makes a Tub of its own.
func newLocal(t testing.TB, cert *tls.Certificate, change ...func(*LocalConfig)) *Local {
	cfg := LocalConfig{Certificate: cert, Ledger: NewLedger(LedgerConfig{})}
	for _, f := range change {
		f(&cfg)
	}
	local, err := NewLocal(cfg)
	require.NoError(t, err)
	return local
}

// newPair makes two Tubs of which the second has the greater TubID: it is the
// master.
func newPair(t testing.TB, slave, master kind) (*tls.Certificate, *tls.Certificate) {
	for range 1000 {
		s, m := slave(t), master(t)
		if furl.TubIDOf(s.Certificate[0]) < furl.TubIDOf(m.Certificate[0]) {
			return s, m
		}
	}
	t.Fatal("no certificate came out greater than another")
	return nil, nil
}

// newTubs is newPair for the common case.
func newTubs(t testing.TB, change ...func(*LocalConfig)) (slave, master *Local) {
	s, m := newPair(t, p256, p256)
	return newLocal(t, s, change...), newLocal(t, m, change...)
}

func leafOf(t testing.TB, l *Local) *x509.Certificate {
	leaf, err := x509.ParseCertificate(l.tls.Certificates[0].Certificate[0])
	require.NoError(t, err)
	return leaf
}

// answering is the Find of a listener for these Tubs.
func answering(locals ...*Local) func(furl.TubID) *Local {
	return func(id furl.TubID) *Local {
		for _, l := range locals {
			if l.tubID == id {
				return l
			}
		}
		return nil
	}
}

// A transport makes the two ends of a stream.
type transport func(t testing.TB) (client, server net.Conn)

// unbuffered is a stream on which a write waits for the read.
func unbuffered(t testing.TB) (client, server net.Conn) {
	client, server = net.Pipe()
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func loopback(t testing.TB) (client, server net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// An outcome is what Client or Server returned.
type outcome struct {
	*Result
	err error
}

// meet runs both sides at the same time.
func meet(ctx context.Context, a, b net.Conn, client ClientConfig, server ServerConfig) (atClient, atServer outcome) {
	var wg sync.WaitGroup
	wg.Go(func() { atClient.Result, atClient.err = Client(ctx, a, client) })
	wg.Go(func() { atServer.Result, atServer.err = Server(ctx, b, server) })
	wg.Wait()
	return atClient, atServer
}

// dial negotiates between two Tubs over a new stream.
func dial(t testing.TB, from, to *Local) (atClient, atServer outcome) {
	a, b := unbuffered(t)
	return meet(t.Context(), a, b, ClientConfig{Local: from, Target: to.tubID}, ServerConfig{Find: answering(to)})
}

// requireTalk makes sure that the two ends of a connection understand each other.
func requireTalk(t testing.TB, a, b *Result) {
	t.Helper()
	for _, ends := range [][2]*Result{{a, b}, {b, a}} {
		sent := []byte("after the decision")
		errs := make(chan error, 1)
		go func() { _, err := ends[0].Conn.Write(sent); errs <- err }()
		received := make([]byte, len(sent))
		_, err := io.ReadFull(ends[1].Conn, received)
		require.NoError(t, err)
		require.NoError(t, <-errs)
		require.Equal(t, sent, received)
	}
}

// A feed is a stream on which the other side has said all it will ever say, and
// then hangs up. It keeps what is written to it.
type feed struct {
	mu      sync.Mutex
	unread  []byte
	written bytes.Buffer
	closed  bool
}

func feeding(parts ...[]byte) *feed { return &feed{unread: bytes.Join(parts, nil)} }

func (f *feed) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return 0, net.ErrClosed
	case len(f.unread) == 0:
		return 0, io.EOF
	}
	n := copy(p, f.unread)
	f.unread = f.unread[n:]
	return n, nil
}

func (f *feed) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, net.ErrClosed
	}
	return f.written.Write(p)
}

func (f *feed) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

func (f *feed) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

func (f *feed) output() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.written.String()
}

func (f *feed) LocalAddr() net.Addr              { return &net.UnixAddr{} }
func (f *feed) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (f *feed) SetDeadline(time.Time) error      { return nil }
func (f *feed) SetReadDeadline(time.Time) error  { return nil }
func (f *feed) SetWriteDeadline(time.Time) error { return nil }

// A vector is what Python Foolscap has sent, or how it has reacted.
type vector struct {
	Name, Hex, Outcome, Hash string

	bytes []byte
}

func vectors(t testing.TB, group string) map[string]vector {
	raw, err := os.ReadFile("../banana/testdata/vectors.json")
	require.NoError(t, err)
	var all []vector
	require.NoError(t, json.Unmarshal(raw, &all))
	found := make(map[string]vector)
	for _, v := range all {
		if name, ok := strings.CutPrefix(v.Name, group+"/"); ok {
			v.bytes, err = hex.DecodeString(v.Hex)
			require.NoError(t, err)
			found[name] = v
		}
	}
	require.NotEmpty(t, found)
	return found
}

// reply is what Python answered, which the outcome has as a Python literal.
func (v vector) reply(t testing.TB) string {
	_, rest, ok := strings.Cut(v.Outcome, "; reply b")
	require.True(t, ok)
	literal, _, ok := strings.Cut(rest[1:], rest[:1]+"; closed=")
	require.True(t, ok)
	text, err := strconv.Unquote(`"` + strings.ReplaceAll(literal, `"`, `\"`) + `"`)
	require.NoError(t, err)
	return text
}
