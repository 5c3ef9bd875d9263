//go:build linux

package programs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/proxies"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

func TestOneCommandShowsAnOnionServiceOnANetworkOfItsOwn(t *testing.T) {
	tornet.Require(t)
	key := filepath.Join(t.TempDir(), "onion.key")
	output := run(t, build(t, "examples/onion"), "-key", key)
	assert.Regexp(t, `(?s)a private Tor network has to do
server: publishing \w{56}\.onion
server: published, the hint is tor:\w{56}\.onion:3457
server: no TCP: this Tub is hidden.*
client: dial .*
client: negotiate decision
client: 1 \+ 2 = 3
$`, output)
	info, err := os.Stat(key)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
}

func TestThereIsOneTorAtATime(t *testing.T) {
	for _, example := range []string{"examples/onion", "examples/survive"} {
		output, err := exec.CommandContext(t.Context(), build(t, example), "-control", "127.0.0.1:9051", "-launch").CombinedOutput()
		assert.Error(t, err)
		assert.Regexp(t, `^-launch and -control, .* exclude each other\n$`, string(output))
	}
}

func TestAClientBehindAProxy(t *testing.T) {
	proxy := proxies.Microsocks(t, proxies.Options{})
	program := build(t, "examples/socks")
	assert.Regexp(t, `^tcp:127\.0\.0\.1:\d+ was dialled by: socks via `+proxy.Addr+`
1 \+ 2 = 3
$`, run(t, program, "-proxy", proxy.Addr))
	assert.Regexp(t, `^tcp:127\.0\.0\.1:\d+ was dialled by: socks via 127\.0\.0\.1:\d+
1 \+ 2 = 3
without the proxy: the proxy cannot be reached.*
$`, run(t, program))
}

func TestAFURLSurvivesTheLossOfEachOfThreeTransports(t *testing.T) {
	client := tornet.Shared(t).Client(t)
	output := run(t, build(t, "examples/survive"), "-control", "unix:"+client.ControlSocket)
	assert.Regexp(t, `^connecting
  won:    tcp:.*, and 1 \+ 2 = 3
tcp is lost
  failed: tcp:.*
  won:    quic:.*, and 1 \+ 2 = 3
quic is lost
(  failed: .*
)+  won:    tor:.*, and 1 \+ 2 = 3
tcp is back
tor is lost
(  failed: .*
)*  won:    tcp:.*, and 1 \+ 2 = 3
$`, output)
}
