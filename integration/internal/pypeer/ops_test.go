package pypeer

import (
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// eachMaster runs a test with a server and a client, once with each of them as the master.
func eachMaster(t *testing.T, server, client Options, test func(t *testing.T, server, client *Peer)) {
	for name, accept := range map[string]func(string) func(string) bool{
		"the server is the master": Less,
		"the client is the master": Greater,
	} {
		t.Run(name, func(t *testing.T) {
			server, client := server, client
			var serverID string
			server.CertFile, serverID = WriteCert(t, Middling)
			client.CertFile, _ = WriteCert(t, accept(serverID))
			test(t, Start(t, server), Start(t, client))
		})
	}
}

// pair starts a server with an object "root" and a client that holds a reference to it and has an object "mine".
func pair(t *testing.T) (server, client *Peer, ref Ref) {
	t.Helper()
	server, client = Start(t, Options{}), Start(t, Options{NoListen: true})
	client.Make("mine", KindRoot)
	return server, client, client.MustGetReference(server.Register("root", KindRoot))
}

func TestBothSidesAgreeOnTheirConnection(t *testing.T) {
	eachMaster(t, Options{}, Options{NoListen: true}, func(t *testing.T, server, client *Peer) {
		ref := client.MustGetReference(server.Register("root", KindRoot))
		assert.Equal(t, Int(3), ref.MustCall("add", Int(1), Int(2)))

		atServer, atClient := server.Connections(), client.Connections()
		require.Len(t, atServer, 1)
		require.Len(t, atClient, 1)
		here, there := atClient[0], atServer[0]
		assert.Equal(t, server.TubID, here.TubID)
		assert.Equal(t, client.TubID, there.TubID)
		assert.True(t, here.Outbound)
		assert.False(t, there.Outbound)
		assert.Equal(t, client.TubID > server.TubID, here.Master)
		assert.Equal(t, !here.Master, there.Master)
		assert.Equal(t, 25, here.Vocabulary)
		assert.Equal(t, "TLSv1.3", here.TLS)
		assert.NotEmpty(t, here.Cipher)
		assert.Equal(t, here.OpensSent, there.OpensReceived)
		assert.Equal(t, there.OpensSent, here.OpensReceived)
		assert.Positive(t, here.BytesReceived)

		master, slave, slavePeer := here, there, server
		if there.Master {
			master, slave, slavePeer = there, here, client
		}
		require.NotNil(t, master.Seqnum)
		assert.Equal(t, 1, *master.Seqnum)
		assert.Nil(t, slave.Seqnum)
		require.Len(t, slave.LastConnection, 2)
		assert.Equal(t, "1", slave.LastConnection[1])

		negotiations := slavePeer.Negotiations()
		require.Len(t, negotiations, 1)
		assert.Equal(t, "3 3", negotiations[0].Hello["banana-negotiation-range"])
		assert.Equal(t, "1 bb33", negotiations[0].Decision["initial-vocab-table-index"])
		assert.Nil(t, negotiations[0].Error)

		for _, peer := range []*Peer{server, client} {
			attached := peer.WaitEvent("attached", nil)
			assert.True(t, attached.Is("outbound", peer == client))
			assert.True(t, attached.Is("connection", 1))
			assert.Empty(t, peer.Events("attached"), "an event is taken once")
			assert.Empty(t, peer.Errors())
		}
	})
}

func TestEveryValueIsEchoedAsItWas(t *testing.T) {
	_, _, ref := pair(t)
	for name, value := range values {
		if name == "a dict" { // keys of several types make Foolscap give up the connection
			continue
		}
		t.Run(name, func(t *testing.T) {
			got, err := ref.Call("echo", value)
			require.NoError(t, err)
			assert.Equal(t, value, got)
		})
	}
}

func TestMethodsOfARoot(t *testing.T) {
	_, _, ref := pair(t)
	for name, test := range map[string]struct {
		method   string
		args     []Value
		keywords map[string]Value
		result   Value
	}{
		"none":      {"none", nil, nil, None},
		"typename":  {"typename", []Value{Bytes("a")}, nil, Text("bytes")},
		"repr":      {"repr", []Value{Tuple(Bytes("a"), Text("a"))}, nil, Text("(b'a', 'a')")},
		"sink":      {"sink", []Value{Pattern(10000)}, nil, Int(10000)},
		"digest":    {"digest", []Value{Bytes("")}, nil, Text("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")},
		"a pattern": {"get_pattern", []Value{Int(9000)}, nil, Pattern(9000)},
		"defaults":  {"greet", []Value{Text("you")}, nil, Text("Hello, you!")},
		"keywords":  {"greet", []Value{Text("you")}, map[string]Value{"mark": Text("?")}, Text("Hello, you?")},
		"all arguments": {
			"arguments", []Value{Int(1)}, map[string]Value{"b": Int(2)},
			Tuple(List(Int(1)), Dict(Text("b"), Int(2))),
		},
		"slow":                 {"slow", []Value{Float(0), Int(5)}, nil, Int(5)},
		"same is about itself": {"same", []Value{List(), List()}, nil, False},
		"same of one object":   {"same", []Value{Def(1, List()), Same(1)}, nil, True},
		"version": {"get_version", nil, nil, Dict(
			Bytes("application-version"), Bytes("peer/1"),
			Bytes("http://foolscap-go/peer/v1"), Dict(Bytes("largest"), BigInt(new(big.Int).Lsh(big.NewInt(1), 63))),
		)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ref.CallKeywords(test.method, test.keywords, test.args...)
			require.NoError(t, err)
			assert.Equal(t, test.result, got)
		})
	}
}

