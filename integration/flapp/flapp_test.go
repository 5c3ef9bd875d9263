//go:build linux

package flapp

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Folders of either kind, served by either server, used by either client.
func TestFoldersServersAndClientsGoTogether(t *testing.T) {
	for _, maker := range sides(t) {
		for _, server := range sides(t) {
			t.Run(maker.name+" makes, "+server.name+" serves", func(t *testing.T) {
				port, dir := freePort(t), filepath.Join(t.TempDir(), "server")
				inbox := t.TempDir()
				maker.create(t, dir, port)
				drop := maker.add(t, dir, "upload-file", "--mode=0640", inbox)
				exits := maker.add(t, dir, "run-command", inbox, "sh", "-c", "echo out; echo err >&2; exit 3")
				killed := maker.add(t, dir, "run-command", inbox, "sh", "-c", "kill -TERM $$")
				cat := maker.add(t, dir, "run-command", "--accept-stdin", inbox, "cat")
				server.start(t, dir, port)
				// Either one adds to a server that runs.
				late := server.add(t, dir, "run-command", inbox, "echo", "late")

				for _, client := range sides(t) {
					if client.python != "" && server.python != "" {
						continue // that is not about us
					}
					// Python shows no more of our failures than that there was one.
					says := func(r result, what string) {
						assert.NotZero(t, r.code)
						if client.python == "" {
							assert.Contains(t, r.stderr, what)
						}
					}
					t.Run(client.name+" uses", func(t *testing.T) {
						data := strings.Repeat("some data\n", 200_000)
						file := write(t, data)
						name := filepath.Base(file)
						for range 2 {
							assert.Equal(t, result{stdout: name + ": uploaded\n"}, run(t, "", client.upload(drop, file)...))
							got, err := os.ReadFile(filepath.Join(inbox, name))
							require.NoError(t, err)
							assert.True(t, bytes.Equal([]byte(data), got))
						}
						info, err := os.Stat(filepath.Join(inbox, name))
						require.NoError(t, err)
						assert.Equal(t, os.FileMode(0o640), info.Mode())
						assert.Equal(t, []string{name}, names(t, inbox))

						assert.Equal(t, result{3, "out\n", "err\n"}, run(t, "", client.command(exits)...))
						assert.Equal(t, 127, run(t, "", client.command(killed)...).code)
						if client.python != "" {
							data = data[:50_000] // it loses what its pipe has no room for at once
						}
						r := run(t, data, client.command(cat)...)
						assert.True(t, r == result{stdout: data}, "%d: %s", r.code, r.stderr)
						assert.Equal(t, result{stdout: "late\n"}, run(t, "", client.command(late)...))

						r = run(t, "", client.command(drop)...)
						assert.Equal(t, 255, r.code)
						says(r, "AttributeError")
						says(run(t, "", client.upload(cat, file)...), "AttributeError")
						text, err := os.ReadFile(drop)
						require.NoError(t, err)
						wrong := write(t, string(text[:len(text)-5])+"aaaa\n")
						r = run(t, "", client.command(wrong)...)
						assert.Equal(t, 255, r.code)
						says(r, "KeyError")
						r = run(t, "", client.upload(drop, filepath.Join(t.TempDir(), "missing"))...)
						assert.NotZero(t, r.code)
						assert.Contains(t, strings.ToLower(r.stderr), "no such file")
					})
				}
			})
		}
	}
}

// serving is a server of ours with one service.
func serving(t *testing.T, words ...string) (furlFile string, server *exec.Cmd) {
	t.Helper()
	ours := side{name: "Go"}
	port, dir := freePort(t), filepath.Join(t.TempDir(), "server")
	ours.create(t, dir, port)
	furlFile = ours.add(t, dir, words...)
	return furlFile, ours.start(t, dir, port)
}

