package furl_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

const (
	tub    = "twyn6rswatofu4ozza76hsckj2llijqc"
	secret = "sesame-4711"
)

// name returns text as a Swissnum.
func name(t testing.TB, text string) furl.Swissnum {
	t.Helper()
	n, err := furl.ParseSwissnum(text)
	require.NoError(t, err)
	return n
}

func TestParseReadsAllParts(t *testing.T) {
	tests := []struct {
		name, text string
		want       furl.FURL
	}{
		{"one hint", "pb://" + tub + "@tcp:a.example:1/" + secret,
			furl.FURL{TubID: tub, Hints: []furl.Hint{"tcp:a.example:1"}, Name: name(t, secret)}},
		{"no hints", "pb://" + tub + "@/" + secret,
			furl.FURL{TubID: tub, Name: name(t, secret)}},
		{"several hints keep their order", "pb://" + tub + "@tcp:b:2,tor:x.onion:80,a:1/" + secret,
			furl.FURL{TubID: tub, Hints: []furl.Hint{"tcp:b:2", "tor:x.onion:80", "a:1"}, Name: name(t, secret)}},
		{"a hint of an unknown type stays as it is", "pb://" + tub + "@Weird:k=v;é@ :: /" + secret,
			furl.FURL{TubID: tub, Hints: []furl.Hint{"Weird:k=v;é@ :: "}, Name: name(t, secret)}},
		{"a hint of an unknown type may hold what does not print", "pb://" + tub + "@x:\u202e\u200b\u2028\u00a0\ue000,tcp:a:1/" + secret,
			furl.FURL{TubID: tub, Hints: []furl.Hint{"x:\u202e\u200b\u2028\u00a0\ue000", "tcp:a:1"}, Name: name(t, secret)}},
		{"a name may contain separators", "pb://" + tub + "@tcp:a:1/dir/with@and,and?x=1#y z",
			furl.FURL{TubID: tub, Hints: []furl.Hint{"tcp:a:1"}, Name: name(t, "dir/with@and,and?x=1#y z")}},
		{"an IPv6 address with a zone", "pb://" + tub + "@tcp:[fe80::1%eth0]:1/" + secret,
			furl.FURL{TubID: tub, Hints: []furl.Hint{"tcp:[fe80::1%eth0]:1"}, Name: name(t, secret)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := furl.Parse(test.text)
			require.NoError(t, err)
			assert.True(t, test.want.Equal(got), "%v", got)
			assert.Equal(t, test.text, got.Reveal())
		})
	}
}

func TestParseDropsTheExtensionBehindTheTubID(t *testing.T) {
	f, err := furl.Parse("pb://" + tub + "-V2,x@tcp:a:1/" + secret)
	require.NoError(t, err)
	assert.Equal(t, "pb://"+tub+"@tcp:a:1/"+secret, f.Reveal())
}

func TestParseRefusesWithoutRepeatingTheText(t *testing.T) {
	manyHints := strings.TrimSuffix(strings.Repeat("a:1,", furl.MaxHints+1), ",")
	tests := []struct {
		name, text string
		part       furl.Part
		index      int
		err        error
		reason     string
	}{
		{"nothing", "", furl.PartFURL, 0, furl.ErrInvalid, "pb://"},
		{"leading junk", "see pb://" + tub + "@tcp:a:1/" + secret, furl.PartFURL, 0, furl.ErrInvalid, "does not begin"},
		{"a leading blank", " pb://" + tub + "@tcp:a:1/" + secret, furl.PartFURL, 0, furl.ErrInvalid, "does not begin"},
		{"another scheme", "http://" + tub + "@tcp:a:1/" + secret, furl.PartFURL, 0, furl.ErrInvalid, "does not begin"},
		{"an upper-case scheme", "PB://" + tub + "@tcp:a:1/" + secret, furl.PartFURL, 0, furl.ErrInvalid, "does not begin"},
		{"no TubID part", "pb://" + secret, furl.PartFURL, 0, furl.ErrInvalid, "no '@'"},
		{"no hints part", "pb://" + tub + "@" + secret, furl.PartFURL, 0, furl.ErrInvalid, "no '/'"},
		{"an empty TubID", "pb://@tcp:a:1/" + secret, furl.PartTubID, 0, furl.ErrInvalid, "needs 32"},
		{"a short TubID", "pb://" + tub[1:] + "@tcp:a:1/" + secret, furl.PartTubID, 0, furl.ErrInvalid, "has 31 characters, needs 32"},
		{"an upper-case TubID", "pb://" + strings.ToUpper(tub) + "@tcp:a:1/" + secret, furl.PartTubID, 0, furl.ErrInvalid, "upper-case"},
		{"a TubID with a digit outside base32", "pb://1" + tub[1:] + "@tcp:a:1/" + secret, furl.PartTubID, 0, furl.ErrInvalid, "a-z and 2-7"},
		{"a slash before the '@'", "pb://" + tub + "/" + secret + "@tcp:a:1/" + secret, furl.PartTubID, 0, furl.ErrInvalid, "printable ASCII"},
		{"a line end in the extension", "pb://" + tub + "\n@tcp:a:1/" + secret, furl.PartTubID, 0, furl.ErrInvalid, "printable ASCII"},
		{"an empty hint", "pb://" + tub + "@tcp:a:1,,tcp:b:2/" + secret, furl.PartHint, 2, furl.ErrInvalid, "empty"},
		{"an empty last hint", "pb://" + tub + "@tcp:a:1,/" + secret, furl.PartHint, 2, furl.ErrInvalid, "empty"},
		{"a tab in a hint", "pb://" + tub + "@tcp:a:1,tcp:\tb:2/" + secret, furl.PartHint, 2, furl.ErrInvalid, "control characters"},
		{"a hint that is not UTF-8", "pb://" + tub + "@tcp:\xff:1/" + secret, furl.PartHint, 1, furl.ErrInvalid, "UTF-8"},
		{"a long hint", "pb://" + tub + "@x:" + strings.Repeat("a", furl.MaxHintLength-1) + "/" + secret, furl.PartHint, 1, furl.ErrTooLarge, "at most 1024"},
		{"too many hints", "pb://" + tub + "@" + manyHints + "/" + secret, furl.PartFURL, 0, furl.ErrTooLarge, "has 65 hints, at most 64"},
		{"no name", "pb://" + tub + "@tcp:a:1/", furl.PartName, 0, furl.ErrInvalid, "empty"},
		{"a line end behind the name", "pb://" + tub + "@tcp:a:1/" + secret + "\n", furl.PartName, 0, furl.ErrInvalid, "line ends"},
		{"a line end in the name", "pb://" + tub + "@tcp:a:1/" + secret + "\r\nx", furl.PartName, 0, furl.ErrInvalid, "line ends"},
		{"a blank behind the name", "pb://" + tub + "@tcp:a:1/" + secret + " ", furl.PartName, 0, furl.ErrInvalid, "space"},
		{"a name that is not UTF-8", "pb://" + tub + "@tcp:a:1/" + secret + "\xff", furl.PartName, 0, furl.ErrInvalid, "UTF-8"},
		{"a long name", "pb://" + tub + "@tcp:a:1/" + secret + strings.Repeat("x", furl.MaxNameLength), furl.PartName, 0, furl.ErrTooLarge, "at most 1024"},
		{"a long FURL", "pb://" + tub + "@tcp:a:1/" + secret + strings.Repeat("x", furl.MaxLength), furl.PartFURL, 0, furl.ErrTooLarge, "at most 8192"},
		{"what a log shows", furl.FURL{TubID: tub, Hints: []furl.Hint{"tcp:a:1"}, Name: name(t, secret)}.String(), furl.PartName, 0, furl.ErrInvalid, "left out"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := furl.Parse(test.text)
			var parseErr *furl.ParseError
			require.ErrorAs(t, err, &parseErr)
			assert.Equal(t, furl.FURL{}, f)
			assert.Equal(t, test.part, parseErr.Part)
			assert.Equal(t, test.index, parseErr.Index)
			assert.ErrorIs(t, err, test.err)
			assert.ErrorIs(t, err, furl.ErrInvalid)
			assert.Equal(t, test.err == furl.ErrTooLarge, errorsIsTooLarge(err))
			assert.Contains(t, err.Error(), test.reason)
			assert.NotContains(t, err.Error(), secret)
			assert.NotContains(t, err.Error(), tub)
		})
	}
}

