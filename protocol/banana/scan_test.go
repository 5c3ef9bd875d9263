package banana

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scan returns a line for each token: offset, size, depth, annotation.
func scan(r io.Reader) (lines []string, err error) {
	for tok, err := range Scan(r, 1) {
		if err != nil {
			return append(lines, fmt.Sprintf("%d %d: error", tok.Offset, tok.Depth)), err
		}
		index := ""
		if tok.Index {
			index = " type " + tok.Word
		}
		lines = append(lines, fmt.Sprintf("%d+%d %d: %s%s", tok.Offset, tok.Size, tok.Depth, tok.Annotation(), index))
	}
	return lines, nil
}

func TestScanShowsEveryToken(t *testing.T) {
	in := wire(`(answer 1 (list "list" -5 (strange !) 1.5) #81) #058e #8f #2c028e (decimal "x") #8800`)
	in = in[:len(in)-2]
	in = append(in, AppendError(nil, "it's over")...)
	for _, r := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in)), iotest.DataErrReader(bytes.NewReader(in))} {
		lines, err := scan(r)
		require.NoError(t, err)
		assert.Equal(t, []string{
			"0+2 0: OPEN(0)",
			"2+2 1: VOCAB(13=answer) type answer",
			"4+2 1: INT(1)",
			"6+2 1: OPEN(1)",
			"8+2 2: VOCAB(4=list) type list",
			"10+2 2: VOCAB(4=list)",
			"12+2 2: NEG(5)",
			"14+2 2: OPEN(2)",
			"16+9 3: STRING(7,b'strange') type strange",
			"25+2 3: ABORT(2)",
			"27+2 2: CLOSE(2)",
			"29+9 2: FLOAT(1.5)",
			"38+2 1: CLOSE(1)",
			"40+1 1: INT()",
			"41+2 0: CLOSE(0)",
			"43+2 0: PING(5)",
			"45+1 0: PONG()",
			"46+3 0: PING(300)",
			"49+2 0: OPEN(3)",
			"51+9 1: STRING(7,b'decimal') type decimal",
			"60+3 1: STRING(1,b'x')",
			"63+2 0: CLOSE(3)",
			`65+11 0: ERROR(9,b"it's over")`,
		}, lines)
	}
}

func TestScanShowsPingsBetweenAnOpenAndItsType(t *testing.T) {
	lines, err := scan(bytes.NewReader(unhex("0088" + "058e" + "0487" + "0089")))
	require.NoError(t, err)
	assert.Equal(t, []string{"0+2 0: OPEN(0)", "2+2 1: PING(5)", "4+2 1: VOCAB(4=list) type list", "6+2 0: CLOSE(0)"}, lines)
}

func TestScanStopsWhereNoTokenIs(t *testing.T) {
	for _, test := range []struct {
		in    string
		lines []string
		text  string
	}{
		{"0088" + "0487" + "0180", []string{"0+2 0: OPEN(0)", "2+2 1: VOCAB(4=list) type list", "4 1: error"}, "banana: invalid token type 0x80"},
		{"ff", []string{"0 0: error"}, "banana: invalid token type 0xff"},
		{"0181" + strings.Repeat("00", 65) + "81", []string{"0+2 0: INT(1)", "2 0: error"}, "banana: a token header of more than 64 bytes"},
		{"0088", []string{"0+2 0: OPEN(0)", "2 1: error"}, "unexpected EOF"},
		{"0181" + "05", []string{"0+2 0: INT(1)", "2 0: error"}, "unexpected EOF"},
		{"0582" + "61", []string{"0 0: error"}, "unexpected EOF"},
		{"84" + "00", []string{"0 0: error"}, "unexpected EOF"},
		{"7f7f7f7f7f7f7f7f7f7f82", []string{"0 0: error"}, "banana: STRING with a length of more than 63 bits"},
		{"", nil, ""},
	} {
		lines, err := scan(bytes.NewReader(unhex(test.in)))
		assert.Equal(t, test.lines, lines, test.in)
		if test.text == "" {
			assert.NoError(t, err)
		} else {
			assert.EqualError(t, err, test.text)
		}
	}
	broken := errors.New("broken")
	_, err := scan(iotest.ErrReader(broken))
	assert.ErrorIs(t, err, broken)
}

