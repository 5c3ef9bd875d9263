package appserver

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/foolscap-go/foolscap/tub"
)

// Upload sends a file to a service of the type "upload-file", of this package or of
// Python's flappserver, and returns when it is there as a whole. name is the name of a
// file, without a folder. source is read as the service asks for it, and closed if it is
// an [io.Closer], unless there is no connection. Errors are those of [tub.Call].
func Upload(ctx context.Context, service *tub.Ref, name string, source io.Reader) error {
	_, err := tub.Call[any](ctx, service, "putfile", []byte(name), source)
	return err
}

// Streams are those of a remote command.
type Streams struct {
	// Stdin is read if the service accepts standard input; nil is empty. When the
	// command has ended, a Read may still go on, whose bytes are lost.
	Stdin io.Reader
	// Stdout and Stderr are written to; nil discards. One that is slow slows the
	// command down, unless it is served by Python's flappserver, which does not wait:
	// there Run fails when more than 16 MiB are waiting.
	Stdout, Stderr io.Writer
}

// Exit is how a remote command has ended.
type Exit struct {
	// Code is what it has exited with, Signal the number of what has killed it,
	// or 0; then Code is 0, too.
	Code, Signal int
}

// Run has a service of the type "run-command", of this package or of Python's
// flappserver, run its command, and returns when that has ended and its output is
// written. When ctx ends, Run returns at once; the command is killed at its next output,
// or when the connection ends, or by neither if Python's flappserver runs it.
func Run(ctx context.Context, service *tub.Ref, s Streams) (Exit, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errors.New("nobody waits for the command any more"))
	ended := make(chan Exit, 1)
	w := newWatcher(s, cancel, ended)
	defer context.AfterFunc(ctx, func() { w.fail(context.Cause(ctx)) })()
	stdin, err := tub.Call[*tub.Ref](ctx, service, "execute", w.object())
	if err != nil {
		return Exit{}, err
	}
	defer service.OnDisconnect(func(reason error) {
		cancel(fmt.Errorf("the connection was lost, and it is not known how the command has ended: %w", reason))
	})()
	if stdin != nil {
		go feed(ctx, stdin, s.Stdin, cancel)
	}
	select {
	case exit := <-ended:
		return exit, nil
	case <-ctx.Done():
		select {
		case exit := <-ended: // and then the connection
			return exit, nil
		default:
			return Exit{}, context.Cause(ctx)
		}
	}
}

// feed sends standard input.
func feed(ctx context.Context, to *tub.Ref, stdin io.Reader, fail context.CancelCauseFunc) {
	defer to.Close()
	if stdin != nil {
		r := &failingReader{Reader: stdin}
		o := &outlet{ctx: ctx, ref: to, method: "feed_stdin"}
		if err := o.readFrom(r, func([]byte) {}); err != nil {
			if r.err != nil {
				fail(fmt.Errorf("reading standard input: %w", r.err))
			}
			return // the command has ended without the rest
		}
	}
	_, _ = tub.Call[any](ctx, to, "close_stdin") // likewise
}

// A failingReader keeps its error.
type failingReader struct {
	io.Reader
	err error
}

func (f *failingReader) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err != io.EOF {
		f.err = err
	}
	return n, err
}

// A watcher is told of a command.
type watcher struct {
	stdout, stderr *funnel
	cancel         context.CancelCauseFunc
	ended          chan<- Exit
}

func newWatcher(s Streams, cancel context.CancelCauseFunc, ended chan<- Exit) *watcher {
	to := func(w io.Writer) *funnel {
		if w == nil {
			w = io.Discard
		}
		return &funnel{w: w}
	}
	return &watcher{to(s.Stdout), to(s.Stderr), cancel, ended}
}

func (w *watcher) fail(err error) {
	w.stdout.fail(err)
	w.stderr.fail(err)
}

func (w *watcher) object() *tub.Object {
	output := func(name string, to *funnel) tub.Part {
		return tub.Method(name, func(ctx context.Context, a struct{ Data []byte }) (tub.None, error) {
			err := to.write(ctx, a.Data)
			if err != nil {
				w.cancel(fmt.Errorf("the %s of the command: %w", name, err))
			}
			return tub.None{}, err
		})
	}
	return tub.NewObject(output("stdout", w.stdout), output("stderr", w.stderr), tub.Method("done", w.done))
}

type doneArgs struct{ Signal, ExitCode any }

func (w *watcher) done(ctx context.Context, a doneArgs) (tub.None, error) {
	// Both were told everything that comes before this call.
	err := w.stdout.close(ctx, func() error {
		return w.stderr.close(ctx, func() error {
			select {
			case w.ended <- Exit{Code: number(a.ExitCode), Signal: number(a.Signal)}:
			default: // it was told already
			}
			return nil
		})
	})
	if err != nil {
		w.cancel(fmt.Errorf("the output of the command: %w", err))
	}
	return tub.None{}, err
}

func number(v any) int {
	n, _ := v.(int64)
	return int(n)
}
