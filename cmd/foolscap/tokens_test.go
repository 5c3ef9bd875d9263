package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

func TestTokensAreAnnotated(t *testing.T) {
	const text = "00 88 0d 87 01 81 01 88 04 87\n 05 81 02 88 02 87 01 81 02 89 8e 01 89 00 89"
	want := strings.Join([]string{
		`       0  OPEN(0)`,
		`       2    VOCAB(13=answer)`,
		`       4    INT(1)`,
		`       6    OPEN(1)`,
		`       8      VOCAB(4=list)`,
		`      10      INT(5)`,
		`      12      OPEN(2)`,
		`      14        VOCAB(2=reference)`,
		`      16        INT(1)`,
		`      18      CLOSE(2)`,
		`      20      PING()`,
		`      21    CLOSE(1)`,
		`      23  CLOSE(0)`,
		`          = {"$sequence":"answer","items":[1,{"$def":1,"value":[5,{"$ref":1}]}]}`,
	}, "\n") + "\n"
	assert.Equal(t, result{code: exitOK, stdout: want}, foolscapWith(t, text, "tokens"))

	binary, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "").Replace(text))
	require.NoError(t, err)
	assert.Equal(t, result{code: exitOK, stdout: want}, foolscapWith(t, string(binary), "tokens", "-"))
	file := filepath.Join(t.TempDir(), "capture")
	require.NoError(t, os.WriteFile(file, binary, 0o600))
	assert.Equal(t, result{code: exitOK, stdout: want}, foolscap(t, "tokens", file))
}

// messagesOf runs tokens --json and returns the values of the messages, and
// the error.
func messagesOf(t testing.TB, capture []byte, flags ...string) (all []messageDocument, tokens []tokenDocument, failure *errorDetails) {
	r := foolscapWith(t, string(capture), append([]string{"tokens", "--json"}, flags...)...)
	require.Empty(t, r.stderr)
	for line := range strings.Lines(r.stdout) {
		var keys map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(line), &keys), "%s", line)
		switch {
		case keys["token"] != nil:
			var doc tokenDocument
			require.NoError(t, json.Unmarshal([]byte(line), &doc))
			tokens = append(tokens, doc)
		case keys["error"] != nil:
			require.Nil(t, failure)
			var doc errorDocument
			require.NoError(t, json.Unmarshal([]byte(line), &doc))
			failure = &doc.Error
		default:
			var doc messageDocument
			require.NoError(t, json.Unmarshal([]byte(line), &doc))
			all = append(all, doc)
		}
	}
	assert.Equal(t, failure != nil, r.code == exitFailure)
	return all, tokens, failure
}

type vector struct {
	Name   string
	Hex    string
	Vocab  int `json:"vocab_table"`
	Tokens string
}

func vectors(t testing.TB) []vector {
	text, err := os.ReadFile("../../protocol/banana/testdata/vectors.json")
	require.NoError(t, err)
	var all []vector
	require.NoError(t, json.Unmarshal(text, &all))
	require.NotEmpty(t, all)
	return all
}

// The value that tokens shows is the one that a Decoder reads.
func TestValuesOfTokensAreThoseOfADecoder(t *testing.T) {
	compared := 0
	for _, v := range vectors(t) {
		if !strings.HasPrefix(v.Name, "value/") || v.Name == "value/copyable" { // which is no value here
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			capture, err := hex.DecodeString(v.Hex)
			require.NoError(t, err)
			d := banana.NewDecoder(bytes.NewReader(capture), nil, &banana.DecoderConfig{Vocab: v.Vocab})
			opentype, err := d.Begin()
			require.NoError(t, err)
			require.Equal(t, "answer", opentype)
			_, err = d.Int("request")
			require.NoError(t, err)
			value, err := d.Value(nil)
			require.NoError(t, err)

			messages, _, failure := messagesOf(t, capture, fmt.Sprintf("--vocab=%d", v.Vocab))
			require.Nil(t, failure)
			require.Len(t, messages, 1)
			var shown struct {
				Sequence string            `json:"$sequence"`
				Items    []json.RawMessage `json:"items"`
			}
			require.NoError(t, json.Unmarshal(messages[0].Value, &shown))
			assert.Equal(t, "answer", shown.Sequence)
			require.Len(t, shown.Items, 2)
			back, err := readNotation(shown.Items[1], nil)
			require.NoError(t, err, "%s", shown.Items[1])
			assert.Equal(t, notationOf(t, value), notationOf(t, back))
			compared++
		})
	}
	assert.GreaterOrEqual(t, compared, 50)
}

