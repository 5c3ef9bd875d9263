package tornet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// process is a tor process that can be killed and started again with the same files.
type process struct {
	dir, name string
	torrc     string

	mu      sync.Mutex
	command *exec.Cmd // nil while it does not run
	dead    chan struct{}
}

// newProcess describes a tor whose files are in dir.
func newProcess(dir, name string, lines ...[]string) *process {
	torrc := []string{
		"DataDirectory " + dir,
		"Nickname " + name,
		"ControlSocket " + filepath.Join(dir, "control"),
		"CookieAuthentication 1",
		"Log notice file " + filepath.Join(dir, "log"),
		// The directory is private; what is in it a tor of another user could not use.
		"DataDirectoryGroupReadable 0",
	}
	for _, more := range lines {
		torrc = append(torrc, more...)
	}
	return &process{dir: dir, name: name, torrc: strings.Join(torrc, "\n") + "\n"}
}

// start starts the process, which must not be running.
func (p *process) start() error {
	tor, err := program("tor")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	torrc := filepath.Join(p.dir, "torrc")
	if err := os.WriteFile(torrc, []byte(p.torrc), 0o600); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command != nil {
		return fmt.Errorf("%s is running already", p.name)
	}
	command := exec.Command(tor, "-f", torrc, "--defaults-torrc", "/nonexistent", "--hush")
	output, err := os.OpenFile(filepath.Join(p.dir, "output"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		return err
	}
	dead := make(chan struct{})
	p.command, p.dead = command, dead
	go func() {
		_ = command.Wait() // an end that nobody expects shows in what depends on it, and in the log
		close(dead)
	}()
	return nil
}

// kill ends the process as kill -9 does, and waits until it is gone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command == nil {
		return
	}
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(fmt.Sprintf("killing a tor of our own: %v", err))
	}
	<-p.dead
	p.command = nil
}

// ended reports whether the process has ended by itself.
func (p *process) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.command == nil {
		return false
	}
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// errEnded says that a tor has ended by itself.
var errEnded = errors.New("has ended by itself")

// log returns the end of what tor has written.
func (p *process) log() string {
	var all []byte
	for _, name := range []string{"output", "log"} {
		text, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			text = []byte(err.Error() + "\n")
		}
		all = append(all, text[max(0, len(text)-4096):]...)
	}
	return string(all)
}
