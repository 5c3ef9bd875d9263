package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/foolscap-go/foolscap/appserver"
	"github.com/foolscap-go/foolscap/tub"
)

// connectTimeout is the --timeout of commands that may go on for ever once they are
// connected.
const connectTimeout = "give up if there is no connection after this `DURATION`; 0 for never (default 1m, or 3m with --tor or --hidden)"

func appUploadCommand() *command {
	return &command{
		name:    "app upload",
		args:    "FURL FILE...",
		summary: "send files to a service that takes them",
		about: `Sends files to a service of the type upload-file, ours or of Python's
flappserver, one after another. The service sees the last part of their paths.
It stops at the first that fails.

The FURL is a secret: give it as @FILE, or as - to read it from standard input.`,
		examples: `foolscap app upload @drop.furl picture.png letter.pdf
foolscap app upload --hidden --tor launch @drop.furl letter.pdf`,
		codes: []exitCode{exitUnreachable, exitRemote, exitNoAnswer, exitInterrupted},
		setup: func(fs *flag.FlagSet) runFunc {
			f := new(dialFlags)
			f.define(fs, connectTimeout)
			verbose := fs.Bool("verbose", false, "show the remote traceback of a failure, and log what happens")
			return func(ctx context.Context, e *env, args []string) error {
				e.verbose = *verbose
				if err := want(args, 2, -1, "FURL FILE..."); err != nil {
					return err
				}
				return f.upload(ctx, e, args[0], args[1:])
			}
		},
	}
}

// An upload is a file to send.
type upload struct {
	file *os.File
	name string
	size int64 // 0 if it is not known
	sent atomic.Int64
}

func (u *upload) Read(p []byte) (int, error) {
	n, err := u.file.Read(p)
	u.sent.Add(int64(n))
	return n, err
}

func (u *upload) Close() error { return u.file.Close() }

func (u *upload) progress() string {
	text := fmt.Sprintf("%s: %s", u.name, byteCount(u.sent.Load()))
	if u.size > 0 {
		text += fmt.Sprintf(" of %s, %d%%", byteCount(u.size), u.sent.Load()*100/u.size)
	}
	return text
}

func byteCount(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// openUploads opens all files before any is sent.
func openUploads(paths []string) (all []*upload, err error) {
	names := make(map[string]bool)
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return all, err
		}
		u := &upload{file: file, name: filepath.Base(path)}
		all = append(all, u)
		info, err := file.Stat()
		switch {
		case err != nil:
			return all, err
		case info.IsDir():
			return all, usagef("%s is a folder; only files can be sent", quote(path))
		case names[u.name]:
			return all, usagef("two of the files are called %s: the second would take the place of the first", quote(u.name))
		case info.Mode().IsRegular():
			u.size = info.Size()
		}
		names[u.name] = true
	}
	return all, nil
}

// uploadsDocument is what --json writes.
type uploadsDocument struct {
	TubID string           `json:"tub"`
	Files []uploadDocument `json:"files"` // that were sent
	Error *errorDetails    `json:"error,omitempty"`
}

type uploadDocument struct {
	Name    string  `json:"name"`
	Bytes   int64   `json:"bytes"`
	Elapsed float64 `json:"elapsed_ms"`
}

func (f *dialFlags) upload(ctx context.Context, e *env, target string, paths []string) error {
	files, err := openUploads(paths)
	defer func() {
		for _, u := range files {
			u.Close()
		}
	}()
	if err != nil {
		return err
	}
	d, err := f.prepare(ctx, e, target)
	if err != nil {
		return err
	}
	defer d.close()
	doc := uploadsDocument{TubID: d.address.TubID.String(), Files: []uploadDocument{}}
	err = d.uploadAll(ctx, e, files, &doc)
	if !e.json {
		return err
	}
	if err != nil {
		details := e.details(codeOf(ctx, err), err)
		doc.Error = &details
	}
	if werr := e.writeJSON(doc); werr != nil {
		return werr
	}
	e.reported = true
	return err
}

