package negotiate

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"time"
)

// KeyKind is a kind of key for a Tub's certificate.
type KeyKind uint8

const (
	// P256 is for all peers with an OpenSSL of 2010 or later.
	P256 KeyKind = iota
	// RSA2048 is what Python Foolscap uses: for the oldest of peers, or for a
	// Tub that should not be told from them by its key.
	RSA2048
)

func (k KeyKind) String() string {
	switch k {
	case P256:
		return "P-256"
	case RSA2048:
		return "RSA-2048"
	}
	return fmt.Sprintf("KeyKind(%d)", uint8(k))
}

// NewCertificate makes a new key and its self-signed certificate, which together
// are the identity of a new Tub: whoever loses or alters a byte of either becomes
// another Tub.
//
// All certificates made here are alike but for the key, and tell nothing of
// where and when they were made. There are no extensions in them, because other
// implementations let OpenSSL check the purpose of a certificate that names
// one, and the same certificate serves as client's and as server's. They are
// valid from the year 2000 on without end; nobody checks.
func NewCertificate(kind KeyKind) (*tls.Certificate, error) {
	var key crypto.Signer
	var err error
	switch kind {
	case P256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case RSA2048:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		err = fmt.Errorf("there is no %v", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("negotiate: making a key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "newpb_thingy"}, // as Python Foolscap calls them
		NotBefore:    time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("negotiate: making a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("negotiate: making a certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
