package appserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/foolscap-go/foolscap/tub"
)

// UploadFile returns the type "upload-file": clients put files into a folder, see
// docs/appserver.md.
func UploadFile() Type {
	return Type{
		Name:  "upload-file",
		Usage: "[--mode=MODE] [--max-size=BYTES] FOLDER",
		Check: checkUpload,
		New:   newUploader,
	}
}

type uploadOptions struct {
	mode    fs.FileMode
	maxSize int64 // 0 for any
	folder  string
}

func parseUpload(args []string) (o uploadOptions, flags []string, err error) {
	o.mode = 0o644
	set := options("upload-file")
	set.Func("mode", "", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 9)
		if strings.HasPrefix(s, "0") { // as Python's does
			n, err = strconv.ParseUint(s, 8, 9)
		}
		if err != nil {
			return errors.New("a mode is an octal number from 0000 to 0777")
		}
		o.mode = fs.FileMode(n)
		return nil
	})
	set.Func("max-size", "", func(s string) (err error) {
		o.maxSize, err = parseSize(s)
		return err
	})
	set.BoolFunc("allow-subdirectories", "", func(string) error {
		return errors.New("files go into one folder only")
	})
	if err := parse(set, args); err != nil {
		return o, nil, err
	}
	if set.NArg() != 1 {
		return o, nil, fmt.Errorf("upload-file takes one FOLDER, and was given %d", set.NArg())
	}
	o.folder = set.Arg(0)
	return o, args[:len(args)-1], nil
}

// parseSize reads a number of bytes: "1000", "64k", "10M", "2G".
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "kMG")
	n, err := strconv.ParseInt(digits, 10, 64)
	shift := map[string]int{"": 0, "k": 10, "M": 20, "G": 30}
	by, ok := shift[s[len(digits):]]
	if err != nil || !ok || n <= 0 || n > 1<<62>>by {
		return 0, errors.New("a size is a number of bytes, or of k, M or G, such as 100M")
	}
	return n << by, nil
}

func checkUpload(args []string) ([]string, error) {
	o, flags, err := parseUpload(args)
	if err != nil {
		return nil, err
	}
	folder, err := filepath.Abs(o.folder)
	if err != nil {
		return nil, err
	}
	// The one way to know whether it can be written to is to do it.
	f, err := os.CreateTemp(folder, partialPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("the folder has to be there already, and to be writable: %w", err)
	}
	f.Close()
	return append(append([]string{}, flags...), folder), os.Remove(f.Name())
}

// maxUploads bounds how many files one service takes at a time.
const maxUploads = 64

type uploader struct {
	Config
	uploadOptions
	ctx  context.Context
	busy quota
}

func newUploader(ctx context.Context, c Config) (*tub.Object, error) {
	o, _, err := parseUpload(c.Args)
	if err != nil {
		return nil, err
	}
	o.folder = c.from(o.folder)
	u := &uploader{c, o, ctx, make(quota, maxUploads)}
	u.clean()
	return tub.NewObject(tub.Method("putfile", u.put, tub.Concurrent)), nil
}

const (
	// Files have this name until they are whole: no name that clients can choose.
	partialPrefix = ".foolscap-upload-"
	// staleAfter is when a file that nothing was written to is one of a process that
	// was killed, in this folder or in that of another server.
	staleAfter = 24 * time.Hour
)

// clean removes what processes have left that were killed.
func (u *uploader) clean() {
	entries, err := os.ReadDir(u.folder)
	if err != nil {
		return // put will say it
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), partialPrefix) {
			continue
		}
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > staleAfter {
			_ = os.Remove(filepath.Join(u.folder, e.Name())) // if not now, another time
		}
	}
}

const badFilename = tub.RemoteType("foolscap.appserver.services.BadFilenameError")

// maxName is how long a name may be, in bytes: what file systems take.
const maxName = 255