func TestFailuresArriveWithTypeTextAndParents(t *testing.T) {
	_, _, ref := pair(t)
	for name, test := range map[string]struct {
		method    string
		args      []Value
		kind      string
		text      string
		remote    bool
		ancestors []string
	}{
		"fail":       {"fail", []Value{Text("é")}, "builtins.ValueError", "é", true, []string{"builtins.Exception"}},
		"by type":    {"fail_type", []Value{Text("ZeroDivisionError"), Text("x")}, "builtins.ZeroDivisionError", "x", true, []string{"builtins.ArithmeticError"}},
		"its own":    {"fail_type", []Value{Text("PeerError"), Text("x")}, "objects.PeerError", "x", true, []string{"builtins.Exception"}},
		"later":      {"fail_later", []Value{Text("x")}, "objects.PeerError", "x", true, nil},
		"no method":  {"dance", nil, "builtins.AttributeError", "'Root' object has no attribute 'remote_dance'", true, nil},
		"bad result": {"unserialisable", nil, "foolscap.tokens.Violation", "ABORT received", false, nil},
		"inside":     {"unserialisable_inside", nil, "foolscap.tokens.Violation", "ABORT received", false, nil},
		"bad value":  {"echo", []Value{List(Unserialisable)}, "foolscap.tokens.Violation", "cannot serialize", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ref.Call(test.method, test.args...)
			var failure *Error
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, test.kind, failure.Type)
			assert.Contains(t, failure.Text, test.text)
			assert.Equal(t, test.remote, failure.Remote)
			assert.Equal(t, test.kind, failure.Parents[0])
			assert.Subset(t, failure.Parents, test.ancestors)
			assert.ErrorContains(t, err, test.kind)
		})
	}
}

func TestOptionsOnFailures(t *testing.T) {
	server := Start(t, Options{SafeTracebacks: true, LogLocalFailures: true})
	client := Start(t, Options{NoListen: true, HideRemoteExceptionTypes: true})
	ref := client.MustGetReference(server.Register("root", KindRoot))

	_, err := ref.Call("fail", Text("no"))

	var failure *Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "foolscap.tokens.RemoteException", failure.Type)
	require.NotNil(t, failure.Cause)
	assert.Equal(t, "builtins.ValueError", failure.Cause.Type)
	assert.Equal(t, "Traceback unavailable\n", failure.Cause.Traceback)
	assert.ErrorContains(t, err, "builtins.ValueError (remote): no")
}

func TestCallOnlyIsCountedAndLoggedInOrder(t *testing.T) {
	server, _, ref := pair(t)

	ref.CallOnly("note", Int(1))
	ref.FloodOnly(10, "note", Index)
	ref.FloodOnly(3, "log", List(Index))

	server.WaitState("root", State{Notes: 11, Logged: 3})
	assert.Equal(t, []Value{List(Int(0)), List(Int(1)), List(Int(2))}, server.Logged("root"))
	assert.Equal(t, Int(11), ref.MustCall("notes"))
	assert.Equal(t, List(List(Int(0)), List(Int(1)), List(Int(2))), ref.MustCall("logged"))
	assert.Len(t, server.TakeLogged("root"), 3)
	assert.Empty(t, server.Logged("root"))
}

