package leakwatch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What strace is to do. Texts are cut to nothing, as what is sent may be secret; lists of addresses must be whole.
var straceOptions = []string{
	"--follow-forks", "--seccomp-bpf", "--decode-pids=comm", "--decode-fds=all",
	"--quiet=attach,personality,thread-execve", "--signal=none", "--string-limit=0", "--abbrev=execve",
	"--interruptible=waiting",
	"--trace=execve,socket,connect,bind,listen,sendto,sendmsg,sendmmsg,io_uring_setup",
}

var (
	// "123<program> ", and what follows.
	linePattern = regexp.MustCompile(`^(\d+)<(.*?)> +([\w?]+\(.*|<\.\.\. \w+ resumed>.*|\+\+\+ .*)$`)
	// "connect(", the rest, and the result; that is missing when the process was killed meanwhile.
	callPattern    = regexp.MustCompile(`^(\w+)\((.*?)(?:\)? += (\?|-?\w+)(.*))?$`)
	resumedPattern = regexp.MustCompile(`^<\.\.\. \w+ resumed>(.*)$`)
	errorPattern   = regexp.MustCompile(`^ (E[A-Z0-9]+)\b`)

	socketPattern = regexp.MustCompile(`^\d+<(\w+)`) // a descriptor and the protocol of its socket
	// A descriptor of a socket that needs no bind before listen: it has an address already, or it is one of unix. Of others
	// strace shows "3<TCP:[inode]>".
	boundPattern  = regexp.MustCompile(`^\d+<(UNIX|\w+:\[.*\D.*\]>)`)
	familyPattern = regexp.MustCompile(`\{sa_family=(\w+)`)
	inet4Pattern  = regexp.MustCompile(`^\{sa_family=AF_INET, sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)`)
	inet6Pattern  = regexp.MustCompile(`^\{sa_family=AF_INET6, sin6_port=htons\((\d+)\), [^"]*inet_pton\(AF_INET6, "([^"]+)"`)
	unixPattern   = regexp.MustCompile(`^\{sa_family=AF_UNIX, sun_path=(@?)"((?:[^"\\]|\\.)*)"`)
)

const unfinished = " <unfinished ...>"

// A tracer reads what strace has written.
type tracer struct {
	cfg     Config
	report  Report
	started bool // a program was executed
	first   string
	ended   bool // the first process has
}

// read reads a whole trace. The error says that it cannot be relied on.
func (t *tracer) read(trace io.Reader) error {
	type process struct{ program, text string }
	partial := make(map[string]process) // calls that others have interrupted, by process
	lines := bufio.NewScanner(trace)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		m := linePattern.FindStringSubmatch(lines.Text())
		if m == nil {
			return fmt.Errorf("the line %q of strace cannot be understood", lines.Text())
		}
		pid, program, text := m[1], m[2], m[3]
		if t.first == "" {
			t.first = pid
		}
		if strings.HasPrefix(text, "+++ ") {
			if strings.HasPrefix(text, "+++ superseded") {
				continue // by another thread of the process
			}
			t.ended = t.ended || pid == t.first
			continue
		}
		if resumed := resumedPattern.FindStringSubmatch(text); resumed != nil {
			text = partial[pid].text + resumed[1]
			delete(partial, pid)
		}
		if begun, ok := strings.CutSuffix(text, unfinished); ok {
			if strings.HasPrefix(begun, "???") {
				continue // killed before it was seen which call it begins, and so before it has begun
			}
			partial[pid] = process{program, begun}
			continue
		}
		if err := t.call(program, text); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the trace: %w", err)
	}
	for _, pid := range slices.Sorted(maps.Keys(partial)) {
		if err := t.call(partial[pid].program, partial[pid].text); err != nil {
			return err
		}
	}
	if !t.started || !t.ended {
		return errors.New("the trace does not reach from the start of the program to its end")
	}
	return nil
}