func TestEveryVectorIsAnnotated(t *testing.T) {
	for _, v := range vectors(t) {
		if v.Hex == "" || strings.HasPrefix(v.Name, "handshake/") {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			capture, err := hex.DecodeString(v.Hex)
			require.NoError(t, err)
			_, tokens, failure := messagesOf(t, capture, fmt.Sprintf("--vocab=%d", v.Vocab), "--reveal")
			end := int64(0)
			for _, tok := range tokens {
				require.Equal(t, end, tok.Offset)
				end += tok.Size
			}
			if failure == nil {
				assert.Equal(t, int64(len(capture)), end)
				return
			}
			assert.Regexp(t, `^at byte \d+: `, failure.Message)
		})
	}
}

func TestDamageIsShownWhereItIs(t *testing.T) {
	for _, c := range []struct {
		name, capture, says string
		value               string
	}{
		{"the end of a token is missing", "0088 0d87 0181 0582 6162", "at byte 6: the capture ends", `{"$sequence":"answer","items":[1]}`},
		{"the end of a sequence is missing", "0088 0d87 0181", "at byte 6: the capture ends", `{"$sequence":"answer","items":[1]}`},
		{"a byte that is no token", "0088 0d87 01ff", "at byte 4: invalid token type 0xff", `{"$sequence":"answer","items":[]}`},
		{"a header that is too long", "0088 0d87" + strings.Repeat("01", 65) + "81", "at byte 4:", `{"$sequence":"answer","items":[]}`},
		{"half a byte", "0088 0d87 0181 0081 0089 0", "at byte 10: half a byte", `{"$sequence":"answer","items":[1,0]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			messages, tokens, failure := messagesOf(t, []byte(c.capture))
			require.NotNil(t, failure)
			assert.Contains(t, failure.Message, c.says)
			assert.NotEmpty(t, tokens)
			require.Len(t, messages, 1)
			assert.JSONEq(t, c.value, string(messages[0].Value))
			assert.Equal(t, c.name != "half a byte", messages[0].Incomplete)

			r := foolscapWith(t, c.capture, "tokens")
			assert.Equal(t, exitFailure, r.code)
			assert.Contains(t, r.stderr, c.says)
			assert.Contains(t, r.stdout, c.value)
		})
	}
	for capture, text := range map[string]bool{"zz": true, "00 88 0d 8g": true, "0088": false, "\x00\x88": false} {
		r := foolscapWith(t, capture, "tokens")
		assert.Equal(t, exitFailure, r.code)
		assert.Equal(t, text, strings.Contains(r.stderr, "the input was taken for binary"), "%q: %s", capture, r.stderr)
	}
	r := foolscap(t, "tokens")
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "nothing in the capture")
	r = foolscap(t, "tokens", filepath.Join(t.TempDir(), "none"))
	assert.Equal(t, exitFailure, r.code)
	assert.Contains(t, r.stderr, "no such file")
}

func TestOddTokensDrawRemarks(t *testing.T) {
	for _, c := range []struct{ name, capture, remark string }{
		{"a value at top level", "0181", "only sequences may stand here"},
		{"a CLOSE of another OPEN", "0088 0d87 0189", "its OPEN has the number 0"},
		{"a CLOSE without OPEN", "0089", "there is no OPEN"},
		{"an ABORT without OPEN", "008a", "nothing is open"},
		{"a word that is not there", "0088 3087 0089", "not in the vocabulary"},
		{"a word that is not there, as data", "0088 0487 3087 0089", "not in the vocabulary"},
		{"a number as type", "0088 0181 0089", "the type of the sequence is expected"},
		{"a sequence as type", "0088 0188 0487 0189 0089", "the type of the sequence is expected"},
		{"a reference to nothing", "0088 0487 0188 0287 0781 0189 0089", "refers to nothing"},
		{"a reference to what cannot be shared", "0088 0487 0188 0087 0189 0288 0287 0181 0289 0089", "refers to nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := foolscapWith(t, c.capture, "tokens")
			assert.Equal(t, exitOK, r.code, r.stderr)
			assert.Contains(t, r.stdout, "  ! ")
			assert.Contains(t, r.stdout, c.remark)
		})
	}
}

func TestWhatIsNoValueIsShownAsASequence(t *testing.T) {
	for _, c := range []struct{ name, capture, value string }{
		{"an empty text", "0088 0887 0089", `{"$sequence":"unicode","items":[]}`},
		{"a text that is not UTF-8", "0088 0887 0182ff 0089", `{"$sequence":"unicode","items":[{"$hex":"ff"}]}`},
		{"a boolean of text", "0088 0187 0182 61 0089", `{"$sequence":"boolean","items":[{"$bytes":"a"}]}`},
		{"a none of something", "0088 0087 0181 0089", `{"$sequence":"none","items":[1]}`},
		{"a Decimal of letters", "0088 0782 646563696d616c 0182 61 0089", `{"$sequence":"decimal","items":[{"$bytes":"a"}]}`},
		{"a dict with half a pair", "0088 0387 0181 0089", `{"$sequence":"dict","items":[1]}`},
		{"a dict with a key twice", "0088 0387 018808870182610189 0181 018808870182610189 0281 0089", `{"$dict":[["a",1],["a",2]]}`},
		{"a dict with a key like a mark", "0088 0387 018808870182240189 0181 0089", `{"$dict":[["$",1]]}`},
		{"a message that was given up", "0088 0487 0181 008a 0089", `{"$sequence":"list","items":[1],"aborted":true}`},
		{"an unknown type", "0088 0382 666f6f 0181 0089", `{"$sequence":"foo","items":[1]}`},
		{"an integer that needs no body", "0088 0487 0581 0583 0085 028501ff 7f7f7f7f7f7f7f7f7f7f7f81 0089", `[5,-5,0,511,151115727451828646838271]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			messages, _, failure := messagesOf(t, []byte(c.capture))
			require.Nil(t, failure)
			require.Len(t, messages, 1)
			assert.Equal(t, c.value, string(messages[0].Value))
		})
	}
}

