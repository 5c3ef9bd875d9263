package furl_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// vector is one recorded answer of Python Foolscap.
type vector struct {
	Name    string `json:"name"`
	Hex     string `json:"hex"`
	Outcome string `json:"outcome"`
	TubID   string `json:"tubid"`
}

// input returns the bytes that Python was given.
func (v vector) input(t *testing.T) []byte {
	t.Helper()
	b, err := hex.DecodeString(v.Hex)
	require.NoError(t, err)
	return b
}

// vectors returns the vectors of one group and makes sure that there are some.
func vectors(t *testing.T, group string) []vector {
	t.Helper()
	text, err := os.ReadFile("../banana/testdata/vectors.json")
	require.NoError(t, err)
	var all, chosen []vector
	require.NoError(t, json.Unmarshal(text, &all))
	for _, v := range all {
		if strings.HasPrefix(v.Name, group+"/") {
			chosen = append(chosen, v)
		}
	}
	require.NotEmpty(t, chosen)
	return chosen
}

func TestTubIDsAreThoseThatFoolscapComputes(t *testing.T) {
	for _, v := range vectors(t, "tubid") {
		t.Run(v.Name, func(t *testing.T) {
			id, err := furl.ParseTubID(v.TubID)
			require.NoError(t, err)
			if v.Name == "tubid/base32-20-zero" {
				// This one is about base32 alone: its input is a digest.
				assert.Equal(t, furl.TubID(strings.Repeat("a", 32)), id)
				return
			}
			assert.Equal(t, id, furl.TubIDOf(v.input(t)))
		})
	}
}

func TestFURLsAreReadAsFoolscapReadsThem(t *testing.T) {
	// Python takes these, and then cannot use them or has dropped a part.
	stricter := map[string]furl.Part{
		"furl/short-tubid": furl.PartTubID,
		"furl/upper-tubid": furl.PartTubID,
		"furl/newline-end": furl.PartName,
	}
	outcome := regexp.MustCompile(`^OK \('(\w+)', \[(.*)\], '(.*)'\)$`)
	for _, v := range vectors(t, "furl") {
		t.Run(v.Name, func(t *testing.T) {
			input := string(v.input(t))
			f, err := furl.Parse(input)
			if part, ok := stricter[v.Name]; ok || !strings.HasPrefix(v.Outcome, "OK ") {
				var parseErr *furl.ParseError
				require.ErrorAs(t, err, &parseErr)
				require.ErrorIs(t, err, furl.ErrInvalid)
				if ok {
					assert.Equal(t, part, parseErr.Part)
				}
				return
			}
			require.NoError(t, err)
			want := outcome.FindStringSubmatch(v.Outcome)
			require.NotNil(t, want, "the outcome has a form of its own")
			var hints []string
			for _, hint := range f.Hints {
				hints = append(hints, "'"+hint.String()+"'")
			}
			assert.Equal(t, want[1], f.TubID.String())
			assert.Equal(t, want[2], strings.Join(hints, ", "))
			assert.Equal(t, want[3], f.Name.Reveal())
			assert.Equal(t, input, f.Reveal(), "parse and print round-trip")
		})
	}
}

func TestHintsAreReadAsFoolscapReadsThem(t *testing.T) {
	outcome := regexp.MustCompile(`^converted='(.*)' -> host,port=(?:None|\('(.*)', '(\d+)'\))$`)
	for _, v := range vectors(t, "hint") {
		t.Run(v.Name, func(t *testing.T) {
			input := string(v.input(t))
			h, err := furl.ParseHint(input)
			require.NoError(t, err)
			assert.Equal(t, input, h.String())

			want := outcome.FindStringSubmatch(v.Outcome)
			require.NotNil(t, want, "the outcome has a form of its own")
			typ, _, hasType := strings.Cut(want[1], ":")
			if !hasType {
				typ = ""
			}
			assert.Equal(t, typ, h.Type())
			if h.Type() != "tcp" {
				return // Python's answer is about its tcp handler only
			}
			host, port, err := h.HostPort()
			if want[2] == "" {
				require.ErrorIs(t, err, furl.ErrInvalid)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, want[1], furl.StreamHint("tcp", host, port).String())
		})
	}
}