func TestAClientThatGoesAwayTakesItsCommandWithIt(t *testing.T) {
	for _, client := range sides(t) {
		t.Run(client.name, func(t *testing.T) {
			folder := t.TempDir()
			furlFile, _ := serving(t, "run-command", folder, "sh", "-c", "sleep 300 & echo $! >pid.new; mv pid.new pid; wait")
			running := launch(t, client.command(furlFile)...)
			pid := 0
			require.Eventually(t, func() bool {
				text, err := os.ReadFile(filepath.Join(folder, "pid"))
				if err == nil {
					pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
				}
				return err == nil
			}, patience, 10*time.Millisecond)
			require.NoError(t, running.Process.Kill())
			require.Eventually(t, func() bool {
				state, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
				return err != nil || strings.Contains(string(state), ") Z ") // nobody may wait for it
			}, patience, 10*time.Millisecond)
		})
	}
}

// halfway is an upload to a server of ours that has begun, of a file "half".
func halfway(t *testing.T, client side) (inbox string, server, uploading *exec.Cmd, rest *os.File) {
	t.Helper()
	inbox = t.TempDir()
	furlFile, server := serving(t, "upload-file", inbox)
	half := filepath.Join(t.TempDir(), "half")
	require.NoError(t, syscall.Mkfifo(half, 0o600))
	uploading = launch(t, client.upload(furlFile, half)...)
	rest, err := os.OpenFile(half, os.O_WRONLY, 0) // waits for the client
	require.NoError(t, err)
	t.Cleanup(func() { rest.Close() })
	// As much as Python reads at a time, and it reads no less.
	_, err = rest.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		all := names(t, inbox)
		return len(all) == 1 && all[0] != "half"
	}, patience, 10*time.Millisecond)
	return inbox, server, uploading, rest
}

func TestHalfAFileIsNotThere(t *testing.T) {
	for _, client := range sides(t) {
		t.Run("when the client of "+client.name+" is killed", func(t *testing.T) {
			inbox, _, uploading, _ := halfway(t, client)
			require.NoError(t, uploading.Process.Kill())
			require.Eventually(t, func() bool { return len(names(t, inbox)) == 0 }, patience, 10*time.Millisecond)
		})
		t.Run("when the server is killed under "+client.name, func(t *testing.T) {
			inbox, server, uploading, rest := halfway(t, client)
			require.NoError(t, server.Process.Kill())
			_ = server.Wait() // it was killed
			rest.Close()
			assert.Error(t, uploading.Wait())
			assert.NotContains(t, names(t, inbox), "half")
		})
	}
}

func TestAFullDiskTakesNothing(t *testing.T) {
	ours := side{name: "Go"}
	for _, client := range sides(t) {
		t.Run(client.name, func(t *testing.T) {
			port, dir, inbox := freePort(t), filepath.Join(t.TempDir(), "server"), t.TempDir()
			ours.create(t, dir, port)
			drop := ours.add(t, dir, "upload-file", inbox)
			look := ours.add(t, dir, "run-command", inbox, "ls", "-A")
			// A disk of one MiB, which the server alone sees.
			unshare := []string{"unshare", "--user", "--map-root-user", "--mount"}
			if output, err := exec.Command(unshare[0], append(unshare[1:], "true")...).CombinedOutput(); err != nil {
				if os.Getenv("FOOLSCAP_INTEGRATION") == "1" {
					t.Fatalf("this test needs unshare (Debian: util-linux) and user namespaces: %v: %s", err, output)
				}
				t.Skipf("this test needs unshare (Debian: util-linux) and user namespaces: %v: %s", err, output)
			}
			started(t, port, append(unshare, "sh", "-c", `mount -t tmpfs -o size=1m none "$1" && exec "$2" app run "$3"`, "sh", inbox, tool, dir)...)
			large := filepath.Join(t.TempDir(), "large")
			require.NoError(t, os.WriteFile(large, make([]byte, 3<<20), 0o600))
			r := run(t, "", client.upload(drop, large)...)
			assert.NotZero(t, r.code)
			if client.python == "" { // which does not show why
				assert.Contains(t, r.stderr, "no space left on device")
			}
			assert.Equal(t, result{}, run(t, "", client.command(look)...), "nothing is left")
			assert.Zero(t, run(t, "", client.upload(drop, write(t, "small"))...).code)
			assert.Equal(t, result{stdout: "file\n"}, run(t, "", client.command(look)...))
		})
	}
}
