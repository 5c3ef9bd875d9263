package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// newIdentity makes what every contestant in Go presents: a self-signed P-256
// certificate.
func newIdentity() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "bench"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// serverTLS asks for a certificate, demands one, and takes its fingerprint.
// That is as much as a Foolscap listener does with the certificate of a
// client it has not met.
func serverTLS(identity tls.Certificate) *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{identity},
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			_ = fingerprint(state.PeerCertificates[0].Raw)
			return nil
		},
	}
}

// clientTLS accepts one server, by the fingerprint of its certificate. That
// is as much as a Foolscap client does.
func clientTLS(identity tls.Certificate, server string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{identity},
		MinVersion:   tls.VersionTLS13,
		// The certificate is pinned below: there is no authority to ask.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if fingerprint(state.PeerCertificates[0].Raw) != server {
				return errors.New("the server presented another certificate than the pinned one")
			}
			return nil
		},
	}
}

// pinned is the target of the contestants that are known by an address and
// the fingerprint of a certificate.
func pinned(addr net.Addr, identity tls.Certificate) endpoint {
	return endpoint{
		addr:   addr.String(),
		target: addr.String() + "/" + fingerprint(identity.Certificate[0]),
	}
}

func parsePinned(target string) (addr, server string, err error) {
	addr, server, ok := strings.Cut(target, "/")
	if !ok {
		return "", "", fmt.Errorf("%q is not an address with a fingerprint", target)
	}
	return addr, server, nil
}
