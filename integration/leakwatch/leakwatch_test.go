//go:build linux

package leakwatch_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/leakwatch"
)

// childVariable makes this binary one of the programs that are observed.
const childVariable = "LEAKWATCH_TEST_CHILD"

func TestMain(m *testing.M) {
	if child, ok := os.LookupEnv(childVariable); ok {
		if err := children[child](); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		return
	}
	os.Exit(leakwatch.Main(m))
}

// Programs, most of which leak. What they try comes to nothing, and they do not care.
var children = map[string]func() error{
	"silent":                 func() error { return nil },
	"failing":                func() error { return errors.New("something is wrong") },
	"hanging":                func() error { select {} },
	"leaving a daemon":       func() error { return startDaemon("orphaned") },
	"hanging, with a daemon": func() error { return errors.Join(startDaemon("hanging"), sayDaemonLives(), hang()) },
	"orphaned": func() error {
		if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // until the parent has ended, which holds the other end
			return err
		}
		return errors.Join(sayDaemonLives(), hang())
	},
	"listening without an address": func() error {
		for _, kind := range []int{syscall.AF_INET, syscall.AF_UNIX} {
			fd, err := syscall.Socket(kind, syscall.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			_ = syscall.Listen(fd, 1) // which unix refuses
			if err := syscall.Close(fd); err != nil {
				return err
			}
		}
		return nil
	},
	"dialling elsewhere": func() error {
		dial("tcp", proxyAddress)
		dial("tcp", "192.0.2.1:80")
		dial("tcp", "[2001:db8::1]:80")
		return nil
	},
	"sending": func() error {
		conn, err := net.ListenUDP("udp4", nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, _ = conn.WriteTo([]byte("secret"), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711})
		return nil
	},
	"looking up": func() error {
		resolver := net.Resolver{PreferGo: true}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, _ = resolver.LookupHost(ctx, "leak.example")
		return nil
	},
	"multicasting": func() error {
		conn, err := net.Dial("udp4", "224.0.0.251:5353")
		if err == nil {
			_, _ = conn.Write([]byte("x"))
			conn.Close()
		}
		return nil
	},
	"listening": func() error {
		for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
			l, err := net.Listen("tcp", address)
			if err != nil {
				return err
			}
			l.Close()
		}
		return nil
	},
	"talking to a daemon": func() error {
		dial("unix", "/run/daemon.sock")
		dial("unix", "/run/other.sock")
		return nil
	},
	"raw": func() error {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_RAW, syscall.IPPROTO_UDP)
		if err == nil {
			err = syscall.Close(fd)
		}
		return err
	},
	"having another do it": func() error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		other := exec.Command(self)
		other.Env = append(os.Environ(), childVariable+"=dialling elsewhere")
		return other.Run()
	},
}

// lifeline is what a daemon holds open as long as it lives: the first of exec.Cmd.ExtraFiles.
const lifeline = 3

// startDaemon starts a program in a session of its own.
func startDaemon(name string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	daemon := exec.Command(self)
	daemon.Env = append(os.Environ(), childVariable+"="+name)
	if _, err := daemon.StdinPipe(); err != nil { // closed when we end
		return err
	}
	daemon.ExtraFiles = []*os.File{os.NewFile(lifeline, "lifeline")}
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return daemon.Start()
}

func sayDaemonLives() error {
	_, err := os.NewFile(lifeline, "lifeline").WriteString("the daemon lives\n")
	return err
}

func hang() error { select {} }

const proxyAddress = "127.0.0.1:1080"

func dial(network, address string) {
	if conn, err := net.DialTimeout(network, address, time.Second); err == nil {
		conn.Close()
	}
}

// requireObserver ends a test that cannot observe anything.
func requireObserver(t *testing.T) {
	t.Helper()
	if err := leakwatch.Available(); err != nil {
		if os.Getenv("FOOLSCAP_INTEGRATION") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
}

func child(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	require.Contains(t, children, name)
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVariable+"="+name, "GORACE=atexit_sleep_ms=0")
	return cmd
}

func addresses(findings []leakwatch.Finding) []string {
	all := []string{}
	for _, f := range findings {
		all = append(all, f.Network+" "+f.Address)
	}
	return all
}

func TestLeaksAreSeen(t *testing.T) {
	requireObserver(t)
	for name, found := range map[string][]string{
		"silent":                       {},
		"dialling elsewhere":           {"tcp 192.0.2.1:80", "tcp [2001:db8::1]:80"},
		"sending":                      {"udp 0.0.0.0:0", "udp 192.0.2.1:4711"},
		"multicasting":                 {"udp 224.0.0.251:5353"},
		"listening":                    {"ip [::]:0"},
		"talking to a daemon":          {"unix unix:/run/other.sock"},
		"raw":                          {"AF_INET "},
		"listening without an address": {"tcp "},
		"having another do it":         {"tcp 192.0.2.1:80", "tcp [2001:db8::1]:80"},
	} {
		t.Run(name, func(t *testing.T) {
			report := leakwatch.Run(t, leakwatch.Config{Allow: []string{proxyAddress, "unix:/run/daemon.sock"}}, child(t, name))
			require.NoError(t, report.Err)
			assert.Equal(t, found, addresses(report.Findings))
			assert.Equal(t, name == "dialling elsewhere" || name == "having another do it", report.Tried(proxyAddress))
		})
	}
}

