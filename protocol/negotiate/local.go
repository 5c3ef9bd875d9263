package negotiate

import (
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// LocalConfig sets up a [Local].
type LocalConfig struct {
	// Certificate is the Tub's identity: its key, and a chain that begins with
	// the certificate of which the TubID is the digest. Required.
	Certificate *tls.Certificate

	// Ledger is the Tub's. Required.
	Ledger *Ledger

	// Extensions are the tokens to offer, as the package documentation defines
	// them. None by default.
	Extensions []string

	// NoVocabulary offers the empty vocabulary table only. By default there is
	// a choice of tables 0 and 1.
	NoVocabulary bool

	// MinTLS and MaxTLS bound the TLS version, as in tls.Config. The defaults
	// are TLS 1.2 and the latest. Peers with a very old OpenSSL need
	// tls.VersionTLS10.
	MinTLS, MaxTLS uint16
}

// Local is what one Tub contributes to its negotiations. It is immutable, and
// safe for concurrent use.
type Local struct {
	tubID      furl.TubID
	ledger     *Ledger
	extensions []string
	vocab      numberRange
	tls        *tls.Config // of the server; the client adds its check of the server
}

// NewLocal makes a Local, or says what in cfg is unusable.
func NewLocal(cfg LocalConfig) (*Local, error) {
	cert := cfg.Certificate
	if cert == nil || len(cert.Certificate) == 0 {
		return nil, errors.New("negotiate: LocalConfig.Certificate has no certificate")
	}
	if _, ok := cert.PrivateKey.(crypto.Signer); !ok {
		return nil, errors.New("negotiate: LocalConfig.Certificate has no private key that can sign")
	}
	if cfg.Ledger == nil {
		return nil, errors.New("negotiate: LocalConfig.Ledger is nil")
	}
	if err := checkExtensions(cfg.Extensions); err != nil {
		return nil, fmt.Errorf("negotiate: LocalConfig.Extensions: %w", err)
	}
	vocab := numberRange{0, banana.MaxVocab}
	if cfg.NoVocabulary {
		vocab.max = 0
	}
	minTLS := cfg.MinTLS
	if minTLS == 0 {
		minTLS = tls.VersionTLS12
	}
	if cfg.MaxTLS != 0 && cfg.MaxTLS < minTLS {
		return nil, errors.New("negotiate: LocalConfig.MaxTLS is below MinTLS")
	}
	return &Local{
		tubID:      furl.TubIDOf(cert.Certificate[0]),
		ledger:     cfg.Ledger,
		extensions: slices.Sorted(slices.Values(cfg.Extensions)),
		vocab:      vocab,
		tls: &tls.Config{
			Certificates: []tls.Certificate{*cert},
			// Not by Certificates: a server's list of certificate authorities
			// must not keep us from showing the only identity we have.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil },
			// The peer's identity is the digest of its certificate. What else
			// stands in there is nobody's claim.
			InsecureSkipVerify: true,
			ClientAuth:         tls.RequireAnyClientCert,
			MinVersion:         minTLS,
			MaxVersion:         cfg.MaxTLS,
			// Identity comes from the certificates of this very handshake.
			SessionTicketsDisabled: true,
			// Small first records are for web pages. Here they only cost.
			DynamicRecordSizingDisabled: true,
		},
	}, nil
}

// TubID returns the Tub's identity.
func (l *Local) TubID() furl.TubID { return l.tubID }

// Ledger returns the Tub's ledger.
func (l *Local) Ledger() *Ledger { return l.ledger }
