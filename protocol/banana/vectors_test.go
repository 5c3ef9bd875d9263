package banana

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A vector is bytes that Python Foolscap has sent, or what it made of ours.
type vector struct {
	Name      string
	Hex       string
	Tokens    string
	Vocab     *int    `json:"vocab_table"`
	FirstOpen *uint64 `json:"first_open"`
	Outcome   string
	Hash      string
	Python    string `json:"python_value"`
	bytes     []byte
}

func (v *vector) vocab() int {
	if v.Vocab != nil {
		return *v.Vocab
	}
	return 1
}

func (v *vector) firstOpen() uint64 {
	if v.FirstOpen != nil {
		return *v.FirstOpen
	}
	return 0
}

// vectors returns the vectors of some groups.
func vectors(t testing.TB, groups ...string) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	require.NoError(t, err)
	var all, out []vector
	require.NoError(t, json.Unmarshal(text, &all))
	for _, v := range all {
		for _, g := range groups {
			if strings.HasPrefix(v.Name, g+"/") {
				v.bytes, err = hex.DecodeString(v.Hex)
				require.NoError(t, err, v.Name)
				out = append(out, v)
			}
		}
	}
	require.NotEmpty(t, out)
	return out
}

func bigInt(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 0)
	if !ok {
		panic(s)
	}
	return n
}

// What the values of group value/ are in Go, by name; the ones with an
// identity of their own are looked at in TestVectorIdentities.
var vectorValues = map[string]any{
	"int-0":                  int64(0),
	"int-127":                int64(127),
	"int-16384":              int64(16384),
	"int-2e31-1":             int64(1<<31 - 1),
	"longint-2e31":           int64(1 << 31),
	"longint-2e32":           int64(1 << 32),
	"longint-2e63":           bigInt("0x8000000000000000"),
	"longint-1000bytes":      new(big.Int).Lsh(big.NewInt(1), 7999),
	"neg-1":                  int64(-1),
	"neg-127":                int64(-127),
	"neg-2e31":               int64(-1 << 31),
	"longneg-2e31-1":         int64(-1<<31 - 1),
	"longneg-2e63":           int64(math.MinInt64),
	"longneg-2e200":          new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 200)),
	"float-0":                0.0,
	"float-neg0":             math.Copysign(0, -1),
	"float-1.5":              1.5,
	"float-pi":               math.Pi,
	"float-inf":              math.Inf(1),
	"float-denorm":           math.SmallestNonzeroFloat64,
	"bytes-empty":            []byte{},
	"bytes-high":             []byte{0, 0x80, 0xff},
	"bytes-vocab-word":       []byte("list"),
	"unicode-ascii":          "foo",
	"unicode-bmp":            "café €",
	"unicode-astral":         "😀",
	"unicode-vocab-word":     "list",
	"bool-true":              true,
	"bool-false":             false,
	"none":                   nil,
	"list-empty":             &List{},
	"list-mixed":             NewList(int64(1), []byte("b"), "u", nil, true, 1.5),
	"tuple-empty":            Tuple{},
	"tuple":                  Tuple{int64(1), []byte("x")},
	"tuple-nested":           Tuple{Tuple{}, Tuple{int64(1), Tuple{int64(2)}}},
	"dict-bytes-keys-sorted": NewDict([]byte("a"), int64(2), []byte("b"), int64(1)),
	"dict-str-keys":          NewDict("a", int64(2), "b", int64(1)),
	"dict-int-keys":          NewDict(int64(1), []byte("a"), int64(3), []byte("c")),
	"set":                    NewSet(int64(1)),
	"frozenset":              NewFrozenSet(int64(1)),
	"frozenset-empty":        &FrozenSet{},
	"decimal":                Decimal("1.25"),
	"decimal-nan":            Decimal("NaN"),
	"list-shared-child":      NewList(NewList(int64(7)), NewList(int64(7))),
	"set-shared":             NewList(NewSet(int64(5)), NewSet(int64(5))),
	"frozenset-shared-not-tracked": NewList(
		NewFrozenSet(int64(5)), NewFrozenSet(int64(5))),
	"copyable": &copyable{"org.example.Point", []string{"x", "y"}, []any{int64(1), NewList(int64(2))}},
}

