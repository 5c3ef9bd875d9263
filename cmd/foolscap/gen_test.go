package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const adder = `package adder

import "context"

//foolscap:interface RIAdder.example.org
type Adder interface {
	Add(ctx context.Context, a struct{ A, B int8 }) (int16, error)
}
`

const adderSchema = `interface RIAdder.example.org
  add(a: int(min=-128, max=127), b: int(min=-128, max=127)) -> int(min=-32768, max=32767)
`

// written returns the name of a new file.
func written(t testing.TB, name, text string) string {
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestGenWritesStubsWhenTheyChange(t *testing.T) {
	file := written(t, "adder.go", adder)
	made := strings.TrimSuffix(file, ".go") + "_foolscap.go"
	assert.Equal(t, result{code: exitOK, stdout: made + " written: RIAdder.example.org\n"}, foolscap(t, "gen", file))
	before, err := os.Stat(made)
	require.NoError(t, err)
	assert.Equal(t, result{code: exitOK, stdout: made + " is up to date: RIAdder.example.org\n"}, foolscap(t, "gen", file))
	after, err := os.Stat(made)
	require.NoError(t, err)
	assert.Equal(t, before.ModTime(), after.ModTime())
	text, err := os.ReadFile(made)
	require.NoError(t, err)
	assert.Contains(t, string(text), "func NewAdderClient(ref *tub.Ref) AdderClient {")

	var doc genDocument
	require.NoError(t, json.Unmarshal([]byte(foolscap(t, "gen", "--json", file).stdout), &doc))
	assert.Equal(t, genDocument{Files: []genFile{{made, []string{"RIAdder.example.org"}, false}}}, doc)
}

func TestGenShowsSchemas(t *testing.T) {
	file, kept := written(t, "adder.go", adder), written(t, "b.schema", "interface RIB  raw (...)")
	assert.Equal(t, result{code: exitOK, stdout: adderSchema + "\ninterface RIB\n  raw(...)\n"}, foolscap(t, "gen", "--print", filepath.Dir(file), kept))
	var doc genDocument
	require.NoError(t, json.Unmarshal([]byte(foolscap(t, "gen", "--json", "--print", file).stdout), &doc))
	assert.Equal(t, []genInterface{{"RIAdder.example.org", adderSchema}}, doc.Interfaces)
}

func TestGenChecksVersions(t *testing.T) {
	now := written(t, "adder.go", adder)
	for _, c := range []struct {
		name, before string
		code         exitCode
		says         string
	}{
		{"the same", adderSchema, exitOK, "nothing changes on the wire\n"},
		{"a method more", "interface RIAdder.example.org", exitOK, "allows  RIAdder.example.org: method add is new\n"},
		{"a method less", adderSchema + "  gone() -> any", exitFailure, "BREAKS  RIAdder.example.org: method gone is gone"},
		{"an interface less", adderSchema + "interface RIOther", exitFailure, "BREAKS  RIOther: the interface is gone\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := written(t, "before.schema", c.before)
			r := foolscap(t, "gen", "--check", before, now)
			assert.Equal(t, c.code, r.code)
			assert.Contains(t, r.stdout, c.says)
			assert.Equal(t, c.code == exitFailure, strings.Contains(r.stderr, "1 of 1 changes"), r.stderr)

			j := foolscap(t, "gen", "--json", "--check", before, now)
			assert.Equal(t, c.code, j.code)
			assert.Empty(t, j.stderr)
			var doc genDocument
			require.NoError(t, json.Unmarshal([]byte(j.stdout), &doc))
			require.NotNil(t, doc.Breaks)
			assert.Equal(t, c.code == exitFailure, *doc.Breaks == 1)
			assert.Equal(t, c.code == exitFailure, doc.Error != nil)
		})
	}
}

func TestGenRefusesWhatMakesNoSense(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--check", "a"}, {"--check", "a", "b", "c"}, {"--print"}, {"--print", "--check", "a", "b"}, {"--from-python", "m", "--check", "a", "b"},
		{"--from-python", "m", "file.go"}, {"-o", "x.go", "y.go"}, {"--package", "p", "y.go"},
	} {
		r := foolscap(t, append([]string{"gen"}, args...)...)
		assert.Equal(t, exitUsage, r.code, args)
		assert.Contains(t, r.stderr, "foolscap gen --help")
	}
	broken := written(t, "adder.go", strings.Replace(adder, "int16", "chan int", 1))
	for _, args := range [][]string{{broken}, {"--print", broken}, {"--check", broken, broken}} {
		r := foolscap(t, append([]string{"gen"}, args...)...)
		assert.Equal(t, exitFailure, r.code)
		assert.Contains(t, r.stderr, "adder.go:7: the result of Add: type chan int has no form")
	}
	assert.NoFileExists(t, strings.TrimSuffix(broken, ".go")+"_foolscap.go")
}
