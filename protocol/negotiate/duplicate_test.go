package negotiate

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheMasterDecidesOnDuplicatesByWhatThePeerRemembers(t *testing.T) {
	const own, theirs = "0wn0wn", "7he1r5"
	existing := &standing{peerIncarnation: theirs, seqnum: 5, age: time.Minute}
	remembers := func(incarnation string, seqnum uint64) *connID { return &connID{incarnation, seqnum} }

	tests := map[string]struct {
		existing  *standing
		offer     hello
		handleOld time.Duration
		want      verdict
	}{
		"the first connection is accepted":                    {nil, hello{incarnation: theirs, last: &noConnection}, 0, acceptFirst},
		"the first of a peer that says nothing is accepted":   {nil, hello{}, 0, acceptFirst},
		"the first is accepted whatever the peer remembers":   {nil, hello{incarnation: theirs, last: remembers(own, 99)}, 0, acceptFirst},
		"no incarnation is refused":                           {existing, hello{last: remembers(own, 5)}, 0, refuseUninformed},
		"no incarnation is refused even of a restarted peer":  {existing, hello{last: remembers("past", 5)}, 0, refuseUninformed},
		"no memory is refused, as that of every server":       {existing, hello{incarnation: theirs}, 0, refuseUninformed},
		"no memory is refused even of another incarnation":    {existing, hello{incarnation: "another"}, 0, refuseUninformed},
		"no memory is accepted if the connection is old":      {existing, hello{incarnation: theirs}, time.Minute, acceptAged},
		"no incarnation is accepted if the connection is old": {existing, hello{}, time.Second, acceptAged},
		"no memory is refused if the connection is young":     {existing, hello{incarnation: theirs}, time.Minute + 1, refuseUninformed},
		"an old connection says nothing of newer peers":       {existing, hello{incarnation: theirs, last: &noConnection}, time.Second, refuseParallel},
		"a restarted peer is accepted":                        {existing, hello{incarnation: "another", last: &noConnection}, 0, acceptRestarted},
		"a restarted peer is accepted whatever it remembers":  {existing, hello{incarnation: "another", last: remembers(own, 1)}, 0, acceptRestarted},
		"a peer that has heard of none is refused":            {existing, hello{incarnation: theirs, last: &noConnection}, 0, refuseParallel},
		"a peer that knows our past life is accepted":         {existing, hello{incarnation: theirs, last: remembers("past", 5)}, 0, acceptPastLife},
		"a peer that knows the connection is accepted":        {existing, hello{incarnation: theirs, last: remembers(own, 5)}, 0, acceptLost},
		"a peer that knows an earlier one is refused":         {existing, hello{incarnation: theirs, last: remembers(own, 4)}, 0, refuseBehind},
		"a peer that knows a later one is refused":            {existing, hello{incarnation: theirs, last: remembers(own, 6)}, 0, refuseAhead},
		"nonsense is refused":                                 {existing, hello{incarnation: theirs, last: &garbledConnection}, 0, refuseGarbled},
		"nonsense of a restarted peer is not looked at":       {existing, hello{incarnation: "another", last: &garbledConnection}, 0, acceptRestarted},
		"nonsense is not looked at for the first connection":  {nil, hello{incarnation: theirs, last: &garbledConnection}, 0, acceptFirst},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := decide(test.existing, test.offer, own, test.handleOld)
			assert.Equal(t, test.want, got)
			assert.Equal(t, test.want <= acceptLost, got.accepted())
		})
	}
}

func TestEveryRefusalOfADuplicateSaysWhy(t *testing.T) {
	texts := make(map[string]bool)
	for v := refuseUninformed; v <= needless; v++ {
		err := &duplicateError{v}
		assert.ErrorIs(t, err, ErrDuplicate)
		assert.NotContains(t, err.Error(), "unknown")
		texts[err.Error()] = true
	}
	assert.Len(t, texts, int(needless-refuseUninformed)+1)
}

// restarted is the same Tub in its next life.
func restarted(t *testing.T, l *Local) *Local {
	cert := l.tls.Certificates[0]
	return newLocal(t, &cert)
}

// attach makes a connection of a result, as a Tub does.
func attach(t *testing.T, r *Result) *connection {
	t.Helper()
	c := &connection{result: r, ended: make(chan error, 1)}
	require.NoError(t, r.Link.Attach(c))
	return c
}

type connection struct {
	result *Result
	ended  chan error
}

func (c *connection) Shutdown(reason error) {
	c.result.Conn.(*tls.Conn).NetConn().Close()
	c.ended <- reason
	c.result.Link.Release()
}

func (c *connection) requireReplaced(t *testing.T) {
	t.Helper()
	select {
	case reason := <-c.ended:
		require.ErrorIs(t, reason, ErrReplaced)
	default:
		t.Fatal("the connection was not shut down")
	}
}

