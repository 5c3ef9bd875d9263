package integration

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/handlers/tcp"
	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestAFURLSurvivesTheRestartOfItsTub(t *testing.T) {
	t.Parallel()
	peer := pypeer.Start(t, pypeer.Options{NoListen: true})
	dir := t.TempDir()
	identityFile, furlFile := filepath.Join(dir, "tub.pem"), filepath.Join(dir, "desk.furl")
	addr := "127.0.0.1:0"
	var first furl.FURL
	var ref pypeer.Ref
	for life := range 3 {
		id, err := tub.LoadOrCreateIdentity(identityFile, nil)
		require.NoError(t, err)
		tb := startTub(t, id, tub.Options{})
		l, err := tcp.Listen(t.Context(), addr)
		require.NoError(t, err)
		addr = l.Addr().String()
		_, err = tb.Listen(l)
		require.NoError(t, err)
		f, err := tb.RegisterFile(furlFile, newDesk().object)
		require.NoError(t, err)
		secret(f)
		if life == 0 {
			first = f
		}
		assert.True(t, first.Equal(f))
		text, err := os.ReadFile(furlFile)
		require.NoError(t, err)
		assert.Equal(t, first.Reveal()+"\n", string(text))
		for _, file := range []string{identityFile, furlFile} {
			info, err := os.Stat(file)
			require.NoError(t, err)
			assert.EqualValues(t, 0o600, info.Mode())
		}

		if life > 0 {
			_, err = ref.Call("add", pypeer.Int(1), pypeer.Int(2))
			assert.ErrorContains(t, err, "DeadReference")
		}
		ref = peer.MustGetReference(first.Reveal())
		assert.Equal(t, pypeer.Int(3), ref.MustCall("add", pypeer.Int(1), pypeer.Int(2)))
		if life == 1 {
			require.NoError(t, tb.Shutdown(within(t)))
		} else {
			require.NoError(t, tb.Close())
		}
		peer.WaitConnections(0)
	}

	// On another port it is the same object, and the file says where.
	id, err := tub.LoadOrCreateIdentity(identityFile, nil)
	require.NoError(t, err)
	tb := startTub(t, id, tub.Options{})
	listen(t, tb)
	f, err := tb.RegisterFile(furlFile, newDesk().object)
	require.NoError(t, err)
	assert.True(t, first.Name.Equal(f.Name))
	assert.NotEqual(t, first.Hints, f.Hints)
	assert.Equal(t, pypeer.Int(3), peer.MustGetReference(f.Reveal()).MustCall("add", pypeer.Int(1), pypeer.Int(2)))

	// Another Tub does not get it.
	stranger := startTub(t, identity(t, pypeer.Middling), tub.Options{})
	_, err = stranger.RegisterFile(furlFile, newDesk().object)
	assert.ErrorContains(t, err, string(id.TubID())[:8])
	text, err := os.ReadFile(furlFile)
	require.NoError(t, err)
	assert.Equal(t, f.Reveal()+"\n", string(text))
}
