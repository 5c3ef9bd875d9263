package appserver

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/foolscap-go/foolscap/internal/keyfile"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

const (
	servicesFile   = "services.json"
	servicesFolder = "services"
)

// Settings are what the folder of a Server says about how it is reached.
type Settings struct {
	// Port is where to listen, in words of the program that does. Python's flappserver
	// wants one endpoint of Twisted, such as "tcp:3116:interface=127.0.0.1".
	Port string
	// Location are the hints to advertise. It may be empty if they are not known
	// before the server listens; Python's flappserver does not start then.
	Location []furl.Hint
	// Umask is the file creation mask for the server's process; 0 leaves it as it is.
	Umask fs.FileMode
}

// tac is what lets "flappserver start" run the folder.
const tac = `from twisted.application import service
from foolscap.appserver.server import AppServer

application = service.Application("flappserver")
AppServer().setServiceParent(application)
`

// Create makes the folder of a server without services, as Python's flappserver makes
// it, and opens it. It appears whole or not at all; if there is one already the error
// wraps [fs.ErrExist]. A nil id stands for a new one.
func Create(dir string, id *tub.Identity, settings Settings, opts *Options) (*Server, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(dir); err == nil {
		return nil, &fs.PathError{Op: "create", Path: dir, Err: fs.ErrExist}
	}
	if id == nil {
		if id, err = tub.NewIdentity(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".*") // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp)
	if err := os.Mkdir(filepath.Join(temp, servicesFolder), 0o700); err != nil {
		return nil, err
	}
	if err := id.Save(filepath.Join(temp, "tub.pem")); err != nil {
		return nil, err
	}
	files := map[string]string{
		servicesFile:      emptyServices,
		"port":            settings.Port + "\n",
		"location":        locationText(settings.Location) + "\n",
		"furl_prefix":     prefixText(id.TubID(), settings.Location) + "\n",
		"flappserver.tac": tac,
	}
	if settings.Umask != 0 {
		files["umask"] = fmt.Sprintf("%04o\n", settings.Umask)
	}
	for name, text := range files {
		if err := keyfile.Create(filepath.Join(temp, name), []byte(text)); err != nil {
			return nil, err
		}
	}
	if err := os.Rename(temp, dir); err != nil {
		return nil, err
	}
	return Open(dir, opts)
}

func locationText(hints []furl.Hint) string {
	texts := make([]string, len(hints))
	for i, h := range hints {
		texts[i] = string(h)
	}
	return strings.Join(texts, ",")
}

// prefixText is a FURL up to its name.
func prefixText(id furl.TubID, hints []furl.Hint) string {
	return "pb://" + id.String() + "@" + locationText(hints) + "/"
}

// maxSettings bounds the files with settings, in bytes.
const maxSettings = 16 << 10

// setting reads a small file; "" if there is none.
func (s *Server) setting(name string) (string, error) {
	text, err := os.ReadFile(s.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err == nil && len(text) > maxSettings:
		err = &fs.PathError{Op: "read", Path: s.path(name), Err: errors.New("it is too long")}
	}
	return strings.TrimSpace(string(text)), err
}

// Settings reads the settings from the folder.
func (s *Server) Settings() (Settings, error) {
	var set Settings
	var err error
	if set.Port, err = s.setting("port"); err != nil {
		return set, err
	}
	if set.Location, err = s.location(); err != nil {
		return set, err
	}
	mask, err := s.setting("umask")
	if err != nil || mask == "" {
		return set, err
	}
	n, err := strconv.ParseUint(mask, 8, 9)
	if err != nil {
		return set, &fs.PathError{Op: "read", Path: s.path("umask"), Err: errors.New("it holds no octal number up to 0777")}
	}
	set.Umask = fs.FileMode(n)
	return set, nil
}

func (s *Server) location() ([]furl.Hint, error) {
	text, err := s.setting("location")
	if err != nil || text == "" {
		return nil, err
	}
	var hints []furl.Hint
	for word := range strings.SplitSeq(text, ",") {
		h, err := furl.ParseHint(strings.TrimSpace(word))
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: s.path("location"), Err: fmt.Errorf("one of its hints: %w", err)}
		}
		hints = append(hints, h)
	}
	return hints, nil
}

// advertise writes down the hints under which the server is reached.
func (s *Server) advertise(hints []furl.Hint) error {
	known, err := s.location()
	if err != nil || len(hints) == 0 || slices.Equal(known, hints) {
		return err
	}
	if err := keyfile.Replace(s.path("location"), []byte(locationText(hints)+"\n")); err != nil {
		return err
	}
	return keyfile.Replace(s.path("furl_prefix"), []byte(prefixText(s.id.TubID(), hints)+"\n"))
}

// entry is a service in the file.
type entry struct {
	Dir     string   `json:"relative_basedir"`
	Type    string   `json:"type"`
	Args    []string `json:"args"`
	Comment *string  `json:"comment"`
}

type servicesDocument struct {
	Version  int              `json:"version"`
	Services map[string]entry `json:"services"`
}

