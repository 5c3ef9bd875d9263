package tor_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cretz/bine/control"
	"github.com/cretz/bine/torutil"
	"github.com/stretchr/testify/require"
)

// fakeTor plays the control port of a tor. It answers what real ones have answered, unless answers has something else,
// and records the commands.
type fakeTor struct {
	Address string // for ControlConfig

	t        *testing.T
	listener net.Listener
	password string // that it wants
	cookie   string // the file of the one that it wants
	methods  string // of authentication
	answers  map[string]string
	last     string // the command after which it hangs up
	// published takes ADD_ONION and returns the address, without ".onion", of the service that is published at once.
	published func(command string) string

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when something is added below
	commands []string
	conns    []net.Conn // open ones
	opened   int
	keys     map[string]bool // onions whose client keys it has
	wg       sync.WaitGroup
}

// startTor starts one that lets everybody in. set may change it first.
func startTor(t *testing.T, set func(*fakeTor)) *fakeTor {
	t.Helper()
	f := &fakeTor{t: t, methods: "NULL", changed: make(chan struct{}), answers: map[string]string{
		"GETINFO net/listeners/socks":    `250-net/listeners/socks="127.0.0.1:9"` + "\r\n250 OK",
		"GETINFO status/bootstrap-phase": `250-status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY="Done"` + "\r\n250 OK",
	}}
	if set != nil {
		set(f)
	}
	f.listen("127.0.0.1:0")
	t.Cleanup(f.stop)
	return f
}

func (f *fakeTor) listen(at string) {
	listener, err := net.Listen("tcp", at)
	require.NoError(f.t, err)
	f.listener = listener
	f.Address = listener.Addr().String()
	f.wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.change(func() {
				f.conns = append(f.conns, conn)
				f.opened++
			})
			f.wg.Go(func() {
				f.serve(conn)
				conn.Close()
				f.change(func() { f.conns = slices.DeleteFunc(f.conns, func(c net.Conn) bool { return c == conn }) })
			})
		}
	})
}

// stop ends it as kill -9 would.
func (f *fakeTor) stop() {
	f.listener.Close()
	f.disconnect()
	f.wg.Wait()
	f.keys = nil
}

// restart starts it again at its address.
func (f *fakeTor) restart() { f.listen(f.Address) }

// disconnect closes all connections.
func (f *fakeTor) disconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns {
		conn.Close()
	}
}

func (f *fakeTor) change(by func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	by()
	close(f.changed)
	f.changed = make(chan struct{})
}

// await waits until a condition on the fields under mu holds.
func (f *fakeTor) await(what string, condition func() bool) {
	f.t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		f.mu.Lock()
		ok, changed := condition(), f.changed
		f.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			f.t.Fatalf("waited in vain for %s; commands: %q", what, f.commands)
		}
	}
}

// awaitCommand waits until a command with this beginning has come so many times.
func (f *fakeTor) awaitCommand(prefix string, times int) {
	f.t.Helper()
	f.await(prefix, func() bool { return len(f.with(prefix)) >= times })
}

func (f *fakeTor) with(prefix string) (found []string) {
	for _, command := range f.commands {
		if strings.HasPrefix(command, prefix) {
			found = append(found, command)
		}
	}
	return found
}

// received returns the commands with this beginning.
func (f *fakeTor) received(prefix string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.with(prefix)
}

// event sends an event to all connections.
func (f *fakeTor) event(format string, args ...any) { f.say("650 "+format, args...) }

// say sends a line to all connections.
func (f *fakeTor) say(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns {
		fmt.Fprintf(conn, format+"\r\n", args...)
	}
}

