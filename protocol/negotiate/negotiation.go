package negotiate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// A voice is how the other side will understand what we send next, and so the
// shape that a refusal must have.
type voice uint8

const (
	voiceNone   voice = iota // nothing can be said
	voicePlain               // an answer to a request
	voiceBlock               // a hello or a decision
	voiceBanana              // Banana: as slave, once the other side's hello is in order
)

// How much the other side may send in the TLS handshake, and after it until the
// negotiation is over, with what TLS adds. Half a dozen certificates fit into
// the first. The second leaves room for Banana that comes in one record with
// the decision.
const (
	budgetHandshake = 16 << 10
	budgetBlocks    = 32 << 10
)

// farewell bounds how long it may take to part from the other side: to finish
// our hello, and to make sure that a refusal arrives.
const farewell = 2 * time.Second

// maxUnheard bounds what is read from a client that has been refused before TLS.
const maxUnheard = 64 << 10

// A negotiation is in progress. It belongs to one goroutine, but for the
// watchdog, and for a hello being written.
type negotiation struct {
	client   bool
	local    *Local     // nil on a server that does not know it yet
	target   furl.TubID // empty likewise
	peer     furl.TubID // empty until proven
	peerCert *x509.Certificate

	conn   net.Conn // what is spoken on: the stream at first, then TLS
	stream *stream  // the bound on what TLS may read
	dog    *watchdog
	voice  voice
	buf    []byte // read from conn and not yet consumed
	link   *Link
	result *Result

	phase    Phase
	started  time.Time // when the phase did
	timings  Timings
	progress func(Phase)
}

func begin(ctx context.Context, conn net.Conn, t Timeouts, progress func(Phase), first Phase) *negotiation {
	n := &negotiation{
		conn:     conn,
		stream:   &stream{Conn: conn, budget: -1},
		dog:      watch(ctx, conn, t, first),
		buf:      make([]byte, 0, maxBlock+1), // one more than allowed, to see that it is too much
		phase:    first,
		started:  time.Now(),
		progress: progress,
	}
	if progress != nil {
		progress(first)
	}
	return n
}

func (n *negotiation) enter(p Phase) {
	if p == n.phase {
		return
	}
	n.clock()
	n.phase = p
	n.dog.enter(p)
	if n.progress != nil {
		n.progress(p)
	}
}

// clock adds the time since the start of the phase to it.
func (n *negotiation) clock() {
	now := time.Now()
	n.timings[n.phase] += now.Sub(n.started)
	n.started = now
}

func (n *negotiation) dialled(ctx context.Context, cfg ClientConfig) error {
	if !n.target.Valid() {
		return errors.New("ClientConfig.Target is not a TubID")
	}
	if n.target == n.local.tubID {
		return fmt.Errorf("%w: the FURL leads to the Tub that dials", ErrSelf)
	}
	if cfg.Peer != nil {
		n.identify(cfg.Peer)
	} else if err := n.startTLSAsClient(cfg.Host); err != nil {
		return err
	}
	if n.peer != n.target {
		return wrongTub(n.target, n.peer)
	}
	if cfg.HelloSlot != nil {
		n.enter(PhaseSlot)
		if err := n.waitForSlot(ctx, cfg.HelloSlot); err != nil {
			return err
		}
	}
	return n.agree()
}

func (n *negotiation) accepted(cfg ServerConfig) error {
	if cfg.Peer != nil {
		n.local = cfg.Local
		n.target = cfg.Local.tubID
		n.identify(cfg.Peer)
	} else if err := n.startTLSAsServer(cfg.Find); err != nil {
		return err
	}
	if n.peer == n.local.tubID {
		return refuse(ErrSelf, "our own certificate came in")
	}
	return n.agree()
}

func wrongTub(want, got furl.TubID) error {
	return refuse(ErrWrongTub, "the certificate is that of Tub %s, not of %s", got, want)
}

