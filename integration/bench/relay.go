package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"net"
	"runtime"
	"strings"
	"sync"
	"time"
)

// A relay stands between a client and a server and delays what they say by
// the same time in either direction, so that the time to the first answer
// counts round trips.
//
// The client's connect is answered by the kernel at once, which would leave
// the round trip of TCP out. The relay puts it back: the first bytes of the
// client reach the server no earlier than if the client had been told of its
// connection one round trip after it asked. (This holds for protocols in which
// the client speaks first, and all of these are such.)
//
// In passing it reads from the ServerHello what TLS has agreed on.
type relay struct {
	listener net.Listener
	upstream string
	oneWay   time.Duration

	mu    sync.Mutex
	hello serverHello
	conns map[net.Conn]struct{}
	group sync.WaitGroup
}

func startRelay(upstream string, oneWay time.Duration) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{
		listener: listener, upstream: upstream, oneWay: oneWay,
		conns: make(map[net.Conn]struct{}),
	}
	r.group.Go(r.accept)
	return r, nil
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// close ends every connection and waits for what served it.
func (r *relay) close() {
	r.listener.Close()
	r.mu.Lock()
	for conn := range r.conns {
		conn.Close()
	}
	r.mu.Unlock()
	r.group.Wait()
}

// negotiated is zero until a ServerHello has passed.
func (r *relay) negotiated() serverHello {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hello
}

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		accepted := time.Now()
		server, err := net.Dial("tcp", r.upstream)
		if err != nil {
			client.Close()
			continue
		}
		r.mu.Lock()
		r.conns[client], r.conns[server] = struct{}{}, struct{}{}
		r.mu.Unlock()
		r.group.Go(func() { r.carry(client, server, accepted.Add(3*r.oneWay), nil) })
		r.group.Go(func() { r.carry(server, client, accepted, &bytes.Buffer{}) })
	}
}

// A segment is what was read at once, and when it is due.
type segment struct {
	due  time.Time
	data []byte
}

// carry takes bytes one way, each delayed, and none before notBefore. It keeps
// the beginning of what passes in sniff, unless that is nil.
func (r *relay) carry(from, to net.Conn, notBefore time.Time, sniff *bytes.Buffer) {
	// Deep enough for all that one handshake and one call have under way.
	segments := make(chan segment, 1024)
	r.group.Go(func() {
		defer to.Close()
		for s := range segments {
			waitUntil(s.due)
			if _, err := to.Write(s.data); err != nil {
				break
			}
		}
		for range segments {
			// The reader must not be left waiting for room.
		}
	})
	defer close(segments)
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			due := time.Now().Add(r.oneWay)
			if due.Before(notBefore) {
				due = notBefore
			}
			segments <- segment{due, bytes.Clone(buffer[:n])}
			if sniff != nil {
				sniff.Write(buffer[:n])
				if hello, ok := parseServerHello(sniff.Bytes()); ok || sniff.Len() > 16<<10 {
					r.mu.Lock()
					r.hello = hello
					r.mu.Unlock()
					sniff = nil
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// waitUntil is exact to some microseconds. A sleeping goroutine may be woken
// a millisecond late, which in a dozen delays would add up to something that
// looks like part of a round trip: the end of the wait is spent awake.
func waitUntil(due time.Time) {
	const late = 1500 * time.Microsecond
	time.Sleep(time.Until(due) - late)
	for time.Now().Before(due) {
		runtime.Gosched()
	}
}

// A serverHello is what TLS 1.3 shows in the clear of what it agreed on.
type serverHello struct {
	cipher uint16
	group  tls.CurveID
}

func (h serverHello) String() string {
	if h.cipher == 0 {
		return "unknown"
	}
	return tls.CipherSuiteName(h.cipher) + ", " + h.group.String()
}

// parseServerHello finds the ServerHello in what a server has sent so far,
// behind a block of HTTP if there is one, and reports whether it is there as
// a whole. A hello that asks the client to try again is read like any other:
// it names the same cipher and group.
func parseServerHello(sent []byte) (serverHello, bool) {
	if strings.HasPrefix(string(sent), "HTTP/") {
		_, rest, found := bytes.Cut(sent, []byte("\r\n\r\n"))
		if !found {
			return serverHello{}, false
		}
		sent = rest
	}
	const (
		recordHandshake    = 22
		messageServerHello = 2
		extensionKeyShare  = 51
		beforeSessionID    = 1 + 3 + 2 + 32 // type, length, version, random
	)
	if len(sent) < 5 || sent[0] != recordHandshake {
		return serverHello{}, false
	}
	record := sent[5:]
	if size := int(binary.BigEndian.Uint16(sent[3:])); len(record) < size {
		return serverHello{}, false
	} else {
		record = record[:size]
	}
	if len(record) <= beforeSessionID || record[0] != messageServerHello {
		return serverHello{}, false
	}
	rest := record[beforeSessionID:]
	rest = rest[min(len(rest), 1+int(rest[0])):]
	if len(rest) < 2+1+2 {
		return serverHello{}, false
	}
	hello := serverHello{cipher: binary.BigEndian.Uint16(rest)}
	for rest = rest[5:]; len(rest) >= 4; {
		kind, size := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		rest = rest[4:]
		if kind == extensionKeyShare && size >= 2 && len(rest) >= 2 {
			hello.group = tls.CurveID(binary.BigEndian.Uint16(rest))
		}
		rest = rest[min(len(rest), size):]
	}
	return hello, true
}
