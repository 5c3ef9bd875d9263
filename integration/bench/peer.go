package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A peer is a process that carries out requests. One request at a time.
type peer struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

// A launcher starts peers.
type launcher struct {
	self   string // the program file of this process
	python string // the interpreter that has Foolscap
	dir    string // scratch, shared by the Python peers of a run
}

//go:embed foolscap_peer.py
var pythonPeer []byte

const pythonPeerFile = "foolscap_peer.py"

func newLauncher(dir string) (*launcher, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l := &launcher{self: self, python: "/usr/bin/python3", dir: dir}
	if python := os.Getenv("FOOLSCAP_PYTHON"); python != "" {
		l.python = python
	}
	return l, os.WriteFile(filepath.Join(dir, pythonPeerFile), pythonPeer, 0o600)
}

// pythonVersion says which Python, Foolscap and Twisted would run, or why
// none can.
func (l *launcher) pythonVersion(ctx context.Context) (string, error) {
	const script = `
import warnings
warnings.simplefilter("ignore")
import platform, foolscap, twisted
print("Python", platform.python_version(), "Foolscap", foolscap.__version__, "Twisted", twisted.__version__)`
	out, err := exec.CommandContext(ctx, l.python, "-c", script).Output()
	if err != nil {
		return "", fmt.Errorf("%s has no Foolscap (on Debian and Ubuntu: apt-get install python3-foolscap; "+
			"or name an interpreter in FOOLSCAP_PYTHON): %w", l.python, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// start runs an implementation of this program, or Python. The process ends
// with ctx at the latest.
func (l *launcher) start(ctx context.Context, implementation string) (*peer, error) {
	var cmd *exec.Cmd
	if implementation == python {
		cmd = exec.CommandContext(ctx, l.python, filepath.Join(l.dir, pythonPeerFile), l.dir)
	} else {
		cmd = exec.CommandContext(ctx, l.self)
		cmd.Env = append(os.Environ(), agentVariable+"="+implementation)
	}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &peer{name: implementation, cmd: cmd, stdin: stdin, out: bufio.NewReader(stdout)}, nil
}

// requestTimeout bounds a request beyond the time for which it measures. The
// longest is Python's, to make all its certificates at first.
const requestTimeout = 3 * time.Minute

// ask kills the process when it does not answer in time, or when ctx ends:
// there is nothing else to be done with it then.
func (p *peer) ask(ctx context.Context, req request) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout+seconds(req.WarmUp+req.Seconds))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { p.cmd.Process.Kill() })
	defer stop()

	resp, err := p.exchange(req)
	switch {
	case ctx.Err() != nil:
		return response{}, fmt.Errorf("%s: %s: %w", p.name, req.Op, context.Cause(ctx))
	case err != nil:
		return response{}, fmt.Errorf("%s: %s: the process does not answer: %w", p.name, req.Op, err)
	case resp.Error != "":
		return response{}, fmt.Errorf("%s: %s: %s", p.name, req.Op, resp.Error)
	}
	return resp, nil
}

func (p *peer) exchange(req request) (resp response, err error) {
	line, err := json.Marshal(req)
	if err != nil {
		return resp, err
	}
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		return resp, err
	}
	if line, err = p.out.ReadBytes('\n'); err != nil {
		return resp, err
	}
	return resp, json.Unmarshal(line, &resp)
}

// stop ends the process and waits until it is gone.
func (p *peer) stop() error {
	closed := p.stdin.Close()
	kill := time.AfterFunc(10*time.Second, func() { p.cmd.Process.Kill() })
	defer kill.Stop()
	return errors.Join(closed, p.cmd.Wait())
}
