package appserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/foolscap-go/foolscap/tub"
)

// RunCommand returns the type "run-command": clients run a command that is chosen here,
// see docs/appserver.md.
func RunCommand() Type {
	return Type{
		Name: "run-command",
		Usage: "[--accept-stdin] [--no-stdout] [--no-stderr] [--log-stdin] [--log-stdout] [--no-log-stderr] " +
			"[--time-limit=DURATION] [--env=NAME[=VALUE]]... FOLDER COMMAND [ARGUMENT]...",
		Check: checkCommand,
		New:   newRunner,
	}
}

type commandOptions struct {
	stdin, stdout, stderr          bool
	logStdin, logStdout, logStderr bool
	limit                          time.Duration // 0 for none
	env                            []string      // as given
	folder                         string
	argv                           []string
}

func parseCommand(args []string) (o commandOptions, flags []string, err error) {
	o.stdout, o.stderr, o.logStderr = true, true, true
	set := options("run-command")
	for name, s := range map[string]struct {
		to    *bool
		value bool
	}{
		"accept-stdin": {&o.stdin, true}, "no-stdin": {&o.stdin, false},
		"send-stdout": {&o.stdout, true}, "no-stdout": {&o.stdout, false},
		"send-stderr": {&o.stderr, true}, "no-stderr": {&o.stderr, false},
		"log-stdin": {&o.logStdin, true}, "no-log-stdin": {&o.logStdin, false},
		"log-stdout": {&o.logStdout, true}, "no-log-stdout": {&o.logStdout, false},
		"log-stderr": {&o.logStderr, true}, "no-log-stderr": {&o.logStderr, false},
	} {
		set.BoolFunc(name, "", func(string) error {
			*s.to = s.value
			return nil
		})
	}
	set.Func("time-limit", "", func(s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 {
			return errors.New("a time limit is a duration such as 90s")
		}
		o.limit = d
		return nil
	})
	set.Func("env", "", func(s string) error {
		if name, _, _ := strings.Cut(s, "="); name == "" || strings.ContainsRune(s, 0) {
			return errors.New("give NAME=VALUE, or NAME for the value that it has where the server runs")
		}
		o.env = append(o.env, s)
		return nil
	})
	if err := parse(set, args); err != nil {
		return o, nil, err
	}
	if set.NArg() < 2 {
		return o, nil, errors.New("run-command takes a FOLDER to run in, and a COMMAND")
	}
	o.folder, o.argv = set.Arg(0), set.Args()[1:]
	return o, args[:len(args)-set.NArg()], nil
}

func checkCommand(args []string) ([]string, error) {
	o, flags, err := parseCommand(args)
	if err != nil {
		return nil, err
	}
	folder, err := filepath.Abs(o.folder)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(folder); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s is no folder to run a command in", folder)
	}
	return append(append(append([]string{}, flags...), folder), o.argv...), nil
}

// kept are the variables of the environment that commands see. The rest may hold
// secrets of whoever has started the server.
var kept = []string{"PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SYSTEMROOT"}

func (o *commandOptions) environment() []string {
	env := []string{} // nil would be everything
	for _, word := range append(append([]string{}, kept...), o.env...) {
		if strings.Contains(word, "=") {
			env = append(env, word)
		} else if value, ok := os.LookupEnv(word); ok {
			env = append(env, word+"="+value)
		}
	}
	return env
}

const (
	// maxCommands bounds how many commands of one service run at a time.
	maxCommands = 32
	// linger is how long the output of a killed command is still read, and then again
	// how long it may take to its client.
	linger = 2 * time.Second
)

type runner struct {
	Config
	commandOptions
	ctx  context.Context
	busy quota
}

func newRunner(ctx context.Context, c Config) (*tub.Object, error) {
	o, _, err := parseCommand(c.Args)
	if err != nil {
		return nil, err
	}
	o.folder = c.from(o.folder)
	r := &runner{c, o, ctx, make(quota, maxCommands)}
	return tub.NewObject(tub.Method("execute", r.execute)), nil
}

type executeArgs struct{ Watcher *tub.Ref }

// execute starts the command, and returns what takes its standard input.
func (r *runner) execute(_ context.Context, a executeArgs) (*tub.Object, error) {
	if a.Watcher == nil {
		return nil, errors.New("a watcher is needed, to be told how the command ends")
	}
	give, err := r.busy.take()
	if err != nil {
		return nil, err
	}
	end, err := r.Begin()
	if err != nil {
		give()
		return nil, err
	}
	c, err := r.start(a.Watcher)
	if err != nil {
		give()
		end()
		r.Logger.Error("a command cannot be started", "error", err)
		return nil, errors.New("the command cannot be started; the server's log says why")
	}
	r.Logger.Info("command started", "pid", c.cmd.Process.Pid)
	go func() {
		defer end()
		defer give()
		c.finish()
	}()
	if !r.stdin {
		return nil, nil
	}
	return c.input(), nil
}

// A command is a process that runs.
type command struct {
	*runner
	cmd     *exec.Cmd
	watcher *tub.Ref
	stdin   *funnel
	streams []stream

	// running ends when the command is to be killed, sending when nothing more
	// is told to the watcher.
	running, sending context.Context
	kill             context.CancelCauseFunc
	quiet            context.CancelFunc
}

// A stream is standard output or standard error.
type stream struct {
	name      string
	from      *os.File
	send, log bool
}

