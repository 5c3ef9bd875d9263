package tub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"weak"

	"github.com/foolscap-go/foolscap/internal/keyfile"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// A FURL is the address of an object, and the right to call it; see package
// furl. Only its Reveal shows the secret.
type FURL = furl.FURL

// ParseFURL reads a FURL. Its errors show nothing of the text.
func ParseFURL(s string) (FURL, error) { return furl.Parse(s) }

// nameTable knows under which names objects can be looked up.
type nameTable struct {
	mu     sync.Mutex
	byName map[string]*Object
	byObj  map[*Object]string
	// An object that is sent gets a name of its own, so that whoever
	// receives it can pass it on; that name alone does not keep it alive.
	weakByName map[string]weak.Pointer[Object]
	weakByObj  map[weak.Pointer[Object]]string
	lookups    []*lookup
}

type lookup struct {
	f func(ctx context.Context, name string) (*Object, error)
}

func (n *nameTable) init() {
	n.byName = make(map[string]*Object)
	n.byObj = make(map[*Object]string)
	n.weakByName = make(map[string]weak.Pointer[Object])
	n.weakByObj = make(map[weak.Pointer[Object]]string)
}

// ErrNameTaken is the error of registering an object under the name of
// another.
var ErrNameTaken = errors.New("another object is registered under this name")

// Register publishes an object under a random name that nobody can guess, and
// returns its FURL. An object that is registered already keeps its name. The
// FURL's hints are those of the moment; see [Tub.FURL]. The Tub keeps the
// object until it is unregistered.
func (t *Tub) Register(o *Object) (furl.FURL, error) {
	if t.ended() {
		return furl.FURL{}, ErrTubClosed
	}
	n := &t.names
	n.mu.Lock()
	name, ok := n.byObj[o]
	if !ok {
		// The name it was sent under, if any: there are FURLs with it.
		if name, ok = n.weakByObj[weak.Make(o)]; !ok {
			name = furl.NewSwissnum().Reveal()
		}
		n.byName[name] = o
		n.byObj[o] = name
	}
	n.mu.Unlock()
	return t.compose(name)
}

// RegisterAs publishes an object under a given name. The name is the secret of
// the FURL: a name that can be guessed lets everybody in who knows the TubID.
// An object can have several names.
func (t *Tub) RegisterAs(name string, o *Object) (furl.FURL, error) {
	f, err := t.compose(name)
	if err != nil {
		return f, err
	}
	n := &t.names
	n.mu.Lock()
	defer n.mu.Unlock()
	old := n.byName[name]
	if old == nil {
		old = n.weakByName[name].Value()
	}
	if old != nil && old != o {
		return furl.FURL{}, fmt.Errorf("foolscap: %w", ErrNameTaken)
	}
	n.byName[name] = o
	if _, ok := n.byObj[o]; !ok {
		n.byObj[o] = name
	}
	return f, nil
}

// RegisterFile publishes an object under the name in the FURL that a file
// holds, or under a random name if there is no file, and writes the FURL, with
// the hints of the moment, to the file: the object keeps its name over
// restarts. The file is a secret and is written with mode 0600. A file that
// cannot be read, or holds the FURL of another Tub, is an error and stays as
// it is.
func (t *Tub) RegisterFile(path string, o *Object) (furl.FURL, error) {
	content := ""
	old, err := keyfile.Read(path, t.log, func(text []byte) (furl.FURL, error) {
		content = string(text)
		f, err := furl.Parse(strings.TrimSpace(content))
		if err == nil && f.TubID != t.TubID() {
			err = fmt.Errorf("the FURL is that of Tub %s, this is %s; use the identity that it was made with, or remove the file",
				f.TubID.Short(), t.TubID().Short())
		}
		return f, err
	})
	var f furl.FURL
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f, err = t.Register(o)
	case err == nil:
		f, err = t.RegisterAs(old.Name.Reveal(), o)
	}
	if err != nil {
		return f, err
	}
	if whole := f.Reveal() + "\n"; whole != content {
		if err := keyfile.Replace(path, []byte(whole)); err != nil {
			return f, err
		}
	}
	return f, nil
}

// Unregister takes all names of an object away. Who holds a reference to it
// keeps it.
func (t *Tub) Unregister(o *Object) {
	n := &t.names
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, other := range n.byName {
		if other == o {
			delete(n.byName, name)
		}
	}
	delete(n.byObj, o)
	w := weak.Make(o)
	delete(n.weakByName, n.weakByObj[w])
	delete(n.weakByObj, w)
}