func TestAnswersComeOutOfOrder(t *testing.T) {
	server, _, ref := pair(t)

	first, second := ref.Begin("block", Text("first")), ref.Begin("block", Text("second"))
	keyless := ref.Begin("block")
	server.WaitState("root", State{Waiting: 3})
	assert.Equal(t, 1, server.Release("root", "second", Int(2)))
	got, err := second.Value()
	require.NoError(t, err)
	assert.Equal(t, Int(2), got)
	select {
	case <-first.Done():
		t.Fatal("the first was not released")
	default:
	}

	assert.Equal(t, Int(1), ref.MustCall("release", Text("first"), Text("done")))
	got, err = first.Value()
	require.NoError(t, err)
	assert.Equal(t, Text("done"), got)

	assert.Equal(t, 1, server.Release("root", "", None))
	require.NoError(t, keyless.Result(nil))
	assert.Zero(t, server.State("root").Waiting)
}

func TestAFloodIsSummedUp(t *testing.T) {
	_, _, ref := pair(t)

	assert.Equal(t, Flood{Answers: 1000, Failures: map[string]int{}, InOrder: true},
		ref.Flood(1000, "echo", List(Index, Bytes("x")), List(Index, Bytes("x"))))
	assert.Equal(t, Flood{Answers: 3, Unexpected: 2, Failures: map[string]int{}, InOrder: true},
		ref.Flood(3, "echo", Int(1), Index))
	assert.Equal(t, Flood{Failures: map[string]int{"builtins.ValueError": 4}, InOrder: true},
		ref.Flood(4, "fail", None, Text("no")))
}

func TestLargeBytesGoBothWays(t *testing.T) {
	_, _, ref := pair(t)
	assert.Equal(t, Pattern(8<<20), ref.MustCall("echo", Pattern(8<<20)))
}

func TestReferencesTravelAndCallBack(t *testing.T) {
	server, client, ref := pair(t)
	mine := Object("mine")

	assert.Equal(t, Int(7), ref.MustCall("call_back", mine, Text("echo"), Int(7)))
	assert.Equal(t, mine, ref.MustCall("echo", mine), "our object comes home")
	assert.Equal(t, List(Int(1), Int(2)), ref.MustCall("call_back_each", mine, Text("echo"), List(Int(1), Int(2))))
	assert.Equal(t, Int(6), ref.MustCall("bounce", mine, Int(6)))
	ref.MustCall("call_back_only", mine, Text("note"), None)
	client.WaitState("mine", State{Notes: 1})

	_, err := ref.Call("call_back", mine, Text("fail"), Text("back"))
	var failure *Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "builtins.ValueError", failure.Type, "a failure of ours comes back by way of the peer")

	assert.Equal(t, ref.Value(), ref.MustCall("get_self"), "the same reference has the same handle")
	assert.Equal(t, True, ref.MustCall("same", ref.Value(), ref.Value()))
	same := ref.MustCall("get_same")
	assert.Equal(t, same, ref.MustCall("get_same"))
	assert.NotEqual(t, ref.MustCall("get_ref"), ref.MustCall("get_ref"))
	assert.Equal(t, Text("root.same"), client.Ref(same.Handle()).MustCall("name"))

	furl := ref.MustCall("furl")
	assert.Equal(t, Text(ref.Describe().FURL), furl)
	assert.Equal(t, server.TubID, ref.Describe().TubID)
	assert.True(t, ref.Describe().Connected)
}

func TestBoundMethodsAreReferencesOfTheirOwn(t *testing.T) {
	_, client, ref := pair(t)

	method := client.Ref(ref.MustCall("get_method").Handle())

	assert.Negative(t, method.Describe().CLID)
	got, err := method.CallKeywords("", map[string]Value{"value": Int(4)})
	require.NoError(t, err)
	assert.Equal(t, Int(4), got)
	ref.MustCall("hold", Method("mine", "echo"))
	client.WaitTables(Params{"mine": 1})
}

