package appserver_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/appserver"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/tub"
)

func TestAServerIsMadeAsAWholeAndForItsOwnerOnly(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "server")
	settings := appserver.Settings{Port: "tcp:3116", Location: []furl.Hint{"tcp:a.example.org:1", "tcp:b.example.org:2"}, Umask: 0o027}
	s, err := appserver.Create(dir, nil, settings, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"server"}, names(t, parent))
	got, err := s.Settings()
	require.NoError(t, err)
	assert.Equal(t, settings, got)
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		assert.Zero(t, info.Mode().Perm()&0o077, path)
		return nil
	}))
	prefix, err := os.ReadFile(filepath.Join(dir, "furl_prefix"))
	require.NoError(t, err)
	assert.Equal(t, "pb://"+s.Identity().TubID().String()+"@tcp:a.example.org:1,tcp:b.example.org:2/\n", string(prefix))

	_, err = appserver.Create(dir, nil, settings, nil)
	assert.ErrorIs(t, err, fs.ErrExist)
	again, err := appserver.Open(dir, nil)
	require.NoError(t, err)
	assert.Equal(t, s.Identity().TubID(), again.Identity().TubID())
}

func same(t *testing.T, a, b appserver.Service) {
	t.Helper()
	assert.True(t, a.FURL.Equal(b.FURL))
	a.FURL, b.FURL = tub.FURL{}, tub.FURL{}
	assert.Equal(t, a, b)
}

func TestServicesAreListedAndRemoved(t *testing.T) {
	s, folder := create(t), t.TempDir()
	var made []appserver.Service
	for range 11 {
		service, err := s.Add("upload-file", []string{folder}, "häßlich")
		require.NoError(t, err)
		made = append(made, service)
	}
	list, err := s.List()
	require.NoError(t, err)
	require.Len(t, list, 11)
	for i, service := range list {
		same(t, made[i], service)
	}
	assert.Equal(t, "11", list[10].Name)
	removed, err := s.Remove("2")
	require.NoError(t, err)
	same(t, made[1], removed)
	_, err = s.Remove("2")
	assert.ErrorIs(t, err, appserver.ErrUnknownService)
	list, err = s.List()
	require.NoError(t, err)
	assert.Len(t, list, 10)
	_, err = s.Add("teleport", nil, "")
	assert.ErrorIs(t, err, appserver.ErrUnknownType)
}

func TestAddingAtTheSameTimeLosesNothing(t *testing.T) {
	s, folder := create(t), t.TempDir()
	var adding sync.WaitGroup
	for range 20 {
		adding.Go(func() {
			other, err := appserver.Open(s.Dir(), nil)
			if assert.NoError(t, err) {
				_, err = other.Add("upload-file", []string{folder}, "")
				assert.NoError(t, err)
			}
		})
	}
	adding.Wait()
	list, err := s.List()
	require.NoError(t, err)
	assert.Len(t, list, 20)
}

func TestServicesAreLookedUpWhenTheyAreAskedFor(t *testing.T) {
	s := create(t)
	serve(t, s)
	service := add(t, s, "upload-file", t.TempDir())
	assert.NotEmpty(t, service.FURL.Hints, "the server has written down where it is")
	ref := connect(t, service)
	require.NoError(t, appserver.Upload(t.Context(), ref, "file", strings.NewReader("data")))
	_, err := s.Remove(service.Name)
	require.NoError(t, err)
	_, err = newTub(t, nil).Connect(t.Context(), service.FURL)
	assert.ErrorIs(t, err, tub.RemoteType("builtins.KeyError"))
	assert.ErrorContains(t, appserver.Upload(t.Context(), ref, "file", strings.NewReader("data")), "revoked", "who has it already")
}

