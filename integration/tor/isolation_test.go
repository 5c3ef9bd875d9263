package tor

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/cretz/bine/control"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestTwoFURLsAreDialledOnDifferentCircuits(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	l, err := net.Listen("tcp", net.JoinHostPort(tornet.PublicIP, "0"))
	require.NoError(t, err)
	defer l.Close()
	dialler := network.Start(t, tornet.Options{Torrc: []string{"MapAddress server.test " + tornet.PublicIP}})
	dialler.WaitExit(t)
	hint := furl.StreamHint("tcp", "server.test", uint16(l.Addr().(*net.TCPAddr).Port))
	a, b := someTubID(t), someTubID(t)

	control := dialler.Control()
	// circuits dials one after the other, keeps the streams, and returns on which circuit each is.
	circuits := func(t *testing.T, opts []tor.Option, requests ...handlers.DialRequest) []string {
		h, err := tor.New(byControl(dialler), opts...)
		require.NoError(t, err)
		defer h.Close()
		var found []string
		known := openStreams(t, control)
		for _, request := range requests {
			request.Hint = hint
			stream, err := handlers.Dial(within(t), h, request)
			require.NoError(t, err)
			defer stream.Close()
			for id, stream := range openStreams(t, control) {
				if known[id].circuit == "" {
					known[id] = stream
					found = append(found, stream.circuit)
				}
			}
		}
		require.Len(t, found, len(requests))
		return found
	}

	t.Run("two Tubs", func(t *testing.T) {
		on := circuits(t, nil, handlers.DialRequest{Target: a, Isolation: string(a)}, handlers.DialRequest{Target: b, Isolation: string(b)})
		assert.NotEqual(t, on[0], on[1])
	})
	t.Run("one Tub in two roles", func(t *testing.T) {
		on := circuits(t, nil, handlers.DialRequest{Target: a, Isolation: "one"}, handlers.DialRequest{Target: a, Isolation: "two"})
		assert.NotEqual(t, on[0], on[1])
	})
	t.Run("one Tub twice", func(t *testing.T) {
		on := circuits(t, nil, handlers.DialRequest{Target: a, Isolation: string(a)}, handlers.DialRequest{Target: a, Isolation: string(a)})
		assert.Equal(t, on[0], on[1], "or every connection would wait for a circuit of its own")
	})
	t.Run("two Tubs without isolation", func(t *testing.T) {
		on := circuits(t, []tor.Option{tor.WithoutIsolation()}, handlers.DialRequest{Target: a, Isolation: string(a)}, handlers.DialRequest{Target: b, Isolation: string(b)})
		assert.Equal(t, on[0], on[1])
	})
}

func TestATubConnectsToTwoFURLsOnDifferentCircuits(t *testing.T) {
	t.Parallel()
	dialler := tornet.Shared(t).Start(t, tornet.Options{Torrc: []string{"MapAddress server.test " + tornet.PublicIP}})
	dialler.WaitExit(t)
	dialling := newTub(t, byControl(dialler))
	var ports []string
	for range 2 {
		l, err := tcp.Listen(within(t), net.JoinHostPort(tornet.PublicIP, "0"))
		require.NoError(t, err)
		served := newTub(t, nil)
		_, err = served.Listen(l)
		require.NoError(t, err)
		f, err := served.Register(calculator())
		require.NoError(t, err)
		_, port, err := f.Hints[0].HostPort()
		require.NoError(t, err)
		f.Hints = []furl.Hint{furl.StreamHint("tcp", "server.test", port)}
		requireAnswer(t, connect(t, dialling, f))
		ports = append(ports, strconv.Itoa(int(port)))
	}
	circuits := make(map[string]map[string]bool) // by port
	for _, stream := range openStreams(t, dialler.Control()) {
		_, port, err := net.SplitHostPort(stream.target)
		require.NoError(t, err)
		if circuits[port] == nil {
			circuits[port] = make(map[string]bool)
		}
		circuits[port][stream.circuit] = true
	}
	require.NotEmpty(t, circuits[ports[0]])
	require.NotEmpty(t, circuits[ports[1]])
	for circuit := range circuits[ports[0]] {
		assert.NotContains(t, circuits[ports[1]], circuit)
	}
}

type torStream struct{ circuit, target string }

// openStreams returns the open streams of a tor by their number.
func openStreams(t *testing.T, control *control.Conn) map[string]torStream {
	t.Helper()
	response, err := control.SendRequest("GETINFO stream-status")
	require.NoError(t, err)
	open := make(map[string]torStream)
	for line := range strings.Lines(strings.ReplaceAll(strings.Join(response.Data, "\n"), "\r", "")) {
		// The first line may have the name of what was asked for. "12 SUCCEEDED 7 203.0.113.5:80"
		words := strings.Fields(strings.TrimPrefix(line, "stream-status="))
		if len(words) >= 4 && words[1] == "SUCCEEDED" {
			open[words[0]] = torStream{words[2], words[3]}
		}
	}
	return open
}

func someTubID(t *testing.T) furl.TubID {
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	return id.TubID()
}