func TestTablesShowWhatIsHeldAndBecomeEmpty(t *testing.T) {
	server, client, ref := pair(t)
	client.WaitTables(Params{"yours": 1, "mine": 0, "waiting": 0, "active": 0})

	ref.MustCall("hold", Object("mine"))
	ref.MustCall("hold_many", List(Object("mine"), Object("mine")))
	assert.Equal(t, Int(3), ref.MustCall("held"))
	assert.Equal(t, List(Object("mine"), Object("mine"), Object("mine")), ref.MustCall("get_held"))
	assert.Equal(t, 1, client.Tables()[0].Mine)
	assert.Equal(t, 3, client.Tables()[0].MineSent)
	server.WaitTables(Params{"yours": 1, "yours_received": 3})

	ref.MustCall("drop")
	server.WaitTables(Params{"yours": 0})
	client.WaitTables(Params{"mine": 0})

	for range 3 {
		ref.MustCall("get_ref")
	}
	server.WaitTables(Params{"mine": 4})
	var held []string
	client.Do("held", nil, &held)
	assert.Len(t, held, 4)
	client.DropAll()
	client.WaitTables(Params{"yours": 0, "waiting": 0})
	server.WaitTables(Params{"mine": 0, "active": 0, "queued": 0})
}

func TestInterfacesAreNamedAndEnforced(t *testing.T) {
	server, client := Start(t, Options{}), Start(t, Options{NoListen: true})
	ref := client.MustGetReference(server.Register("peer", KindPeer))
	visitor := client.Make("guest", KindVisitor)

	assert.Equal(t, "RIPeer.foolscap-go", ref.Describe().Interface)
	assert.Equal(t, Int(3), ref.MustCall("add", Int(1), Int(2)))
	assert.Equal(t, Text("Hello, you!"), ref.MustCall("greet", Text("you")))
	assert.Equal(t, Int(10), ref.MustCall("short", Pattern(10)))
	assert.Equal(t, Int(-1<<31), ref.MustCall("int32", Int(-1<<31)))
	assert.Equal(t, List(Text("a"), Text("b")), ref.MustCall("names", Dict(Text("b"), Int(1), Text("a"), Int(2))))
	assert.Equal(t, Text("guest met you"), ref.MustCall("welcome", visitor, Text("you")))
	assert.Equal(t, Tuple(None), ref.MustCall("anything", Tuple(None)))
	host := client.Ref(ref.MustCall("visitor").Handle())
	assert.Equal(t, Text("peer.visitor met me"), host.MustCall("meet", Text("me")))

	for name, call := range map[string]func() (Value, error){
		"an argument of another type":       func() (Value, error) { return ref.CallUnchecked("add", Int(1), Text("2")) },
		"an argument that is too long":      func() (Value, error) { return ref.CallUnchecked("short", Pattern(11)) },
		"a number that is too big":          func() (Value, error) { return ref.CallUnchecked("int32", Int(1<<31)) },
		"an object without the interface":   func() (Value, error) { return ref.CallUnchecked("welcome", client.Make("root", KindRoot), Text("x")) },
		"too few arguments":                 func() (Value, error) { return ref.CallUnchecked("add", Int(1)) },
		"a result of another type":          func() (Value, error) { return ref.CallUnchecked("wrong_result") },
		"a method that is not there at all": func() (Value, error) { return ref.Call("dance") },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := call()
			var failure *Error
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, "foolscap.tokens.Violation", failure.Type)
		})
	}
	assert.Len(t, client.Connections(), 1, "and the connection has not suffered")
}

