package tornet

import (
	"fmt"
	"net"
	"testing"
	"time"

	"golang.org/x/net/proxy"
)

// WaitExit waits until connections leave the network by its exit. A tor whose network has just begun may still use
// a consensus that knows no way out; then it fails every connection at once.
func (t *Tor) WaitExit(tb testing.TB) {
	tb.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(PublicIP, "0"))
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	dialer, err := proxy.SOCKS5("tcp", t.SOCKS, &proxy.Auth{User: "exit", Password: "exit"}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for end := time.Now().Add(patience); ; {
		conn, err := dialer.Dial("tcp", l.Addr().String())
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			tb.Fatal(fmt.Errorf("nothing leaves the Tor network: %w\n%s", err, t.process.log()))
		}
		time.Sleep(200 * time.Millisecond)
	}
}