// These contain themselves, or share what Go has no identity for.
var vectorIdentities = []string{"list-selfref", "dict-selfref", "tuple-cycle-via-list", "empty-tuple-singleton-shared"}

func TestVectorsOfValuesMeanWhatPythonMeant(t *testing.T) {
	all := vectors(t, "value")
	for _, v := range all {
		name := strings.TrimPrefix(v.Name, "value/")
		want, ok := vectorValues[name]
		if !ok {
			assert.Contains(t, vectorIdentities, name, "a vector that no test knows")
			continue
		}
		t.Run(name, func(t *testing.T) {
			p := newPeer(bytes.NewReader(v.bytes), v.vocab())
			require.NoError(t, p.run())
			require.Len(t, p.seen, 1)
			require.NoError(t, p.seen[0].err)
			got := p.seen[0].args[0]
			require.Equal(t, want, got)
			if f, ok := want.(float64); ok {
				assert.Equal(t, math.Signbit(f), math.Signbit(got.(float64)))
			}
		})
	}
	assert.Len(t, all, len(vectorValues)+len(vectorIdentities))
}

func TestVectorsOfValuesWithAnIdentity(t *testing.T) {
	values := map[string]any{}
	for _, v := range vectors(t, "value") {
		if !strings.HasSuffix(v.Name, "copyable") {
			values[strings.TrimPrefix(v.Name, "value/")] = mustDecode(t, v.bytes)
		}
	}

	l := values["list-selfref"].(*List)
	assert.Equal(t, int64(1), l.Items[0])
	assert.Same(t, l, l.Items[1])

	d := values["dict-selfref"].(*Dict)
	self, _ := d.Get([]byte("self"))
	assert.Same(t, d, self)

	outer := values["tuple-cycle-via-list"].(Tuple)
	inner := outer[0].(*List).Items[0].(Tuple)
	assert.Same(t, &outer[0], &inner[0].(Tuple)[0])

	twice := values["list-shared-child"].(*List)
	assert.Same(t, twice.Items[0], twice.Items[1])
	twice = values["set-shared"].(*List)
	assert.Same(t, twice.Items[0], twice.Items[1])
	twice = values["frozenset-shared-not-tracked"].(*List)
	assert.NotSame(t, twice.Items[0], twice.Items[1])

	assert.Equal(t, NewList(Tuple{}, Tuple{}), values["empty-tuple-singleton-shared"])
}

func TestVectorsOfMessagesAreWrittenAgainByteForByte(t *testing.T) {
	// The encoder has no identity for the empty tuple, so it sends two.
	different := map[string]bool{"value/empty-tuple-singleton-shared": true}
	// What Python gave up half-way cannot be written again.
	aborted := map[string]bool{"call/abort-unserializable-arg": true, "answer/unserializable-result": true}
	for _, v := range vectors(t, "value", "vocab0", "call", "answer", "gift") {
		t.Run(v.Name, func(t *testing.T) {
			p := newPeer(bytes.NewReader(v.bytes), v.vocab())
			p.d.opens = v.firstOpen()
			require.NoError(t, p.run())
			require.NotEmpty(t, p.seen)
			opens := Numberer{opens: v.firstOpen()}
			var out []byte
			for _, m := range p.seen {
				if aborted[v.Name] {
					require.ErrorIs(t, m.err, ErrAborted)
					return
				}
				require.NoError(t, m.err)
				b, err := m.write(v.vocab(), &opens)
				require.NoError(t, err)
				out = append(out, b...)
			}
			if different[v.Name] {
				assert.NotEqual(t, hex.EncodeToString(v.bytes), hex.EncodeToString(out))
				assert.Equal(t, p.seen[0].args[0], mustDecode(t, out))
				return
			}
			assert.Equal(t, hex.EncodeToString(v.bytes), hex.EncodeToString(out))
			assert.Equal(t, p.d.opens, opens.opens)
		})
	}
}