func TestProgramsHaveTypesOfTheirOwn(t *testing.T) {
	made := make(chan appserver.Config, 1)
	greeter := appserver.Type{Name: "greeter", New: func(_ context.Context, c appserver.Config) (*tub.Object, error) {
		made <- c
		return tub.NewObject(tub.Method("greet", func(context.Context, tub.None) (string, error) {
			return "hello " + strings.Join(c.Args, " "), nil
		})), nil
	}}
	s := create(t, greeter)
	serve(t, s)
	ref := connect(t, add(t, s, "greeter", "big", "world"))
	text, err := tub.Call[string](t.Context(), ref, "greet")
	require.NoError(t, err)
	assert.Equal(t, "hello big world", text)
	c := <-made
	assert.DirExists(t, c.Dir)
	assert.Equal(t, s.Dir(), c.Base)
	assert.Equal(t, s.Identity().TubID(), c.Tub.TubID())

	// A server that does not know the type says so, to who asks for it.
	other, err := appserver.Open(s.Dir(), nil)
	require.NoError(t, err)
	serve(t, other)
	list, err := other.List()
	require.NoError(t, err)
	_, err = newTub(t, nil).Connect(t.Context(), list[0].FURL)
	assert.ErrorIs(t, err, tub.RemoteType("foolscap.appserver.services.UnknownServiceType"))
}

func TestATubOfAnotherIdentityIsRefused(t *testing.T) {
	_, err := create(t).Serve(newTub(t, nil))
	assert.ErrorContains(t, err, "make the Tub with Identity")
}

func TestWhatIsNoServerIsRefused(t *testing.T) {
	const secret = "swissnumswissnumswissnumswissnum"
	entry := func(dir string) string {
		return `{"version": 1, "services": {"` + secret + `": {"relative_basedir": "` + dir + `", "type": "t", "args": [], "comment": null}}}`
	}
	for name, c := range map[string]struct{ text, says string }{
		"another version":      {`{"version": 2, "services": {}}`, "version 2"},
		"no JSON":              {`{"` + secret, "is not the list"},
		"another form":         {`{"version": 1, "services": {"` + secret + `": 7}}`, "is not the list"},
		"a folder elsewhere":   {entry("../../etc"), "outside"},
		"an absolute folder":   {entry("/etc"), "outside"},
		"a name with a letter": {strings.Replace(entry("services/1"), secret, secret+`\n`, 1), "cannot be in a FURL"},
	} {
		t.Run(name, func(t *testing.T) {
			s := create(t)
			require.NoError(t, os.WriteFile(filepath.Join(s.Dir(), "services.json"), []byte(c.text), 0o600))
			_, err := appserver.Open(s.Dir(), nil)
			assert.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), secret)
		})
	}
	s := create(t)
	require.NoError(t, os.Remove(filepath.Join(s.Dir(), "services.json")))
	_, err := appserver.Open(s.Dir(), nil)
	assert.ErrorContains(t, err, "very old flappserver")
}

func TestSettingsThatCannotBeReadAreErrors(t *testing.T) {
	for file, text := range map[string]string{"location": "tcp:a/b:1", "umask": "lots", "port": strings.Repeat("x", 20_000)} {
		s := create(t)
		require.NoError(t, os.WriteFile(filepath.Join(s.Dir(), file), []byte(text), 0o600))
		_, err := s.Settings()
		assert.ErrorContains(t, err, file)
	}
}

func TestFilesThatOthersCanReadBecomePrivate(t *testing.T) {
	s := create(t)
	for _, name := range []string{"services.json", "tub.pem"} {
		require.NoError(t, os.Chmod(filepath.Join(s.Dir(), name), 0o644))
	}
	_, err := appserver.Open(s.Dir(), nil)
	require.NoError(t, err)
	for _, name := range []string{"services.json", "tub.pem"} {
		info, err := os.Stat(filepath.Join(s.Dir(), name))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), info.Mode(), name)
	}
}

func TestPythonFindsWhatItExpectsInTheList(t *testing.T) {
	s, folder := create(t), t.TempDir()
	_, err := s.Add("run-command", []string{folder, "ls"}, "")
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join(s.Dir(), "services.json"))
	require.NoError(t, err)
	var doc struct {
		Version  int
		Services map[string]map[string]any
	}
	require.NoError(t, json.Unmarshal(text, &doc))
	assert.Equal(t, 1, doc.Version)
	for _, service := range doc.Services {
		assert.Equal(t, map[string]any{"relative_basedir": "services/1", "type": "run-command", "args": []any{folder, "ls"}, "comment": nil}, service)
	}
}
