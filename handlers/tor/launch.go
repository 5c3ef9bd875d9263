package tor

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cretz/bine/process"

	"github.com/foolscap-go/foolscap/handlers"
)

// LaunchConfig says how to start a tor. The zero value means the tor of the
// system with a temporary data directory.
type LaunchConfig struct {
	// Executable is the program; default "tor" in the PATH, or else
	// /usr/sbin/tor, where Debian has it.
	Executable string
	// DataDir is where tor keeps what it learns of the network, which makes the
	// next start faster; it is made if missing. No other tor may use it at the
	// same time. Default: a temporary directory that is removed at the end.
	DataDir string
	// Torrc are further lines of tor's configuration, such as bridges.
	Torrc []string
	// ClientKeys has our keys for onion services that admit authorised clients
	// only, by their onion address.
	ClientKeys map[string]*ecdh.PrivateKey
	// Logger is told what tor logs; default: nobody.
	Logger *slog.Logger
}

// Launch uses a tor of its own, which is started when it is first needed, and
// again should it end by itself. It also ends when this process does, however
// that happens; only a temporary directory stays behind if this process is killed.
// A Ctrl-C at the terminal is left to this process.
func Launch(c LaunchConfig) *Tor {
	t := &Tor{description: "tor (launched)", ours: true}
	t.setKeys(c.ClientKeys)
	c.Torrc = slices.Clone(c.Torrc)
	if i := slices.IndexFunc(c.Torrc, func(line string) bool { return strings.ContainsAny(line, "\r\n\x00") }); i >= 0 {
		t.err = errors.Join(t.err, fmt.Errorf("tor: the line %d of Torrc is not a single line", i+1))
	}
	var last *launched
	t.connect = func(ctx context.Context) (*link, error) {
		if last != nil {
			<-last.gone // it holds the data directory
		}
		t.status.set("starting tor")
		p, err := launch(ctx, c)
		if err != nil {
			return nil, err
		}
		last = p
		l, err := t.link(ctx, p.control, "")
		if err == nil {
			// From now on tor ends with the connection.
			if _, err = l.controller.request(ctx, "TAKEOWNERSHIP"); err != nil {
				err = refusedCommand(err, "it may be too old")
				l.controller.close()
			}
		}
		if err != nil {
			p.kill()
			return nil, fmt.Errorf("%w%s", err, p.output.reason())
		}
		l.stop = p.stop
		return l, nil
	}
	return t
}

const (
	// launchTimeout is how long tor may take until its control port is open. On a
	// slow machine that reads its tables of countries first, it takes seconds.
	launchTimeout = time.Minute
	// exitTimeout is how long it may take to end.
	exitTimeout = 5 * time.Second
)

// launched is a tor process of our own.
type launched struct {
	command *exec.Cmd
	output  *torOutput
	control address
	cleanUp func()

	exited chan struct{} // closed when the process has ended
	gone   chan struct{} // closed when its files are free as well
	once   sync.Once
}

