package appserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// Options configure a Server.
type Options struct {
	// Logger is told what goes wrong, and what services do; default: nothing is
	// logged. No secret of a FURL is ever logged.
	Logger *slog.Logger
	// Types are service types besides [UploadFile] and [RunCommand]; one of the
	// same name takes the place of those.
	Types []Type
}

// A Server is a folder with the identity of a Tub and its services. Its methods are
// safe for concurrent use, and several processes may use one folder: services can be
// added and removed while another one serves them.
type Server struct {
	dir   string
	id    *tub.Identity
	log   *slog.Logger
	types map[string]Type
}

// Open opens the folder of a server. opts may be nil. Files with secrets in them are
// made private, with a warning to the logger, if others can read them, and refused if
// others can write them.
func Open(dir string, opts *Options) (*Server, error) {
	if opts == nil {
		opts = &Options{}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, log: opts.Logger, types: make(map[string]Type)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, t := range append([]Type{UploadFile(), RunCommand()}, opts.Types...) {
		s.types[t.Name] = t
	}
	if _, err := s.read(); err != nil {
		return nil, err
	}
	if s.id, err = tub.LoadIdentity(s.path("tub.pem"), s.log); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

// Dir returns the folder, as an absolute path.
func (s *Server) Dir() string { return s.dir }

// Identity returns the identity that the Tub for Serve has to have.
func (s *Server) Identity() *tub.Identity { return s.id }

// removedWithin is how long it takes at most until a service that was removed has
// ended, if nobody looks another one up meanwhile.
const removedWithin = time.Second

// Serve offers the services by a Tub, which has the Server's identity and listens
// already, until stop is called. Services are looked up in the folder when somebody asks
// for them, so those that are added meanwhile are there at once; one that is removed
// ends within a second, what it is doing included.
//
// stop lets nothing new begin. Uploads and commands in progress may go on until its ctx
// ends; then they are given up, commands are killed, and stop returns when nothing of
// them is left.
//
// The hints that the Tub advertises are written to the folder, for List.
func (s *Server) Serve(t *tub.Tub) (stop func(ctx context.Context), err error) {
	if t.TubID() != s.id.TubID() {
		return nil, fmt.Errorf("appserver: the Tub is %s, and the server is %s: make the Tub with Identity", t.TubID().Short(), s.id.TubID().Short())
	}
	if err := s.advertise(t.Hints()); err != nil {
		return nil, err
	}
	r := &running{server: s, tub: t, live: make(map[string]*live)}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	forget := t.OnLookup(r.lookup)
	var watching sync.WaitGroup
	watching.Go(r.watch)
	return func(ctx context.Context) {
		forget()
		r.end(ctx)
		watching.Wait()
	}, nil
}

// watch ends the services that are removed, until the end.
func (r *running) watch() {
	ticker := time.NewTicker(removedWithin)
	defer ticker.Stop()
	var seen fs.FileInfo
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-ticker.C:
		}
		info, err := os.Stat(r.server.path(servicesFile))
		if err != nil || seen != nil && os.SameFile(seen, info) && seen.ModTime().Equal(info.ModTime()) {
			continue // what cannot be read takes nothing away
		}
		if all, err := r.server.read(); err == nil {
			seen = info
			r.withdraw(all)
		}
	}
}

// running is what Serve keeps.
type running struct {
	server *Server
	tub    *tub.Tub
	ctx    context.Context // of the services
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	live  map[string]*live // by swissnum
	ended bool
	work  sync.WaitGroup
}

// live is a service that somebody has asked for.
type live struct {
	entry  entry
	object *tub.Object
	end    func()
}

var errEnded = errors.New("the service has ended")

var errUnreadable = errors.New("the services cannot be read now; the server's log says why")

// lookup is for Tub.OnLookup.
func (r *running) lookup(ctx context.Context, name string) (*tub.Object, error) {
	all, err := r.server.read()
	if err != nil {
		r.server.log.Error("a service was asked for, and the services cannot be read", "error", err)
		return nil, errUnreadable
	}
	r.withdraw(all)
	e, ok := all[name]
	if !ok {
		return nil, tub.ErrUnknownName
	}
	if l := r.find(name); l != nil {
		return l.object, nil
	}
	made, err := r.make(e)
	if err != nil {
		r.server.log.Error("a service cannot be offered", "service", e.Dir, "type", e.Type, "error", err)
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if l := r.live[name]; l != nil || r.ended {
		made.end()
		if r.ended {
			return nil, tub.ErrShutdown
		}
		return l.object, nil
	}
	r.live[name] = made
	return made.object, nil
}

func (r *running) find(name string) *live {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.live[name]
}

// make makes the object of a service.
func (r *running) make(e entry) (*live, error) {
	t, ok := r.server.types[e.Type]
	if !ok {
		return nil, tub.Raise("foolscap.appserver.services.UnknownServiceType",
			fmt.Errorf("this server has no services of type %.40q", e.Type))
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	object, err := t.New(ctx, Config{
		Dir:    filepath.Join(r.server.dir, e.Dir),
		Base:   r.server.dir,
		Args:   e.Args,
		Tub:    r.tub,
		Logger: r.server.log.With("service", e.Dir),
		begin:  r.begin,
	})
	if err != nil {
		cancel(err)
		return nil, err
	}
	object, revoke := tub.Forward(object, tub.ForwardOptions{})
	return &live{entry: e, object: object, end: func() { revoke(); cancel(errEnded) }}, nil
}

// withdraw ends the services that are not among all any more.
func (r *running) withdraw(all map[string]entry) {
	r.mu.Lock()
	var gone []*live
	for name, l := range r.live {
		if e, ok := all[name]; !ok || !reflect.DeepEqual(e, l.entry) {
			gone = append(gone, l)
			delete(r.live, name)
		}
	}
	r.mu.Unlock()
	for _, l := range gone {
		l.end()
	}
}

// begin is Config.Begin.
func (r *running) begin() (end func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil, tub.ErrShutdown
	}
	r.work.Add(1)
	return sync.OnceFunc(r.work.Done), nil
}

// end is what stop does.
func (r *running) end(ctx context.Context) {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		r.work.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	r.withdraw(nil)
	r.cancel(errEnded)
	<-done
}

// A Service is what a Server offers under one FURL.
type Service struct {
	// FURL is the right to use it, with the hints that the server had when it
	// listened last: none if it did not yet.
	FURL tub.FURL
	// Name is that of its folder within the folder "services": a number, which is no
	// secret.
	Name string
	Type string
	Args []string
	// Comment is for people; "" for none.
	Comment string
}

func (s *Server) service(swissnum furl.Swissnum, hints []furl.Hint, e entry) Service {
	service := Service{
		FURL: tub.FURL{TubID: s.id.TubID(), Hints: hints, Name: swissnum},
		Name: filepath.Base(e.Dir), Type: e.Type, Args: e.Args,
	}
	if e.Comment != nil {
		service.Comment = *e.Comment
	}
	return service
}