func TestScanDoesNotAskForSense(t *testing.T) {
	lines, err := scan(bytes.NewReader(unhex("0989" + "638a" + "6387" + "0188" + "0181" + "0189")))
	require.NoError(t, err)
	assert.Equal(t, []string{"0+2 0: CLOSE(9)", "2+2 0: ABORT(99)", "4+2 0: VOCAB(99=?)", "6+2 0: OPEN(1)", "8+2 1: INT(1)", "10+2 0: CLOSE(1)"}, lines)
	// Table 0 has no words.
	for tok, err := range Scan(bytes.NewReader(unhex("0487")), 0) {
		require.NoError(t, err)
		assert.Equal(t, "VOCAB(4=?)", tok.Annotation())
	}
}

func TestScanKeepsTheBeginningOfLongBodies(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 1000)
	in := append(AppendToken(nil, TypeString, uint64(len(body))), body...)
	in = append(append(in, AppendToken(nil, TypeLongInt, uint64(len(body)))...), body...)
	in = AppendInt(in, 5)
	var toks []Scanned
	for tok, err := range Scan(bytes.NewReader(in), 1) {
		require.NoError(t, err)
		toks = append(toks, tok)
	}
	require.Len(t, toks, 3)
	assert.Equal(t, body[:MaxScanBody], toks[0].Body)
	assert.Equal(t, "STRING(10000,b'"+string(body[:60])+"'...)", toks[0].Annotation())
	assert.True(t, strings.HasSuffix(toks[1].Annotation(), "3435...)"))
	assert.Equal(t, int64(10003), toks[1].Offset)
	assert.Equal(t, int64(10003), toks[1].Size)
	assert.Equal(t, "INT(5)", toks[2].Annotation())
	// A length that is only declared allocates nothing.
	size := allocated(func() {
		for _, err := range Scan(bytes.NewReader(AppendToken(nil, TypeString, math.MaxInt64)), 1) {
			assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
	})
	assert.Less(t, size, uint64(32<<10))
}

func TestAnnotationsAreWrittenAsPythonWouldWriteThem(t *testing.T) {
	for _, test := range []struct{ in, want string }{
		{`"a\x00\xff\n\r\t\\"`, `STRING(7,b'a\x00\xff\n\r\t\\')`},
		{`"it's"`, `STRING(4,b"it's")`},
		{`"'\""`, `STRING(2,b'\'"')`},
		{"#847ff0000000000000", "FLOAT(inf)"},
		{"#84fff0000000000000", "FLOAT(-inf)"},
		{"#847ff8000000000000", "FLOAT(nan)"},
		{"#848000000000000000", "FLOAT(-0.0)"},
		{"3.0", "FLOAT(3.0)"},
		{"#0184" + "3ff0000000000000", "FLOAT(1.0)"},
		{"#" + strings.Repeat("7f", 64) + "81", "INT(" + bigInt("0x"+strings.Repeat("f", 112)).String() + ")"},
		{"-2147483649", "LONGNEG(4,0x80000001)"},
		{"#0085", "LONGINT(0,0x)"},
		{"#050081", "INT(5)"},
	} {
		for tok, err := range Scan(bytes.NewReader(wire(test.in)), 1) {
			require.NoError(t, err)
			assert.Equal(t, test.want, tok.Annotation())
		}
	}
	// What is printed without being asked for shows no strings.
	for tok := range Scan(bytes.NewReader(AppendString(nil, "pb://secret")), 1) {
		assert.Equal(t, "STRING(11)", tok.String())
	}
}

func TestScanCanBeLeft(t *testing.T) {
	n := 0
	for range Scan(bytes.NewReader(answer("(list 1 2 3)")), 1) {
		if n++; n == 3 {
			break
		}
	}
	assert.Equal(t, 3, n)
}

func TestTokensSayWhatTheyAre(t *testing.T) {
	names := map[Type]string{
		TypeInt: "INT", TypeString: "STRING", TypeNeg: "NEG", TypeFloat: "FLOAT", TypeLongInt: "LONGINT", TypeLongNeg: "LONGNEG", TypeVocab: "VOCAB",
		TypeOpen: "OPEN", TypeClose: "CLOSE", TypeAbort: "ABORT", TypeError: "ERROR", TypePing: "PING", TypePong: "PONG", 0x80: "token type 0x80",
	}
	for typ, want := range names {
		assert.Equal(t, want, typ.String())
	}
	assert.Equal(t, "INT(5)", Token{Type: TypeInt, N: 5}.String())
	assert.Equal(t, "FLOAT", Token{Type: TypeFloat}.String())
	assert.Equal(t, "NEG(more than 64 bits)", Token{Type: TypeNeg, Wide: true}.String())
}
