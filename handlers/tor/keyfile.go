package tor

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/cretz/bine/control"
	"github.com/cretz/bine/torutil/ed25519"

	"github.com/foolscap-go/foolscap/internal/keyfile"
)

// keyFilePrefix is the form in which ADD_ONION takes and gives keys, which other
// programs keep in files as well.
const keyFilePrefix = string(control.KeyTypeED25519V3) + ":"

// loadOrCreateKey returns the key of an onion service that is in a file, or puts
// a new one there if there is no such file.
func loadOrCreateKey(path string, logger *slog.Logger) (*control.ED25519Key, error) {
	key, err := loadKey(path, logger)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key, err = newKey()
	if err != nil {
		return nil, err
	}
	if err := keyfile.Create(path, []byte(keyFilePrefix+key.Blob()+"\n")); !errors.Is(err, fs.ErrExist) {
		return key, err
	}
	return loadKey(path, logger) // somebody was faster
}

func newKey() (*control.ED25519Key, error) {
	pair, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return &control.ED25519Key{KeyPair: pair}, nil
}

func loadKey(path string, logger *slog.Logger) (*control.ED25519Key, error) {
	return keyfile.Read(path, logger, func(text []byte) (*control.ED25519Key, error) {
		encoded, found := strings.CutPrefix(strings.TrimSpace(string(text)), keyFilePrefix)
		raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if !found || err != nil || len(raw) != ed25519.PrivateKeySize || !clamped(raw) {
			return nil, fmt.Errorf("it is not a file with the key of an onion service, which has one line, %q and 88 characters of base64", keyFilePrefix)
		}
		return &control.ED25519Key{KeyPair: ed25519.PrivateKey(raw).KeyPair()}, nil
	})
}

// clamped reports whether an expanded key has the bits that such a key has. Tor sets
// them in one that has not, and then the address is another.
func clamped(raw []byte) bool { return raw[0]&7 == 0 && raw[31]&0xC0 == 0x40 }