func (c *connection) requireAlive(t *testing.T) {
	t.Helper()
	select {
	case reason := <-c.ended:
		t.Fatal("the connection was shut down: ", reason)
	default:
	}
}

func TestASecondAttemptBesideALiveConnectionIsRefusedByTheMaster(t *testing.T) {
	slave, master := newTubs(t)
	atSlave, atMaster := dial(t, slave, master)
	require.NoError(t, atSlave.err)
	alive := attach(t, atMaster.Result)

	parallel := helloOf(slave)
	parallel.last = &noConnection // made before the slave knew of the first
	stream := feeding(parallel.encode())
	_, err := Server(t.Context(), stream, ServerConfig{Local: master, Peer: leafOf(t, slave)})
	assert.ErrorIs(t, err, ErrDuplicate)
	assert.NotErrorIs(t, err, ErrRemote)
	assert.Equal(t, string(helloOf(master).encode())+string(errorBlock(textDuplicate)), stream.output())
	alive.requireAlive(t)
	requireTalk(t, atSlave.Result, atMaster.Result)
}

func TestWhatAPeerRemembersIsLookedAtOnlyBesideAConnection(t *testing.T) {
	for name, test := range map[string]struct {
		said  string
		want  error  // beside a connection
		reply string // likewise
	}{
		"half of one":            {"none", ErrMalformed, textInternal},
		"no number":              {"none x", ErrMalformed, textInternal},
		"nothing":                {"", ErrMalformed, textInternal},
		"a number below all":     {"INCARNATION -1", ErrDuplicate, textDuplicate},
		"a number above 64 bits": {"INCARNATION 99999999999999999999999999", ErrDuplicate, textDuplicate},
		"three words":            {"none 0 x", ErrDuplicate, textDuplicate},
		"a long incarnation":     {strings.Repeat("x", 2000) + " 1", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			slave, master := newTubs(t)
			last := strings.Replace(test.said, "INCARNATION", master.ledger.incarnation, 1)
			offer := lines("banana-negotiation-range: 3 3", "last-connection: "+last, "my-incarnation: x", "my-tub-id: "+string(slave.tubID))
			first, err := Server(t.Context(), feeding(offer), ServerConfig{Local: master, Peer: leafOf(t, slave)})
			require.NoError(t, err)

			stream := feeding(offer)
			_, err = Server(t.Context(), stream, ServerConfig{Local: master, Peer: leafOf(t, slave)})
			if test.want == nil {
				assert.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, test.want)
			assert.Equal(t, string(helloOf(master).encode())+string(errorBlock(test.reply)), stream.output())
			assert.Same(t, first.Link, master.ledger.Current(slave.tubID))
		})
	}
}

func TestASlaveThatIsToldOfADuplicateKnowsWhatItMeans(t *testing.T) {
	slave, master := newTubs(t)
	stream := feeding(helloOf(master).encode(), errorBlock(textDuplicate))
	_, err := Client(t.Context(), stream, ClientConfig{Local: slave, Target: master.tubID, Peer: leafOf(t, master)})
	assert.ErrorIs(t, err, ErrDuplicate)
	assert.ErrorIs(t, err, ErrRemote)
	assert.NotContains(t, stream.output(), "error", "there is nobody to answer to")
}

func TestAClientDoesNotOfferADuplicateOfAConnectionThatItHas(t *testing.T) {
	// An attempt that was started before the connection came up.
	slave, master := newTubs(t)
	for name, order := range map[string][2]*Local{"the client is slave": {slave, master}, "the client is master": {master, slave}} {
		t.Run(name, func(t *testing.T) {
			client, server := restarted(t, order[0]), restarted(t, order[1])
			first, firstAtServer := dial(t, client, server)
			require.NoError(t, first.err)
			alive := attach(t, firstAtServer.Result)

			second, secondAtServer := dial(t, client, server)
			assert.ErrorIs(t, second.err, ErrDuplicate)
			assert.ErrorIs(t, secondAtServer.err, io.ErrUnexpectedEOF, "the server has seen neither hello nor refusal")
			var failed *Error
			require.ErrorAs(t, secondAtServer.err, &failed)
			assert.Equal(t, PhaseHello, failed.Phase)
			alive.requireAlive(t)
			requireTalk(t, first.Result, firstAtServer.Result)
		})
	}
}

func TestASlaveThatHasLostTheConnectionReplacesIt(t *testing.T) {
	slave, master := newTubs(t)
	first, firstAtMaster := dial(t, slave, master)
	require.NoError(t, firstAtMaster.err)
	stale := attach(t, firstAtMaster.Result)
	first.Link.Release() // the master hears nothing of it

	second, secondAtMaster := dial(t, slave, master)
	require.NoError(t, second.err)
	require.NoError(t, secondAtMaster.err)
	stale.requireReplaced(t)
	assert.Equal(t, first.Link.id.seqnum+1, second.Link.id.seqnum)
	assert.Same(t, secondAtMaster.Link, master.ledger.Current(slave.tubID), "the end of the old one does not touch the new one")
	requireTalk(t, second.Result, secondAtMaster.Result)
}

