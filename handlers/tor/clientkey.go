package tor

import (
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/foolscap-go/foolscap/internal/keyfile"
)

// Client authorisation: an onion service publishes its descriptor encrypted for
// the X25519 keys of those whom it admits. The functions here read and write
// these keys as tor itself does in files.

const keyPrefix = "descriptor:x25519:"

// FormatClientKey writes a public key as a service's operator gets it from a
// client, and as tor's files *.auth have it: "descriptor:x25519:" and base32.
func FormatClientKey(key *ecdh.PublicKey) string {
	return keyPrefix + base32Keys.EncodeToString(key.Bytes())
}

// ParseClientKey reads what FormatClientKey writes, or the base32 part of it
// alone.
func ParseClientKey(text string) (*ecdh.PublicKey, error) {
	raw, err := decodeKey(strings.TrimPrefix(strings.TrimSpace(text), keyPrefix))
	if err != nil {
		return nil, err
	}
	return ecdh.X25519().NewPublicKey(raw)
}

// FormatClientCredential writes the private key with which a client is admitted
// to an onion service, with or without ".onion", as tor's files *.auth_private
// have it. The text is a secret.
func FormatClientCredential(onion string, key *ecdh.PrivateKey) string {
	name, _ := onionName(withOnion(onion))
	return name + ":" + keyPrefix + base32Keys.EncodeToString(key.Bytes())
}

// ParseClientCredential reads what FormatClientCredential writes. The onion
// address is returned with ".onion", as ClientKeys has it.
func ParseClientCredential(text string) (onion string, key *ecdh.PrivateKey, err error) {
	name, encoded, found := strings.Cut(strings.TrimSpace(text), ":"+keyPrefix)
	if !found {
		return "", nil, errors.New("tor: a client's key has the form ADDRESS:descriptor:x25519:KEY")
	}
	if err := checkOnion(strings.ToLower(name)); err != nil {
		return "", nil, errors.New("tor: a client's key begins with the onion address, without .onion")
	}
	raw, err := decodeKey(encoded)
	if err != nil {
		return "", nil, err
	}
	if key, err = ecdh.X25519().NewPrivateKey(raw); err != nil {
		return "", nil, err
	}
	return withOnion(name), key, nil
}

// CreateClientKey makes a key for an onion service, with or without ".onion", and
// puts it, as FormatClientCredential writes it, into a new file of mode 0600. The
// error wraps fs.ErrExist if there is one already. The public key is what the
// service's operator authorises.
func CreateClientKey(path, onion string) (*ecdh.PublicKey, error) {
	if err := checkOnion(strings.TrimSuffix(strings.ToLower(onion), ".onion")); err != nil {
		return nil, fmt.Errorf("tor: %w", err)
	}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if err := keyfile.Create(path, []byte(FormatClientCredential(onion, key)+"\n")); err != nil {
		return nil, err
	}
	return key.PublicKey(), nil
}

// LoadClientKey reads what CreateClientKey, or tor itself, has written. A file that
// others can read is made private, with a warning to logger, which may be nil; one
// that others can write is refused.
func LoadClientKey(path string, logger *slog.Logger) (onion string, key *ecdh.PrivateKey, err error) {
	key, err = keyfile.Read(path, logger, func(text []byte) (key *ecdh.PrivateKey, err error) {
		onion, key, err = ParseClientCredential(string(text))
		return key, err
	})
	return onion, key, err
}

// decodeKey keeps the key out of the error.
func decodeKey(text string) ([]byte, error) {
	const length = 32
	raw, err := base32Keys.DecodeString(strings.ToUpper(text))
	if err != nil || len(raw) != length {
		return nil, errors.New("tor: an X25519 key has 52 characters of base32")
	}
	return raw, nil
}

// withOnion returns an onion address, with or without ".onion", in its usual form.
func withOnion(address string) string {
	return strings.TrimSuffix(strings.ToLower(address), ".onion") + ".onion"
}