func TestACaptureMayBeginWithinAConnection(t *testing.T) {
	messages, _, failure := messagesOf(t, []byte("0788 0487 0888 0487 0889 0988 0287 0881 0989 0789"))
	require.Nil(t, failure)
	assert.Equal(t, `[{"$def":8,"value":[]},{"$ref":8}]`, string(messages[0].Value))
}

func TestTokensLeavesSecretsOut(t *testing.T) {
	str := func(s string) string { return hex.EncodeToString(banana.AppendString(nil, s)) }
	lookup := "00880b87 0181 0081" + str("getReferenceByName") + "01880c87 0081" + str("name") + str(someSecret) + "0189 0089"
	reference := "02880f87 0181" + str("RIDemo") + str(someFURL) + "0289"
	short := "pb://" + someTub + "@tcp:h:1/" + someSecret
	for _, capture := range []string{lookup, reference, "03880e87 0181" + str("see "+short) + "0389", hex.EncodeToString(banana.AppendError(nil, short))} {
		for _, flags := range [][]string{{}, {"--json"}} {
			r := foolscapWith(t, capture, append([]string{"tokens"}, flags...)...)
			assert.Equal(t, exitOK, r.code, r.stderr)
			assert.NotContains(t, r.stdout, someSecret)
			assert.Contains(t, r.stdout, redacted)
			r = foolscapWith(t, capture, append([]string{"tokens", "--reveal"}, flags...)...)
			assert.Contains(t, r.stdout, someSecret)
		}
	}
}

// A thousand bytes that describe 2^40 lists take a thousand bytes or two.
func TestSharedListsInACaptureDoNotExpand(t *testing.T) {
	var capture []byte
	open := func(n uint64) {
		capture = append(banana.AppendToken(capture, banana.TypeOpen, n), 4, byte(banana.TypeVocab))
	}
	const levels = 40
	for n := range uint64(levels) {
		open(n)
	}
	next := uint64(levels)
	for n := uint64(levels - 1); n > 0; n-- {
		capture = banana.AppendToken(capture, banana.TypeClose, n)
		capture = append(banana.AppendToken(capture, banana.TypeOpen, next), 2, byte(banana.TypeVocab))
		capture = banana.AppendToken(capture, banana.TypeInt, n)
		capture = banana.AppendToken(capture, banana.TypeClose, next)
		next++
	}
	capture = banana.AppendToken(capture, banana.TypeClose, 0)
	messages, _, failure := messagesOf(t, capture)
	require.Nil(t, failure)
	require.Len(t, messages, 1)
	assert.Less(t, len(messages[0].Value), 2000)
}

func TestHostileNestingIsShownWithoutAValue(t *testing.T) {
	capture := bytes.Repeat([]byte{0x88, 4, 0x87}, maxMessageDepth+1)
	capture = append(capture, bytes.Repeat([]byte{0x89}, maxMessageDepth+1)...)
	messages, tokens, failure := messagesOf(t, capture)
	require.Nil(t, failure)
	assert.Len(t, tokens, 3*(maxMessageDepth+1))
	require.Len(t, messages, 1)
	assert.Empty(t, messages[0].Value)
	assert.Contains(t, messages[0].Remark, "1000 levels")
	assert.Contains(t, foolscapWith(t, string(capture), "tokens").stdout, "! the value has more")
}

func FuzzTokens(f *testing.F) {
	for i, v := range vectors(f) {
		if capture, err := hex.DecodeString(v.Hex); err == nil && i%8 == 0 {
			f.Add(capture, v.Vocab == 1)
		}
	}
	f.Fuzz(func(t *testing.T, capture []byte, vocab bool) {
		flag := "--vocab=0"
		if vocab {
			flag = "--vocab=1"
		}
		messages, tokens, _ := messagesOf(t, capture, flag)
		for _, m := range messages {
			require.LessOrEqual(t, len(m.Value), 40*len(capture)+200)
		}
		for _, tok := range tokens {
			require.GreaterOrEqual(t, tok.Offset, int64(0))
			require.LessOrEqual(t, tok.Offset+tok.Size, int64(len(capture)))
		}
	})
}