// startTLSAsClient asks for the target, waits for the complete answer (some
// servers lose what comes before it), and starts TLS.
func (n *negotiation) startTLSAsClient(host string) error {
	if !headerSafe(host) {
		return fmt.Errorf("the host of the hint cannot be sent: it has more than %d bytes, or other than printable ASCII", maxHeaderText)
	}
	if err := n.write(appendRequest(nil, n.target, host)); err != nil {
		return err
	}
	answer, err := n.readBlock()
	if err != nil {
		return err
	}
	// A server that does not agree gets no answer from us: if it is one at all,
	// it has hung up.
	if err := parseResponse(answer); err != nil {
		return err
	}

	// The check is part of the handshake, for a stranger at the other end must
	// not get to see our certificate.
	target := n.target
	config := n.local.tls.Clone()
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return fmt.Errorf("%w: the server has none", ErrCertificate)
		}
		if got := furl.TubIDOf(s.PeerCertificates[0].Raw); got != target {
			return wrongTub(target, got)
		}
		return nil
	}
	return n.handshake(func(c net.Conn) *tls.Conn { return tls.Client(c, config) })
}

func (n *negotiation) startTLSAsServer(find func(furl.TubID) *Local) error {
	n.voice = voicePlain
	request, err := n.readBlock()
	if err != nil {
		return err
	}
	if n.target, err = parseRequest(request); err != nil {
		return err
	}
	if n.local = find(n.target); n.local == nil {
		return unknownTub(n.target)
	}
	n.voice = voiceNone
	if err := n.write([]byte(response)); err != nil {
		return err
	}
	return n.handshake(func(c net.Conn) *tls.Conn { return tls.Server(c, n.local.tls) })
}

func (n *negotiation) handshake(over func(net.Conn) *tls.Conn) error {
	n.enter(PhaseTLS)
	if len(n.buf) > 0 { // the other side was ahead of us
		n.stream.prefix = bytes.Clone(n.buf)
		n.buf = n.buf[:0]
	}
	n.stream.budget = budgetHandshake
	conn := over(n.stream)
	n.conn = conn
	if err := conn.Handshake(); err != nil {
		return n.ioError(err)
	}
	n.stream.budget = budgetBlocks
	n.identify(conn.ConnectionState().PeerCertificates[0])
	return nil
}

// identify settles who the peer is. Whatever happens now, it can be told.
func (n *negotiation) identify(peer *x509.Certificate) {
	n.peerCert = peer
	n.peer = furl.TubIDOf(peer.Raw)
	n.voice = voiceBlock
}

func (n *negotiation) waitForSlot(parent context.Context, slot func(context.Context) error) error {
	n.voice = voiceNone // who gives up here leaves no word behind
	ctx, cancel := context.WithDeadline(parent, n.dog.end)
	defer cancel()
	err := slot(ctx)
	switch {
	case err == nil:
		n.voice = voiceBlock
		return nil
	case parent.Err() != nil:
		return contextError(parent, PhaseSlot)
	case ctx.Err() != nil:
		return &timeoutError{phase: PhaseSlot, limit: n.dog.timeouts.total(), option: "Total"}
	}
	return err
}

// agree exchanges the hellos, and decides or is told the decision.
func (n *negotiation) agree() error {
	n.enter(PhaseHello)
	master := n.local.tubID > n.peer
	ledger := n.local.ledger
	began := ledger.now()
	ours := hello{
		tubID:       n.local.tubID,
		incarnation: ledger.incarnation,
		vocab:       n.local.vocab,
		extensions:  n.local.extensions,
	}
	if n.client {
		last, err := ledger.dialling(n.target, master)
		if err != nil {
			return err
		}
		ours.last = &last
	}
	theirs, err := n.exchange(ours)
	if err != nil {
		return err
	}

	n.enter(PhaseDecision)
	var d decision
	if master {
		d, err = n.decide(ours, theirs)
	} else {
		d, err = n.obey(ours, began)
	}
	if err != nil {
		return err
	}
	n.result = &Result{
		Conn:            n.conn,
		Local:           n.local,
		Peer:            n.peer,
		PeerCertificate: n.peerCert,
		Master:          master,
		VocabIndex:      d.vocabIndex,
		Extensions:      d.extensions,
		Link:            n.link,
	}
	return nil
}