// launch starts a tor and waits for its control port.
//
// The library can do that too, but it gives tor two seconds for it, writes what
// tor says to our standard output, and does not wait for the end.
func launch(ctx context.Context, c LaunchConfig) (_ *launched, err error) {
	unusable := func(err error) error {
		return fmt.Errorf("%w: tor could not be started: %w", handlers.ErrProxyUnreachable, err)
	}
	ctx, cancel := context.WithTimeout(ctx, launchTimeout)
	defer cancel()
	executable, err := findExecutable(c.Executable)
	if err != nil {
		return nil, unusable(err)
	}
	p := &launched{
		output:  &torOutput{logger: c.Logger},
		cleanUp: func() {},
		exited:  make(chan struct{}),
		gone:    make(chan struct{}),
	}
	dir := c.DataDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "foolscap-tor-"); err != nil {
			return nil, unusable(err)
		}
		p.cleanUp = func() { os.RemoveAll(dir) }
	} else if err = os.MkdirAll(dir, 0o700); err == nil {
		dir, err = filepath.Abs(dir)
	}
	torrc, port := filepath.Join(dir, "foolscap-torrc"), filepath.Join(dir, "foolscap-control-port")
	if err == nil {
		err = errors.Join(
			os.WriteFile(torrc, []byte(strings.Join(append(c.Torrc, ""), "\n")), 0o600),
			removeIfThere(port))
	}
	if err == nil {
		p.command = exec.Command(executable,
			"-f", torrc, "--defaults-torrc", torrc+"-defaults", "--ignore-missing-torrc",
			"--DataDirectory", dir,
			"--ControlPort", "auto", "--ControlPortWriteToFile", port, "--CookieAuthentication", "1",
			"--SocksPort", "auto ExtendedErrors",
			"--Log", "notice stdout",
			"--__OwningControllerProcess", strconv.Itoa(os.Getpid()))
		p.command.Stdout, p.command.Stderr = p.output, p.output
		// What a wrapper has started may go on and hold its output.
		p.command.WaitDelay = exitTimeout
		separate(p.command)
		err = p.command.Start()
	}
	if err != nil {
		p.cleanUp()
		return nil, unusable(err)
	}
	go func() {
		_ = p.command.Wait() // how it ended shows in its output
		close(p.exited)
	}()
	if p.control, err = p.waitForControlPort(ctx, port); err != nil {
		p.kill()
		return nil, unusable(fmt.Errorf("%w%s", err, p.output.reason()))
	}
	return p, nil
}

func findExecutable(configured string) (string, error) {
	if configured != "" {
		return exec.LookPath(configured)
	}
	path, err := exec.LookPath("tor")
	if err != nil {
		if system, err := exec.LookPath("/usr/sbin/tor"); err == nil {
			return system, nil
		}
	}
	return path, err
}

func removeIfThere(path string) error {
	err := os.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// waitForControlPort waits for the file into which tor writes where it is.
func (p *launched) waitForControlPort(ctx context.Context, file string) (address, error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if text, err := os.ReadFile(file); err == nil {
			if port, err := process.ControlPortFromFileContents(string(text)); err == nil {
				return address{"tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}, nil
			}
		}
		select {
		case <-again.C:
		case <-p.exited:
			return address{}, errors.New("it has ended at once")
		case <-ctx.Done():
			return address{}, fmt.Errorf("its control port did not appear: %w", handlers.Ended(ctx))
		}
	}
}

// stop waits for the end of a tor that has lost its owner, or brings it about.
func (p *launched) stop() {
	patience := time.NewTimer(exitTimeout)
	defer patience.Stop()
	select {
	case <-p.exited:
	case <-patience.C:
	}
	p.kill()
}

// kill ends the process, if it has not ended, and frees its files.
func (p *launched) kill() {
	p.once.Do(func() {
		killGroup(p.command.Process)
		<-p.exited
		p.cleanUp()
		close(p.gone)
	})
	<-p.gone
}

// torOutput takes what tor writes. It keeps the last complaint, which says why tor
// has ended.
type torOutput struct {
	logger *slog.Logger

	mu      sync.Mutex
	partial []byte
	last    string
}

const longestLine = 4096

func (o *torOutput) Write(text []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.partial = append(o.partial, text...)
	for {
		line, rest, found := bytes.Cut(o.partial, []byte("\n"))
		if !found {
			break
		}
		o.take(string(bytes.TrimSpace(line)))
		o.partial = rest
	}
	if len(o.partial) > longestLine {
		o.partial = nil
	}
	o.partial = bytes.Clone(o.partial)
	return len(text), nil
}

func (o *torOutput) take(line string) {
	level := slog.LevelDebug
	if _, complaint, found := strings.Cut(line, "[warn] "); found {
		o.last, level = complaint, slog.LevelWarn
	} else if _, complaint, found := strings.Cut(line, "[err] "); found {
		level = slog.LevelError
		if o.last == "" { // often it just refers to the warning before
			o.last = complaint
		}
	}
	if o.logger != nil {
		o.logger.Log(context.Background(), level, "tor: "+line)
	}
}

// reason returns ", it says: " and the last complaint, or "".
func (o *torOutput) reason() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last == "" {
		return ""
	}
	return "; it says: " + o.last
}