func TestTheLimitsThemselvesAreAccepted(t *testing.T) {
	f := furl.FURL{TubID: tub, Name: name(t, strings.Repeat("n", furl.MaxNameLength))}
	for range furl.MaxHints - 1 {
		f.Hints = append(f.Hints, "tcp:a:1")
	}
	f.Hints = append(f.Hints, furl.Hint(strings.Repeat("h", furl.MaxHintLength)))
	got, err := furl.Parse(f.Reveal())
	require.NoError(t, err)
	assert.True(t, f.Equal(got))
}

func TestNothingButRevealShowsTheName(t *testing.T) {
	f := furl.FURL{TubID: tub, Hints: []furl.Hint{"tcp:a:1", "b:2"}, Name: name(t, secret)}
	shown := "pb://" + tub + "@tcp:a:1,b:2/[redacted]"
	require.Equal(t, "pb://"+tub+"@tcp:a:1,b:2/"+secret, f.Reveal())
	require.Equal(t, secret, f.Name.Reveal())

	assert.Equal(t, shown, f.String())
	assert.Equal(t, shown, f.GoString())
	assert.Equal(t, "[redacted]", f.Name.String())
	assert.Equal(t, "[redacted]", f.Name.GoString())
	assert.Equal(t, shown, fmt.Sprint(f))
	assert.Equal(t, fmt.Sprintf("%80q", shown), fmt.Sprintf("%80q", f))
	assert.Equal(t, "", fmt.Sprint(furl.Swissnum{}))
	assert.Equal(t, "map[n:[redacted]]", fmt.Sprint(map[string]furl.Swissnum{"n": f.Name}))
}

func TestEqualComparesAllParts(t *testing.T) {
	f := furl.FURL{TubID: tub, Hints: []furl.Hint{"a:1", "b:2"}, Name: name(t, secret)}
	assert.True(t, f.Equal(furl.FURL{TubID: tub, Hints: []furl.Hint{"a:1", "b:2"}, Name: name(t, secret)}))
	assert.True(t, f.WithHints().Equal(furl.FURL{TubID: tub, Name: name(t, secret)}))
	assert.False(t, f.Equal(f.WithHints("b:2", "a:1")))
	assert.False(t, f.Equal(f.WithHints("a:1")))
	assert.False(t, f.Equal(furl.FURL{TubID: tub, Hints: f.Hints, Name: name(t, "other")}))
	assert.False(t, f.Equal(furl.FURL{TubID: furl.TubID(tub[1:] + "a"), Hints: f.Hints, Name: name(t, secret)}))
}

func TestWithHintsSharesNothing(t *testing.T) {
	hints := []furl.Hint{"a:1"}
	f := furl.FURL{TubID: tub, Hints: []furl.Hint{"b:2"}, Name: name(t, secret)}
	g := f.WithHints(hints...)
	hints[0] = "c:3"
	assert.Equal(t, []furl.Hint{"a:1"}, g.Hints)
	assert.Equal(t, []furl.Hint{"b:2"}, f.Hints)
}
