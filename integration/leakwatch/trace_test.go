package leakwatch

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// read reads a trace of one process with these calls.
func read(t *testing.T, cfg Config, calls ...string) Report {
	t.Helper()
	lines := []string{`7<strace> execve("/bin/p", [...], 0x7f /* 3 vars */) = 0`}
	for _, c := range calls {
		lines = append(lines, "7<p> "+c)
	}
	lines = append(lines, "7<p> +++ exited with 0 +++", "")
	tr := &tracer{cfg: cfg}
	require.NoError(t, tr.read(strings.NewReader(strings.Join(lines, "\n"))))
	return tr.report
}

func TestEveryKindOfAddressIsRead(t *testing.T) {
	for _, c := range []struct {
		name, call string
		reached    []Event
	}{
		{"IPv4", `connect(3<TCP:[5]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}, 16) = -1 EINPROGRESS (Operation now in progress)`,
			[]Event{{"p", "connect", "tcp", "192.0.2.1:80", "EINPROGRESS"}}},
		{"IPv6", `connect(3<TCPv6:[5]>, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 0`,
			[]Event{{"p", "connect", "tcp", "[2001:db8::1]:80", ""}}},
		{"IPv6 with a zone", `sendto(3<UDPv6:[5]>, ""..., 1, 0, {sa_family=AF_INET6, sin6_port=htons(5353), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "fe80::1", &sin6_addr), sin6_scope_id=if_nametoindex("lo")}, 28) = 1`,
			[]Event{{"p", "sendto", "udp", "[fe80::1]:5353", ""}}},
		{"IPv4 in IPv6", `connect(3<TCPv6:[5]>, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::ffff:192.0.2.1", &sin6_addr), sin6_scope_id=0}, 28) = 0`,
			[]Event{{"p", "connect", "tcp", "192.0.2.1:80", ""}}},
		{"a message", `sendmsg(3<UDP:[0.0.0.0:4]>, {msg_name={sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("192.0.2.2")}, msg_namelen=16, msg_iov=[{iov_base=""..., iov_len=1}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 1`,
			[]Event{{"p", "sendmsg", "udp", "192.0.2.2:9", ""}}},
		{"messages", `sendmmsg(3<UDP:[5]>, [{msg_hdr={msg_name={sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("192.0.2.1")}, msg_namelen=16}, msg_len=1}, {msg_hdr={msg_name={sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("192.0.2.2")}, msg_namelen=16}, msg_len=1}], 2, 0) = 2`,
			[]Event{{"p", "sendmmsg", "udp", "192.0.2.1:9", ""}, {"p", "sendmmsg", "udp", "192.0.2.2:9", ""}}},
		{"to where the socket is connected", `sendto(3<UDP:[5]>, ""..., 1, 0, NULL, 0) = 1`, nil},
		{"the end of a connection", `connect(3<UDP:[5]>, {sa_family=AF_UNSPEC, sa_data="\0\0"}, 16) = 0`, nil},
		{"the end of no connection", `sendto(3<UDP:[5]>, ""..., 1, 0, {sa_family=AF_UNSPEC, sa_data="\x00\x09"}, 16) = 1`,
			[]Event{{"p", "sendto", "AF_UNSPEC", "", ""}}},
		{"a path", `connect(4<UNIX-STREAM:[5]>, {sa_family=AF_UNIX, sun_path="/tmp/a \"b\" sin_addr=inet_addr"}, 45) = -1 ENOENT (No such file or directory)`,
			[]Event{{"p", "connect", "unix", `unix:/tmp/a "b" sin_addr=inet_addr`, "ENOENT"}}},
		{"an abstract name", `connect(4<UNIX-STREAM:[5]>, {sa_family=AF_UNIX, sun_path=@"abs"}, 6) = 0`,
			[]Event{{"p", "connect", "unix", "unix:@abs", ""}}},
		{"netlink", `sendto(4<NETLINK:[5]>, [{nlmsg_len=17}, ""...], 17, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 17`,
			[]Event{{"p", "sendto", "netlink", "", ""}}},
		{"a family that is not known here", `connect(3<socket:[5]>, {sa_family=AF_VSOCK, svm_cid=0x2, svm_port=0x5}, 16) = 0`,
			[]Event{{"p", "connect", "AF_VSOCK", "", ""}}},
		{"a socket of a protocol that is not known", `connect(3<socket:[5]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}, 16) = 0`,
			[]Event{{"p", "connect", "ip", "192.0.2.1:80", ""}}},
		{"an address in no readable memory", `connect(3<TCP:[5]>, 0x7fff, 16) = -1 EFAULT (Bad address)`,
			[]Event{{"p", "connect", "", "", "EFAULT"}}},
		{"a process that was killed meanwhile", `connect(3<TCP:[5]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}, 16) = ?`,
			[]Event{{"p", "connect", "tcp", "192.0.2.1:80", ""}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.reached, read(t, Config{}, c.call).Reached)
		})
	}
}

