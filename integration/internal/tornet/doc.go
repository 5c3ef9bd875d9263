// Package tornet runs a private Tor network for the integration tests: three directory authorities, a relay and an exit,
// and whatever clients a test starts. Everything happens in a network namespace that has only a loopback interface, and
// the test binary itself runs in it, so that the Go code under test reaches the network and nothing else can be reached.
//
// A test binary hands its tests over to Main, and its tests ask for the network, which is started once:
//
//	func TestMain(m *testing.M) { os.Exit(tornet.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		client := tornet.Shared(t).Start(t, tornet.Options{})
//		dial(client.SOCKS)
//	}
//
// The processes live in a PID namespace of their own with the test binary as its first process, so that none of them is
// left when that ends, however it ends. With FOOLSCAP_INTEGRATION=1 a test fails when this machine cannot run the
// network, otherwise it is skipped.
package tornet
