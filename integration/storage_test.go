package integration

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

// A pythonStore is one of the two ways in which Foolscap stores values.
type pythonStore struct {
	peer  *pypeer.Peer
	alone bool // foolscap.api.serialize, otherwise that of the Tub
}

func (s pythonStore) serialize(t *testing.T, v pypeer.Value) []byte {
	t.Helper()
	var text string
	s.peer.Do("serialize", pypeer.Params{"value": v, "alone": s.alone}, &text)
	data, err := hex.DecodeString(text)
	require.NoError(t, err)
	return data
}

func (s pythonStore) unserialize(t *testing.T, data []byte) (v pypeer.Value) {
	t.Helper()
	s.peer.Do("unserialize", pypeer.Params{"bytes": hex.EncodeToString(data), "alone": s.alone}, &v)
	return v
}

func TestWhatOneSideStoresTheOtherOneReads(t *testing.T) {
	t.Parallel()
	peer := pypeer.Start(t, pypeer.Options{})
	tb := startTub(t, identity(t, pypeer.Middling), tub.Options{})
	for _, s := range []pythonStore{{peer, true}, {peer, false}} {
		for _, v := range append(plainValues(), containers()...) {
			here, there := v.here, v.there
			if !s.alone { // a Tub of Foolscap reads no number or byte string that stands alone
				here, there = banana.NewList(here), pypeer.List(there)
			}
			data, err := tb.Serialize(here)
			require.NoError(t, err, v.name)
			assert.Equal(t, canonical(t, there), canonical(t, s.unserialize(t, data)), "%s: Python has read something else", v.name)

			got, err := tub.Unserialize[any](t.Context(), tb, s.serialize(t, there))
			if assert.NoError(t, err, v.name) {
				assert.Equal(t, canonical(t, there), notationOf(t, got), "%s: Go has read something else", v.name)
			}
		}
	}
}

func TestStoredCopies(t *testing.T) {
	t.Parallel()
	o := options{}
	o.tub.Copies = copies
	m := justGo(t, o)
	copier := m.copier(t)
	for _, made := range []string{"place", "twice", "moment", "nested", "failure"} {
		there := any(banana.NewList(call[any](t, copier, "make", made)))
		read, err := tub.Unserialize[any](t.Context(), m.tub, call[[]byte](t, copier, "store", made))
		require.NoError(t, err, made)
		assert.Equal(t, there, banana.NewList(read), made)

		data, err := m.tub.Serialize(there)
		require.NoError(t, err, made)
		assert.Equal(t, notationOf(t, call[any](t, copier, "describe", there)), notationOf(t, call[any](t, copier, "restore", data)), made)
		read, err = tub.Unserialize[any](t.Context(), m.tub, data)
		require.NoError(t, err, made)
		assert.Equal(t, there, read, made)
	}
	_, err := tub.Unserialize[any](t.Context(), m.tub, call[[]byte](t, copier, "store", "unknown"))
	assert.ErrorContains(t, err, `copyable of the unknown class "example.Unknown"`)

	here := &place{X: 1}
	data, err := m.tub.Serialize([]*place{here, here})
	require.NoError(t, err)
	places, err := tub.Unserialize[[]*place](t.Context(), m.tub, data)
	require.NoError(t, err)
	assert.Same(t, places[0], places[1])
	data, err = m.tub.Serialize([]any{&treeNode{Extra: m.root}})
	require.NoError(t, err)
	nodes, err := tub.Unserialize[[]treeNode](t.Context(), m.tub, data)
	require.NoError(t, err)
	assert.Equal(t, 3, call[int](t, nodes[0].Extra.(*tub.Ref), "add", 1, 2), "a reference within")
}

func TestStoredReferencesLeadToTheirObjects(t *testing.T) {
	t.Parallel()
	peer := pypeer.Start(t, pypeer.Options{})
	python := pythonStore{peer: peer}
	tb := startTub(t, identity(t, pypeer.Middling), tub.Options{})
	listen(t, tb)
	desk := newDesk()
	root := publish(t, peer, "root", pypeer.KindRoot)

	t.Run("written by Go and read by Python", func(t *testing.T) {
		register(t, tb, desk.object)
		data, err := tb.Serialize(banana.NewList(desk.object, banana.Tuple{tb.Ref(root), desk.object}))
		require.NoError(t, err)
		read := python.unserialize(t, data).Members()
		require.Len(t, read, 2)
		within := read[1].Members()
		assert.Equal(t, read[0], within[1], "Python has one reference for one object")
		for _, v := range []pypeer.Value{read[0], within[0]} {
			assert.Equal(t, pypeer.Int(3), peer.Ref(v.Handle()).MustCall("add", pypeer.Int(1), pypeer.Int(2)))
		}
	})
	t.Run("written by Python and read by Go", func(t *testing.T) {
		data := python.serialize(t, pypeer.List(pypeer.Object("root"), peer.MustGetReference(register(t, tb, desk.object).Reveal()).Value()))
		read, err := tub.Unserialize[*banana.List](t.Context(), tb, data)
		require.NoError(t, err)
		assert.Equal(t, 3, call[int](t, read.Items[0].(*tub.Ref), "add", 1, 2))
		assert.Same(t, desk.object, read.Items[1])
	})
	t.Run("kept while the Tub that wrote them starts anew", func(t *testing.T) {
		id := identity(t, pypeer.Middling)
		file := t.TempDir() + "/desk.furl"
		first := startTub(t, id, tub.Options{})
		listen(t, first)
		before := newDesk()
		_, err := first.RegisterFile(file, before.object)
		require.NoError(t, err)
		data, err := first.Serialize(before.object)
		require.NoError(t, err)
		require.NoError(t, first.Close())

		second := startTub(t, id, tub.Options{})
		after := newDesk()
		_, err = second.RegisterFile(file, after.object)
		require.NoError(t, err)
		read, err := tub.Unserialize[any](t.Context(), second, data)
		require.NoError(t, err)
		assert.Same(t, after.object, read)
	})
}