var (
	errGone  = errors.New("the client has gone")
	errLimit = errors.New("the time limit is reached")
)

func (r *runner) start(watcher *tub.Ref) (*command, error) {
	c := &command{runner: r, watcher: watcher, cmd: exec.Command(r.argv[0], r.argv[1:]...)}
	c.cmd.Dir, c.cmd.Env = r.folder, r.environment()
	inGroup(c.cmd)
	var theirs []*os.File // ends of pipes
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	pipe := func(name string, send, log bool) (*os.File, error) {
		if !send && !log {
			return nil, nil
		}
		from, to, err := os.Pipe()
		if err == nil {
			theirs = append(theirs, to)
			c.streams = append(c.streams, stream{name, from, send, log})
		}
		return to, err
	}
	err := func() error {
		if to, err := pipe("stdout", r.stdout, r.logStdout); err != nil {
			return err
		} else if to != nil {
			c.cmd.Stdout = to
		}
		if to, err := pipe("stderr", r.stderr, r.logStderr); err != nil {
			return err
		} else if to != nil {
			c.cmd.Stderr = to
		}
		if r.commandOptions.stdin {
			w, err := c.cmd.StdinPipe()
			if err != nil {
				return err
			}
			c.stdin = &funnel{w: w}
		}
		return c.cmd.Start()
	}()
	if err != nil {
		c.closeStreams()
		return nil, err
	}
	c.running, c.kill = context.WithCancelCause(r.ctx)
	c.sending, c.quiet = context.WithCancel(context.WithoutCancel(r.ctx))
	return c, nil
}

func (c *command) closeStreams() {
	for _, s := range c.streams {
		s.from.Close()
	}
}

// finish waits for the end of the command and tells the watcher.
func (c *command) finish() {
	defer c.watcher.Close()
	defer c.quiet()
	defer c.kill(nil)
	defer c.closeStreams()
	defer c.watcher.OnDisconnect(func(error) { c.kill(errGone) })()
	running := c.running
	if c.limit > 0 {
		var cancel context.CancelFunc
		running, cancel = context.WithTimeoutCause(running, c.limit, errLimit)
		defer cancel()
	}
	defer context.AfterFunc(running, c.end)()

	var pumps sync.WaitGroup
	for _, s := range c.streams {
		pumps.Go(func() { c.pump(s) })
	}
	pumps.Wait()
	// Not before: as long as the process was not waited for, its number is not that of
	// another one, which would be killed in its place.
	err := c.cmd.Wait()
	var signal, code any = nil, -1
	attrs := []any{"pid", c.cmd.Process.Pid}
	if c.cmd.ProcessState == nil { // the system does not tell
		attrs = append(attrs, "error", err)
	} else {
		signal, code = outcome(c.cmd.ProcessState)
		attrs = append(attrs, "signal", signal, "exit", code)
	}
	if cause := context.Cause(running); cause != nil && signal != nil {
		attrs = append(attrs, "killed", cause)
		if c.runner.stderr && !errors.Is(cause, errGone) {
			_ = tub.Send(c.sending, c.watcher, "stderr", []byte("foolscap: the command was killed: "+cause.Error()+"\n"))
		}
	}
	c.Logger.Info("command ended", attrs...)
	// Until it is answered, so that the connection does not end before it is known. If it
	// cannot be told, nobody is there.
	_, _ = tub.Call[any](c.sending, c.watcher, "done", signal, code)
}

// end kills the command. Its children may have left its group and hold its streams,
// and its client may be stuck: neither can keep it longer than linger.
func (c *command) end() {
	killGroup(c.cmd)
	deadline := time.Now().Add(linger)
	for _, s := range c.streams {
		_ = s.from.SetReadDeadline(deadline) // those of a pipe can be read with one
	}
	time.AfterFunc(2*linger, c.quiet) // how it has ended is told last
}

// pump sends a stream until its end.
func (c *command) pump(s stream) {
	o := &outlet{ctx: c.sending, ref: c.watcher, method: s.name}
	see := func(p []byte) {
		if s.log {
			c.logStream(s.name, p)
		}
	}
	var err error
	if s.send {
		err = o.readFrom(s.from, see)
	} else {
		_, err = io.Copy(writerFunc(see), s.from)
	}
	if err != nil {
		c.kill(fmt.Errorf("its %s cannot be sent: %w", s.name, err))
	}
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// logStream logs what goes over a stream, as much of a piece as a log can bear.
func (c *command) logStream(name string, p []byte) {
	const most = 1000
	c.Logger.Info(name, "pid", c.cmd.Process.Pid, "bytes", len(p), "data", string(p[:min(len(p), most)]))
}

// input returns the object that takes standard input.
func (c *command) input() *tub.Object {
	return tub.NewObject(
		tub.Method("feed_stdin", func(ctx context.Context, a struct{ Data []byte }) (tub.None, error) {
			if c.logStdin {
				c.logStream("stdin", a.Data)
			}
			if err := c.stdin.write(ctx, a.Data); errors.Is(err, errFlood) {
				c.kill(fmt.Errorf("its standard input: %w", err))
				return tub.None{}, err
			}
			return tub.None{}, nil // it may do without the rest of its input
		}),
		tub.Method("close_stdin", func(ctx context.Context, _ tub.None) (tub.None, error) {
			_ = c.stdin.close(ctx, c.stdin.w.(io.Closer).Close) // the command may have ended
			return tub.None{}, nil
		}),
	)
}