func (f *fakeTor) serve(conn net.Conn) {
	var clientNonce, serverNonce, cookie []byte
	if f.cookie != "" {
		cookie, _ = os.ReadFile(f.cookie) // the test of a cookie that cannot be read ends before it is needed
	}
	authenticated := false
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		command := lines.Text()
		f.change(func() { f.commands = append(f.commands, command) })
		verb, rest, _ := strings.Cut(command, " ")
		f.mu.Lock()
		answer, scripted := f.answers[command]
		if !scripted {
			answer, scripted = f.answers[verb]
		}
		f.mu.Unlock()
		switch {
		case scripted:
		case verb == "PROTOCOLINFO":
			answer = "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=" + f.methods
			if f.cookie != "" {
				answer += fmt.Sprintf(" COOKIEFILE=%q", f.cookie)
			}
			answer += "\r\n250-VERSION Tor=\"0.4.9.11\"\r\n250 OK"
		case verb == "AUTHCHALLENGE":
			clientNonce, _ = hex.DecodeString(strings.TrimPrefix(rest, "SAFECOOKIE "))
			serverNonce = make([]byte, 32)
			rand.Read(serverNonce)
			answer = fmt.Sprintf("250 AUTHCHALLENGE SERVERHASH=%X SERVERNONCE=%X",
				safeCookie("Tor safe cookie authentication server-to-controller hash", cookie, clientNonce, serverNonce), serverNonce)
		case verb == "AUTHENTICATE":
			shown, _ := hex.DecodeString(rest)
			authenticated = f.methods == "NULL" ||
				f.password != "" && string(shown) == f.password ||
				serverNonce != nil && hmac.Equal(shown, safeCookie("Tor safe cookie authentication controller-to-server hash", cookie, clientNonce, serverNonce))
			if !authenticated {
				fmt.Fprint(conn, "515 Authentication failed\r\n")
				return
			}
			answer = "250 OK"
		case !authenticated:
			fmt.Fprint(conn, "514 Authentication required.\r\n")
			return
		case verb == "ADD_ONION":
			answer = "250-ServiceID=" + serviceOf(f.t, command) + "\r\n250 OK"
		case verb == "ONION_CLIENT_AUTH_ADD":
			onion, _, _ := strings.Cut(rest, " ")
			answer = "250 OK"
			f.change(func() {
				if f.keys == nil {
					f.keys = make(map[string]bool)
				}
				if f.keys[onion] {
					answer = "251 Client for onion existed and replaced"
				}
				f.keys[onion] = true
			})
		case verb == "ONION_CLIENT_AUTH_REMOVE":
			answer = "250 OK"
			f.change(func() {
				if !f.keys[rest] {
					answer = "251 No credentials for " + rest
				}
				delete(f.keys, rest)
			})
		default:
			answer = "250 OK"
		}
		if answer != "" {
			fmt.Fprint(conn, answer+"\r\n")
		}
		if verb == f.last {
			return
		}
		if verb == "ADD_ONION" && f.published != nil {
			name := f.published(command)
			fmt.Fprintf(conn, "650 HS_DESC UPLOAD %s UNKNOWN $A~a descriptor HSDIR_INDEX=1\r\n650 HS_DESC UPLOADED %s UNKNOWN $A~a\r\n", name, name)
		}
	}
}

func safeCookie(key string, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// writeCookie returns a file with a cookie, as long as tor's are.
func writeCookie(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "control_auth_cookie")
	cookie := make([]byte, 32)
	rand.Read(cookie)
	require.NoError(t, os.WriteFile(file, cookie, 0o600))
	return file
}

// serviceOf returns the address, without ".onion", of the key in a command ADD_ONION.
func serviceOf(t *testing.T, command string) string {
	_, blob, _ := strings.Cut(keyOf(t, command), ":")
	key, err := control.ED25519KeyFromBlob(blob)
	require.NoError(t, err)
	return torutil.OnionServiceIDFromPrivateKey(key.KeyPair)
}

// routes says where the SOCKS port leads: the local ends of onion services, by their address and port.
type routes struct {
	mu    sync.Mutex
	local map[string]localEnd
}

type localEnd struct{ network, address string }

