package tornet

import (
	"context"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cretz/bine/control"
)

// patience is how long a tor may take to become part of the network; 2 to 4 s are normal.
const patience = time.Minute

// Options says what sort of tor to start.
type Options struct {
	// Torrc are further lines of the configuration.
	Torrc []string
	// NoWait returns as soon as the process runs, which is before it can be used.
	NoWait bool
}

// Tor is a tor of the network that is not a relay: it dials for clients and publishes onion services.
type Tor struct {
	// SOCKS is the address of a SOCKS port that is configured with the bare number. SOCKSExtended is that of another one,
	// with ExtendedErrors.
	SOCKS, SOCKSExtended string
	// ControlPort and ControlSocket lead to the control port, for which one needs the cookie in the data directory.
	ControlPort   string
	ControlSocket string
	DataDir       string

	t       testing.TB
	process *process
}

// Start runs a tor until the test ends, and waits until it can be used. What it has logged is shown when the test fails.
func (n *Network) Start(t testing.TB, options Options) *Tor {
	t.Helper()
	c := n.newTor(t, options)
	t.Cleanup(func() {
		c.process.kill()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", c.process.name, c.process.log())
		}
		_ = os.RemoveAll(c.DataDir)
	})
	c.Restart()
	if !options.NoWait {
		c.WaitBootstrapped()
	}
	return c
}

// Client returns a tor that all tests share, so that it must be left as it is. It is started when it is first asked for.
func (n *Network) Client(t testing.TB) *Tor {
	t.Helper()
	n.client.Do(func() {
		c := n.newTor(t, Options{})
		if n.clientErr = c.process.start(); n.clientErr == nil {
			n.nodes = append(n.nodes, c.process) // it ends with them
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			n.clientErr = c.process.waitBootstrapped(ctx)
		}
		n.shared = *c
	})
	if n.clientErr != nil {
		t.Fatalf("starting the shared tor: %v", n.clientErr)
	}
	c := n.shared
	c.t = t
	return &c
}

// newTor describes a tor that is not started yet.
func (n *Network) newTor(t testing.TB, options Options) *Tor {
	number := int(n.clients.Add(1))
	name := fmt.Sprintf("client%d", number)
	port := firstClientPort + 3*number
	dir := filepath.Join(n.dir, name)
	return &Tor{
		SOCKS:         fmt.Sprintf("127.0.0.1:%d", port),
		SOCKSExtended: fmt.Sprintf("127.0.0.1:%d", port+1),
		ControlPort:   fmt.Sprintf("127.0.0.1:%d", port+2),
		ControlSocket: filepath.Join(dir, "control"),
		DataDir:       dir,
		t:             t,
		process: newProcess(dir, name, n.torrc, []string{
			fmt.Sprintf("SocksPort %d", port),
			fmt.Sprintf("SocksPort %d ExtendedErrors", port+1),
			fmt.Sprintf("ControlPort %d", port+2),
		}, options.Torrc),
	}
}

// Kill ends the tor as kill -9 does.
func (c *Tor) Kill() { c.process.kill() }

// Restart starts the tor again, after Kill, with the files that it has left. It does not wait until it can be used.
func (c *Tor) Restart() {
	c.t.Helper()
	if err := c.process.start(); err != nil {
		c.t.Fatalf("starting a tor: %v", err)
	}
}

// Log returns the end of what the tor has logged.
func (c *Tor) Log() string { return c.process.log() }

// WaitBootstrapped waits until the tor can build circuits.
func (c *Tor) WaitBootstrapped() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := c.process.waitBootstrapped(ctx); err != nil {
		c.t.Fatalf("waiting for a tor: %v", err)
	}
}

func (p *process) waitBootstrapped(ctx context.Context) error {
	return poll(ctx, 50*time.Millisecond, func() error {
		if p.ended() {
			return errEnded
		}
		conn, err := openControl(filepath.Join(p.dir, "control"))
		if err != nil {
			return err
		}
		defer conn.Close()
		response, err := conn.SendRequest("GETINFO status/bootstrap-phase")
		if err != nil {
			return err
		}
		if status := strings.Join(response.Data, " "); !strings.Contains(status, "PROGRESS=100") {
			return fmt.Errorf("it is not bootstrapped: %s", status)
		}
		return nil
	})
}

// Control opens a connection to the control port that ends with the test.
func (c *Tor) Control() *control.Conn {
	c.t.Helper()
	conn, err := openControl(c.ControlSocket)
	if err != nil {
		c.t.Fatalf("connecting to a control port: %v", err)
	}
	c.t.Cleanup(func() { conn.Close() })
	return conn
}

func openControl(path string) (*control.Conn, error) {
	socket, err := net.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	conn := control.NewConn(textproto.NewConn(socket))
	if err := conn.Authenticate(""); err != nil {
		socket.Close()
		return nil, err
	}
	return conn, nil
}
