package leakwatch

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// An Event is something that a program tried, perhaps several times.
type Event struct {
	// Program is what the kernel calls the program, at most 15 bytes.
	Program string
	// Call is the system call.
	Call string
	// Network is "tcp", "udp", "ip" for other protocols such as MPTCP, "unix" or "netlink"; otherwise the address family, as
	// "AF_VSOCK".
	Network string
	// Address is host and port, as "192.0.2.1:80" or "[2001:db8::1]:80"; for unix "unix:/path", or "unix:@name" if it is
	// abstract; "" if there is none.
	Address string
	// Error is the system's error, as "ECONNREFUSED"; "" if there was none.
	Error string
}

// String describes the event in a few words.
func (e Event) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s: %s", e.Program, e.Call)
	for _, part := range []string{e.Network, e.Address} {
		if part != "" {
			s.WriteString(" " + part)
		}
	}
	if e.Error != "" {
		s.WriteString(" (" + e.Error + ")")
	}
	return s.String()
}

// A Finding is an event that was not allowed.
type Finding struct {
	Event
	Reason string
}

// String describes the event and says why it is a finding.
func (f Finding) String() string { return f.Event.String() + ": " + f.Reason }

// A Report is what a program was seen to do. Each event is in a list once, in the order in which it was first tried.
type Report struct {
	// Reached has what connected or sent to an address, allowed or not; also netlink, by which a program talks to the
	// kernel, and which is never a finding.
	Reached []Event
	// Bound has the addresses that sockets were bound to.
	Bound []Event
	// Findings are what was not allowed.
	Findings []Finding
	// Err is why the program failed, as exec.Cmd.Run returns it; nil if it did not.
	Err error
}

// Check lets the test fail for every finding, and if the program has failed: one that has ended early has shown nothing.
func (r *Report) Check(t testing.TB) {
	t.Helper()
	if r.Err != nil {
		t.Errorf("the observed program has failed: %v", r.Err)
	}
	for _, f := range r.Findings {
		t.Errorf("leak: %v", f)
	}
}

// Tried reports whether the program has connected or sent to an address, as Event.Address has it, or has tried to.
func (r *Report) Tried(address string) bool {
	return slices.ContainsFunc(r.Reached, func(e Event) bool { return e.Address == address })
}

func (r *Report) find(e Event, reason string) {
	if f := (Finding{e, reason}); !slices.Contains(r.Findings, f) {
		r.Findings = append(r.Findings, f)
	}
}

// namePort is where name servers listen.
const namePort = 53

// reached judges what was sent to an address.
func (r *Report) reached(e Event, allowed []string) {
	if slices.Contains(r.Reached, e) {
		return
	}
	r.Reached = append(r.Reached, e)
	at, err := netip.ParseAddrPort(e.Address)
	switch {
	case e.Network == "netlink":
	case err == nil && at.Port() == namePort:
		r.find(e, "it asks a name server")
	case slices.Contains(allowed, e.Address) && e.Address != "":
	case e.Network == "unix":
		r.find(e, "it talks to another program, by a socket that is not allowed")
	case err != nil:
		r.find(e, "it is an address of a kind that cannot be judged")
	default:
		r.find(e, "the address is not allowed")
	}
}

// bound judges what a socket was bound to.
func (r *Report) bound(e Event, allowed []string) {
	if slices.Contains(r.Bound, e) {
		return
	}
	r.Bound = append(r.Bound, e)
	at, err := netip.ParseAddrPort(e.Address)
	switch {
	case e.Network == "netlink", e.Network == "unix", slices.Contains(allowed, e.Address) && e.Address != "":
	case err != nil:
		r.find(e, "it is an address of a kind that cannot be judged")
	case !at.Addr().IsLoopback():
		r.find(e, "others can reach it there")
	}
}
