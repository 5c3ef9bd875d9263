package tub_test

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// The file that Foolscap 21.7.0 itself has written, with a certificate of
// X.509 version 1, and the TubID that Foolscap gives it.
const (
	foolscapFile  = "../protocol/negotiate/testdata/foolscap-21.7.0.pem"
	foolscapTubID = furl.TubID("xf3j7bbdcopfic4uzbtb6l3cu2fzj24v")
)

func TestANewIdentityHasAKeyOfTheKindAskedFor(t *testing.T) {
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	assert.IsType(t, &ecdsa.PrivateKey{}, id.Certificate().PrivateKey)
	assert.Equal(t, furl.TubIDOf(id.Certificate().Certificate[0]), id.TubID())

	old, err := tub.NewIdentityOf(tub.RSA2048)
	require.NoError(t, err)
	require.IsType(t, &rsa.PrivateKey{}, old.Certificate().PrivateKey)
	assert.Equal(t, 2048, old.Certificate().PrivateKey.(*rsa.PrivateKey).N.BitLen())

	_, err = tub.NewIdentityOf(tub.KeyKind(99))
	assert.Error(t, err)
}

func TestAnIdentityIsTheSameAfterSavingAndLoading(t *testing.T) {
	for _, kind := range []tub.KeyKind{tub.P256, tub.RSA2048} {
		t.Run(kind.String(), func(t *testing.T) {
			id, err := tub.NewIdentityOf(kind)
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), "tub.pem")
			require.NoError(t, id.Save(path))
			info, err := os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, fs.FileMode(0o600), info.Mode())

			again, err := tub.LoadIdentity(path, nil)
			require.NoError(t, err)
			assert.Equal(t, id.TubID(), again.TubID())
			key := id.Certificate().PrivateKey.(interface{ Equal(crypto.PrivateKey) bool })
			assert.True(t, key.Equal(again.Certificate().PrivateKey))
			text, err := again.PEM()
			require.NoError(t, err)
			saved, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(saved), string(text))

			err = newIdentity(t).Save(path)
			assert.ErrorIs(t, err, fs.ErrExist)
			unchanged, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, saved, unchanged, "a file that exists is never replaced")
			assert.Equal(t, []string{"tub.pem"}, files(t, filepath.Dir(path)))
		})
	}
}

func files(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// blocks are the parts of files with identities.
type blocks struct{ certificate, pkcs8, native []byte }

func blocksOf(t testing.TB, id *tub.Identity) (b blocks) {
	t.Helper()
	cert := id.Certificate()
	b.certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	b.pkcs8 = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	switch key := cert.PrivateKey.(type) {
	case *ecdsa.PrivateKey:
		der, err = x509.MarshalECPrivateKey(key)
		require.NoError(t, err)
		b.native = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	case *rsa.PrivateKey:
		b.native = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestIdentitiesAreReadInEveryFormThatFoolscapMayHaveWritten(t *testing.T) {
	ec, other := newIdentity(t), newIdentity(t)
	old, err := tub.NewIdentityOf(tub.RSA2048)
	require.NoError(t, err)
	e, o, r := blocksOf(t, ec), blocksOf(t, other), blocksOf(t, old)
	comment := []byte("Subject: CN = newpb_thingy\n\n")
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}})
	for _, test := range []struct {
		name string
		text []byte
		want *tub.Identity
	}{
		{"the certificate first", join(e.certificate, e.pkcs8), ec},
		{"the key first", join(e.pkcs8, e.certificate), ec},
		{"a key in SEC 1", join(e.certificate, e.native), ec},
		{"a key in SEC 1 behind its parameters, as OpenSSL writes it", join(parameters, e.native, e.certificate), ec},
		{"RSA in PKCS #8", join(r.certificate, r.pkcs8), old},
		{"RSA in PKCS #1, the key first", join(r.native, r.certificate), old},
		{"text around the blocks", join(comment, e.certificate, comment, e.pkcs8, comment), ec},
		{"lines that end as on Windows", bytes.ReplaceAll(join(e.certificate, e.pkcs8), []byte("\n"), []byte("\r\n")), ec},
		{"a chain, of which the first is the Tub's", join(e.certificate, o.certificate, e.pkcs8), ec},
	} {
		t.Run(test.name, func(t *testing.T) {
			id, err := tub.ParseIdentity(test.text)
			require.NoError(t, err)
			assert.Equal(t, test.want.TubID(), id.TubID())
			_, err = tub.New(id, nil)
			assert.NoError(t, err)
		})
	}
}

