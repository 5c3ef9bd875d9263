package negotiate

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxBlock bounds a block, its blank line included, and likewise the plaintext
// request and its answer. Other implementations count what comes behind the
// block in one piece with it, too.
const maxBlock = 4096

var endOfBlock = []byte("\r\n\r\n")

// The keys of the hello and decision blocks.
const (
	keyVersions    = "banana-negotiation-range"
	keyDecision    = "banana-decision-version"
	keyError       = "error"
	keyTubID       = "my-tub-id"
	keyIncarnation = "my-incarnation"
	keyLast        = "last-connection"
	keyCurrent     = "current-connection"
	keyVocabRange  = "initial-vocab-table-range"
	keyVocabChoice = "initial-vocab-table-index"
	keyForced      = "negotiation-forced"
	keyExtensions  = "foolscap-go-extensions"
)

// A block is what stands before the blank line: keys in lower case, and values
// without leading blanks. Of a repeated key the last counts.
type block map[string]string

func parseBlock(b []byte) (block, error) {
	if !utf8.Valid(b) {
		return nil, refuse(ErrMalformed, "a block is not UTF-8")
	}
	m := make(block)
	for line := range strings.SplitSeq(string(b), "\r\n") {
		key, value, found := strings.Cut(line, ":")
		if !found {
			return nil, refuse(ErrMalformed, "a line of a block has no colon")
		}
		m[lower(key)] = strings.TrimLeft(value, blanks)
	}
	return m, nil
}

// blanks is the white space that separates the fields of a value.
const blanks = " \t\n\v\f\r"

func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r < utf8.RuneSelf && strings.IndexByte(blanks, byte(r)) >= 0 })
}

// lower is for ASCII only: in a key that other rules would fold, every byte
// counts.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}

// A builder writes a block. Its caller adds the keys in ascending order, in
// which all implementations send them.
type builder struct{ b []byte }

func (w *builder) add(key, format string, args ...any) {
	w.b = append(w.b, key...)
	w.b = append(w.b, ": "...)
	w.b = fmt.Appendf(w.b, format, args...)
	w.b = append(w.b, "\r\n"...)
}

func (w *builder) end() []byte { return append(w.b, "\r\n"...) }

// errorBlock is how a side says that it gives up, from its hello on until it
// speaks Banana. It reads as a hello and as a decision.
func errorBlock(text string) []byte {
	var w builder
	w.add(keyDecision, "1")
	w.add(keyError, "%s", oneLine(text))
	return w.end()
}

// oneLine keeps a text from ending its line.
func oneLine(text string) string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(text)
}

// refusalIn returns the error of a block that is a refusal.
func refusalIn(m block) error {
	if text, ok := m[keyError]; ok {
		return remoteError(text)
	}
	return nil
}

// ParseLateRefusal recognises an error block that has arrived where Banana is
// expected: a peer that waits for our decision, or does not like it, may still
// refuse in the manner of a hello, which as Banana reads as an over-long token
// header. b holds what was read instead of a token, from its first byte on, in
// full or in part, since the peer may hang up behind it. The text is cut and
// cleaned as that of a [RemoteError].
func ParseLateRefusal(b []byte) (text string, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte(keyDecision+":"))
	if !ok {
		return "", false
	}
	rest, _, _ = bytes.Cut(rest, endOfBlock)
	for line := range strings.SplitSeq(string(rest), "\r\n") {
		if key, value, _ := strings.Cut(line, ":"); key == keyError {
			text = strings.TrimLeft(value, blanks)
		}
	}
	return printable(text, maxRemoteText), true
}

// A numberRange is two numbers of which the first should be the smaller.
type numberRange struct{ min, max int64 }

func parseRange(s string) (numberRange, error) {
	f := fields(s)
	if len(f) != 2 {
		return numberRange{}, refuse(ErrMalformed, "a range is not two numbers")
	}
	min, err1 := strconv.ParseInt(f[0], 10, 64)
	max, err2 := strconv.ParseInt(f[1], 10, 64)
	if err1 != nil || err2 != nil {
		return numberRange{}, refuse(ErrMalformed, "a range is not two numbers")
	}
	return numberRange{min, max}, nil
}

// best returns the greatest number in both ranges. what names the numbers in the
// text to the other side.
func (r numberRange) best(theirs numberRange, sentinel error, what string) (int64, error) {
	best := min(r.max, theirs.max)
	switch {
	case best < r.min:
		return 0, tellReason(sentinel, fmt.Sprintf("I can't handle %s %d", what, best))
	case best < theirs.min:
		return 0, tellReason(sentinel, fmt.Sprintf("You can't handle %s %d", what, best))
	}
	return best, nil
}
