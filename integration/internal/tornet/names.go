package tornet

import "net"

// serveNames answers on the port where the exit asks for names that none exists. Without an answer a name that is not
// known would take a minute to fail.
func (n *Network) serveNames() error {
	conn, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		return err
	}
	n.names = conn
	n.running.Go(func() {
		query := make([]byte, 512)
		for {
			length, from, err := conn.ReadFrom(query)
			if err != nil {
				return // by Stop
			}
			const header = 12
			if length < header {
				continue
			}
			query[2] |= 0x80 // it is the answer
			query[3] = 0x83  // recursion available, no such name
			_, _ = conn.WriteTo(query[:length], from)
		}
	})
	return nil
}
