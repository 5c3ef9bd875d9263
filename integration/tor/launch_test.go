package tor

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

func TestATorThatIsLaunched(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	dir := filepath.Join(t.TempDir(), "data")
	launched := tor.Launch(tor.LaunchConfig{DataDir: dir, Torrc: network.Torrc(), Logger: logger(t)})
	h, err := tor.New(launched)
	require.NoError(t, err)
	require.NoDirExists(t, dir, "nothing is started before it is needed")
	served := newTub(t, nil)
	f, l := listen(t, served, byControl(network.Client(t)))

	// Two dials at once need one tor.
	var both sync.WaitGroup
	told := make([][]string, 2)
	for i := range told {
		both.Go(func() {
			stream, err := handlers.Dial(within(t), h, handlers.DialRequest{
				Hint:     f.Hints[0],
				Progress: func(s handlers.Status) { told[i] = append(told[i], s.Text) },
			})
			if assert.NoError(t, err) {
				assert.NoError(t, stream.Close())
			}
		})
	}
	both.Wait()
	require.Len(t, torsIn(t, dir), 1)
	for _, texts := range told {
		all := strings.Join(texts, "\n")
		assert.Contains(t, all, "starting tor")
		assert.Regexp(t, regexp.MustCompile(`(?m)^bootstrap \d+%$`), all)
		assert.Contains(t, all, "waiting for tor to reach "+l.Onion())
	}

	// A service shares it.
	f, own := listen(t, newTub(t, nil), launched)
	assert.Equal(t, "unix", own.Addr().Network())
	require.Len(t, torsIn(t, dir), 1)
	requireAnswer(t, connect(t, newTub(t, byControl(network.Client(t))), f))

	// It ends with the last of those that use it.
	require.NoError(t, h.Close())
	require.Len(t, torsIn(t, dir), 1)
	require.NoError(t, own.Close())
	assert.Empty(t, torsIn(t, dir))
	assert.NoDirExists(t, filepath.Dir(own.Addr().String()))
	assert.DirExists(t, dir, "it is kept")
}

func TestATorThatWasLaunchedIsReplacedWhenItEnds(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	dir := t.TempDir()
	launched := tor.Launch(tor.LaunchConfig{DataDir: dir, Torrc: network.Torrc()})
	served := newTub(t, nil)
	log := publications(t)
	f, _ := listen(t, served, launched, tor.WithLogger(log.logger()))
	requireAnswer(t, connect(t, newTub(t, byControl(network.Client(t))), f))
	before := torsIn(t, dir)
	require.Len(t, before, 1)
	process, err := os.FindProcess(before[0])
	require.NoError(t, err)
	require.NoError(t, process.Kill())
	log.await(2) // or a client that starts now may get to know what was published before, and stay with it
	another := network.Start(t, tornet.Options{})
	requireAnswer(t, connect(t, newTub(t, byControl(another)), f))
	assert.NotEqual(t, before, torsIn(t, dir))

	require.NoError(t, served.Close())
	assert.Empty(t, torsIn(t, dir))
}

func TestATorThatCannotBeLaunched(t *testing.T) {
	t.Parallel()
	tornet.Require(t)
	for name, test := range map[string]struct {
		config tor.LaunchConfig
		says   string
	}{
		"because there is none":               {tor.LaunchConfig{Executable: "/nonexistent/tor"}, "no such file"},
		"because it does not understand us":   {tor.LaunchConfig{Torrc: []string{"NoSuchOption 1"}}, "Unknown option 'NoSuchOption'"},
		"because it is another program":       {tor.LaunchConfig{Executable: "/bin/true"}, "ended at once"},
		"because its directory cannot be had": {tor.LaunchConfig{DataDir: "/proc/nonexistent"}, "/proc/nonexistent"},
	} {
		t.Run(name, func(t *testing.T) {
			err := dial(t, tor.Launch(test.config), "tor:server.test:1")
			assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
			assert.ErrorContains(t, err, test.says)
			_, err = tor.Listen(within(t), tor.Launch(test.config), servicePort)
			assert.ErrorIs(t, err, handlers.ErrProxyUnreachable)
			assert.ErrorContains(t, err, test.says)
		})
	}
}

// torsIn returns the ids of the tors whose data is in a directory. /proc is that of the machine, where processes have
// other ids than in our namespace; the last of a process's ids is the one here.
func torsIn(t *testing.T, dir string) []int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var found []int
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err != nil || !strings.Contains(string(text), "\x00"+dir+"\x00") {
			continue // or it has ended meanwhile
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(line), "status"))
		if err != nil {
			continue
		}
		ids := strings.Fields(namespaceIDs.FindString(string(status)))
		require.NotEmpty(t, ids)
		id, err := strconv.Atoi(ids[len(ids)-1])
		require.NoError(t, err)
		found = append(found, id)
	}
	return found
}

var namespaceIDs = regexp.MustCompile(`(?m)^NSpid:.*$`)
