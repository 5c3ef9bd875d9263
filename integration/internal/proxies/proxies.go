//go:build linux

package proxies

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// User and Password are what a proxy wants to hear when Options.Credentials is set.
const (
	User     = "alice"
	Password = "correct horse"
)

// passwordHash is that of Password, as crypt(3) makes it.
const passwordHash = "$6$foolscap$po3kGbnQ1E0EFNVjL9Q2AC3KDY2bsjaFiLshQZQ73oVV1osPTnO5usAp9UcJ2R3DZPDdebbZWCCggbvNm4Tel1"

// Options say what a proxy is like.
type Options struct {
	Listen      string            // the IP address it listens on, default 127.0.0.1
	Credentials bool              // it wants User and Password
	Hosts       map[string]string // the names that it knows, and their IP addresses
	Forbidden   string            // an IPv4 address to which it connects nobody; Dante only
}

// Proxy is a running proxy. It ends with its test.
type Proxy struct {
	Addr string // host:port

	t     testing.TB
	group int           // of processes, since Dante has children
	ended chan struct{} // closed when the first of them has ended
}

// Microsocks runs a microsocks.
func Microsocks(t testing.TB, o Options) *Proxy {
	t.Helper()
	dir, host, port := prepare(t, o)
	args := []string{"-i", host, "-p", port}
	if o.Credentials {
		args = append(args, "-u", User, "-P", Password)
	}
	return start(t, dir, net.JoinHostPort(host, port), "microsocks", "microsocks", args...)
}

// Dante runs a danted.
func Dante(t testing.TB, o Options) *Proxy {
	t.Helper()
	dir, host, port := prepare(t, o)
	method := "none"
	if o.Credentials {
		// It asks the system for users.
		method = "username"
		write(t, dir, "passwd", "root:x:0:0::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n"+User+":x:4242:65534::/:/bin/false\n")
		write(t, dir, "shadow", User+":"+passwordHash+":19000:0:99999:7:::\n")
	}
	forbidden := ""
	if o.Forbidden != "" {
		forbidden = "socks block { from: 0/0 to: " + o.Forbidden + "/32 command: connect }\n"
	}
	config := write(t, dir, "danted.conf", fmt.Sprintf(`
logoutput: stderr
internal: %s port = %s
external: lo
socksmethod: %s
user.privileged: root
user.unprivileged: root
client pass { from: 0/0 to: 0/0 }
%ssocks pass { from: 0/0 to: 0/0 command: connect }
`, host, port, method, forbidden))
	return start(t, dir, net.JoinHostPort(host, port), "danted", "dante-server", "-f", config)
}

// prepare makes a directory with the files that are to lie over those in /etc, and chooses a free port.
func prepare(t testing.TB, o Options) (dir, host, port string) {
	t.Helper()
	dir = t.TempDir()
	var hosts strings.Builder
	for name, address := range o.Hosts {
		fmt.Fprintln(&hosts, address, name)
	}
	write(t, dir, "hosts", hosts.String())
	write(t, dir, "nsswitch.conf", "hosts: files\npasswd: files\nshadow: files\n")
	write(t, dir, "resolv.conf", "nameserver 127.0.0.1\n")

	host = o.Listen
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatalf("choosing a port for a proxy: %v", err)
	}
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, host, port
}

func write(t testing.TB, dir, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// overEtc runs a program that sees the files of a directory in the place of those in /etc.
const overEtc = `
dir=$1
shift
for file in hosts nsswitch.conf resolv.conf passwd shadow; do
	[ ! -e "$dir/$file" ] || mount --bind "$dir/$file" "/etc/$file" || exit
done
exec "$@"`

// start runs a program and waits until it accepts connections.
func start(t testing.TB, dir, addr, program, debianPackage string, args ...string) *Proxy {
	t.Helper()
	path := find(t, program, debianPackage)
	command := append(unshare(t), "sh", "-c", overEtc, "sh", dir, path)
	cmd := exec.Command(command[0], append(command[1:], args...)...)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	// The proxy is not to survive this program, should it be killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", program, err)
	}
	p := &Proxy{Addr: addr, t: t, group: cmd.Process.Pid, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // that it has ended before its time is noticed elsewhere
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name()) // the failure itself has been reported
			t.Logf("the log of %s at %s:\n%s", program, addr, text)
		}
	})

	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return p
		}
		select {
		case <-p.ended:
			t.Fatalf("%s has ended: %v", program, cmd.ProcessState)
		case <-t.Context().Done():
			t.Fatalf("%s does not listen at %s: %v", program, addr, err)
		case <-again.C:
		}
	}
}

// Suspend makes the proxy fall silent: connections to it are still accepted, by the kernel.
func (p *Proxy) Suspend() { p.signal(syscall.SIGSTOP) }

// Resume ends Suspend.
func (p *Proxy) Resume() { p.signal(syscall.SIGCONT) }

// Kill ends the proxy and with it all connections through it.
func (p *Proxy) Kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}

func (p *Proxy) signal(s syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(-p.group, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.t.Errorf("signalling the proxy at %s: %v", p.Addr, err)
	}
}
