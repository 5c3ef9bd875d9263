package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"sync"
)

// answeredTLS is bare TLS that carries calls and still nothing else: blocks go
// out one behind the other, each is answered, answers come in the same order.
// It shows what the answers alone cost a bulk transfer, and a new buffer for
// each block.
type answeredTLS struct{ bareTLS }

func (answeredTLS) newClient() (client, error) {
	identity, err := newIdentity()
	if err != nil {
		return nil, err
	}
	return &answeredClient{identity}, nil
}

type answeredClient struct{ identity tls.Certificate }

func (c *answeredClient) dial(ctx context.Context, target string) (connection, error) {
	conn, err := dialTLS(ctx, c.identity, target)
	if err != nil {
		return nil, err
	}
	a := &answeredConn{bare: bareConn{conn: conn}, waiting: make(chan *answered, inFlight)}
	go a.readAnswers()
	return a, nil
}

// An answeredConn does not embed its bareConn, because it is not a streamer.
type answeredConn struct {
	mu      sync.Mutex // of writing, and of the order in waiting
	bare    bareConn
	waiting chan *answered
}

// answered is a block that waits for its answer.
type answered struct {
	answer []byte
	err    error
	done   chan struct{}
}

func (c *answeredConn) call(op byte, data, answer []byte) error {
	a := &answered{answer: answer, done: make(chan struct{})}
	c.mu.Lock()
	c.bare.begin(op, len(data), 1)
	c.bare.request.Write(data)
	_, err := c.bare.conn.Write(c.bare.request.Bytes())
	if err == nil {
		c.waiting <- a
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	<-a.done
	return a.err
}

func (c *answeredConn) readAnswers() {
	var err error
	for a := range c.waiting {
		if err == nil {
			_, err = io.ReadFull(c.bare.conn, a.answer)
		}
		a.err = err
		close(a.done)
	}
}

func (c *answeredConn) sink(_ context.Context, data []byte) (int, error) {
	var answer [bareAnswer]byte
	err := c.call(opSink, data, answer[:])
	return int(binary.BigEndian.Uint64(answer[:])), err
}

func (c *answeredConn) echo(_ context.Context, data []byte) ([]byte, error) {
	back := make([]byte, len(data))
	return back, c.call(opEcho, data, back)
}

func (c *answeredConn) close() error {
	close(c.waiting)
	return c.bare.close()
}