const (
	version       = 1
	emptyServices = `{"version": 1, "services": {}}`
)

// read reads the services, by swissnum.
func (s *Server) read() (map[string]entry, error) {
	all, err := keyfile.Read(s.path(servicesFile), s.log, parseServices)
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Stat(s.path(servicesFolder)); serr == nil {
			err = fmt.Errorf("%w; if a very old flappserver has made this folder, a newer one rewrites it with any \"flappserver add\"", err)
		}
	}
	return all, err
}

// parseServices says nothing of the text in its errors: there are secrets in it.
func parseServices(text []byte) (map[string]entry, error) {
	var doc servicesDocument
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, errors.New("it is not the list of an application server's services")
	}
	if doc.Version != version {
		return nil, fmt.Errorf("it has version %d, and only version %d is known here", doc.Version, version)
	}
	for name, e := range doc.Services {
		if _, err := furl.ParseSwissnum(name); err != nil {
			return nil, errors.New("a service in it has a name that cannot be in a FURL")
		}
		if !filepath.IsLocal(e.Dir) {
			return nil, errors.New("a service in it has a folder outside of the server's own")
		}
	}
	return doc.Services, nil
}

// change rewrites the services under a lock.
func (s *Server) change(f func(all map[string]entry) error) error {
	unlock, err := lock(s.dir)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := s.read()
	if err != nil {
		return err
	}
	if all == nil {
		all = make(map[string]entry)
	}
	if err := f(all); err != nil {
		return err
	}
	text, err := json.MarshalIndent(servicesDocument{version, all}, "", "  ")
	if err != nil {
		return err
	}
	if len(text) > keyfile.MaxSize {
		return fmt.Errorf("appserver: there is no room for more services: their list would be longer than %d bytes", keyfile.MaxSize)
	}
	return keyfile.Replace(s.path(servicesFile), text)
}

// ErrUnknownType is wrapped by the error of adding a service of a type that the Server
// does not have, and ErrUnknownService by that of removing one that is not there.
var (
	ErrUnknownType    = errors.New("there are no services of this type")
	ErrUnknownService = errors.New("there is no such service")
)

// Add adds a service under a new FURL. The type's Check has looked at the arguments
// when it is there.
func (s *Server) Add(typ string, args []string, comment string) (Service, error) {
	t, ok := s.types[typ]
	if !ok {
		return Service{}, fmt.Errorf("appserver: %.40q: %w", typ, ErrUnknownType)
	}
	if t.Check != nil {
		var err error
		if args, err = t.Check(args); err != nil {
			return Service{}, err
		}
	}
	hints, err := s.location()
	if err != nil {
		return Service{}, err
	}
	e := entry{Type: typ, Args: append([]string{}, args...)} // none is [], not null
	if comment != "" {
		e.Comment = &comment
	}
	name := furl.NewSwissnum()
	err = s.change(func(all map[string]entry) error {
		number, err := s.nextFolder()
		if err != nil {
			return err
		}
		e.Dir = filepath.ToSlash(filepath.Join(servicesFolder, strconv.Itoa(number)))
		all[name.Reveal()] = e
		return os.Mkdir(s.path(e.Dir), 0o700)
	})
	if err != nil {
		return Service{}, err
	}
	return s.service(name, hints, e), nil
}

// nextFolder returns the number of a new service.
func (s *Server) nextFolder() (int, error) {
	folders, err := os.ReadDir(s.path(servicesFolder))
	if err != nil {
		return 0, err
	}
	most := 0
	for _, f := range folders {
		if n, err := strconv.Atoi(f.Name()); err == nil {
			most = max(most, n)
		}
	}
	return most + 1, nil
}

// Remove removes the service of a name, see [Service]. Its FURL is worth nothing from
// then on. Its own folder is left if there is something in it.
func (s *Server) Remove(name string) (Service, error) {
	hints, err := s.location()
	if err != nil {
		return Service{}, err
	}
	var removed Service
	err = s.change(func(all map[string]entry) error {
		for secret, e := range all {
			if filepath.Base(e.Dir) != name {
				continue
			}
			swissnum, err := furl.ParseSwissnum(secret)
			removed = s.service(swissnum, hints, e)
			delete(all, secret)
			return err
		}
		return fmt.Errorf("appserver: %.40q: %w", name, ErrUnknownService)
	})
	if err == nil {
		_ = os.Remove(s.path(filepath.Join(servicesFolder, name))) // if it is empty
	}
	return removed, err
}

// List returns the services, in the order in which they were added.
func (s *Server) List() ([]Service, error) {
	all, err := s.read()
	if err != nil {
		return nil, err
	}
	hints, err := s.location()
	if err != nil {
		return nil, err
	}
	list := make([]Service, 0, len(all))
	for secret, e := range all {
		swissnum, err := furl.ParseSwissnum(secret)
		if err != nil {
			return nil, err
		}
		list = append(list, s.service(swissnum, hints, e))
	}
	slices.SortFunc(list, func(a, b Service) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), strings.Compare(a.Name, b.Name)) // numbers
	})
	return list, nil
}