func TestANameThatIsLookedUpIsSeen(t *testing.T) {
	requireObserver(t)
	report := leakwatch.Run(t, leakwatch.Config{}, child(t, "looking up"))
	require.NoError(t, report.Err)
	require.NotEmpty(t, report.Findings)
	for _, f := range report.Findings {
		assert.Contains(t, f.Reason, "name server", f)
	}
}

func TestWhatIsAllowedToBeBoundIsNoFinding(t *testing.T) {
	requireObserver(t)
	report := leakwatch.Run(t, leakwatch.Config{Bind: []string{"[::]:0"}}, child(t, "listening"))
	report.Check(t)
	assert.Contains(t, report.Bound, leakwatch.Event{Program: report.Bound[0].Program, Call: "bind", Network: "ip", Address: "[::1]:0"})
}

// A witness takes the place of a test that is to fail.
type witness struct {
	testing.TB
	errors []string
}

func (w *witness) Helper() {}
func (w *witness) Errorf(format string, a ...any) {
	w.errors = append(w.errors, fmt.Sprintf(format, a...))
}

func TestCheckFailsForFindingsAndForProgramsThatFail(t *testing.T) {
	requireObserver(t)
	for name, text := range map[string]string{
		"silent":             "",
		"dialling elsewhere": "connect tcp 192.0.2.1:80 (ENETUNREACH): the address is not allowed",
		"failing":            "exit status 3",
	} {
		w := &witness{TB: t}
		leakwatch.Run(t, leakwatch.Config{Allow: []string{proxyAddress}}, child(t, name)).Check(w)
		if text == "" {
			assert.Empty(t, w.errors)
		} else if assert.NotEmpty(t, w.errors, name) {
			assert.Contains(t, w.errors[0], text)
		}
	}
}

func TestAProgramThatDoesNotEndIsKilled(t *testing.T) {
	requireObserver(t)
	_, err := leakwatch.Observe(t.Context(), leakwatch.Config{Timeout: 300 * time.Millisecond}, child(t, "hanging"))
	assert.ErrorContains(t, err, "300ms")
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = leakwatch.Observe(stopped, leakwatch.Config{}, child(t, "hanging"))
	assert.ErrorIs(t, err, context.Canceled)
}

func TestNoDescendantOutlivesAProgramThatIsKilled(t *testing.T) {
	requireObserver(t)
	for _, name := range []string{"hanging, with a daemon", "leaving a daemon"} {
		for _, whose := range []string{"the test's", "the command's"} {
			t.Run(name+", by "+whose+" context", func(t *testing.T) {
				reader, writer, err := os.Pipe()
				require.NoError(t, err)
				defer reader.Close()
				template := child(t, name)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				cmd := exec.Command(template.Path)
				observing := ctx
				if whose == "the command's" {
					cmd, observing = exec.CommandContext(ctx, template.Path), t.Context()
				}
				cmd.Env, cmd.ExtraFiles = template.Env, []*os.File{writer}
				ended := make(chan error, 1)
				go func() {
					_, err := leakwatch.Observe(observing, leakwatch.Config{}, cmd)
					ended <- err
				}()
				require.NoError(t, reader.SetDeadline(time.Now().Add(time.Minute)))
				lines := bufio.NewReader(reader)
				_, err = lines.ReadString('\n')
				require.NoError(t, err)
				cancel()
				assert.ErrorContains(t, <-ended, "was killed")
				require.NoError(t, writer.Close())
				_, err = lines.ReadString('\n')
				assert.ErrorIs(t, err, io.EOF, "nobody is left who holds the other end")
			})
		}
	}
}

func TestWhatCannotBeObservedIsAnError(t *testing.T) {
	requireObserver(t)
	_, err := leakwatch.Observe(t.Context(), leakwatch.Config{}, exec.Command("no-such-program"))
	assert.ErrorIs(t, err, exec.ErrNotFound)
	_, err = leakwatch.Observe(t.Context(), leakwatch.Config{}, exec.Command(filepath.Join(t.TempDir(), "missing")))
	assert.Error(t, err)
	for _, address := range []string{"localhost:1", "127.0.0.1", "127.0.0.1:http", "::ffff:1.2.3.4:80", ""} {
		_, err = leakwatch.Observe(t.Context(), leakwatch.Config{Allow: []string{address}}, child(t, "silent"))
		assert.ErrorContains(t, err, "forms", address)
	}
}