func TestWhatIsNoIdentityIsRefusedAndNotShown(t *testing.T) {
	id := blocksOf(t, newIdentity(t))
	other := blocksOf(t, newIdentity(t))
	old, err := tub.NewIdentityOf(tub.RSA2048)
	require.NoError(t, err)
	r := blocksOf(t, old)
	block := func(typ string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}) }
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	agreementDER, err := x509.MarshalPKCS8PrivateKey(agreement)
	require.NoError(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	edDER, err := x509.MarshalPKCS8PrivateKey(edKey)
	require.NoError(t, err)
	for _, test := range []struct {
		name, says string
		text       []byte
	}{
		{"nothing", "no CERTIFICATE", nil},
		{"junk", "no CERTIFICATE", []byte("swordfish swordfish")},
		{"no certificate", "no CERTIFICATE", id.pkcs8},
		{"no key", "0 private keys", id.certificate},
		{"two keys", "2 private keys", join(id.certificate, id.pkcs8, other.pkcs8)},
		{"the same key twice", "2 private keys", join(id.certificate, id.pkcs8, id.native)},
		{"the key of another certificate", "not that of its certificate", join(id.certificate, other.pkcs8)},
		{"the key of another kind", "not that of its certificate", join(id.certificate, r.pkcs8)},
		{"the key of yet another kind", "not that of its certificate", join(id.certificate, block("PRIVATE KEY", edDER))},
		{"a key that cannot sign", "cannot sign", join(id.certificate, block("PRIVATE KEY", agreementDER))},
		{"an encrypted key", "0 private keys", join(id.certificate, block("ENCRYPTED PRIVATE KEY", []byte("swordfish")))},
		{"a key that is none", "PRIVATE KEY block", join(id.certificate, block("PRIVATE KEY", []byte("swordfish")))},
		{"an RSA key that is none", "RSA PRIVATE KEY block", join(id.certificate, block("RSA PRIVATE KEY", []byte("swordfish")))},
		{"an EC key that is none", "EC PRIVATE KEY block", join(id.certificate, block("EC PRIVATE KEY", []byte("swordfish")))},
		{"a certificate that is none", "certificate cannot be read", join(block("CERTIFICATE", []byte("swordfish")), id.pkcs8)},
		{"half a file", "0 private keys", join(id.certificate, id.pkcs8[:len(id.pkcs8)/2])},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := tub.ParseIdentity(test.text)
			require.ErrorIs(t, err, tub.ErrIdentity)
			assert.Nil(t, got)
			assert.ErrorContains(t, err, test.says)
			assert.NotContains(t, err.Error(), "swordfish")

			path := filepath.Join(t.TempDir(), "tub.pem")
			require.NoError(t, os.WriteFile(path, test.text, 0o600))
			_, err = tub.LoadOrCreateIdentity(path, nil)
			require.ErrorIs(t, err, tub.ErrIdentity)
			assert.ErrorContains(t, err, path, "which file it is")
			left, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(test.text), string(left), "a file that cannot be read is never replaced")
		})
	}
}

func TestATubTakesOverTheIdentityOfAPythonTub(t *testing.T) {
	text, err := os.ReadFile(foolscapFile)
	require.NoError(t, err)
	id, err := tub.ParseIdentity(text)
	require.NoError(t, err)
	assert.Equal(t, foolscapTubID, id.TubID())
	assert.Equal(t, 1, id.Certificate().Leaf.Version)

	server := newTubOf(t, id, nil)
	listen(t, server)
	f := register(t, server, calculator())
	assert.Equal(t, 3, call[int](t, connect(t, newTub(t, nil), f), "add", 1, 2))
}

func TestAnIdentityIsMadeOnceAndThenLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tub.pem")
	id, err := tub.LoadOrCreateIdentity(path, nil)
	require.NoError(t, err)
	again, err := tub.LoadOrCreateIdentity(path, nil)
	require.NoError(t, err)
	assert.Equal(t, id.TubID(), again.TubID())

	_, err = tub.LoadIdentity(filepath.Join(t.TempDir(), "missing.pem"), nil)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	_, err = tub.LoadOrCreateIdentity(filepath.Join(t.TempDir(), "missing", "tub.pem"), nil)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func TestWhoeverMakesAnIdentityAtTheSameTimeGetsTheSame(t *testing.T) {
	for range 20 {
		path := filepath.Join(t.TempDir(), "tub.pem")
		ids := make([]furl.TubID, 8)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				if id, err := tub.LoadOrCreateIdentity(path, nil); assert.NoError(t, err) {
					ids[i] = id.TubID()
				}
			})
		}
		wg.Wait()
		for _, id := range ids {
			assert.Equal(t, ids[0], id)
		}
		assert.Equal(t, []string{"tub.pem"}, files(t, filepath.Dir(path)), "nothing is left lying about")
	}
}