func TestWhatIsAllowedIsNoFinding(t *testing.T) {
	inet := func(call, ip, port string) string {
		return call + `(3<TCP:[5]>, {sa_family=AF_INET, sin_port=htons(` + port + `), sin_addr=inet_addr("` + ip + `")}, 16) = 0`
	}
	cfg := Config{Allow: []string{"127.0.0.1:1080", "127.0.0.1:53", "unix:/run/p"}, Bind: []string{"0.0.0.0:0"}}
	for _, c := range []struct{ name, call, reason string }{
		{"the proxy", inet("connect", "127.0.0.1", "1080"), ""},
		{"another port of it", inet("connect", "127.0.0.1", "1081"), "not allowed"},
		{"another address of this machine", inet("connect", "127.0.0.2", "1080"), "not allowed"},
		{"a name server, be it allowed or not", inet("connect", "127.0.0.1", "53"), "name server"},
		{"a unix socket", `connect(4<UNIX-STREAM:[5]>, {sa_family=AF_UNIX, sun_path="/run/p"}, 45) = 0`, ""},
		{"the daemon that looks up names", `connect(4<UNIX-STREAM:[5]>, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 45) = 0`, "another program"},
		{"a unix socket without a name", `connect(4<UNIX-STREAM:[5]>, {sa_family=AF_UNIX}, 2) = 0`, "another program"},
		{"the kernel", `sendto(4<NETLINK:[5]>, [], 17, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 17`, ""},
		{"another family", `connect(3<socket:[5]>, {sa_family=AF_VSOCK, svm_cid=0x2, svm_port=0x5}, 16) = 0`, "cannot be judged"},
		{"no address that can be read", `connect(3<TCP:[5]>, 0x7fff, 16) = -1 EFAULT (Bad address)`, "cannot be judged"},
		{"listening on loopback", inet("bind", "127.0.0.1", "0"), ""},
		{"listening on all interfaces, allowed", inet("bind", "0.0.0.0", "0"), ""},
		{"listening on all interfaces", inet("bind", "0.0.0.0", "80"), "others can reach it"},
		{"listening on an interface", inet("bind", "192.0.2.1", "0"), "others can reach it"},
		{"listening on a unix socket", `bind(4<UNIX-STREAM:[5]>, {sa_family=AF_UNIX, sun_path="/run/q"}, 45) = 0`, ""},
		{"listening where it was bound", `listen(4<TCP:[127.0.0.1:45229]>, 5) = 0`, ""},
		{"listening where it was bound, by IPv6", `listen(4<TCPv6:[[::1]:45229]>, 5) = 0`, ""},
		{"listening without having been bound", `listen(4<TCP:[3209681]>, 5) = 0`, "others can reach it"},
		{"listening without having been bound, by a protocol that is not known", `listen(4<socket:[3209681]>, 5) = 0`, "others can reach it"},
		{"listening, and that is all that can be seen", `listen(4, 5) = 0`, "others can reach it"},
		{"listening without having been bound, in vain", `listen(4<UDP:[5]>, 5) = -1 EOPNOTSUPP (Operation not supported)`, ""},
		{"listening on a unix socket that was bound", `listen(6<UNIX-STREAM:[3209692,"/run/q"]>, 5) = 0`, ""},
		{"listening on a unix socket", `listen(6<UNIX-STREAM:[3209692]>, 5) = 0`, ""},
		{"an address of no family to send to", `sendto(3<UDP:[5]>, ""..., 1, 0, {sa_family=AF_UNSPEC, sa_data="\x00\x09\xc0\x00\x02"}, 16) = 1`, "cannot be judged"},
		{"an address of no family to listen on", `bind(3<TCP:[5]>, {sa_family=AF_UNSPEC, sa_data="\x02\x9a\x00\x00"}, 16) = 0`, "cannot be judged"},
		{"a packet socket", `socket(AF_PACKET, SOCK_RAW|SOCK_CLOEXEC, htons(0)) = 8<socket:[5]>`, "cannot be seen"},
		{"a packet socket that was refused", `socket(AF_PACKET, SOCK_RAW, htons(0)) = -1 EPERM (Operation not permitted)`, ""},
		{"a raw socket", `socket(AF_INET, SOCK_RAW, IPPROTO_RAW) = 8<RAW:[5]>`, "cannot be seen"},
		{"an ordinary socket", `socket(AF_INET6, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_IP) = 8<TCPv6:[5]>`, ""},
		{"io_uring", `io_uring_setup(8, {flags=0}) = 3<anon_inode:[io_uring]>`, "cannot be seen"},
		{"io_uring that was refused", `io_uring_setup(8, {flags=0}) = -1 EPERM (Operation not permitted)`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := read(t, cfg, c.call, c.call).Findings
			if c.reason == "" {
				assert.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			assert.Contains(t, found[0].Reason, c.reason)
		})
	}
}