// Storage is Foolscap's other use of Banana: a value without a message around
// it.
func TestVectorsOfStorageAreValuesAtTopLevel(t *testing.T) {
	self := new(List)
	self.Items = []any{int64(1), self}
	want := map[string]any{
		"int-1":       int64(1),
		"list-nested": NewList(int64(1), NewList(int64(2))),
		"unicode":     "café",
		"dict":        NewDict([]byte("a"), int64(2), []byte("b"), int64(1)),
		"bool":        true,
		"none":        nil,
	}
	for _, v := range vectors(t, "storage") {
		t.Run(v.Name, func(t *testing.T) {
			d := NewDecoder(bytes.NewReader(v.bytes), nil, &DecoderConfig{Vocab: v.vocab()})
			got, err := d.Value(nil)
			require.NoError(t, err)
			if name := strings.TrimPrefix(v.Name, "storage/"); name != "list-selfref" {
				require.Contains(t, want, name)
				assert.Equal(t, want[name], got)
			} else {
				assert.Same(t, got, got.(*List).Items[1])
			}
			requireEnd(t, d)

			e := NewEncoder(&EncoderConfig{Vocab: v.vocab()}, false)
			e.Value(got)
			m, _, err := e.Finish()
			require.NoError(t, err)
			var w Numberer
			out, done := w.Append(nil, m, 1<<20, nil)
			require.True(t, done)
			assert.Equal(t, hex.EncodeToString(v.bytes), hex.EncodeToString(out))
		})
	}
}

func TestVectorsOfTokensWithoutSequences(t *testing.T) {
	for _, v := range vectors(t, "token") {
		t.Run(v.Name, func(t *testing.T) {
			var pings, pongs [][]byte
			d := NewDecoder(bytes.NewReader(v.bytes), nil, &DecoderConfig{
				Vocab: 1,
				Ping:  func(n []byte) error { pings = append(pings, bytes.Clone(n)); return nil },
				Pong:  func(n []byte) error { pongs = append(pongs, bytes.Clone(n)); return nil },
			})
			_, err := d.Begin()
			kind, number, _ := strings.Cut(strings.TrimPrefix(v.Name, "token/"), "-")
			header := map[string][]byte{"0": nil, "5": {5}, "300": {0x2c, 2}}[number]
			switch kind {
			case "ping":
				requireEnd(t, d)
				require.Len(t, pings, 1)
				assert.Equal(t, string(header), string(pings[0]))
				assert.Equal(t, v.bytes, AppendPing(nil, pings[0]))
			case "pong":
				requireEnd(t, d)
				require.Len(t, pongs, 1)
				assert.Equal(t, v.bytes, AppendPong(nil, pongs[0]))
			default:
				var remote *RemoteError
				require.ErrorAs(t, err, &remote)
				assert.Equal(t, "oh no", remote.Text)
				assert.Equal(t, v.bytes, AppendError(nil, remote.Text))
			}
		})
	}
}

func TestVectorsOfHostileInputAreTakenAsFoolscapTakesThem(t *testing.T) {
	// Where we differ on purpose.
	different := map[string]string{
		// Foolscap takes it, never runs the call and answers no later one.
		"malformed/tuple-direct-self": "VIOLATION",
		// Nothing is open that could be given up; there is nobody to tell.
		"malformed/top-abort": "OK",
	}
	for _, v := range vectors(t, "malformed", "malformed-answer") {
		t.Run(v.Name, func(t *testing.T) {
			want, _, _ := strings.Cut(v.Outcome, " ")
			if w, ok := different[v.Name]; ok {
				require.NotEqual(t, w, want, "no difference any more")
				want = w
			}
			known := wireFrom(1000, `(call 9 1 "none" (arguments 1 (list 7)))`)
			p := newPeer(bytes.NewReader(append(v.bytes, known...)), v.vocab())
			err := p.run()
			if want == "DROP" {
				require.Error(t, err)
				assert.Equal(t, "DROP", outcome(err))
				return
			}
			require.NoError(t, err)
			last := len(p.seen) - 1
			if v.Name != "malformed/top-abort" {
				assert.Equal(t, want, outcome(p.seen[0].err), "%v", p.seen[0].err)
			}
			// Whatever it was, the connection lives.
			require.NoError(t, p.seen[last].err)
			assert.Equal(t, []any{NewList(int64(7))}, p.seen[last].args)
		})
	}
}

