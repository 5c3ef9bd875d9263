package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"time"
)

// bareTLS is the floor under every figure: crypto/tls and nothing else. A
// call is a block with a header of nine bytes, in one write, and an answer in
// one write.
type bareTLS struct{}

const (
	opSink   = 's' // size bytes follow, the answer is their number
	opEcho   = 'e' // size bytes follow, the answer is the same bytes
	opStream = 'b' // count blocks of size bytes follow, the answer is the sum of their sizes

	bareHeader = 9 // the operation, size, count
	bareAnswer = 8
	bareKept   = 4096 // the largest buffer that a connection keeps
)

// listenTLS hands each connection to serve on a goroutine of its own, once
// its handshake is done.
func listenTLS(serve func(*tls.Conn)) (endpoint, error) {
	identity, err := newIdentity()
	if err != nil {
		return endpoint{}, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return endpoint{}, err
	}
	config := serverTLS(identity)
	go func() {
		for {
			raw, err := listener.Accept()
			if err != nil {
				log.Printf("the server accepts no more connections: %v", err)
				return
			}
			go func() {
				conn := tls.Server(raw, config)
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return pinned(listener.Addr(), identity), nil
}

// dialTLS connects and makes the handshake.
func dialTLS(ctx context.Context, identity tls.Certificate, target string) (*tls.Conn, error) {
	addr, server, err := parsePinned(target)
	if err != nil {
		return nil, err
	}
	dialer := tls.Dialer{Config: clientTLS(identity, server)}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

func (bareTLS) serve() (endpoint, error) { return listenTLS(func(conn *tls.Conn) { serveBare(conn) }) }

// serveBare answers until the connection ends. It keeps one buffer for calls,
// and none that is large: an idle connection shall show what TLS needs, not
// what this function does.
func serveBare(conn bareStream) {
	var (
		header [bareHeader]byte
		answer [bareAnswer]byte
		block  []byte
	)
	for {
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint32(header[1:]))
		count := int(binary.BigEndian.Uint32(header[5:]))
		if cap(block) < size {
			block = make([]byte, size)
		}
		block = block[:size]
		for range count {
			if _, err := io.ReadFull(conn, block); err != nil {
				return
			}
		}
		reply := block
		if header[0] != opEcho {
			binary.BigEndian.PutUint64(answer[:], uint64(size)*uint64(count))
			reply = answer[:]
		}
		if _, err := conn.Write(reply); err != nil {
			return
		}
		if size > bareKept {
			block = nil
		}
	}
}

func (bareTLS) newClient() (client, error) {
	identity, err := newIdentity()
	if err != nil {
		return nil, err
	}
	return &bareClient{identity}, nil
}

type bareClient struct{ identity tls.Certificate }

func (c *bareClient) dial(ctx context.Context, target string) (connection, error) {
	conn, err := dialTLS(ctx, c.identity, target)
	if err != nil {
		return nil, err
	}
	return &bareConn{conn: conn}, nil
}

type bareConn struct {
	conn    bareStream
	request bytes.Buffer
	answer  [bareAnswer]byte
}

var _ streamer = (*bareConn)(nil)

// begin puts a header and what may follow it into the request buffer.
func (c *bareConn) begin(op byte, size, count int) {
	var header [bareHeader]byte
	header[0] = op
	binary.BigEndian.PutUint32(header[1:], uint32(size))
	binary.BigEndian.PutUint32(header[5:], uint32(count))
	c.request.Reset()
	c.request.Write(header[:])
}

// confirm reads the sum of sizes that ends a sink and a stream.
func (c *bareConn) confirm(want int) (int, error) {
	if _, err := io.ReadFull(c.conn, c.answer[:]); err != nil {
		return 0, err
	}
	got := int(binary.BigEndian.Uint64(c.answer[:]))
	if got != want {
		return 0, fmt.Errorf("the server counted %d bytes, sent were %d", got, want)
	}
	return got, nil
}

func (c *bareConn) sink(_ context.Context, data []byte) (int, error) {
	c.begin(opSink, len(data), 1)
	c.request.Write(data)
	if _, err := c.conn.Write(c.request.Bytes()); err != nil {
		return 0, err
	}
	return c.confirm(len(data))
}

func (c *bareConn) echo(_ context.Context, data []byte) ([]byte, error) {
	c.begin(opEcho, len(data), 1)
	if _, err := c.conn.Write(c.request.Bytes()); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(data); err != nil {
		return nil, err
	}
	back := make([]byte, len(data))
	_, err := io.ReadFull(c.conn, back)
	return back, err
}

func (c *bareConn) stream(size, count int) error {
	c.begin(opStream, size, count)
	if _, err := c.conn.Write(c.request.Bytes()); err != nil {
		return err
	}
	block := make([]byte, size)
	for range count {
		if _, err := c.conn.Write(block); err != nil {
			return err
		}
	}
	_, err := c.confirm(size * count)
	return err
}

// close says goodbye with close_notify, and does not wait long for a peer
// that no longer reads.
func (c *bareConn) close() error {
	c.conn.SetDeadline(time.Now().Add(time.Second))
	return c.conn.Close()
}
