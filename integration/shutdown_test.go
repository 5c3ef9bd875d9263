package integration

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/tub"
)

func TestShutdownDeliversWhatIsPromised(t *testing.T) {
	t.Parallel()
	const count = 200
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		_, numbersThere := numbers(count)
		small := m.ref.Begin("block", pypeer.Text("small"))
		bulky := m.ref.Begin("block", pypeer.Text("bulky"))
		m.desk.awaitBlocked(t, "small", 1)
		m.desk.awaitBlocked(t, "bulky", 1)
		outstanding, err := tub.Start[any](within(t), m.root, "block")
		require.NoError(t, err)
		for i := range count {
			require.NoError(t, tub.Send(within(t), m.root, "log", i))
		}
		reason := make(chan error, 1)
		m.root.OnDisconnect(func(err error) { reason <- err })

		done := make(chan error)
		go func() { done <- m.tub.Shutdown(within(t)) }()

		// New calls are refused once it has begun, and those that run go on.
		for {
			_, err := m.ref.Call("add", pypeer.Int(1), pypeer.Int(2))
			if err != nil {
				assert.Contains(t, failedThere(t, err).Text, "shutting down")
				break
			}
		}
		m.desk.release("small", "answered")
		assert.Equal(t, pypeer.Text("answered"), value(t, small))
		select {
		case err := <-done:
			require.FailNow(t, "it has not waited", "%v", err)
		default:
		}
		m.desk.release("bulky", pypeer.PatternBytes(large))

		require.NoError(t, <-done)
		assert.Equal(t, pypeer.Pattern(large), value(t, bulky), "what was queued has arrived")
		assert.Equal(t, numbersThere, m.peer.TakeLogged(m.name))
		assert.ErrorIs(t, <-reason, tub.ErrClosed)
		_, err = outstanding.Wait(within(t))
		assert.ErrorIs(t, err, tub.ErrDeadReference)
		m.peer.WaitConnections(0)

		_, err = m.tub.Connect(within(t), publish(t, m.peer, m.name, pypeer.KindRoot))
		assert.ErrorIs(t, err, tub.ErrTubClosed)
		assert.NoError(t, m.tub.Shutdown(within(t)), "once more does no harm")
	})
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	t.Parallel()
	eachRole(t, options{}, func(t *testing.T, m *meeting) {
		stuck := m.ref.Begin("block", pypeer.Text("stuck"))
		m.desk.awaitBlocked(t, "stuck", 1)
		ctx, cancel := context.WithTimeout(t.Context(), aLittle)
		defer cancel()

		assert.ErrorIs(t, m.tub.Shutdown(ctx), context.DeadlineExceeded)

		assert.Error(t, stuck.Result(nil))
		m.peer.WaitConnections(0)
		<-m.desk.connection().Done()
	})
}

func TestACallThatIsSentJustBeforeTheEndArrives(t *testing.T) {
	t.Parallel()
	peer := pypeer.Start(t, pypeer.Options{})
	root := publish(t, peer, "root", pypeer.KindRoot)
	for i := range 10 {
		tb := startTub(t, identity(t, pypeer.Middling), tub.Options{})
		require.NoError(t, tub.Send(within(t), tb.Ref(root), "log", i))
		require.NoError(t, tb.Shutdown(within(t)))
	}
	peer.WaitState("root", pypeer.State{Logged: 10})
}