// call takes note of one system call.
func (t *tracer) call(program, text string) error {
	m := callPattern.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("the call %q cannot be understood", text)
	}
	e := Event{Program: program, Call: m[1]}
	arguments, result := m[2], m[3]
	if failed := errorPattern.FindStringSubmatch(m[4]); failed != nil {
		e.Error = failed[1]
	}
	switch e.Call {
	case "execve":
		t.started = t.started || result == "0"
	case "io_uring_setup":
		if e.Error == "" {
			t.report.find(e, "what is sent by way of io_uring cannot be seen")
		}
	case "socket":
		t.socket(e, arguments)
	case "listen":
		if e.Error == "" && !boundPattern.MatchString(arguments) {
			e.Network = protocolOf(arguments)
			t.report.find(e, "others can reach it: without an address it listens on all interfaces")
		}
	case "bind":
		t.addresses(e, arguments, t.report.bound, t.cfg.Bind)
	default:
		t.addresses(e, arguments, t.report.reached, t.cfg.Allow)
	}
	return nil
}

// socket objects to sockets that reach others without an address that can be seen here.
func (t *tracer) socket(e Event, arguments string) {
	family, rest, _ := strings.Cut(arguments, ", ")
	kind, _, _ := strings.Cut(rest, ", ")
	e.Network = family
	switch family {
	case "AF_UNIX", "AF_NETLINK":
		return
	case "AF_INET", "AF_INET6":
		if !strings.Contains(kind, "SOCK_RAW") && !strings.Contains(kind, "SOCK_PACKET") {
			return
		}
	}
	if e.Error == "" {
		t.report.find(e, "what is sent by such a socket cannot be seen")
	}
}

// addresses hands every address in the arguments of a call to judge.
func (t *tracer) addresses(e Event, arguments string, judge func(Event, []string), allowed []string) {
	protocol := protocolOf(arguments)
	found := familyPattern.FindAllStringSubmatchIndex(arguments, -1)
	for _, at := range found {
		e, ok := address(e, arguments[at[0]:], arguments[at[2]:at[3]], protocol)
		if ok {
			judge(e, allowed)
		}
	}
	// These two cannot do without an address; strace shows a mere number for one that is in no readable memory.
	if len(found) == 0 && (e.Call == "connect" || e.Call == "bind") {
		judge(e, allowed)
	}
}

// protocolOf returns "tcp" or "udp" if the call is about such a socket.
func protocolOf(arguments string) string {
	m := socketPattern.FindStringSubmatch(arguments)
	if m == nil {
		return ""
	}
	switch protocol := strings.ToLower(strings.TrimSuffix(m[1], "v6")); protocol {
	case "tcp", "udp":
		return protocol
	}
	return ""
}

// address completes an event with the address at the beginning of a text. It reports false for one that means none.
func address(e Event, text, family, protocol string) (Event, bool) {
	var ip []string
	switch family {
	case "AF_UNSPEC":
		// It ends a connection. Other calls take it for AF_INET.
		if e.Call == "connect" {
			return e, false
		}
		e.Network = family
	case "AF_NETLINK":
		e.Network = "netlink"
	case "AF_UNIX":
		e.Network = "unix"
		if m := unixPattern.FindStringSubmatch(text); m != nil {
			e.Address = "unix:" + m[1] + strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(m[2])
		}
	case "AF_INET":
		ip = inet4Pattern.FindStringSubmatch(text)
		e.Network = "ip"
	case "AF_INET6":
		ip = inet6Pattern.FindStringSubmatch(text)
		e.Network = "ip"
	default:
		e.Network = family
	}
	if e.Network == "ip" && protocol != "" {
		e.Network = protocol
	}
	if ip != nil {
		addr, err := netip.ParseAddr(ip[2])
		port, perr := strconv.ParseUint(ip[1], 10, 16)
		if err == nil && perr == nil {
			e.Address = netip.AddrPortFrom(addr.Unmap(), uint16(port)).String()
		}
	}
	return e, true
}
