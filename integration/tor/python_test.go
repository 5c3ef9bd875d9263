package tor

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestFoolscapReachesATubOnAnOnionService(t *testing.T) {
	t.Parallel()
	interpreter := requireTxtorcon(t)
	client := tornet.Shared(t).Client(t)
	f, _ := listen(t, newTub(t, nil), byControl(client))
	for name, endpoint := range map[string]string{
		"by a SOCKS port":   "socks=tcp:" + client.SOCKS,
		"by a control port": "control=unix:" + client.ControlSocket,
	} {
		t.Run(name, func(t *testing.T) {
			command := exec.CommandContext(within(t), interpreter, "-u", "client.py", endpoint, f.Reveal())
			var stderr strings.Builder
			command.Stderr = &stderr
			output, err := command.Output()
			require.NoError(t, err, "%s", &stderr)
			var answers []int
			require.NoError(t, json.Unmarshal(output, &answers))
			assert.Equal(t, []int{3, 42}, answers)
		})
	}
}

func TestATubReachesFoolscapOnAnOnionService(t *testing.T) {
	t.Parallel()
	client := tornet.Shared(t).Client(t)
	// Foolscap needs a port that is known beforehand; the namespace is ours.
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := free.Addr().(*net.TCPAddr).Port
	require.NoError(t, free.Close())
	control := client.Control()
	response, err := control.SendRequest("ADD_ONION NEW:ED25519-V3 Flags=DiscardPK Port=%d,127.0.0.1:%d", servicePort, port)
	require.NoError(t, err)
	onion := strings.TrimPrefix(response.Data[0], "ServiceID=") + ".onion"
	peer := pypeer.Start(t, pypeer.Options{Port: port, Location: string(furl.StreamHint("tor", onion, servicePort))})
	f, err := tub.ParseFURL(peer.Register("root", pypeer.KindRoot))
	require.NoError(t, err)

	ref := connect(t, newTub(t, byControl(client)), f)
	sum, err := tub.Call[int](within(t), ref, "add", 1, 2)
	require.NoError(t, err)
	assert.Equal(t, 3, sum)
}

// requireTxtorcon returns the Python interpreter that has Foolscap and txtorcon.
func requireTxtorcon(t *testing.T) string {
	t.Helper()
	interpreter := pypeer.Require(t)
	output, err := exec.CommandContext(within(t), interpreter, "-c", "import txtorcon").CombinedOutput()
	if err == nil {
		return interpreter
	}
	const message = "this test needs txtorcon: %s\nOn Debian and Ubuntu:  sudo apt-get install --no-install-recommends python3-txtorcon"
	if os.Getenv("FOOLSCAP_INTEGRATION") == "1" {
		t.Fatalf(message, output)
	}
	t.Skipf(message, output)
	return ""
}
