package banana

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// MaxScanBody is how much of a token's body Scan keeps, in bytes.
const MaxScanBody = 4 << 10

// A Scanned is one token of a stream, as it stands there.
type Scanned struct {
	Token
	// Offset is where the token begins in the stream, and Size what it takes
	// of it, its body included; in bytes.
	Offset, Size int64
	// Depth is the number of sequences around the token. An OPEN and its
	// CLOSE have the same.
	Depth int
	// Header holds the bytes before the type byte, of which a sender may
	// have written none or more than it had to.
	Header []byte
	// Body holds the first MaxScanBody bytes of the body.
	Body []byte
	// Index says that the token is the type of the sequence just opened.
	Index bool
	// Word is the word that a VOCAB stands for, if its table has it, and the
	// type of a sequence that is sent as a STRING.
	Word string
}

// Scan walks through a stream of Banana token by token, PING, PONG, ABORT and
// ERROR included, for people who want to see what is there. It does not ask
// whether the tokens make sense together: lost CLOSEs, unknown words and
// references to nowhere are no errors. The iteration ends at the end of the
// stream, or with an error: a *ProtocolError when no token can be made out, or
// io.ErrUnexpectedEOF when the stream ends within a token or a sequence; the
// Scanned that comes with it has the Offset and Depth of that place.
func Scan(r io.Reader, vocab int) iter.Seq2[Scanned, error] {
	return func(yield func(Scanned, error) bool) {
		read := &countingReader{r: r}
		s := scanner{d: NewDecoder(read, nil, &DecoderConfig{Vocab: vocab})}
		for {
			start := read.n - int64(s.d.Buffered())
			tok, err := s.next()
			tok.Offset = start
			tok.Size = read.n - int64(s.d.Buffered()) - start
			if err == io.EOF && tok.Depth == 0 {
				return
			}
			if !yield(tok, unexpected(err)) || err != nil {
				return
			}
		}
	}
}

type scanner struct {
	d     *Decoder
	depth int
	index bool
}

func (s *scanner) next() (Scanned, error) {
	tok, err := s.d.header()
	at := Scanned{Token: tok, Depth: s.depth}
	if err != nil {
		return at, err
	}
	at.Header = append(at.Header, s.d.number...)
	if size := s.d.body; size > 0 {
		body := make([]byte, min(size, MaxScanBody))
		if err := s.d.read(body); err != nil {
			return at, err
		}
		if err := s.d.discard(); err != nil {
			return at, err
		}
		at.Body = body
	}
	switch tok.Type {
	case TypePing, TypePong, TypeError: // they may stand anywhere
		return at, nil
	case TypeOpen:
		s.depth++
	case TypeClose:
		s.depth = max(0, s.depth-1)
		at.Depth = s.depth
	case TypeVocab:
		if tok.N < uint64(len(s.d.words)) {
			at.Word = s.d.words[tok.N]
		}
	case TypeString:
		if s.index && tok.N <= maxOpenType {
			at.Word = string(at.Body)
		}
	}
	if tok.Type != TypeAbort {
		at.Index = s.index && (tok.Type == TypeVocab || tok.Type == TypeString)
		s.index = tok.Type == TypeOpen
	}
	return at, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// Annotation shows strings of up to maxWhole bytes, and of longer ones the
// first maxShown.
const (
	maxWhole = 80
	maxShown = 60
)

// Annotation shows the token in one line: OPEN(3), VOCAB(4=list), INT(),
// NEG(5), STRING(5,b'hello'), LONGINT(4,0x80000000), FLOAT(1.5). Of long
// strings it shows the beginning, followed by "...". Strings can hold secrets:
// a FURL is one.
func (s Scanned) Annotation() string {
	arg := ""
	switch {
	case s.Type == TypeFloat && len(s.Body) == 8:
		arg = floatText(math.Float64frombits(binary.BigEndian.Uint64(s.Body)))
	case s.Type == TypeLongInt, s.Type == TypeLongNeg:
		arg = fmt.Sprintf("%d,0x%x%s", s.N, s.Body, dots(s.N > uint64(len(s.Body))))
	case s.Type.hasBody():
		shown := s.Body
		if s.N > maxWhole {
			shown = shown[:min(len(shown), maxShown)]
		}
		arg = fmt.Sprintf("%d,%s%s", s.N, bytesText(shown), dots(s.N > uint64(len(shown))))
	case len(s.Header) > 0:
		arg = headerValue(s.Header).String()
	}
	if s.Type == TypeVocab {
		word := s.Word
		if word == "" {
			word = "?"
		}
		arg += "=" + word
	}
	return s.Type.String() + "(" + arg + ")"
}

func dots(more bool) string {
	if more {
		return "..."
	}
	return ""
}

// headerValue returns the number in a header, whatever its size.
func headerValue(hdr []byte) *big.Int {
	n, b := new(big.Int), new(big.Int)
	for i := len(hdr) - 1; i >= 0; i-- {
		n.Lsh(n, 7).Or(n, b.SetInt64(int64(hdr[i])))
	}
	return n
}

func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.ToLower(strings.TrimPrefix(fmt.Sprint(f), "+"))
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// bytesText shows a byte string as Python does.
func bytesText(b []byte) string {
	quote := byte('\'')
	if strings.Contains(string(b), "'") && !strings.Contains(string(b), `"`) {
		quote = '"'
	}
	out := []byte{'b', quote}
	for _, c := range b {
		switch {
		case c == quote || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, `\n`...)
		case c == '\r':
			out = append(out, `\r`...)
		case c == '\t':
			out = append(out, `\t`...)
		case c < ' ' || c > '~':
			out = fmt.Appendf(out, `\x%02x`, c)
		default:
			out = append(out, c)
		}
	}
	return string(append(out, quote))
}