func TestVectorsOfVocabularyHashes(t *testing.T) {
	for _, v := range vectors(t, "vocabhash") {
		table, err := strconv.Atoi(v.Python)
		require.NoError(t, err)
		assert.Equal(t, v.Hash, VocabHash(table))
		assert.Equal(t, string(v.bytes), strings.Join(vocabTable(table), "\x00"))
	}
}

// A table that changes in the middle of a connection is beyond us, as it is
// beyond Foolscap's own broker: the change is refused, and what comes after it
// is read with the table that was there before.
func TestVectorsOfChangingVocabulariesAreNotFollowed(t *testing.T) {
	all := map[string]vector{}
	for _, v := range vectors(t, "vocab") {
		all[strings.TrimPrefix(v.Name, "vocab/")] = v
	}
	played := 0
	for name, test := range map[string]struct {
		vectors []string // one after the other
		behind  []any    // what the message behind the change says
		ends    string   // or why there is none
	}{
		"to another one":       {[]string{"set-vocab", "after-set-vocab"}, []any{NewList([]byte("none"), []byte("boolean"), []byte("list"))}, ""},
		"to a first one":       {[]string{"set-vocab-receive"}, nil, "VOCAB 0 is not in table 0"},
		"by one word to begin": {[]string{"add-vocab-receive"}, nil, "VOCAB 5 is not in table 0"},
	} {
		t.Run(name, func(t *testing.T) {
			var stream []byte
			for _, name := range test.vectors {
				require.Contains(t, all, name)
				stream = append(stream, all[name].bytes...)
				played++
			}
			p := newPeer(bytes.NewReader(stream), *all[test.vectors[0]].Vocab)
			err := p.run()
			require.NotEmpty(t, p.seen)
			assert.Equal(t, "VIOLATION", outcome(p.seen[0].err))
			if test.ends != "" {
				assert.Equal(t, "DROP", outcome(err))
				assert.ErrorContains(t, err, test.ends)
				assert.Len(t, p.seen, 1)
				return
			}
			require.NoError(t, err)
			require.Len(t, p.seen, 2)
			require.NoError(t, p.seen[1].err)
			assert.Equal(t, test.behind, p.seen[1].args)
		})
	}
	assert.Equal(t, len(all), played, "every vector has been played")
}

func TestVectorsAreScannedAsTheirTokensSay(t *testing.T) {
	scanned := 0
	for _, v := range vectors(t, "value", "storage", "vocab0", "call", "answer", "gift", "vocab", "token", "malformed", "malformed-answer") {
		if strings.Contains(v.Tokens, "?8") || strings.Contains(v.Tokens, "?f") || strings.Contains(v.Tokens, "LIST(") || v.Name == "malformed/65-byte-header" {
			continue // no tokens at all: see TestScanStopsWhereNoTokenIs
		}
		t.Run(v.Name, func(t *testing.T) {
			var got []string
			var size int64
			for tok, err := range Scan(bytes.NewReader(v.bytes), v.vocab()) {
				if err != nil {
					require.ErrorContains(t, err, "unexpected EOF") // hostile input that stops half-way
					break
				}
				assert.Equal(t, size, tok.Offset)
				size += tok.Size
				got = append(got, tok.Annotation())
			}
			assert.Equal(t, int64(len(v.bytes)), size)
			text := strings.Join(got, " ")
			if len(v.Tokens) == 1500 { // the vectors were cut
				text = text[:1500]
			}
			assert.Equal(t, v.Tokens, text)
			scanned++
		})
	}
	assert.Greater(t, scanned, 150)
}
