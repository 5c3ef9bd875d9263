package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/integration/internal/relay"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

const (
	// childVariable makes this program a Go Tub in a process of its own, which can be killed. It holds the file with
	// its identity, and childLocation the hint that leads to it.
	childVariable = "FOOLSCAP_TEST_CHILD"
	childLocation = "FOOLSCAP_TEST_CHILD_LOCATION"
	// childName is the name of its desk.
	childName = "desk"
)

// runChild is the main function of a child: it publishes a desk and writes the address at which it listens, then does
// what it reads, a FURL a line: it connects to that, calls add and writes the sum, or the error. It ends with its standard
// input.
func runChild() int {
	err := func() error {
		id, err := tub.LoadIdentity(os.Getenv(childVariable), nil)
		if err != nil {
			return err
		}
		tb, err := tub.New(id, nil)
		if err != nil {
			return err
		}
		ctx := context.Background()
		l, err := tcp.Listen(ctx, "127.0.0.1:0", tcp.WithLocation(furl.Hint(os.Getenv(childLocation))))
		if err != nil {
			return err
		}
		if _, err := tb.RegisterAs(childName, newDesk().object); err != nil {
			return err
		}
		if _, err := tb.Listen(l); err != nil {
			return err
		}
		fmt.Println(l.Addr())
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			f, err := furl.Parse(lines.Text())
			if err != nil {
				return err
			}
			if sum, err := callAdd(ctx, tb, f); err != nil {
				fmt.Println(err)
			} else {
				fmt.Println(sum)
			}
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func callAdd(ctx context.Context, tb *tub.Tub, f furl.FURL) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ref, err := tb.Connect(ctx, f)
	if err != nil {
		return 0, err
	}
	return tub.Call[int](ctx, ref, "add", 1, 2)
}

// A child is a Go Tub in a process of its own.
type child struct {
	t       *testing.T
	command *exec.Cmd
	input   io.WriteCloser
	lines   *bufio.Reader
	addr    string
	killed  func()
}

// startChild starts a child that ends with the test, and lets a relay lead to it.
func startChild(t *testing.T, identityFile string, way *relay.Relay) *child {
	t.Helper()
	program, err := os.Executable()
	require.NoError(t, err)
	c := &child{t: t, command: exec.Command(program)}
	c.command.Env = append(os.Environ(), childVariable+"="+identityFile, childLocation+"="+way.Hint())
	c.command.Stderr = t.Output()
	c.input, err = c.command.StdinPipe()
	require.NoError(t, err)
	output, err := c.command.StdoutPipe()
	require.NoError(t, err)
	c.lines = bufio.NewReader(output)
	require.NoError(t, c.command.Start())
	c.killed = sync.OnceFunc(func() {
		_ = c.command.Process.Kill() // kill -9; it fails only for a process that has ended
		_ = c.command.Wait()         // says that it was killed
	})
	t.Cleanup(c.kill)
	c.addr = c.line()
	way.SetTarget(c.addr)
	return c
}

// kill is kill -9, and returns when the process is gone.
func (c *child) kill() { c.killed() }

func (c *child) line() string {
	c.t.Helper()
	line, err := c.lines.ReadString('\n')
	require.NoError(c.t, err, "the child has ended")
	return strings.TrimSuffix(line, "\n")
}

// call makes the child connect to the object of a FURL and call it.
func (c *child) call(f furl.FURL) {
	c.t.Helper()
	_, err := fmt.Fprintln(c.input, f.Reveal())
	require.NoError(c.t, err)
	require.Equal(c.t, "3", c.line())
}

// A survivor is who is there while a child is killed and comes back.
type survivor interface {
	tubID() string
	// furl is that of the survivor's object.
	furl() furl.FURL
	// dial connects to the desk of the child, and calls it.
	dial(f furl.FURL)
	// watch begins with a call that has no answer yet; lost waits until that and the connection have failed, for
	// having been lost or else because of another connection.
	watch()
	lost(replaced bool)
	// refused makes sure that the child cannot be reached.
	refused(f furl.FURL)
	// assertOne makes sure that there is one connection.
	assertOne(child string)
}

type goSurvivor struct {
	t       *testing.T
	tub     *tub.Tub
	root    furl.FURL
	ref     *tub.Ref
	pending *tub.Pending[any]
	ended   chan error
}

func (s *goSurvivor) tubID() string   { return string(s.tub.TubID()) }
func (s *goSurvivor) furl() furl.FURL { return s.root }

func (s *goSurvivor) dial(f furl.FURL) {
	s.t.Helper()
	s.ref = connect(s.t, s.tub, f)
	assert.Equal(s.t, 3, call[int](s.t, s.ref, "add", 1, 2))
}

func (s *goSurvivor) watch() {
	s.t.Helper()
	s.ended = make(chan error, 1)
	s.ref.OnDisconnect(func(reason error) { s.ended <- reason })
	var err error
	s.pending, err = tub.Start[any](within(s.t), s.ref, "block")
	require.NoError(s.t, err)
}

func (s *goSurvivor) lost(replaced bool) {
	s.t.Helper()
	want := tub.ErrLost
	if replaced {
		want = tub.ErrReplaced
	}
	assert.ErrorIs(s.t, <-s.ended, want)
	_, err := s.pending.Wait(within(s.t))
	var failed *tub.CallError
	require.ErrorAs(s.t, err, &failed)
	assert.Equal(s.t, tub.MayHaveRun, failed.Sent)
	assert.ErrorIs(s.t, err, tub.ErrDeadReference)
	assert.ErrorIs(s.t, err, want)
}

func (s *goSurvivor) refused(f furl.FURL) {
	s.t.Helper()
	settled(s.t, s.tub)
	_, err := s.tub.Connect(within(s.t), f)
	assert.ErrorIs(s.t, err, handlers.ErrUnreachable)
}

func (s *goSurvivor) assertOne(child string) {
	s.t.Helper()
	assert.Equal(s.t, []furl.TubID{furl.TubID(child)}, s.tub.Peers())
}

type pythonSurvivor struct {
	t       *testing.T
	peer    *pypeer.Peer
	root    furl.FURL
	ref     pypeer.Ref
	pending *pypeer.Pending
}

func (s *pythonSurvivor) tubID() string   { return s.peer.TubID }
func (s *pythonSurvivor) furl() furl.FURL { return s.root }

func (s *pythonSurvivor) dial(f furl.FURL) {
	s.t.Helper()
	s.ref = s.peer.MustGetReference(f.Reveal())
	assert.Equal(s.t, pypeer.Int(3), s.ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
}

func (s *pythonSurvivor) watch() {
	s.t.Helper()
	s.peer.WaitEvent("attached", nil)
	s.ref.NotifyDisconnect()
	s.pending = s.ref.Begin("block")
}

func (s *pythonSurvivor) lost(bool) {
	s.t.Helper()
	s.peer.WaitEvent("disconnected", func(e pypeer.Event) bool { return e.Is("ref", s.ref.Handle()) })
	s.peer.WaitEvent("detached", nil)
	var failure *pypeer.Error
	require.ErrorAs(s.t, s.pending.Result(nil), &failure)
	assert.Contains(s.t, connectionEnded, failure.Type)
}

func (s *pythonSurvivor) refused(f furl.FURL) {
	s.t.Helper()
	s.peer.WaitConnections(0)
	_, err := s.peer.GetReference(f.Reveal())
	assert.ErrorContains(s.t, err, "ConnectionRefused")
}

func (s *pythonSurvivor) assertOne(child string) {
	s.t.Helper()
	connections := s.peer.Connections()
	require.Len(s.t, connections, 1)
	assert.Equal(s.t, child, connections[0].TubID)
}

func TestAGoProcessThatIsKilledComesBack(t *testing.T) {
	t.Parallel()
	survivorCert, survivorID := pypeer.WriteCert(t, pypeer.Middling)
	who := map[string]func(t *testing.T, way *relay.Relay) survivor{
		"Go": func(t *testing.T, way *relay.Relay) survivor {
			id, err := tub.LoadIdentity(survivorCert, nil)
			require.NoError(t, err)
			tb := startTub(t, id, tub.Options{})
			way.SetTarget(listen(t, tb, furl.Hint(way.Hint())))
			return &goSurvivor{t: t, tub: tb, root: register(t, tb, newDesk().object)}
		},
		"Python": func(t *testing.T, way *relay.Relay) survivor {
			peer := pypeer.Start(t, pypeer.Options{CertFile: survivorCert, Location: way.Hint()})
			way.SetTarget(peer.Addr())
			return &pythonSurvivor{t: t, peer: peer, root: publish(t, peer, "root", pypeer.KindRoot)}
		},
	}
	for name, start := range who {
		for _, master := range []bool{true, false} {
			for _, childDials := range []bool{true, false} {
				for _, halfDead := range []bool{false, true} {
					what := "and the kernel closes its connection"
					if halfDead {
						what = "and nobody hears of it"
					}
					t.Run(fmt.Sprintf("%s survives, the child is the master: %v, and has dialled: %v, %s", name, master, childDials, what), func(t *testing.T) {
						t.Parallel()
						toChild, toSurvivor := relay.Start(t, ""), relay.Start(t, "")
						s := start(t, toSurvivor)
						require.Equal(t, survivorID, s.tubID())
						file, childID := pypeer.WriteCert(t, role{master: master}.accept(survivorID))
						c := startChild(t, file, toChild)
						name, err := furl.ParseSwissnum(childName)
						require.NoError(t, err)
						desk := furl.FURL{TubID: furl.TubID(childID), Hints: []furl.Hint{furl.Hint(toChild.Hint())}, Name: name}
						meet := func() {
							t.Helper()
							if childDials {
								c.call(s.furl())
								s.dial(desk.WithHints())
							} else {
								s.dial(desk)
								c.call(s.furl().WithHints())
							}
							s.assertOne(childID)
						}

						for range 2 { // what is remembered of the first time is put to use in the second
							meet()
							s.watch()
							if halfDead {
								toChild.Freeze()
								toSurvivor.Freeze()
							}
							c.kill()
							if !halfDead {
								s.lost(false)
								s.refused(desk.WithHints(furl.Hint("tcp:" + c.addr)))
							}
							c = startChild(t, file, toChild)
							if halfDead {
								// The survivor believes in the old connection until it hears of the child again.
								c.call(s.furl())
								s.lost(true)
							}
							meet()
						}
					})
				}
			}
		}
	}
}