func TestEndsOfConnectionsAreReported(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, server, client *Peer){
		"by the client":     func(_ *testing.T, _, client *Peer) { client.Do("disconnect", nil, nil) },
		"by the server":     func(_ *testing.T, server, _ *Peer) { server.Do("disconnect", nil, nil) },
		"by its number":     func(_ *testing.T, server, _ *Peer) { server.Do("disconnect", Params{"connection": 1}, nil) },
		"by a reset":        func(_ *testing.T, server, _ *Peer) { server.Do("abort", nil, nil) },
		"by a kill":         func(_ *testing.T, server, _ *Peer) { server.Kill() },
		"by a shutdown":     func(t *testing.T, server, _ *Peer) { server.Do("stop", nil, nil) },
		"by hostile tokens": func(_ *testing.T, server, _ *Peer) { server.Do("raw", Params{"bytes": "80"}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			server, client, ref := pair(t)
			ref.NotifyDisconnect()
			open := ref.Begin("block")
			server.WaitState("root", State{Waiting: 1})

			end(t, server, client)

			client.WaitEvent("disconnected", func(e Event) bool { return e.Is("ref", ref.Handle()) })
			detached := client.WaitEvent("detached", nil)
			assert.True(t, detached.Is("tubid", server.TubID))
			var failure *Error
			require.NoError(t, detached.Get("error", &failure))
			assert.NotEmpty(t, failure.Type)
			require.ErrorAs(t, open.Result(nil), &failure)
			assert.Contains(t, []string{"foolscap.ipb.DeadReferenceError", "foolscap.tokens.BananaError"}, failure.Type)
			assert.False(t, ref.Describe().Connected)
			client.WaitConnections(0)
			assert.Empty(t, client.Connections())
			assert.Empty(t, client.Tables())
		})
	}
}

func TestAPeerThatIsKilledAndComesBackGetsAConnectionAgain(t *testing.T) {
	server := Start(t, Options{})
	furl := server.Register("root", KindRoot)
	for name, accept := range map[string]func(string) bool{
		"as the master": Greater(server.TubID),
		"as the slave":  Less(server.TubID),
	} {
		t.Run(name, func(t *testing.T) {
			file, tubID := WriteCert(t, accept)
			client := Start(t, Options{CertFile: file, NoListen: true})
			client.MustGetReference(furl)

			client.Kill()
			again := Start(t, Options{CertFile: file, NoListen: true})
			ref := again.MustGetReference(furl)

			assert.Equal(t, tubID, again.TubID)
			assert.Equal(t, Int(1), ref.MustCall("echo", Int(1)))
			server.WaitEvent("detached", func(e Event) bool { return e.Is("tubid", tubID) })
			assert.Len(t, server.Connections(), 1)
			again.Kill()
			server.WaitEvent("detached", func(e Event) bool { return e.Is("tubid", tubID) })
		})
	}
}

func TestAPausedConnectionIsNotRead(t *testing.T) {
	server, client, ref := pair(t)

	server.Do("pause", nil, nil)
	open := ref.Begin("note", None)
	client.WaitTables(Params{"waiting": 1})
	before := server.Connections()[0].BytesReceived
	assert.Zero(t, server.State("root").Notes)

	server.Do("resume", nil, nil)
	require.NoError(t, open.Result(nil))
	assert.Greater(t, server.Connections()[0].BytesReceived, before)
}

func TestPingsAreSentCountedAndAnswered(t *testing.T) {
	server, client, ref := pair(t)

	client.Do("ping", nil, nil)
	client.Do("ping", Params{"number": 1 << 40}, nil)

	assert.Equal(t, 2, client.Connections()[0].PingsSent)
	server.Do("wait_pings", Params{"received": 2}, nil)
	assert.Equal(t, Int(1), ref.MustCall("echo", Int(1)))
}

func TestKeepaliveAndDisconnect(t *testing.T) {
	server := Start(t, Options{Keepalive: 100 * time.Millisecond})
	client := Start(t, Options{NoListen: true})
	client.MustGetReference(server.Register("root", KindRoot))
	client.Do("wait_pings", Params{"received": 2}, nil)
	server.Do("wait_pings", Params{"sent": 2}, nil)
	assert.Empty(t, client.Events("detached"))

	server = Start(t, Options{Disconnect: 100 * time.Millisecond})
	client.MustGetReference(server.Register("root", KindRoot))
	var failure *Error
	require.NoError(t, server.WaitEvent("detached", nil).Get("error", &failure))
	assert.Contains(t, failure.Text, "timeout")
}

