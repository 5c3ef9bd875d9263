package pypeer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// WriteCert makes an identity with a TubID that accept agrees to, and returns the file with it, for [Options.CertFile],
// and the TubID. Which of two Tubs is the master, and makes the decisions, depends on nothing but their TubIDs: the one
// that is greater as a string is it. See [Greater] and [Less].
func WriteCert(t testing.TB, accept func(tubID string) bool) (file, tubID string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("making a certificate: %v", err)
	}
	// One key will do: a TubID is the hash of the whole certificate.
	for serial := int64(1); ; serial++ {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(serial),
			Subject:      pkix.Name{CommonName: "peer"},
			NotBefore:    time.Now().Add(-time.Hour),
			NotAfter:     time.Now().Add(24 * time.Hour),
		}
		certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatalf("making a certificate: %v", err)
		}
		hash := sha1.Sum(certificate)
		tubID = strings.ToLower(base32.StdEncoding.EncodeToString(hash[:]))
		if !accept(tubID) {
			continue
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatalf("making a certificate: %v", err)
		}
		var content bytes.Buffer
		for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: certificate}, {Type: "PRIVATE KEY", Bytes: private}} {
			if err := pem.Encode(&content, block); err != nil {
				t.Fatalf("making a certificate: %v", err)
			}
		}
		file = filepath.Join(t.TempDir(), "tub.pem")
		if err := os.WriteFile(file, content.Bytes(), 0o600); err != nil {
			t.Fatalf("making a certificate: %v", err)
		}
		return file, tubID
	}
}

// Greater accepts the TubIDs that are master over another one. There may be few of them; a test that can choose both
// sides should not have them all above an arbitrary one.
func Greater(than string) func(string) bool {
	return func(tubID string) bool { return tubID > than }
}

// Less accepts the TubIDs over which another one is master.
func Less(than string) func(string) bool {
	return func(tubID string) bool { return tubID < than }
}

// Middling accepts TubIDs that are neither high nor low, so that it takes few attempts to find one above or below.
func Middling(tubID string) bool { return tubID[0] >= 'e' && tubID[0] <= 'r' }

// made are the certificate files that Foolscap has written for peers which have ended. Making an RSA key is half of what
// it takes to start a peer.
var made struct {
	sync.Mutex
	contents [][]byte
}

// borrowCert returns a file for a certificate that no other running peer has; Foolscap will make the certificate if there
// is none to be had.
func borrowCert(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tub.pem")
	made.Lock()
	defer made.Unlock()
	if last := len(made.contents) - 1; last >= 0 {
		if err := os.WriteFile(file, made.contents[last], 0o600); err != nil {
			t.Fatalf("writing a certificate: %v", err)
		}
		made.contents = made.contents[:last]
	}
	t.Cleanup(func() {
		// There is no such file when the peer did not start.
		if content, err := os.ReadFile(file); err == nil {
			made.Lock()
			defer made.Unlock()
			made.contents = append(made.contents, content)
		}
	})
	return file
}