// checkName returns a file name that is nothing but a name, of a file that is not
// hidden.
func checkName(name any) (string, error) {
	var s string
	switch name := name.(type) {
	case []byte:
		s = string(name)
	case string: // of programs for Python 2
		s = name
	default:
		return "", tub.Raise(badFilename, errors.New("a file name is bytes"))
	}
	why := ""
	switch {
	case s == "":
		why = "it is empty"
	case len(s) > maxName:
		why = fmt.Sprintf("it is longer than %d bytes", maxName)
	case s[0] == '.':
		why = "it begins with a dot"
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		why = "there are characters in it that do not print"
	case strings.ContainsAny(s, `/\`) || !filepath.IsLocal(s):
		why = "it is to be a plain name, and the file goes into the folder of the service"
	default:
		return s, nil
	}
	return "", tub.Raise(badFilename, errors.New("not a name for an uploaded file: "+why))
}

type putArgs struct {
	Name   any
	Source io.Reader
}

// put takes one file.
func (u *uploader) put(ctx context.Context, a putArgs) (tub.None, error) {
	name, err := checkName(a.Name)
	if err != nil {
		return tub.None{}, err
	}
	if a.Source == nil {
		return tub.None{}, errors.New("there is nothing to read the file from")
	}
	give, err := u.busy.take()
	if err != nil {
		return tub.None{}, err
	}
	defer give()
	end, err := u.Begin()
	if err != nil {
		return tub.None{}, err
	}
	defer end()
	// A reader that is closed ends a Read that waits.
	if c, ok := a.Source.(io.Closer); ok {
		defer context.AfterFunc(u.ctx, func() { c.Close() })()
	}
	size, err := u.receive(name, a.Source)
	if u.ctx.Err() != nil && err != nil {
		err = tub.ErrShutdown
	}
	if err != nil {
		u.Logger.Warn("an upload has failed", "file", name, "bytes", size, "error", err)
		return tub.None{}, err
	}
	u.Logger.Info("uploaded", "file", name, "bytes", size)
	return tub.None{}, nil
}

// receive writes the file beside its place, and puts it there when all of it is on
// the disk.
func (u *uploader) receive(name string, source io.Reader) (size int64, err error) {
	// Not by its path, which leads elsewhere when somebody renames a folder of it.
	root, err := os.OpenRoot(u.folder)
	if err != nil {
		return 0, withoutPath(u.Logger, "open the folder", err)
	}
	defer root.Close()
	temp := partialPrefix + rand.Text()
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, withoutPath(u.Logger, "create a file", err)
	}
	defer root.Remove(temp) // once it is renamed, it is not there
	defer f.Close()
	size, err = u.copy(f, source)
	if err != nil {
		return size, err
	}
	if err := errors.Join(f.Chmod(u.mode), f.Sync(), f.Close()); err != nil {
		return size, withoutPath(u.Logger, "write the file", err)
	}
	if err := root.Rename(temp, name); err != nil {
		return size, withoutPath(u.Logger, "give the file its name", err)
	}
	if d, err := root.Open("."); err == nil { // so that the name lasts, too
		_ = d.Sync() // not everywhere possible
		d.Close()
	}
	return size, nil
}

var errTooLarge = errors.New("the file is larger than this service takes")

// copy reads the source and bounds what is written.
func (u *uploader) copy(f *os.File, source io.Reader) (int64, error) {
	if u.maxSize > 0 {
		source = io.LimitReader(source, u.maxSize+1)
	}
	w := &diskWriter{f: f}
	size, err := io.Copy(w, source)
	switch {
	case w.err != nil:
		return size, withoutPath(u.Logger, "write the file", w.err)
	case err != nil:
		return size, fmt.Errorf("reading the file from its sender: %w", err)
	case u.maxSize > 0 && size > u.maxSize:
		return size, fmt.Errorf("%w: %d bytes", errTooLarge, u.maxSize)
	}
	return size, nil
}

// A diskWriter knows that an error was one of writing.
type diskWriter struct {
	f   *os.File
	err error
}

func (d *diskWriter) Write(p []byte) (n int, err error) {
	n, d.err = d.f.Write(p)
	return n, d.err
}

// withoutPath is what peers are told of an error of the file system: not where the
// folder is.
func withoutPath(log *slog.Logger, what string, err error) error {
	log.Debug("the file system refuses", "to", what, "error", err)
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	}
	return fmt.Errorf("the server cannot %s: %w", what, err)
}