func (d *dialing) uploadAll(ctx context.Context, e *env, files []*upload, doc *uploadsDocument) error {
	ref, err := d.connect(e)
	if err != nil {
		return err
	}
	for _, u := range files {
		begun := time.Now()
		stop := e.progress(u.progress)
		err := appserver.Upload(ctx, ref, u.name, u)
		stop()
		if err != nil {
			return fmt.Errorf("%s: %w", quote(u.name), err)
		}
		doc.Files = append(doc.Files, uploadDocument{u.name, u.sent.Load(), milliseconds(time.Since(begun))})
		if !e.json {
			fmt.Fprintf(e.stdout, "%s: uploaded\n", clean(u.name))
		}
	}
	d.finish(ctx)
	return nil
}

// connect connects, and shows what that waits for.
func (d *dialing) connect(e *env) (*tub.Ref, error) {
	defer d.progress(e)()
	return d.tub.Connect(d.limited, d.address)
}

func appRunCommandCommand() *command {
	return &command{
		name:    "app run-command",
		args:    "FURL",
		summary: "run the command of a service",
		about: `Has a service of the type run-command, ours or of Python's flappserver, run its
command, and shows its output as it comes. Standard input is sent if the service
accepts some. What is run is up to the service.

It exits with the code of the command, or 127 if that was killed by a signal,
and 255 if something else has failed. With --json, each line is a document with
a piece of "stdout" or "stderr" in base64; the last one has "exit" and "signal".

The FURL is a secret: give it as @FILE, or as - to read it from standard input,
which the command does not get then.`,
		examples: `foolscap app run-command @status.furl
foolscap app run-command @filter.furl <in >out`,
		codes: []exitCode{exitKilled, exitInterrupted, exitNotRun},
		setup: func(fs *flag.FlagSet) runFunc {
			f := new(dialFlags)
			f.define(fs, connectTimeout)
			verbose := fs.Bool("verbose", false, "show the remote traceback of a failure, and log what happens")
			return func(ctx context.Context, e *env, args []string) error {
				e.verbose = *verbose
				if err := want(args, 1, 1, "FURL"); err != nil {
					return err
				}
				return f.runCommand(ctx, e, args[0])
			}
		},
	}
}

// exitDocument is the last line of --json.
type exitDocument struct {
	Exit   int  `json:"exit"`
	Signal *int `json:"signal"`
}

func (f *dialFlags) runCommand(ctx context.Context, e *env, target string) error {
	exit, err := f.runRemote(ctx, e, target)
	if err != nil {
		if codeOf(ctx, err) == exitUsage {
			return err
		}
		return &notRunError{err}
	}
	code := exitCode(exit.Code)
	doc := exitDocument{Exit: exit.Code}
	if exit.Signal != 0 {
		code, doc.Signal = exitKilled, &exit.Signal
	}
	if e.json {
		if err := e.writeJSON(doc); err != nil {
			return err
		}
	}
	if code == exitOK {
		return nil
	}
	e.reported = true // by the command
	return &codedError{code: code}
}

func (f *dialFlags) runRemote(ctx context.Context, e *env, target string) (exit appserver.Exit, err error) {
	d, err := f.prepare(ctx, e, target)
	if err != nil {
		return exit, err
	}
	defer d.close()
	ref, err := d.connect(e)
	if err != nil {
		return exit, err
	}
	s := appserver.Streams{Stdin: e.stdin, Stdout: e.stdout, Stderr: e.stderr}
	if e.stdinTaken {
		s.Stdin = nil
	}
	if e.json {
		lines := new(sync.Mutex)
		s.Stdout, s.Stderr = jsonStream{e, lines, "stdout"}, jsonStream{e, lines, "stderr"}
	}
	if exit, err = appserver.Run(ctx, ref, s); err == nil {
		d.finish(ctx)
	}
	return exit, err
}

// A jsonStream writes documents of what is written to it.
type jsonStream struct {
	e     *env
	lines *sync.Mutex // held for a whole one
	name  string
}

func (j jsonStream) Write(p []byte) (int, error) {
	j.lines.Lock()
	defer j.lines.Unlock()
	return len(p), j.e.writeJSON(map[string][]byte{j.name: p})
}