func (n *negotiation) decide(ours, theirs hello) (decision, error) {
	vocab, err := ours.vocab.best(theirs.vocab, ErrVocab, nameVocabRange)
	if err != nil {
		return decision{}, err
	}
	// Last, since it does away with the connection that there is.
	if n.link, err = n.local.ledger.offer(n.peer, theirs, n.dog); err != nil {
		return decision{}, err
	}
	d := decision{
		current:    n.link.id,
		vocabIndex: int(vocab),
		extensions: inCommon(ours.extensions, theirs.extensions),
	}
	// Alone in its write: some peers count what follows it in the same record
	// against the bound on the block.
	return d, n.write(d.encode())
}

func (n *negotiation) obey(ours hello, began uint64) (decision, error) {
	n.voice = voiceBanana
	b, err := n.readBlock()
	if err != nil {
		return decision{}, err
	}
	d, err := parseDecision(b, ours)
	if err != nil {
		return decision{}, err
	}
	n.link, err = n.local.ledger.accept(n.peer, d.current, began, n.dog)
	return d, err
}

// exchange sends our hello and returns the other side's. Neither waits for the
// other, whatever the stream: on one without a buffer, two sides that wrote
// first and read afterwards would wait for ever.
func (n *negotiation) exchange(ours hello) (hello, error) {
	written := make(chan error, 1)
	go func() {
		_, err := n.conn.Write(ours.encode())
		written <- err
	}()
	theirs, err := n.readHello()
	if err != nil {
		// A refusal comes behind our hello, if the other side still reads that.
		n.dog.settle()
		if !isRefusal(err) {
			n.dog.hangUp(n.stream.Conn) // so that the write ends, too
		}
	}
	// An error in writing shows in what is read: often as the better reason,
	// and if not, then as the end of the stream.
	if werr := <-written; err == nil && werr != nil {
		err = n.ioError(werr)
	}
	return theirs, err
}

func (n *negotiation) readHello() (hello, error) {
	b, err := n.readBlock()
	if err != nil {
		return hello{}, err
	}
	theirs, err := parseHello(b)
	if err == nil && theirs.tubID != n.peer {
		err = refuse(ErrWrongTub, "its hello is not in the name of Tub %s, whose certificate it has", n.peer)
	}
	return theirs, err
}

// readBlock returns what comes before the next blank line.
func (n *negotiation) readBlock() ([]byte, error) {
	for {
		if i := bytes.Index(n.buf[:min(len(n.buf), maxBlock)], endOfBlock); i >= 0 {
			b := bytes.Clone(n.buf[:i])
			n.buf = n.buf[:copy(n.buf, n.buf[i+len(endOfBlock):])]
			return b, nil
		}
		if text, ok := bananaError(n.buf); ok {
			return nil, remoteError(text)
		}
		if len(n.buf) > maxBlock {
			return nil, refuse(ErrMalformed, "more than %d bytes before the end of a blank line", maxBlock)
		}
		m, err := n.conn.Read(n.buf[len(n.buf):cap(n.buf)])
		n.buf = n.buf[:len(n.buf)+m]
		if m == 0 && err != nil {
			return nil, n.ioError(err)
		}
	}
}

// bananaError returns the text of an ERROR token at the start of b, from a peer
// that believes the negotiation to be over.
func bananaError(b []byte) (string, bool) {
	length := 0
	for i, c := range b {
		switch {
		case c < 0x80 && i < 2: // 1000, the most there may be, takes two digits
			length |= int(c) << (7 * i)
		case banana.Type(c) == banana.TypeError && i > 0 && length <= banana.MaxErrorText && length <= len(b)-i-1:
			return string(b[i+1:][:length]), true
		default:
			return "", false
		}
	}
	return "", false
}

