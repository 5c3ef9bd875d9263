package banana

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
)

// MaxVocab is the highest vocabulary table that this package knows.
const MaxVocab = 1

// vocab1 is the one table that peers agree on; its order is the protocol.
var vocab1 = []string{
	"none", "boolean", "reference", "dict", "list", "tuple", "set", "immutable-set", "unicode", "set-vocab",
	"add-vocab", "call", "arguments", "answer", "error", "my-reference", "your-reference", "their-reference", "copyable",
	"instance", "module", "class", "method", "function", "attrdict",
}

var vocab1Index = func() map[string]byte {
	m := make(map[string]byte, len(vocab1))
	for i, w := range vocab1 {
		m[w] = byte(i)
	}
	return m
}()

var vocab1Bytes = func() [][]byte {
	words := make([][]byte, len(vocab1))
	for i, w := range vocab1 {
		words[i] = []byte(w)
	}
	return words
}()

// vocabTable returns the words of a table that negotiation agreed on. Table 0
// is empty: no VOCAB token may be used at all.
func vocabTable(index int) []string {
	if index == 1 {
		return vocab1
	}
	return nil
}

// VocabHash returns the first four hex digits of the SHA-1 over the words of
// table 0 or 1, joined by NUL: both sides compare it during negotiation.
func VocabHash(index int) string {
	sum := sha1.Sum([]byte(strings.Join(vocabTable(index), "\x00")))
	return hex.EncodeToString(sum[:2])
}
