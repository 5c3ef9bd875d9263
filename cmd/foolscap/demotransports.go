package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"strconv"
	"time"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/handlers/socks"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/tub"
)

// A demonstration is a transport as the command demo shows it.
type demonstration struct {
	name string
	// asked says that a flag has asked for it.
	asked bool
	// prepare lets the server of the stage listen, and its client dial. Its
	// error is why the transport is left out or, if it was asked for, has failed.
	prepare func(context.Context, *stage) error
}

// A stage has the two Tubs of a demonstration.
type stage struct {
	identity       *tub.Identity // of the server
	server, client *tub.Tub
	logger         *slog.Logger
	news           news     // of what listens
	tidy           []func() // run at the end
}

func newStage(e *env) (*stage, error) {
	s := &stage{logger: e.logger(slog.LevelWarn)}
	s.news = newNews(s.logger.Handler())
	if !e.terminalErr { // which would show it as progress
		s.news = newNews(e.logger(slog.LevelInfo).Handler())
	}
	for _, t := range []**tub.Tub{&s.client, &s.server} {
		id, err := tub.NewIdentity()
		if err == nil {
			s.identity = id
			*t, err = tub.New(id, &tub.Options{Logger: s.logger, NoHandlers: true})
		}
		if err != nil {
			s.close()
			return nil, err
		}
		s.tidy = append(s.tidy, func() { (*t).Close() })
	}
	return s, nil
}

func (s *stage) close() {
	for _, f := range s.tidy {
		f()
	}
}

// use makes the client dial hints of a type by h, and the server listen.
func (s *stage) use(ctx context.Context, hintType string, h handlers.Handler, listen listening, via *tor.Tor) error {
	if err := s.client.Handle(hintType, h); err != nil {
		return err
	}
	a, err := listen.transport.listen(ctx, where{address: listen.address, identity: s.identity, via: via, logger: slog.New(s.news)})
	if err != nil {
		return err
	}
	if _, err := s.server.Listen(a); err != nil {
		return err
	}
	_, err = s.server.WaitAdvertised(ctx)
	return err
}

// demonstrations lists what demo shows.
func (f *routeFlags) demonstrations(ctx context.Context, e *env) ([]demonstration, error) {
	proxy, err := f.proxy(ctx, e)
	if err != nil {
		return nil, err
	}
	var via *tor.Tor
	if f.tor != "" {
		if via, err = f.chooseTor(ctx, e, "", e.logger(slog.LevelWarn)); err != nil {
			return nil, err
		}
	}
	return []demonstration{
		direct("TCP, IPv4", "tcp:127.0.0.1:0"),
		direct("TCP, IPv6", "tcp:[::1]:0"),
		direct("QUIC", "quic:127.0.0.1:0"),
		{"SOCKS", proxy != nil, func(ctx context.Context, s *stage) error { return throughProxy(ctx, s, proxy) }},
		{"Tor", via != nil, func(ctx context.Context, s *stage) error { return overTor(ctx, s, via, torTimeout) }},
	}, nil
}

// direct shows a transport that needs nothing but an address of this machine.
func direct(name, at string) demonstration {
	return demonstration{name, false, func(ctx context.Context, s *stage) error {
		l, err := parseListening(at)
		if err != nil {
			return err
		}
		var h handlers.Handler = tcp.New()
		if l.transport.hintType == "quic" {
			h = quic.New()
		}
		return s.use(ctx, l.transport.hintType, h, l, nil)
	}}
}

// throughProxy shows TCP through a proxy; nil stands for one that is started.
func throughProxy(ctx context.Context, s *stage, proxy *socks.Dialer) error {
	if proxy == nil {
		address, err := s.startProxy(ctx)
		if err != nil {
			return err
		}
		if proxy, err = socks.NewDialer("tcp", address); err != nil {
			return err
		}
	}
	l, err := parseListening("tcp:127.0.0.1:0")
	if err != nil {
		return err
	}
	return s.use(ctx, "tcp", socks.New(proxy), l, nil)
}

// startProxy starts a SOCKS proxy on this machine, and returns its address.
func (s *stage) startProxy(ctx context.Context) (address string, err error) {
	program, err := exec.LookPath("microsocks")
	if err != nil {
		return "", errors.New("there is no proxy: microsocks is not installed, and none is given with --socks")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	port := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		return "", err
	}
	cmd := exec.Command(program, "-i", "127.0.0.1", "-p", strconv.Itoa(port))
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait() // its exit code means nothing: it is killed
	}()
	s.tidy = append(s.tidy, func() {
		cmd.Process.Kill()
		<-ended
	})
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return address, conn.Close()
		}
		select {
		case <-again.C:
		case <-ended:
			return "", fmt.Errorf("%s has ended: %v", program, cmd.ProcessState)
		case <-ctx.Done():
			return "", fmt.Errorf("%s does not listen: %w", program, err)
		}
	}
}

// overTor shows an onion service, whose client is another Tub at the same tor.
func overTor(ctx context.Context, s *stage, via *tor.Tor, timeout time.Duration) error {
	if via == nil {
		return errors.New("all else stays within this machine; --tor control lets it use the tor that runs here, --tor launch starts one")
	}
	h, err := tor.New(via)
	if err != nil {
		return err
	}
	l, err := parseListening("tor")
	if err != nil {
		h.Close()
		return err
	}
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err = s.use(limited, "tor", h, l, via)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("the onion service is not published after %v; the last that was heard is %q; check that this machine is connected to the Internet, and that nothing there blocks Tor", timeout, s.news.last())
	}
	return err
}
