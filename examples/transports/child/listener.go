//go:build unix

package child

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/foolscap-go/foolscap/examples/transports/unixsock"
	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// Listener accepts the connections that children make with Relay.
type Listener struct{ *unixsock.Listener }

var _ handlers.Acceptor = (*Listener)(nil)

// Listen listens on a socket, for Relay on this machine, and advertises
// "exec:NAME". Those who use the FURLs call the command that leads here by this
// name.
func Listen(ctx context.Context, path, name string) (*Listener, error) {
	if err := unixsock.CheckName(name); err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	l, err := unixsock.ListenAs(ctx, path, furl.Hint(Type+":"+name))
	if err != nil {
		return nil, err
	}
	return &Listener{l}, nil
}

// Exposure returns the zero value: how the children come to be here is not known.
func (l *Listener) Exposure() handlers.Exposure { return handlers.Exposure{} }

// Relay is what a child does: it connects to the socket of a Listener, says
// Ready, and passes on what it reads. It ends when the Listener's side does; a Read
// of in may still be waiting then, so the program should end as well.
func Relay(ctx context.Context, path string, in io.Reader, out io.Writer) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(out, Ready); err != nil {
		return err
	}
	go func() {
		io.Copy(conn, in)
		conn.(*net.UnixConn).CloseWrite() // the Listener's side then ends, too
	}()
	_, err = io.Copy(out, conn)
	return err
}
