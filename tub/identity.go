package tub

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/foolscap-go/foolscap/internal/keyfile"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/negotiate"
)

// An Identity is the key of a Tub and its certificate, whose digest is the
// TubID. Whoever has it is the Tub. It does not change, and never shows its
// key.
type Identity struct {
	// Debuggers' dumps, and those of test libraries, read unexported fields
	// and follow pointers; they do not look into a closure.
	cert func() *tls.Certificate
	id   furl.TubID
}

// KeyKind is the kind of key of a new identity.
type KeyKind = negotiate.KeyKind

// Kinds of keys.
const (
	// P256 is the default.
	P256 = negotiate.P256
	// RSA2048 is what Python Foolscap uses, for peers with a very old OpenSSL.
	RSA2048 = negotiate.RSA2048
)

// NewIdentity makes a new identity with a P-256 key.
func NewIdentity() (*Identity, error) { return NewIdentityOf(P256) }

// NewIdentityOf makes a new identity with a key of that kind.
func NewIdentityOf(kind KeyKind) (*Identity, error) {
	cert, err := negotiate.NewCertificate(kind)
	if err != nil {
		return nil, fmt.Errorf("foolscap: make an identity: %w", err)
	}
	return identityOf(cert), nil
}

func identityOf(cert *tls.Certificate) *Identity {
	return &Identity{cert: func() *tls.Certificate { return cert }, id: furl.TubIDOf(cert.Certificate[0])}
}

// TubID returns the name that the identity gives its Tub.
func (i *Identity) TubID() furl.TubID { return i.id }

// String returns the TubID; the key is never shown.
func (i *Identity) String() string { return "identity of Tub " + i.id.String() }

// GoString returns what String returns.
func (i *Identity) GoString() string { return i.String() }

// LogValue gives slog the TubID.
func (i *Identity) LogValue() slog.Value { return slog.StringValue(i.id.String()) }

// ErrIdentity is wrapped by the errors of identities that cannot be read.
var ErrIdentity = errors.New("not a usable identity")

// ParseIdentity reads an identity from PEM as Foolscap writes it: one or more
// CERTIFICATE blocks, of which the first is the Tub's, and one private key in
// PKCS #8, PKCS #1 or SEC 1 form, in any order. Dates in the certificate do
// not matter. Errors wrap ErrIdentity and show nothing of the text.
func ParseIdentity(text []byte) (*Identity, error) {
	cert := new(tls.Certificate)
	var keys int
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		var err error
		switch block.Type {
		case "CERTIFICATE":
			cert.Certificate = append(cert.Certificate, block.Bytes)
		case "PRIVATE KEY":
			cert.PrivateKey, err = x509.ParsePKCS8PrivateKey(block.Bytes)
			keys++
		case "RSA PRIVATE KEY":
			cert.PrivateKey, err = x509.ParsePKCS1PrivateKey(block.Bytes)
			keys++
		case "EC PRIVATE KEY":
			cert.PrivateKey, err = x509.ParseECPrivateKey(block.Bytes)
			keys++
		}
		if err != nil {
			return nil, fmt.Errorf("%w: its %s block cannot be read", ErrIdentity, block.Type)
		}
	}
	switch {
	case len(cert.Certificate) == 0:
		return nil, fmt.Errorf("%w: there is no CERTIFICATE block in it", ErrIdentity)
	case keys != 1:
		return nil, fmt.Errorf("%w: there are %d private keys in it, one is needed", ErrIdentity, keys)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("%w: its certificate cannot be read: %v", ErrIdentity, err)
	}
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: its key cannot sign", ErrIdentity)
	}
	if public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(leaf.PublicKey) {
		return nil, fmt.Errorf("%w: its key is not that of its certificate", ErrIdentity)
	}
	cert.Leaf = leaf
	return identityOf(cert), nil
}

// Certificate returns the certificate with its key, for transports that
// authenticate themselves, such as QUIC. It is a secret, and not to be changed.
func (i *Identity) Certificate() *tls.Certificate { return i.cert() }

// PEM returns the identity as Foolscap writes it: the certificate, then the
// key in PKCS #8. It is a secret.
func (i *Identity) PEM() ([]byte, error) {
	var text []byte
	cert := i.cert()
	for _, der := range cert.Certificate {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("foolscap: %w", err)
	}
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...), nil
}

// Save writes the identity to a file that does not exist yet, with mode 0600.
// The file appears whole or not at all. An existing file is an error that
// wraps fs.ErrExist.
func (i *Identity) Save(path string) error {
	text, err := i.PEM()
	if err != nil {
		return err
	}
	return keyfile.Create(path, text)
}

// LoadIdentity reads an identity from a file. A file that other users can
// write is refused; one that they can read is made private, with a warning to
// logger, which may be nil.
func LoadIdentity(path string, logger *slog.Logger) (*Identity, error) {
	return keyfile.Read(path, logger, ParseIdentity)
}

// LoadOrCreateIdentity reads an identity from a file, as LoadIdentity does, or
// makes a new one and saves it there if there is no file. A file that cannot be
// read is never replaced.
func LoadOrCreateIdentity(path string, logger *slog.Logger) (*Identity, error) {
	i, err := LoadIdentity(path, logger)
	if !errors.Is(err, fs.ErrNotExist) {
		return i, err
	}
	if i, err = NewIdentity(); err != nil {
		return nil, err
	}
	if err := i.Save(path); err != nil {
		if errors.Is(err, fs.ErrExist) { // somebody was faster
			return LoadIdentity(path, logger)
		}
		return nil, err
	}
	return i, nil
}
