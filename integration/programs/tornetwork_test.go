//go:build linux

package programs

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

func TestAPrivateNetworkStartsOnlyForAProgramThatExists(t *testing.T) {
	program := build(t, "integration/tornetwork")
	for _, help := range []string{"-h", "-help", "--help"} {
		assert.Contains(t, run(t, program, help), "usage: tornetwork PROGRAM")
	}
	output, err := exec.CommandContext(t.Context(), program, "no-such-program").CombinedOutput()
	assert.Error(t, err)
	assert.Contains(t, string(output), `"no-such-program": executable file not found`)
	assert.NotContains(t, string(output), "starting")
}

// This is the command of examples/README.md.
func TestTheToolShowsAnOnionServiceOfAPrivateNetwork(t *testing.T) {
	tornet.Require(t)
	program, tool := build(t, "integration/tornetwork"), build(t, "cmd/foolscap")
	cmd := exec.CommandContext(t.Context(), program, "sh", "-c", tool+" demo --tor control:$FOOLSCAP_TOR_CONTROL")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), &stderr)
	assert.Regexp(t, `(?m)^Tor +tor:\w{56}\.onion:3457  tor via control port unix:`, stdout.String())
	assert.Equal(t, 1, strings.Count(stderr.String(), "starting a private Tor network"))
	assert.Contains(t, stderr.String(), "the onion service is published")
}