func TestCallsThatOthersInterruptAreReadWhole(t *testing.T) {
	trace := `12<strace> execve("/bin/p", [...], 0x7f /* 3 vars */) = 0
12<p> connect(3<TCP:[5]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}, 16 <unfinished ...>
9<odd > name> sendmmsg(3<UDP:[5]>,  <unfinished ...>
12<p> <... connect resumed>)            = -1 EINPROGRESS (Operation now in progress)
9<odd > name> <... sendmmsg resumed>[{msg_hdr={msg_name={sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("192.0.2.2")}, msg_namelen=16}, msg_len=1}], 1, 0) = 1
13<q>  connect(3<TCP:[5]>, {sa_family=AF_INET, sin_port=htons(81), sin_addr=inet_addr("192.0.2.3")}, 16 <unfinished ...>
14<p> ???( <unfinished ...>
14<p> +++ exited with 0 +++
12<p> +++ exited with 0 +++
13<q>  +++ killed by SIGKILL +++
`
	var tr tracer
	require.NoError(t, tr.read(strings.NewReader(trace)))
	assert.Equal(t, []Event{
		{"p", "connect", "tcp", "192.0.2.1:80", "EINPROGRESS"},
		{"odd > name", "sendmmsg", "udp", "192.0.2.2:9", ""},
		{"q", "connect", "tcp", "192.0.2.3:81", ""},
	}, tr.report.Reached)
	assert.Len(t, tr.report.Findings, 3)
	assert.Equal(t, "p: connect tcp 192.0.2.1:80 (EINPROGRESS): the address is not allowed", tr.report.Findings[0].String())
}

func TestATraceThatIsNotWholeIsNotReliedOn(t *testing.T) {
	const begin, end = `7<strace> execve("/bin/p", [...], 0x7f /* 3 vars */) = 0` + "\n", "7<p> +++ exited with 0 +++\n"
	for name, trace := range map[string]string{
		"nothing at all":                    "",
		"without a beginning":               end,
		"without an end":                    begin,
		"the end of another process":        begin + "8<p> +++ exited with 0 +++\n",
		"a line of another form":            begin + "strace: something has gone wrong\n" + end,
		"a call that is not known":          begin + "7<p> ???() = 0\n" + end,
		"a call of another form":            begin + "7<p> <... connect resumed>) = 0\n" + end,
		"a program that was never executed": `7<strace> execve("/bin/p", [...], 0x7f) = -1 ENOENT (No such file or directory)` + "\n" + end,
	} {
		t.Run(name, func(t *testing.T) {
			var tr tracer
			assert.Error(t, tr.read(strings.NewReader(trace)))
		})
	}
	var tr tracer
	assert.NoError(t, tr.read(strings.NewReader(begin+end)))
}