func TestAFileThatOthersMayUseIsMadePrivateOrRefused(t *testing.T) {
	id := newIdentity(t)
	text, err := id.PEM()
	require.NoError(t, err)
	for _, test := range []struct {
		mode, after fs.FileMode
		refused     bool
		warned      bool
	}{
		{mode: 0o600, after: 0o600},
		{mode: 0o400, after: 0o400},
		{mode: 0o644, after: 0o600, warned: true},
		{mode: 0o444, after: 0o400, warned: true},
		{mode: 0o640, after: 0o600, warned: true},
		{mode: 0o660, after: 0o660, refused: true},
		{mode: 0o602, after: 0o602, refused: true},
		{mode: 0o666, after: 0o666, refused: true},
	} {
		t.Run(test.mode.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tub.pem")
			require.NoError(t, os.WriteFile(path, text, 0o600))
			require.NoError(t, os.Chmod(path, test.mode))
			var log logs
			got, err := tub.LoadOrCreateIdentity(path, log.logger())
			if test.refused {
				assert.ErrorContains(t, err, "other users can write")
				assert.ErrorContains(t, err, path)
			} else {
				require.NoError(t, err)
				assert.Equal(t, id.TubID(), got.TubID())
			}
			info, err := os.Stat(path)
			require.NoError(t, err)
			assert.Equal(t, test.after, info.Mode())
			left, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, text, left)
			if test.warned {
				assert.Contains(t, log.String(), "level=WARN")
				assert.Contains(t, log.String(), path)
			} else {
				assert.Empty(t, log.String())
			}
		})
	}
}

// forms prints a value in every way that a program may come upon.
func forms(t testing.TB, v any) string {
	t.Helper()
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&b, verb+"\n", v)
		fmt.Fprintf(&b, verb+"\n", struct{ V any }{v})
		fmt.Fprintf(&b, verb+"\n", []any{v})
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("message", "value", v, slog.Group("group", "value", v))
	}
	if text, err := json.Marshal(v); err == nil {
		b.Write(text)
	}
	// What a test prints when two values differ follows every pointer.
	assert.Equal(failing{&b}, v, "something else")
	return b.String()
}

// failing is a test whose failures are written down.
type failing struct{ b *strings.Builder }

func (f failing) Errorf(format string, args ...any) { fmt.Fprintf(f.b, format, args...) }

func TestAKeyIsNeverPrinted(t *testing.T) {
	id := newIdentity(t)
	key, err := id.Certificate().PrivateKey.(*ecdsa.PrivateKey).Bytes()
	require.NoError(t, err)
	require.NotEmpty(t, shown(forms(t, id.Certificate()), key), "these are ways to print a key")

	text := forms(t, id)
	assert.Contains(t, text, id.TubID())
	assert.Empty(t, shown(text, key))
	tb := newTubOf(t, id, nil)
	assert.Empty(t, shown(fmt.Sprintf("%v %+v %#v %s %q", tb, tb, tb, tb, tb), key))
	_, err = tub.ParseIdentity(join(blocksOf(t, newIdentity(t)).certificate, blocksOf(t, id).pkcs8))
	assert.Empty(t, shown(err.Error(), key))
}

// shown returns the forms in which a key of 32 bytes is found in a text.
func shown(text string, key []byte) (found []string) {
	part := key[8:24]
	for _, form := range []string{
		hex.EncodeToString(part),
		hex.EncodeToString([]byte(hex.EncodeToString(part))),
		strings.Trim(fmt.Sprint(part), "[]"),
		strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}"),
		fmt.Sprint(binary.BigEndian.Uint64(part)), // a word of a big.Int
		fmt.Sprintf("%#x", binary.BigEndian.Uint64(part)),
		new(big.Int).SetBytes(key).String(),
		base64.StdEncoding.EncodeToString(key[9:24]),
		"PRIVATE KEY---",
	} {
		if strings.Contains(text, form) {
			found = append(found, form)
		}
	}
	return found
}