func TestRawTokensAreSentAndReceivedAsTheyAre(t *testing.T) {
	server, client, ref := pair(t)
	server.Do("capture", nil, nil)
	connection := client.Connections()[0]
	// A call that ends with an ABORT, with a PING in the middle: the server has to answer that and to drop the call.
	open := byte(connection.OpensSent)
	call := []byte{open, 0x88, 11, 0x87, 0x8e, open, 0x8a, open, 0x89}

	client.Do("raw", Params{"bytes": hex.EncodeToString(call), "opens": 1}, nil)

	var captured string
	server.Do("wait_captured", Params{"bytes": hex.EncodeToString(call)}, &captured)
	assert.Equal(t, hex.EncodeToString(call), captured)
	server.Do("wait_pings", Params{"received": 1}, nil)
	assert.Equal(t, connection.OpensSent+1, client.Connections()[0].OpensSent)
	// Cycles count from the true number of OPENs.
	cycle := Def(1, List(Same(1)))
	assert.Equal(t, cycle, ref.MustCall("echo", cycle))

	client.Do("disconnect", nil, nil)
	server.WaitEvent("detached", nil)
	server.Do("captured", Params{"connection": 1}, &captured)
	assert.Contains(t, captured, hex.EncodeToString(call), "what was received outlives the connection")
	server.Do("capture", Params{"connection": 1}, nil)
	server.Do("captured", Params{"connection": 1}, &captured)
	assert.Empty(t, captured)
}

func TestAPeerCanBeLikeAnOlderOne(t *testing.T) {
	for name, test := range map[string]struct {
		options Options
		check   func(t *testing.T, connection Connection, negotiation Negotiation)
	}{
		"without vocabulary": {Options{EmptyVocabulary: true}, func(t *testing.T, c Connection, n Negotiation) {
			assert.Zero(t, c.Vocabulary)
			assert.Equal(t, "0 0", n.Hello["initial-vocab-table-range"])
		}},
		"with TLS 1.2": {Options{TLS12: true}, func(t *testing.T, c Connection, _ Negotiation) {
			assert.Equal(t, "TLSv1.2", c.TLS)
		}},
		"without incarnations": {
			Options{HelloWithout: []string{"my-incarnation"}},
			func(t *testing.T, _ Connection, n Negotiation) {
				assert.NotContains(t, n.Hello, "my-incarnation")
			},
		},
		"with keys of its own": {
			Options{HelloWith: map[string]string{"colour": "red=blue"}},
			func(t *testing.T, _ Connection, n Negotiation) {
				assert.Equal(t, "red=blue", n.Hello["colour"])
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachMaster(t, test.options, Options{NoListen: true}, func(t *testing.T, server, client *Peer) {
				ref := client.MustGetReference(server.Register("root", KindRoot))
				assert.Equal(t, Text("none"), ref.MustCall("echo", Text("none")))
				test.check(t, client.Connections()[0], client.Negotiations()[0])
			})
		})
	}
}

func TestCrossedDialsLeaveOneConnection(t *testing.T) {
	eachMaster(t, Options{}, Options{}, func(t *testing.T, a, b *Peer) {
		toA, toB := a.Register("root", KindRoot), b.Register("root", KindRoot)
		a.Do("hold_hellos", nil, nil)
		b.Do("hold_hellos", nil, nil)

		atoB, btoA := a.Begin("get_reference", Params{"furl": toB}), b.Begin("get_reference", Params{"furl": toA})
		for _, peer := range []*Peer{a, b} {
			for _, outbound := range []bool{true, false} {
				peer.WaitEvent("hello_held", func(e Event) bool { return e.Is("outbound", outbound) })
			}
		}
		var held int
		a.Do("release_hellos", nil, &held)
		assert.Equal(t, 2, held)
		b.Do("release_hellos", nil, &held)
		assert.Equal(t, 2, held)

		// Who hears of his refusal before the other connection is through
		// gives his request up.
		for _, request := range []*Pending{atoB, btoA} {
			if err := request.Result(nil); err != nil {
				assert.ErrorContains(t, err, "Duplicate connection")
			}
		}
		a.WaitConnections(1)
		b.WaitConnections(1)
		a.WaitEvent("negotiation_failed", nil)
		b.WaitEvent("negotiation_failed", nil)
	})
}

func TestTheDeadHintOfAFURLDoesNotMatter(t *testing.T) {
	server := Start(t, Options{})
	client := Start(t, Options{NoListen: true})
	closed := Start(t, Options{})
	closed.Kill()
	furl := server.Register("root", KindRoot)

	ref := client.MustGetReference(strings.Replace(furl, "@", "@"+closed.Location[0]+",", 1))

	assert.Equal(t, Int(1), ref.MustCall("echo", Int(1)))
}

