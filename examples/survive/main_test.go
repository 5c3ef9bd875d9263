package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// With a tor, it is run by integration/programs.
func TestTheFURLSurvivesTheLossOfEachTransport(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, nil))
	assert.Regexp(t, `^connecting
  won:    tcp:127.0.0.1:\d+, and 1 \+ 2 = 3
tcp is lost
  failed: tcp:.*
  won:    quic:127.0.0.1:\d+, and 1 \+ 2 = 3
tcp is back
quic is lost
  failed: quic:.*
  won:    tcp:127.0.0.1:\d+, and 1 \+ 2 = 3
$`, out.String())
}
