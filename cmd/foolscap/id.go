package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/foolscap-go/foolscap/tub"
)

func idCommand() *command {
	return &command{
		name:    "id",
		args:    "create FILE | show FILE",
		summary: "create the identity of a Tub, or show one",
		about: `The identity of a Tub is a key with a certificate that it has signed itself; the
TubID, the first part of its FURLs, is a digest of the certificate. Whoever has
the file is the Tub. It is a PEM file as Python Foolscap writes and reads it
(its "tub.pem"), so a Tub can move between the two.

  create FILE   makes a new identity. A file that is there already is never
                overwritten.
  show FILE     shows the TubID and the certificate, and nothing of the key.

The file has mode 0600. One that others can read is made private when it is
read; one that others can write is refused. The dates of the certificate do not
matter to Foolscap: an expired one is as good as any.`,
		examples: `foolscap id create tub.pem
foolscap id show tub.pem
# For peers whose OpenSSL does not know elliptic curves.
foolscap id create --kind rsa2048 old.pem
foolscap id show --json tub.pem | jq -r .tub`,
		verbs: []string{"create", "show"},
		setup: setupID,
	}
}

func setupID(fs *flag.FlagSet) runFunc {
	kind := fs.String("kind", "p256", "for create, the `KIND` of key: p256 (the default) or rsa2048")
	return func(_ context.Context, e *env, args []string) error {
		if err := want(args, 2, 2, "\"create FILE\" or \"show FILE\""); err != nil {
			return err
		}
		path := args[1]
		switch args[0] {
		case "create":
			return e.createID(path, *kind)
		case "show":
			id, err := tub.LoadIdentity(path, e.logger(slog.LevelWarn))
			if err != nil {
				return err
			}
			return e.showID(id, path, false)
		}
		return usagef("%s is neither create nor show", quote(args[0]))
	}
}

var keyKinds = map[string]tub.KeyKind{"p256": tub.P256, "rsa2048": tub.RSA2048}

func (e *env) createID(path, kind string) error {
	k, ok := keyKinds[kind]
	if !ok {
		return usagef("--kind %s: it is p256 or rsa2048", quote(kind))
	}
	id, err := tub.NewIdentityOf(k)
	if err != nil {
		return err
	}
	if err := id.Save(path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists already; it is not overwritten, since whatever is in it may be needed", path)
		}
		return err
	}
	return e.showID(id, path, true)
}

// idDocument is what --json writes.
type idDocument struct {
	File      string    `json:"file"`
	Created   bool      `json:"created"`
	TubID     string    `json:"tub"`
	Key       string    `json:"key"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Signature string    `json:"signature"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Expired   bool      `json:"expired"`
}

func (e *env) showID(id *tub.Identity, path string, created bool) error {
	cert, err := certificate(id)
	if err != nil {
		return err
	}
	doc := idDocument{
		File: path, Created: created, TubID: id.TubID().String(), Key: keyText(cert.PublicKey),
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Signature: cert.SignatureAlgorithm.String(),
		NotBefore: cert.NotBefore.UTC(), NotAfter: cert.NotAfter.UTC(), Expired: time.Now().After(cert.NotAfter),
	}
	if e.json {
		return e.writeJSON(doc)
	}
	validity := doc.NotBefore.Format(time.DateOnly) + " to " + doc.NotAfter.Format(time.DateOnly)
	if doc.Expired {
		validity += " (expired, which does not matter to Foolscap)"
	}
	var t table
	t.row("file", doc.File)
	t.row("TubID", doc.TubID)
	t.row("key", doc.Key)
	t.row("certificate", doc.Subject+", signed with "+doc.Signature)
	t.row("valid", validity)
	t.write(e.stdout, e.colourOut)
	return nil
}

// certificate returns the certificate of an identity.
func certificate(id *tub.Identity) (*x509.Certificate, error) {
	text, err := id.PEM()
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text) // the certificate comes first
	if block == nil {
		return nil, errors.New("the identity has no certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

func keyText(key any) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return "ECDSA " + key.Curve.Params().Name
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA, %d bits", key.N.BitLen())
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return fmt.Sprintf("%T", key)
}