// add takes what a command ADD_ONION asks for, and returns the address of the service without ".onion".
func (r *routes) add(t *testing.T, command string) string {
	name := serviceOf(t, command)
	_, port, _ := strings.Cut(command, " Port=")
	virtual, local, _ := strings.Cut(port, ",")
	end := localEnd{"tcp", local}
	if path, ok := strings.CutPrefix(local, "unix:"); ok {
		end = localEnd{"unix", path}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.local[name+".onion:"+virtual] = end
	return name
}

func (r *routes) to(target string) (localEnd, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	end, ok := r.local[target]
	return end, ok
}

// startTorNetwork starts a tor in one piece: services that are made by its control port are reached by its SOCKS port.
func startTorNetwork(t *testing.T) *fakeTor {
	ways := &routes{local: make(map[string]localEnd)}
	server := startSOCKS(t, "tcp", 0)
	server.routes.Store(ways)
	return startTor(t, func(f *fakeTor) {
		f.answers[socksPorts] = listeners(fmt.Sprintf("%q", server.Address))
		f.published = func(command string) string { return ways.add(t, command) }
	})
}

// A request is what a SOCKS client has asked for.
type request struct {
	user, password string // "" if none were shown
	target         string
}

// fakeSOCKS plays the SOCKS port of a tor: it answers every request with a code, and echoes after 0.
type fakeSOCKS struct {
	Address  string
	requests chan request
	routes   atomic.Pointer[routes] // instead of the echo
}

// noAnswer is a code that is not sent.
const noAnswer = 0xFF

func startSOCKS(t *testing.T, network string, code byte) *fakeSOCKS {
	t.Helper()
	at := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "socks") // short
		require.NoError(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		at = filepath.Join(dir, "socket")
	}
	listener, err := net.Listen(network, at)
	require.NoError(t, err)
	s := &fakeSOCKS{Address: listener.Addr().String(), requests: make(chan request, 100)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				_ = s.serve(conn, code) // the client sees what goes wrong
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		wg.Wait()
	})
	return s
}

func (s *fakeSOCKS) serve(conn net.Conn, code byte) error {
	r := bufio.NewReader(conn)
	take := func(n int) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(r, b) // an end shows in the next write
		return b
	}
	var asked request
	methods := take(int(take(2)[1]))
	if slices.Contains(methods, 2) {
		if _, err := conn.Write([]byte{5, 2}); err != nil {
			return err
		}
		asked.user = string(take(int(take(2)[1])))
		asked.password = string(take(int(take(1)[0])))
		if _, err := conn.Write([]byte{1, 0}); err != nil {
			return err
		}
	} else if _, err := conn.Write([]byte{5, 0}); err != nil {
		return err
	}
	host := ""
	switch kind := take(4)[3]; kind {
	case 1:
		host = net.IP(take(4)).String()
	case 3:
		host = string(take(int(take(1)[0])))
	default:
		return fmt.Errorf("address type %d", kind)
	}
	port := take(2)
	asked.target = fmt.Sprintf("%s:%d", host, int(port[0])<<8|int(port[1]))
	if ways := s.routes.Load(); ways != nil {
		return s.carry(conn, r, ways, asked.target)
	}
	s.requests <- asked
	if code == noAnswer {
		_, err := r.ReadByte() // until the client has had enough
		return err
	}
	if _, err := conn.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil || code != 0 {
		return err
	}
	_, err := io.Copy(conn, r)
	return err
}

// carry connects a client to the local end of an onion service.
func (s *fakeSOCKS) carry(conn net.Conn, r io.Reader, ways *routes, target string) error {
	end, ok := ways.to(target)
	service, err := net.Dial(end.network, end.address)
	if err != nil || !ok {
		code := byte(1)
		if !ok {
			code = 0xF0
		}
		_, err := conn.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
		return err
	}
	defer service.Close()
	if _, err := conn.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	var both sync.WaitGroup
	for _, way := range []struct {
		to   net.Conn
		from io.Reader
	}{{service, r}, {conn, service}} {
		both.Go(func() {
			_, _ = io.Copy(way.to, way.from)
			// Tor ends both directions at once.
			conn.Close()
			service.Close()
		})
	}
	both.Wait()
	return nil
}