func (n *negotiation) write(b []byte) error {
	if _, err := n.conn.Write(b); err != nil {
		return n.ioError(err)
	}
	return nil
}

// ioError says what an error of the stream, or of TLS, means.
func (n *negotiation) ioError(err error) error {
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the other side hung up: %w", io.ErrUnexpectedEOF)
	case isRefusal(err): // by the check of the certificate, or of the budget
		return err
	case errors.As(err, &record):
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	case isTLSError(err) && strings.Contains(err.Error(), "certificate"):
		// With TLS 1.3, a client learns only after its handshake what the server
		// thinks of its certificate.
		if isTLSAlert(err) {
			return fmt.Errorf("%w: the other side does not accept ours: %w", ErrCertificate, err)
		}
		return fmt.Errorf("%w: we do not accept the other side's: %w", ErrCertificate, err)
	case isTLSError(err) && n.phase == PhaseTLS && strings.Contains(err.Error(), "version"):
		return fmt.Errorf("%w: of TLS: %w", ErrVersion, err)
	case !n.client && n.phase == PhaseTLS && strings.Contains(err.Error(), "bad record MAC"):
		return fmt.Errorf("%w (a client that does not accept our certificate can cause this)", err)
	}
	return err
}

func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// isTLSAlert tells an alert from the other side, which crypto/tls has no type
// for.
func isTLSAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// isTLSError tells errors of TLS from those of the stream below.
func isTLSError(err error) bool { return strings.Contains(err.Error(), "tls: ") }

// end makes a Result, or closes the stream and makes an error.
func (n *negotiation) end(err error) (*Result, error) {
	if err == nil {
		err = n.dog.stop() // from here on neither timer nor context touches the stream
	}
	if err != nil {
		return nil, n.fail(err)
	}
	n.clock()
	n.stream.budget = -1
	n.result.Timings = n.timings
	if len(n.buf) > 0 {
		n.result.Buffered = bytes.Clone(n.buf)
	}
	if c, ok := n.conn.(*tls.Conn); ok {
		s := c.ConnectionState()
		n.result.TLSVersion, n.result.CipherSuite = s.Version, s.CipherSuite
	}
	return n.result, nil
}

func (n *negotiation) fail(err error) *Error {
	n.clock()
	// From here on, neither what we tell nor TLS's own farewell waits for the
	// peer.
	cause := n.dog.settle()
	var r *refusal
	switch {
	case cause != nil: // the stream is closed already
		err = cause // of which the error is only the consequence
	case errors.As(err, &r):
		n.tell(r.tell)
		n.dog.hangUp(n.conn)
		err = r.err
	case errors.Is(err, ErrRemote):
		n.dog.hangUp(n.stream.Conn) // it has hung up already: no farewell
	default:
		n.dog.hangUp(n.conn)
	}
	n.dog.stop()
	if n.link != nil {
		n.link.Release()
	}
	if errors.Is(err, ErrReplaced) {
		err = fmt.Errorf("%w: %w", ErrDuplicate, err)
	}
	return &Error{Phase: n.phase, Target: n.target, Peer: n.peer, Timings: n.timings, Err: err}
}

// tell sends the reason of a refusal. There is nobody to tell if that fails.
func (n *negotiation) tell(text string) {
	var b []byte
	switch n.voice {
	case voiceNone:
		return
	case voicePlain:
		b = appendPlainRefusal(nil, text)
	case voiceBlock:
		b = errorBlock(text)
	case voiceBanana:
		b = banana.AppendError(nil, text)
	}
	if _, err := n.conn.Write(b); err == nil && n.voice == voicePlain {
		n.drain()
	}
}

// drain reads what a refused client has sent beyond its request, or still sends,
// until it hangs up or has said too much. A socket that is closed with something
// left to read is reset, and our answer may be lost with it.
func (n *negotiation) drain() {
	if c, ok := n.conn.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
	io.CopyN(io.Discard, n.conn, maxUnheard)
}
