package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/remote"
	"github.com/foolscap-go/foolscap/tub"
)

const genData = "../cmd/foolscap/internal/gen/testdata/"

// What the tests of the generator begin with is what Python says of its interfaces.
func TestInterfacesAreReadFromPython(t *testing.T) {
	python := pypeer.Require(t)
	tool := filepath.Join(t.TempDir(), "foolscap")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-o", tool, "../cmd/foolscap").CombinedOutput()
	require.NoError(t, err, "%s", output)
	run := func(args ...string) (stdout, stderr string, err error) {
		cmd := exec.CommandContext(t.Context(), tool, append([]string{"gen", "--python", python}, args...)...)
		var out, problems bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &problems
		err = cmd.Run()
		return out.String(), problems.String(), err
	}
	for module, name := range map[string]string{
		"foolscap.logging.interfaces": "logs", "foolscap.test.common": "common", genData + "every.py": "every", genData + "extends.py": "extends",
		"peers/objects.py": "remote",
	} {
		golden := genData + name + "/" + name + ".go"
		if name == "remote" {
			golden = "internal/remote/remote.go"
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		source, problems, err := run("--from-python", module, "--package", name)
		require.NoError(t, err, problems)
		assert.Equal(t, string(want), source)
	}

	// A file is a part of its package: what it imports from there is found.
	file, err := exec.CommandContext(t.Context(), python, "-c", "import foolscap.logging.interfaces as m; print(m.__file__)").Output()
	require.NoError(t, err)
	text, _, err := run("--print", genData+"every.py")
	require.NoError(t, err)
	kept := filepath.Join(t.TempDir(), "every.schema")
	require.NoError(t, os.WriteFile(kept, []byte(text), 0o600))
	for before, after := range map[string]string{
		strings.TrimSpace(string(file)): genData + "logs/logs.go", "foolscap.logging.interfaces": genData + "logs", genData + "every.py": kept,
	} {
		changes, problems, err := run("--check", before, after)
		require.NoError(t, err, problems)
		assert.Equal(t, "nothing changes on the wire\n", changes)
	}

	for module, says := range map[string]string{
		"no.such.module": "No module named 'no'",
		"json":           "defines no RemoteInterface",
		"foolscap.api":   "defines no RemoteInterface",
	} {
		_, problems, err := run("--from-python", module)
		assert.Error(t, err)
		assert.Contains(t, problems, says)
	}
}

// greeter is a visitor that lives here.
type greeter struct{}

func (*greeter) Meet(_ context.Context, a remote.VisitorMeetArgs) (string, error) {
	return "Go met " + a.Name, nil
}

// adding is an object with RIPeer that lives here, as far as Python calls it.
type adding struct{ remote.Peer }

func (adding) Add(_ context.Context, a remote.PeerAddArgs) (int64, error) { return a.A + a.B, nil }
func (adding) Visitor(context.Context, tub.None) (remote.Visitor, error)  { return &greeter{}, nil }
func (adding) Anything(_ context.Context, a remote.PeerAnythingArgs) (any, error) {
	return a.Value, nil
}

func TestStubsMadeFromPythonTalkToPython(t *testing.T) {
	t.Parallel()
	stubs := tub.Options{Stubs: []tub.Stub{remote.VisitorStub, remote.PeerStub}}
	eachRole(t, options{tub: stubs}, func(t *testing.T, m *meeting) {
		ctx := within(t)
		f := publish(t, m.peer, "peer of "+m.name, pypeer.KindPeer)
		if !m.dials {
			f = f.WithHints()
		}
		peer := remote.NewPeerClient(connect(t, m.tub, f))
		assert.Equal(t, remote.PeerInterface.Name, peer.Interface())
		sum, err := peer.Add(ctx, remote.PeerAddArgs{A: 1, B: 2})
		require.NoError(t, err)
		assert.EqualValues(t, 3, sum)
		names, err := peer.Names(ctx, remote.PeerNamesArgs{Ages: map[string]int64{"b": 1, "a": 2}})
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "b"}, names)
		text, err := peer.Welcome(ctx, remote.PeerWelcomeArgs{Visitor: &greeter{}, Name: "me"})
		require.NoError(t, err)
		assert.Equal(t, "Go met me", text)
		visitor, err := peer.Visitor(ctx, tub.None{})
		require.NoError(t, err)
		text, err = visitor.Meet(ctx, remote.VisitorMeetArgs{Name: "Go"})
		require.NoError(t, err)
		assert.Contains(t, text, "met Go")

		ours := m.peer.MustGetReference(register(t, m.tub, remote.NewPeerObject(adding{})).Reveal())
		assert.Equal(t, remote.PeerInterface.Name, ours.Describe().Interface)
		assert.Equal(t, pypeer.Int(3), ours.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
		assert.Equal(t, pypeer.Text("x"), ours.MustCall("anything", pypeer.Text("x")))
		_, err = ours.Call("short", pypeer.Bytes([]byte("more than ten bytes")))
		assert.ErrorContains(t, err, "Violation", "Python knows the interface, and does not send that")
	})
}