func TestGiftsAreMadeAndCanBeRefused(t *testing.T) {
	giver, owner := Start(t, Options{}), Start(t, Options{})
	gift := giver.MustGetReference(owner.Register("gift", KindRoot))

	willing := Start(t, Options{})
	to := giver.MustGetReference(willing.Register("root", KindRoot))
	assert.Equal(t, Int(9), to.MustCall("call_back", gift.Value(), Text("echo"), Int(9)))

	unwilling := Start(t, Options{RefuseGifts: true})
	to = giver.MustGetReference(unwilling.Register("root", KindRoot))
	_, err := to.Call("call_back", gift.Value(), Text("echo"), Int(9))
	var failure *Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "foolscap.tokens.Violation", failure.Type)
}

func TestNamesAndSwissnums(t *testing.T) {
	server, client := Start(t, Options{}), Start(t, Options{NoListen: true})

	assert.True(t, strings.HasSuffix(server.Register("root", KindRoot), "/root"))
	var random string
	server.Do("register", Params{"name": "other", "swissnum": ""}, &random)
	assert.Regexp(t, `/[a-z2-7]{32}$`, random)
	client.MustGetReference(random)

	server.Do("unregister", Params{"name": "other"}, nil)
	_, err := client.GetReference(random)
	var failure *Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "builtins.KeyError", failure.Type)
}

func TestAPeerWithoutALocationSendsNoFURLs(t *testing.T) {
	hidden := Start(t, Options{Location: "none"})
	server := Start(t, Options{})
	hidden.Make("mine", KindRoot)
	ref := hidden.MustGetReference(server.Register("root", KindRoot))
	ref.MustCall("log", Object("mine"))

	logged := server.Logged("root")

	assert.Empty(t, server.Ref(logged[0].Handle()).Describe().FURL)
	assert.Error(t, hidden.Request("register", Params{"name": "mine"}, nil))
}

func TestADuplicateOfAPeerWithoutIncarnationsReplacesAnOldConnectionOnlyIfThatIsAllowed(t *testing.T) {
	_, middle := WriteCert(t, Middling)
	master, _ := WriteCert(t, Greater(middle))
	slave, slaveID := WriteCert(t, Less(middle))
	connect := func(t *testing.T, options Options) (server, duplicate *Peer, furl string) {
		options.CertFile = master
		server = Start(t, options)
		old := Options{CertFile: slave, NoListen: true, HelloWithout: []string{"my-incarnation"}}
		first, duplicate := Start(t, old), Start(t, old)
		furl = server.Register("root", KindRoot)
		first.MustGetReference(furl)
		return server, duplicate, furl
	}

	t.Run("refused", func(t *testing.T) {
		_, duplicate, furl := connect(t, Options{})
		_, err := duplicate.GetReference(furl)
		assert.ErrorContains(t, err, "Duplicate connection")
	})
	t.Run("accepted", func(t *testing.T) {
		server, duplicate, furl := connect(t, Options{HandleOldDuplicates: time.Second})
		require.Eventually(t, func() bool {
			_, err := duplicate.GetReference(furl)
			return err == nil
		}, patience, 50*time.Millisecond)
		assert.True(t, server.WaitEvent("detached", nil).Is("tubid", slaveID))
		assert.Equal(t, 2, server.Connections()[0].Connection)
	})
}

func TestALocationCanHaveSeveralHints(t *testing.T) {
	peer := Start(t, Options{Location: "tcp:127.0.0.1:1,tcp:127.0.0.1:2", Verbose: true})
	assert.Equal(t, []string{"tcp:127.0.0.1:1", "tcp:127.0.0.1:2"}, peer.Location)
	assert.Contains(t, peer.Register("root", KindRoot), "@tcp:127.0.0.1:1,tcp:127.0.0.1:2/")
}

func TestAPeerCanListenOnAGivenPort(t *testing.T) {
	first := Start(t, Options{})
	first.Kill()
	second := Start(t, Options{Port: first.Port})
	assert.Equal(t, first.Port, second.Port)
}

func TestDeepValuesAreEchoed(t *testing.T) {
	_, _, ref := pair(t)
	value := List()
	for range 300 {
		value = List(value)
	}
	assert.Equal(t, value, ref.MustCall("echo", value))
}