// UnregisterName takes one name away.
func (t *Tub) UnregisterName(name string) {
	n := &t.names
	n.mu.Lock()
	defer n.mu.Unlock()
	if w, ok := n.weakByName[name]; ok {
		delete(n.weakByName, name)
		delete(n.weakByObj, w)
	}
	o := n.byName[name]
	delete(n.byName, name)
	if o != nil && n.byObj[o] == name {
		delete(n.byObj, o)
		for other, p := range n.byName {
			if p == o {
				n.byObj[o] = other
				break
			}
		}
	}
}

// FURL returns the FURL of a registered object with the hints that the Tub
// advertises now.
func (t *Tub) FURL(o *Object) (furl.FURL, error) {
	n := &t.names
	n.mu.Lock()
	name, ok := n.byObj[o]
	n.mu.Unlock()
	if !ok {
		return furl.FURL{}, fmt.Errorf("foolscap: %w: the object is not registered", ErrUnknownName)
	}
	return t.compose(name)
}

// OnLookup adds a handler for names that no object is registered under. A
// handler returns an error that wraps [ErrUnknownName] for names that it does
// not know; then the next one is asked. It runs in the turn of the peer's
// request. stop removes it.
func (t *Tub) OnLookup(f func(ctx context.Context, name string) (*Object, error)) (stop func()) {
	l := &lookup{f}
	n := &t.names
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lookups = append(n.lookups, l)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for i, other := range n.lookups {
			if other == l {
				n.lookups = append(n.lookups[:i:i], n.lookups[i+1:]...)
				return
			}
		}
	}
}

// registered reports whether an object has a name for as long as the Tub wants.
func (t *Tub) registered(o *Object) bool {
	t.names.mu.Lock()
	defer t.names.mu.Unlock()
	_, ok := t.names.byObj[o]
	return ok
}

func (t *Tub) compose(name string) (furl.FURL, error) {
	s, err := furl.ParseSwissnum(name)
	if err != nil {
		return furl.FURL{}, err
	}
	hints := t.Hints()
	if t.ended() { // it has no hints then, and never will have
		return furl.FURL{}, ErrTubClosed
	}
	return furl.FURL{TubID: t.TubID(), Hints: hints, Name: s}, nil
}

// find looks a name up for a peer.
func (t *Tub) find(ctx context.Context, name string) (*Object, error) {
	n := &t.names
	n.mu.Lock()
	o := n.byName[name]
	if o == nil {
		if w, ok := n.weakByName[name]; ok {
			o = w.Value()
		}
	}
	lookups := n.lookups
	n.mu.Unlock()
	if o != nil {
		return o, nil
	}
	for _, l := range lookups {
		o, err := l.f(ctx, name)
		if err == nil && o != nil {
			return o, nil
		}
		if err != nil && !errors.Is(err, ErrUnknownName) {
			return nil, err
		}
	}
	return nil, ErrUnknownName
}

// passing returns the FURL under which somebody who is sent the object can
// pass it on: that of its name, or of a name that lasts as long as the object.
// It is "" as long as the Tub cannot be reached.
func (t *Tub) passing(o *Object) string {
	hints := t.Hints()
	if len(hints) == 0 {
		return ""
	}
	return furl.FURL{TubID: t.TubID(), Hints: hints, Name: t.lasting(o)}.Reveal()
}

// lasting returns a name that an object has for at least as long as somebody
// refers to it.
func (t *Tub) lasting(o *Object) furl.Swissnum {
	n := &t.names
	n.mu.Lock()
	name, ok := n.byObj[o]
	w := weak.Make(o)
	if !ok {
		name, ok = n.weakByObj[w]
	}
	if !ok {
		name = furl.NewSwissnum().Reveal()
		n.weakByObj[w] = name
		n.weakByName[name] = w
		runtime.AddCleanup(o, n.forget, w)
	}
	n.mu.Unlock()
	s, _ := furl.ParseSwissnum(name) // which it was when it was registered
	return s
}

// forget removes the name of an object that nobody holds any more.
func (n *nameTable) forget(w weak.Pointer[Object]) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.weakByName, n.weakByObj[w])
	delete(n.weakByObj, w)
}