func TestARestartedPeerReplacesItsOldConnection(t *testing.T) {
	slave, master := newTubs(t)
	_, firstAtMaster := dial(t, slave, master)
	require.NoError(t, firstAtMaster.err)
	stale := attach(t, firstAtMaster.Result)

	second, secondAtMaster := dial(t, restarted(t, slave), master)
	require.NoError(t, second.err)
	require.NoError(t, secondAtMaster.err)
	stale.requireReplaced(t)
}

func TestARestartedMasterReplacesTheOldConnectionAtTheSlave(t *testing.T) {
	slave, master := newTubs(t)
	first, _ := dial(t, slave, master)
	require.NoError(t, first.err)
	stale := attach(t, first.Result)

	atMaster, atSlave := dial(t, restarted(t, master), slave)
	require.NoError(t, atMaster.err)
	require.NoError(t, atSlave.err)
	stale.requireReplaced(t)
	assert.Same(t, atSlave.Link, slave.ledger.Current(master.tubID))
}

func TestWithNoConnectionLeftEveryOfferIsAcceptedUnderANewNumber(t *testing.T) {
	slave, master := newTubs(t)
	seen := make(map[uint64]bool)
	for range 5 {
		atSlave, atMaster := dial(t, slave, master)
		require.NoError(t, atSlave.err)
		seen[atMaster.Link.id.seqnum] = true
		atSlave.Link.Release()
		atMaster.Link.Release()
	}
	assert.Len(t, seen, 5, "numbers do not come again")
	assert.Zero(t, remembered(master.ledger), "a master keeps nothing of peers that are gone")
	assert.Empty(t, master.ledger.links)
	assert.Equal(t, 1, remembered(slave.ledger))
}

func TestAConnectionReplacedBeforeItIsAttachedIsClosed(t *testing.T) {
	slave, master := newTubs(t)
	first, firstAtMaster := dial(t, slave, master)
	require.NoError(t, first.err)
	second, secondAtMaster := dial(t, restarted(t, slave), master)
	require.NoError(t, second.err)
	require.NoError(t, secondAtMaster.err)

	assert.ErrorIs(t, firstAtMaster.Link.Attach(nil), ErrReplaced)
	for _, r := range []*Result{first.Result, firstAtMaster.Result} {
		_, err := r.Conn.Read(make([]byte, 1))
		assert.Error(t, err)
	}
}

func TestCrossedConnectionsLeaveOneThatBothMean(t *testing.T) {
	slave, master := newTubs(t)
	type end struct {
		local  *Local
		client bool
		outcome
	}
	const dials = 8 // in each direction
	ends := make(chan end, 4*dials)
	start := make(chan struct{})
	for range dials {
		for _, order := range [][2]*Local{{slave, master}, {master, slave}} {
			a, b := loopback(t)
			go func() {
				<-start
				atClient, atServer := meet(t.Context(), a, b,
					ClientConfig{Local: order[0], Target: order[1].tubID}, ServerConfig{Find: answering(order[1])})
				ends <- end{order[0], true, atClient}
				ends <- end{order[1], false, atServer}
			}()
		}
	}
	close(start)
	won := make(map[*Local]*Result)
	for range cap(ends) {
		e := <-ends
		if e.err != nil {
			// A server is left without a word where the client gave up in time.
			if e.client || !errors.Is(e.err, io.ErrUnexpectedEOF) {
				assert.ErrorIs(t, e.err, ErrDuplicate)
			}
			continue
		}
		require.Nil(t, won[e.local], "one connection was accepted")
		won[e.local] = e.Result
		attach(t, e.Result)
	}
	require.Len(t, won, 2)
	assert.Equal(t, won[slave].Link.id, won[master].Link.id)
	requireTalk(t, won[slave], won[master])
}

func TestANegotiationThatFailsAfterTheDecisionLeavesNoLink(t *testing.T) {
	slave, master := newTubs(t)
	a, b := unbuffered(t)
	go func() {
		a.Read(make([]byte, maxBlock)) // the hello
		a.Write(helloOf(slave).encode())
		a.Close() // and no decision is read
	}()
	_, err := Server(t.Context(), b, ServerConfig{Local: master, Peer: leafOf(t, slave)})
	var failed *Error
	require.True(t, errors.As(err, &failed))
	assert.Equal(t, PhaseDecision, failed.Phase)
	assert.Nil(t, master.ledger.Current(slave.tubID))
}
