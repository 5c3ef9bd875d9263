package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	someTub    = "ka5xurmkm6wb6vuzeo3jpxwrw6kla6ce"
	someSecret = "4jlb4dduwcp6h4ptrimbqmv5vc7uwxk6"
	someFURL   = "pb://" + someTub + "@tcp:127.0.0.1:9,tub.example.org:10,tcp:127.1:11,i2p:x.i2p:12/" + someSecret
)

func TestFURLShowsThePartsButNotTheSecret(t *testing.T) {
	for _, r := range []result{foolscap(t, "furl", someFURL), foolscapWith(t, someFURL+"\n", "furl"), foolscapWith(t, someFURL, "furl", "-")} {
		assert.Equal(t, exitOK, r.code)
		assert.Empty(t, r.stderr)
		assert.NotContains(t, r.stdout, someSecret)
		for _, part := range []string{someTub, "12/[redacted]", "(32 characters)", "tcp:127.0.0.1:9     tcp   127.0.0.1:9         can be dialled",
			"tub.example.org:10", "not an IPv4 address", "no handler for this type"} {
			assert.Contains(t, r.stdout, part)
		}
		assert.NotContains(t, r.stdout, "Note:")
	}
}

func TestFURLRevealsTheSecretWhenAsked(t *testing.T) {
	r := foolscap(t, "furl", "--reveal", someFURL)
	assert.Equal(t, exitOK, r.code)
	assert.Contains(t, r.stdout, someFURL)
	r = foolscap(t, "furl", "--reveal", "--json", someFURL)
	var doc furlDocument
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
	assert.Equal(t, someFURL, doc.FURL)
	assert.Equal(t, someSecret, doc.Name)
}

func TestFURLWritesJSON(t *testing.T) {
	r := foolscap(t, "furl", "--json", someFURL)
	assert.Equal(t, exitOK, r.code)
	assert.NotContains(t, r.stdout, someSecret)
	var doc furlDocument
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
	assert.Equal(t, someTub, doc.TubID)
	assert.Equal(t, 32, doc.NameLength)
	assert.Empty(t, doc.Notes)
	require.Len(t, doc.Hints, 4)
	assert.Equal(t, hintInfo{Hint: "tub.example.org:10", Type: "tcp", Address: "tub.example.org:10", Handler: true}, doc.Hints[1])
	assert.True(t, doc.Hints[2].Handler)
	assert.NotEmpty(t, doc.Hints[2].Note)
	assert.False(t, doc.Hints[3].Handler)
}

func TestFURLHasRemarks(t *testing.T) {
	for text, remark := range map[string]string{
		"pb://" + someTub + "@/" + someSecret:            "no hints",
		"pb://" + someTub + "@i2p:x.i2p:1/" + someSecret: "none of the hints",
		"pb://" + someTub + "@tcp:127.0.0.1:1/calc":      "only 4 characters",
	} {
		r := foolscap(t, "furl", text)
		assert.Equal(t, exitOK, r.code)
		assert.Contains(t, r.stdout, "Note:")
		assert.Contains(t, r.stdout, remark)
	}
}

func TestWhatIsNoFURLFails(t *testing.T) {
	for _, text := range []string{"x", "pb://short@tcp:h:1/" + someSecret, "pb://" + someTub + "@tcp:h:1," + "/" + someSecret,
		"pb://" + someTub + "@tcp:h:1/[redacted]", "pb://" + someTub + "@tcp:h:1/ " + someSecret} {
		r := foolscap(t, "furl", text)
		assert.Equal(t, exitFailure, r.code, text)
		assert.Empty(t, r.stdout)
		assert.Contains(t, r.stderr, "invalid")
		assert.NotContains(t, r.stderr, someSecret)

		r = foolscap(t, "furl", "--json", text)
		assert.Equal(t, exitFailure, r.code, text)
		var doc errorDocument
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &doc))
		assert.Equal(t, "failure", doc.Error.Kind)
		assert.NotContains(t, r.stdout, someSecret)
	}
}
