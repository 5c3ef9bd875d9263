package tor

import (
	"context"
	"net/textproto"
	"os"
	"strings"
	"testing"

	"github.com/cretz/bine/control"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/handlers/tor"
	"github.com/foolscap-go/foolscap/integration/internal/tornet"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestATubOnAnOnionServiceIsReached(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	client := network.Client(t)
	served := newTub(t, nil)
	f, l := listen(t, served, byControl(client))
	require.Equal(t, []furl.Hint{furl.StreamHint("tor", l.Onion(), servicePort)}, f.Hints)
	for name, via := range map[string]*tor.Tor{
		"by a SOCKS port":               tor.SOCKS(client.SOCKS),
		"by a control port over TCP":    tor.Control(tor.ControlConfig{Address: client.ControlPort}),
		"by a control socket":           byControl(client),
		"by a control port and a SOCKS": tor.Control(tor.ControlConfig{Address: client.ControlPort, SOCKS: client.SOCKSExtended}),
	} {
		t.Run(name, func(t *testing.T) {
			dialling := newTub(t, via)
			requireAnswer(t, connect(t, dialling, f))
			info, ok := dialling.Info(served.TubID())
			require.True(t, ok)
			assert.Equal(t, f.Hints[0], info.Winner)
		})
	}
}

func TestAServiceThatIsAdvertisedIsFoundAtOnce(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	// It has not asked for the service before, and it is ready beforehand.
	fresh := network.Start(t, tornet.Options{})
	dialling := newTub(t, tor.SOCKS(fresh.SOCKSExtended))
	f, _ := listen(t, newTub(t, nil), byControl(network.Client(t)))
	for ctx := within(t); ; {
		attempt, cancel := context.WithTimeout(ctx, attemptTime)
		ref, err := dialling.Connect(attempt, f)
		cancel()
		if err == nil {
			requireAnswer(t, ref)
			return
		}
		require.NotErrorIs(t, err, tor.ErrNotPublished) // anything else may happen to a circuit
		require.NoError(t, ctx.Err())
		t.Logf("another attempt: %v", err)
	}
}

func TestAServiceComesBackUnderItsAddress(t *testing.T) {
	t.Parallel()
	network := tornet.Shared(t)
	client := network.Client(t)
	keyFile := t.TempDir() + "/onion.key"
	id, err := tub.NewIdentity()
	require.NoError(t, err)
	dialling := newTub(t, byControl(client))
	var last furl.FURL
	for range 2 {
		served := newTubOf(t, id, nil)
		_, l := listen(t, served, byControl(client), tor.WithKeyFile(keyFile))
		f, err := served.RegisterAs("calculator", calculator())
		require.NoError(t, err)
		if last.TubID != "" {
			require.True(t, last.Equal(f))
		}
		requireAnswer(t, connect(t, dialling, f))
		last = f

		key, err := os.ReadFile(keyFile)
		require.NoError(t, err)
		another := client.Control()
		takesKey := func() error {
			_, err := another.SendRequest("ADD_ONION %s Port=%d,127.0.0.1:1", strings.TrimSpace(string(key)), servicePort)
			return err
		}
		var refusal *textproto.Error
		require.ErrorAs(t, takesKey(), &refusal)
		assert.Equal(t, control.StatusErrUnspecifiedTorError, refusal.Code, "the service is there")
		require.NoError(t, served.Close())
		require.NoError(t, takesKey(), "the service is gone with the Tub")
		_, err = another.SendRequest("DEL_ONION %s", l.Onion()[:56])
		require.NoError(t, err)
		hints, changed := l.Hints()
		assert.Empty(t, hints)
		assert.Nil(t, changed)
	}
}

func TestAnEphemeralServiceHasANewAddressEachTime(t *testing.T) {
	t.Parallel()
	client := tornet.Shared(t).Client(t)
	var seen []string
	for range 2 {
		l, err := tor.Listen(within(t), byControl(client), servicePort)
		require.NoError(t, err)
		hints, changed := l.Hints()
		assert.Empty(t, hints, "not before the service is published")
		assert.NotNil(t, changed)
		require.NotContains(t, seen, l.Onion())
		seen = append(seen, l.Onion())
		require.NoError(t, l.Close())
	}
}

func TestTwoServicesCannotHaveOneKey(t *testing.T) {
	t.Parallel()
	client := tornet.Shared(t).Client(t)
	keyFile := t.TempDir() + "/onion.key"
	l, err := tor.Listen(within(t), byControl(client), servicePort, tor.WithKeyFile(keyFile))
	require.NoError(t, err)
	defer l.Close()
	_, err = tor.Listen(within(t), byControl(client), servicePort, tor.WithKeyFile(keyFile))
	assert.ErrorContains(t, err, "this key already")
}

func TestAServiceWithProofOfWorkIsReached(t *testing.T) {
	t.Parallel()
	client := tornet.Shared(t).Client(t)
	f, _ := listen(t, newTub(t, nil), byControl(client), tor.WithProofOfWork(tor.ProofOfWork{QueueRate: 100, QueueBurst: 200}))
	requireAnswer(t, connect(t, newTub(t, byControl(client)), f))
}

func TestALocalEndOnASocket(t *testing.T) {
	t.Parallel()
	client := tornet.Shared(t).Client(t)
	f, l := listen(t, newTub(t, nil), byControl(client), tor.WithLocalAddress("unix:"+t.TempDir()+"/socket"))
	assert.Equal(t, "unix", l.Addr().Network())
	requireAnswer(t, connect(t, newTub(t, byControl(client)), f))
}

func TestBothDirectionsAreHidden(t *testing.T) {
	t.Parallel()
	client := tornet.Shared(t).Client(t)
	l, err := tor.Listen(within(t), byControl(client), servicePort)
	require.NoError(t, err)
	defer l.Close()
	assert.True(t, l.Exposure().Hidden())
	open, err := tor.Listen(within(t), byControl(client), servicePort, tor.WithLocalAddress("0.0.0.0:0"))
	require.NoError(t, err)
	defer open.Close()
	assert.Equal(t, handlers.Exposure{}, open.Exposure())
}
