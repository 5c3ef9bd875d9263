package quic_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/quic"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

func TestAConnectionSurvivesANewAddressOfTheClient(t *testing.T) {
	t.Run("as the stream sees it", func(t *testing.T) {
		id, other := identity(t, anyID), identity(t, anyID)
		l, err := quic.Listen(t.Context(), "127.0.0.1:0", certificate(t, id))
		require.NoError(t, err)
		defer l.Close()
		way := startRelay(t, l.Addr().(*net.UDPAddr), 0)
		h := quic.New()
		defer h.Close()
		dialled, err := h.Dial(within(t), handlers.DialRequest{Hint: way.hint(), Target: id.TubID(), Identity: certificate(t, other)})
		require.NoError(t, err)
		defer dialled.Close()
		accepted, err := l.Accept()
		require.NoError(t, err)
		defer accepted.Close()

		for _, ip := range []string{"127.0.0.1", "127.0.0.2"} {
			moved := way.moveTo(t, ip)
			for { // the server sends there once it has found out that the client is there
				_, err = dialled.Write([]byte("ping"))
				require.NoError(t, err)
				_, err = io.ReadFull(accepted, make([]byte, 4))
				require.NoError(t, err)
				_, err = accepted.Write([]byte("pong"))
				require.NoError(t, err)
				_, err = io.ReadFull(dialled, make([]byte, 4))
				require.NoError(t, err)
				if accepted.RemoteAddr().String() == moved.String() {
					break
				}
			}
		}
	})
	t.Run("as Tubs see it", func(t *testing.T) {
		server, client := startTub(t, identity(t, anyID)), startTub(t, identity(t, anyID))
		way := startRelay(t, server.listen(t, "127.0.0.1:0", "quic:192.0.2.1:9"), 0)
		f := server.desk(t)
		f.Hints = []furl.Hint{way.hint()}
		ref, err := client.Connect(within(t), f)
		require.NoError(t, err)
		assertAdds(t, ref)
		way.moveTo(t, "127.0.0.2")
		assertAdds(t, ref)
		assert.Equal(t, 1, client.negotiations())
	})
}

// inside tells a test binary that it runs in a network namespace.
const inside = "FOOLSCAP_QUIC_NAMESPACE"

// Where the client is, is for the kernel to say: it takes the source address of every packet from the route. So the real
// thing is tested here, in a namespace that has only a loopback interface, with the addresses that the test gives it.
func TestAConnectionSurvivesANewRoute(t *testing.T) {
	if os.Getenv(inside) == "" {
		command := exec.Command("unshare", "--map-root-user", "--net", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		command.Env = append(os.Environ(), inside+"=1")
		output, err := command.CombinedOutput()
		switch {
		case err == nil:
			assert.Contains(t, string(output), "--- PASS: "+t.Name())
		case strings.Contains(string(output), "--- FAIL") || os.Getenv("FOOLSCAP_INTEGRATION") == "1":
			t.Fatalf("%v\n%s", err, output)
		default:
			t.Skipf("this test needs a network namespace and the command ip: %v\n%s\nInstall iproute2 and util-linux; allow unprivileged user namespaces, or run it as root", err, output)
		}
		return
	}
	const serverIP, before, after = "10.9.9.9", "10.1.0.1", "10.1.0.2"
	ip(t, "link set lo up")
	ip(t, "addr add %s/32 dev lo", serverIP)
	ip(t, "addr add %s/32 dev lo", before)
	ip(t, "route replace local %s dev lo table local src %s", serverIP, before)

	id, other := identity(t, anyID), identity(t, anyID)
	l, err := quic.Listen(t.Context(), serverIP+":0", certificate(t, id))
	require.NoError(t, err)
	defer l.Close()
	hints, _ := l.Hints()
	h := quic.New()
	defer h.Close()
	dialled, err := h.Dial(within(t), handlers.DialRequest{Hint: hints[0], Target: id.TubID(), Identity: certificate(t, other)})
	require.NoError(t, err)
	defer dialled.Close()
	accepted, err := l.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	require.Equal(t, before, accepted.RemoteAddr().(*net.UDPAddr).IP.String())

	// The network goes away, and what is written meanwhile has to wait.
	ip(t, "route del local %s dev lo table local", serverIP)
	ip(t, "addr del %s/32 dev lo", before)
	_, err = dialled.Write([]byte("ping"))
	require.NoError(t, err)
	require.NoError(t, accepted.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	_, err = accepted.Read(make([]byte, 4))
	require.True(t, errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
	require.NoError(t, accepted.SetReadDeadline(time.Now().Add(30*time.Second)))

	ip(t, "addr add %s/32 dev lo", after)
	ip(t, "route replace local %s dev lo table local src %s", serverIP, after)
	_, err = io.ReadFull(accepted, make([]byte, 4))
	require.NoError(t, err)
	_, err = accepted.Write([]byte("pong"))
	require.NoError(t, err)
	_, err = io.ReadFull(dialled, make([]byte, 4))
	require.NoError(t, err)
	assert.Equal(t, after, accepted.RemoteAddr().(*net.UDPAddr).IP.String())
}

// ip runs the command of that name.
func ip(t *testing.T, format string, args ...any) {
	t.Helper()
	output, err := exec.Command("ip", strings.Fields(fmt.Sprintf(format, args...))...).CombinedOutput()
	require.NoError(t, err, "%s", output)
}
