package tor

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cretz/bine/control"
	"github.com/cretz/bine/torutil/ed25519"
)

// keyFilePrefix is the form in which ADD_ONION takes and gives keys, which other
// programs keep in files as well.
const keyFilePrefix = string(control.KeyTypeED25519V3) + ":"

// loadOrCreateKey returns the key of an onion service that is in a file, or puts
// a new one there if there is no such file.
func loadOrCreateKey(path string) (*control.ED25519Key, error) {
	key, err := loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key, err = newKey()
	if err != nil {
		return nil, err
	}
	if err := createFile(path, keyFilePrefix+key.Blob()+"\n"); !errors.Is(err, fs.ErrExist) {
		return key, err
	}
	return loadKey(path) // somebody was faster
}

func newKey() (*control.ED25519Key, error) {
	pair, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return &control.ED25519Key{KeyPair: pair}, nil
}

func loadKey(path string) (*control.ED25519Key, error) {
	const maxSize = 4096
	info, err := os.Stat(path) // opening a pipe would wait for somebody who writes
	if err != nil {
		return nil, err
	}
	mode := info.Mode()
	switch {
	case !mode.IsRegular() || info.Size() > maxSize:
		return nil, fmt.Errorf("%s is not a file with the key of an onion service", path)
	case runtime.GOOS == "windows": // which has other permissions
	case mode.Perm()&0o022 != 0:
		return nil, fmt.Errorf("%s: other users can write the file (mode %04o), so the key may be theirs; check it, then chmod 600 it", path, mode.Perm())
	case mode.Perm()&0o077 != 0:
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, fmt.Errorf("%s: other users can read the file (mode %04o): %w", path, mode.Perm(), err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	encoded, found := strings.CutPrefix(strings.TrimSpace(string(text)), keyFilePrefix)
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !found || err != nil || len(raw) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%s is not a file with the key of an onion service: it should have one line, %q and 88 characters of base64", path, keyFilePrefix)
	}
	return &control.ED25519Key{KeyPair: ed25519.PrivateKey(raw).KeyPair()}, nil
}

// createFile writes a new file for its owner only, whole or not at all. The
// error wraps fs.ErrExist if there is one of that name.
func createFile(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	// Unlike a rename, a link replaces nothing; but not all file systems have it.
	if err := os.Link(f.Name(), path); err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(f.Name(), path)
}
