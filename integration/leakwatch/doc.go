// Package leakwatch observes a program and tells where it tried to connect, send or listen: it is for tests which have to
// show that a program reaches nothing but its proxy.
//
//	func TestMain(m *testing.M) { os.Exit(leakwatch.Main(m)) }
//
//	func TestNothingLeaks(t *testing.T) {
//		proxy := startProxy(t) // at a loopback address
//		report := leakwatch.Run(t, leakwatch.Config{Allow: []string{proxy.Addr}}, exec.Command("./program"))
//		report.Check(t)
//		if !report.Tried(proxy.Addr) {
//			t.Error("the program has done nothing")
//		}
//	}
//
// The program runs under strace, and all that it starts as well, in a network namespace that has only a loopback
// interface. So every attempt is seen, whether it succeeds or not, and none leaves the machine; what the program needs,
// such as a proxy, runs in the same namespace, that of the test, or listens on a unix socket. It is of no importance what
// the program is written in.
//
// Seen are the system calls connect, sendto, sendmsg, sendmmsg and bind, with their addresses, listen without a bind before
// it, and the making of sockets. What could go by unseen, such as raw sockets and io_uring, is reported by itself. Not seen
// are connections that the program was given, by its parent or over a unix socket, and what other programs do on its
// behalf: that is why unix sockets, which lead out of the namespace, have to be allowed like everything else. Nor are the
// packets seen by which the kernel joins multicast groups (IP_ADD_MEMBERSHIP and the like) for a program that only
// listens to them. The observer is made for programs with mistakes, not for hostile ones, which have ways to deceive it.
//
// It needs Linux, strace 5.15 or newer and, for Main, the programs unshare and ip (Debian: strace, util-linux, iproute2).
// Only the standard library is imported.
package leakwatch
