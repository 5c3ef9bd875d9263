//go:build linux

package hidden

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

// programVariable makes this binary the program that is observed, and configures it.
const programVariable = "FOOLSCAP_HIDDEN_PROGRAM"

// patience is how long anything may take, be it over Tor.
const patience = time.Minute

// visitTime is how long the program tries to get to a place that a peer has told it of. Tor takes its time until it gives
// up one that does not exist.
const visitTime = 5 * time.Second

// onionPort is the port of the onion services, whether they are real or not.
const onionPort = 4711

// A program is a Tub that tells a hub where it is, and then does what the hub wants. It runs in a process of its own.
type program struct {
	// Hidden is the one thing that differs between the program and its contrast.
	Hidden bool
	// Proxy is the address of a SOCKS proxy, or Control that of tor's control port.
	Proxy, Control string
	// Socket is where the program listens when it has no tor: what an onion service would connect to.
	Socket string
	// Hub is the FURL of an object with the method log.
	Hub string

	tub *tub.Tub
	tor *tor.Tor
	end chan struct{}

	mu   sync.Mutex
	held []*tub.Ref // so that they are not given back
}

func (p *program) String() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func runProgram(text string) error {
	p := &program{end: make(chan struct{})}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return err
	}
	id, err := tub.NewIdentity()
	if err != nil {
		return err
	}
	if p.tub, err = tub.New(id, &tub.Options{Hidden: p.Hidden}); err != nil {
		return err
	}
	defer p.tub.Close()
	if err := p.addHandlers(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.visit(ctx, p.Hub); err != nil {
		return fmt.Errorf("the hub: %w", err)
	}
	<-p.end
	return p.tub.Shutdown(ctx)
}

// addHandlers registers handlers that go the direct way, and others where the Tub refuses these.
func (p *program) addHandlers() error {
	hiding, err := p.hidingHandler()
	if err != nil {
		return err
	}
	for hintType, direct := range map[string]handlers.Handler{"tcp": tcp.New(), "quic": quic.New()} {
		err := p.tub.Handle(hintType, direct)
		var refused *tub.ExposureError
		if p.Hidden != errors.As(err, &refused) {
			return fmt.Errorf("a handler for %s: %w", hintType, err)
		}
	}
	if p.Hidden {
		if err := p.tub.Handle("tcp", hiding); err != nil {
			return err
		}
	}
	return p.tub.Handle("tor", hiding)
}

func (p *program) hidingHandler() (handlers.Handler, error) {
	if p.Control != "" {
		p.tor = tor.Control(tor.ControlConfig{Address: p.Control})
		return tor.New(p.tor)
	}
	d, err := socks.NewDialer("tcp", p.Proxy, socks.WithExposure(hidesAll))
	if err != nil {
		return nil, err
	}
	return socks.New(d, socks.WithHintTypes("tcp", "tor")), nil
}

var hidesAll = handlers.Exposure{HidesAddress: true, HidesLookups: true}

// face is what peers get to see of the program, and can do with it.
func (p *program) face() *tub.Object {
	return tub.NewObject(
		tub.Method("visit", func(ctx context.Context, a struct{ FURL string }) (tub.None, error) {
			ctx, cancel := context.WithTimeout(ctx, visitTime)
			defer cancel()
			return tub.None{}, p.visit(ctx, a.FURL)
		}, tub.Concurrent),
		tub.Method("visit_later", func(ctx context.Context, a struct{ FURL string }) (tub.None, error) {
			f, err := tub.ParseFURL(a.FURL)
			if err != nil {
				return tub.None{}, err
			}
			ctx, cancel := context.WithTimeout(ctx, visitTime)
			defer cancel()
			return tub.None{}, p.show(ctx, p.tub.Ref(f))
		}, tub.Concurrent),
		tub.Method("follow", func(_ context.Context, a struct{ FURL string }) (tub.None, error) {
			return tub.None{}, p.follow(a.FURL)
		}),
		tub.Method("listen", func(ctx context.Context, _ tub.None) (string, error) { return p.listen(ctx) }, tub.Concurrent),
		tub.Method("take", func(context.Context, struct{ Value any }) (tub.None, error) { return tub.None{}, nil }),
		tub.Method("greet", func(ctx context.Context, a struct{ Ref *tub.Ref }) (tub.None, error) {
			ctx, cancel := context.WithTimeout(ctx, visitTime)
			defer cancel()
			return tub.None{}, p.show(ctx, a.Ref)
		}, tub.Concurrent),
		tub.Method("fail", func(_ context.Context, a struct{ How string }) (tub.None, error) { return tub.None{}, p.fail(a.How) }),
		tub.Method("end", func(context.Context, tub.None) (tub.None, error) {
			close(p.end)
			return tub.None{}, nil
		}),
	)
}

// visit connects to an object and hands it the program's face.
func (p *program) visit(ctx context.Context, text string) error {
	f, err := tub.ParseFURL(text)
	if err != nil {
		return err
	}
	ref, err := p.tub.Connect(ctx, f)
	if err != nil {
		return err
	}
	return p.show(ctx, ref)
}

func (p *program) show(ctx context.Context, ref *tub.Ref) error {
	p.mu.Lock()
	p.held = append(p.held, ref)
	p.mu.Unlock()
	_, err := tub.Call[any](ctx, ref, "log", p.face())
	return err
}

// follow does what visit does, whenever the connection is lost.
func (p *program) follow(text string) error {
	f, err := tub.ParseFURL(text)
	if err != nil {
		return err
	}
	_, err = p.tub.Reconnect(f, func(ctx context.Context, ref *tub.Ref) { _ = p.show(ctx, ref) },
		&tub.ReconnectOptions{MaxDelay: 100 * time.Millisecond})
	return err
}

// listen makes the program reachable as an onion service, or what looks like one, and returns the FURL of its face.
func (p *program) listen(ctx context.Context) (string, error) {
	var acceptor handlers.Acceptor
	var err error
	if p.tor != nil {
		acceptor, err = tor.Listen(ctx, p.tor, onionPort)
	} else {
		var l net.Listener
		l, err = net.Listen("unix", p.Socket)
		acceptor = onionLike{l}
	}
	if err != nil {
		return "", err
	}
	if _, err := p.tub.Listen(acceptor); err != nil {
		return "", err
	}
	if _, err := p.tub.WaitAdvertised(ctx); err != nil {
		return "", err
	}
	f, err := p.tub.Register(p.face())
	return f.Reveal(), err
}

// onionLike is where a tor would hand over the connections to an onion service.
type onionLike struct{ net.Listener }

const onionName = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion"

func (l onionLike) Accept() (handlers.Stream, error) {
	conn, err := l.Listener.Accept()
	return handlers.Stream{Conn: conn}, err
}

func (l onionLike) Hints() ([]furl.Hint, <-chan struct{}) {
	return []furl.Hint{furl.StreamHint("tor", onionName, onionPort)}, nil
}

func (l onionLike) Exposure() handlers.Exposure { return hidesAll }

// fail fails in a way that tells of this machine.
func (p *program) fail(how string) error {
	switch how {
	case "file":
		_, err := os.ReadFile(p.Socket + "/missing")
		return err
	case "program":
		return exec.Command(p.Socket + "/missing").Run()
	default:
		panic("nothing is known of failing by " + how)
	}
}
