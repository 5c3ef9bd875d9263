package pypeer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAPeerTellsWhatItsTubIs(t *testing.T) {
	file, tubID := WriteCert(t, func(string) bool { return true })

	peer := Start(t, Options{CertFile: file})

	assert.Equal(t, tubID, peer.TubID)
	assert.NotZero(t, peer.Port)
	assert.Len(t, peer.Location, 1)
	assert.Len(t, peer.Incarnation, 16)
	assert.Equal(t, peer.command.Process.Pid, peer.PID)
	var tub Tub
	peer.Do("tub", nil, &tub)
	assert.Equal(t, peer.Tub, tub)
}

func TestACertificateIsMadeWhereThereIsNone(t *testing.T) {
	file := t.TempDir() + "/tub.pem"

	first := Start(t, Options{CertFile: file, NoListen: true})
	second := Start(t, Options{CertFile: file, NoListen: true})

	assert.Equal(t, first.TubID, second.TubID)
	assert.NotEqual(t, first.Incarnation, second.Incarnation)
	assert.Zero(t, first.Port)
	assert.Empty(t, first.Location)
}

func TestWriteCertFindsTubIDsOnBothSidesOfAnother(t *testing.T) {
	_, middle := WriteCert(t, Middling)
	_, above := WriteCert(t, Greater(middle))
	_, below := WriteCert(t, Less(middle))
	assert.Greater(t, above, middle)
	assert.Less(t, below, middle)
}

func TestRepliesOvertakeEachOther(t *testing.T) {
	peer := Start(t, Options{})
	peer.Register("root", KindRoot)

	slow := peer.Begin("wait_state", Params{"object": "root", "notes": 1})
	peer.Do("tub", nil, nil)

	select {
	case <-slow.Done():
		t.Fatal("nothing has been noted yet")
	default:
	}
	assert.True(t, peer.Running())
	peer.Kill()
	assert.False(t, peer.Running())
	assert.Error(t, slow.Result(nil))
}

func TestRequestsOfAPeerThatHasEndedFail(t *testing.T) {
	for name, end := range map[string]func(*Peer){
		"killed":         (*Peer).Kill,
		"left by itself": func(p *Peer) { p.Exit(3) },
	} {
		t.Run(name, func(t *testing.T) {
			peer := Start(t, Options{NoListen: true})
			peer.Make("root", KindRoot)
			open := peer.Begin("wait_state", Params{"object": "root", "notes": 1})

			end(peer)

			var ended *EndedError
			require.ErrorAs(t, open.Result(nil), &ended, "a request that was open")
			assert.NotEmpty(t, ended.Status)
			require.ErrorAs(t, peer.Request("tub", nil, nil), &ended, "a request afterwards")
		})
	}
}

func TestMistakesInRequestsAreErrors(t *testing.T) {
	peer := Start(t, Options{NoListen: true})
	for name, test := range map[string]struct {
		op     string
		params Params
		error  string
	}{
		"an unknown op":          {"dance", nil, "__main__.ControlError"},
		"an unknown parameter":   {"tub", Params{"colour": 1}, "builtins.TypeError"},
		"a missing parameter":    {"call", nil, "builtins.TypeError"},
		"a handle without a ref": {"describe", Params{"ref": "r1"}, "notation.NotationError"},
		"no connection":          {"disconnect", nil, "__main__.ControlError"},
		"an unknown connection":  {"disconnect", Params{"connection": 7}, "__main__.ControlError"},
	} {
		t.Run(name, func(t *testing.T) {
			var failure *Error
			require.ErrorAs(t, peer.Request(test.op, test.params, nil), &failure)
			assert.Equal(t, test.error, failure.Type)
			assert.False(t, failure.Remote)
			assert.NotEmpty(t, failure.Traceback)
		})
	}
}

// failing records the failure of a test that is expected to fail.
type failing struct {
	testing.TB
	errors chan string
}

func (f *failing) Errorf(format string, _ ...any) { f.errors <- format }

func TestAPeerThatEndsByItselfMakesTheTestFail(t *testing.T) {
	outer := &failing{t, make(chan string, 1)}
	peer := Start(outer, Options{NoListen: true})

	peer.Begin("exit", Params{"code": 4})

	select {
	case message := <-outer.errors:
		assert.Contains(t, message, "ended by itself")
	case <-time.After(patience):
		t.Fatal("nobody has noticed")
	}
	<-peer.dead
	assert.Equal(t, 4, peer.command.ProcessState.ExitCode())
}

func TestWhatTheProgramPrintsDoesNotDisturbTheReplies(t *testing.T) {
	server, client := Start(t, Options{}), Start(t, Options{NoListen: true})
	ref := client.MustGetReference(server.Register("root", KindRoot))

	// Foolscap prints when it fails in the middle of sending; keys that cannot be sorted together make it.
	_, err := ref.Call("echo", Dict(Int(1), None, Text("a"), None))

	require.Error(t, err)
	assert.Contains(t, client.Stderr(), "exception in produce")
	client.Do("tub", nil, nil)
}

func TestTheEndOfALongStandardErrorIsKept(t *testing.T) {
	var stderr tail
	for range 3 {
		_, err := stderr.Write(PatternBytes(longestTail / 2))
		require.NoError(t, err)
	}
	_, err := stderr.Write([]byte("end"))
	require.NoError(t, err)
	kept := stderr.String()
	assert.Len(t, kept, longestTail)
	assert.Equal(t, "end", kept[len(kept)-3:])
}
