package flog

import (
	"fmt"
	"io"

	"github.com/dsnet/compress/bzip2"
)

// newPacker compresses in blocks of 100 kB. Larger ones would make the files a
// little smaller, and take 20 bytes of memory for each of theirs.
func newPacker(to io.Writer) (*bzip2.Writer, io.Writer) {
	w, err := bzip2.NewWriter(to, &bzip2.WriterConfig{Level: bzip2.BestSpeed})
	if err != nil {
		panic(err) // the level is one of its own
	}
	return w, guarded{w}
}

// pack compresses everything.
func pack(to io.Writer, from io.Reader) error {
	w, guard := newPacker(to)
	if _, err := io.Copy(guard, from); err != nil {
		return err
	}
	return closeGuarded(w)
}

// A guarded compressor fails rather than bring the program down.
type guarded struct{ w *bzip2.Writer }

func (g guarded) Write(p []byte) (n int, err error) {
	defer recovered(&err)
	return g.w.Write(p)
}

func closeGuarded(w *bzip2.Writer) (err error) {
	defer recovered(&err)
	return w.Close()
}

func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("flog: the compressor has failed: %v", p)
	}
}
