// Package foolscap_test holds the checks that concern the repository as a whole: which package may import which, what
// the module depends on, and that no file carries a trace of the machine it was written on.
package foolscap_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/foolscap-go/foolscap"

// A room says what the non-test files of one package may import besides the standard library.
type room struct {
	own      []string // patterns for our own packages, relative to the module
	outside  []string // modules of others
	mayBeAll bool     // everything: programs and tests are the top of the house
}

// What tub may import, and with it the packages built on tub.
var tubImports = []string{"protocol/*", "handlers", "handlers/tcp"}

// The modules that a user of the whole project links, by the reason they are here. Nothing else becomes a direct
// dependency without a reason in the commit that adds it.
const (
	xnet    = "golang.org/x/net"            // handlers: the SOCKS client
	bine    = "github.com/cretz/bine"       // handlers: tor's control protocol and process
	quicGo  = "github.com/quic-go/quic-go"  // handlers: QUIC
	testify = "github.com/stretchr/testify" // tests
	bzip2   = "github.com/dsnet/compress"   // flog: the compressor that the standard library lacks
)

// The import table. The key is the folder of a package, or a pattern of path.Match; an exact key wins over a pattern,
// and of two patterns the longer one wins.
//
// The layers, from the bottom: the protocol packages know nothing of Tubs; handlers know only FURLs, so that a
// transport can be written without the rest; tub joins them; everything else stands on tub.
var rooms = map[string]room{
	"protocol/furl":      {},
	"protocol/banana":    {},
	"protocol/schema":    {own: []string{"protocol/banana"}},
	"protocol/negotiate": {own: []string{"protocol/furl", "protocol/banana"}},
	"protocol/broker":    {own: []string{"protocol/banana", "protocol/schema", "protocol/furl"}},

	"handlers":                {own: []string{"protocol/furl"}},
	"handlers/internal/reach": {own: []string{"handlers", "protocol/furl"}}, // of transports that connect to addresses themselves
	"handlers/tcp":            {own: []string{"handlers", "handlers/internal/reach", "protocol/furl"}},
	"handlers/*":              {own: []string{"handlers", "handlers/internal/reach", "protocol/furl"}, outside: []string{xnet, bine, quicGo}},
	"handlers/tor":            {own: []string{"handlers", "handlers/socks", "internal/keyfile", "protocol/furl"}, outside: []string{bine}}, // tor speaks SOCKS
	"handlers/handlertest":    {own: []string{"handlers", "protocol/furl", "tub"}, outside: []string{testify, xnet}},

	"tub":              {own: append([]string{"internal/keyfile"}, tubImports...)},
	"internal/keyfile": {}, // keys and FURLs in files
	"flog":             {own: append([]string{"tub"}, tubImports...), outside: []string{bzip2}},
	"appserver":        {own: append([]string{"tub", "internal/keyfile"}, tubImports...)}, // keys and the secrets of services in files

	"examples/*":   {own: []string{"tub", "handlers", "handlers/*"}},
	"examples/*/*": {own: []string{"tub", "handlers", "handlers/*"}},

	"cmd/foolscap":     {mayBeAll: true},
	"cmd/foolscap/*/*": {mayBeAll: true},
	"integration":      {mayBeAll: true},
	"integration/*":    {mayBeAll: true},
	"integration/*/*":  {mayBeAll: true},
}

// These have to stay importable without anything but the standard library: a third party writes a transport against
// them, and the protocol packages are what others may want to take without the rest.
var standardLibraryOnly = []string{"protocol/furl", "handlers"}

var allowedDependencies = []string{xnet, bine, quicGo, testify, bzip2}

func TestEveryPackageImportsOnlyWhatItsRoomAllows(t *testing.T) {
	for _, p := range listPackages(t) {
		if len(p.sources()) == 0 {
			continue // only tests, and those may import what they like
		}
		r, ok := findRoom(p.folder())
		if !ok {
			t.Errorf("%s is not in the import table.\n"+
				"If the package belongs where it is, add it to rooms in layout_test.go with the packages which it may import;\n"+
				"otherwise move it into the folder of the package that it is a part of.", p.folder())
			continue
		}
		for _, imported := range p.imports(t) {
			if !r.allows(imported) {
				t.Errorf("%s imports %s, which the import table does not allow.\n"+
					"Move the code to a layer that may know both, or hand the dependency in through an interface;\n"+
					"if the layers themselves are to change, change rooms in layout_test.go and say why in the commit.",
					p.folder(), imported)
			}
		}
	}
}

func TestContractsNeedOnlyTheStandardLibrary(t *testing.T) {
	for _, p := range listPackages(t) {
		if !slices.Contains(standardLibraryOnly, p.folder()) {
			continue
		}
		for _, dep := range p.Deps {
			own := strings.HasPrefix(dep, module+"/")
			if own && slices.Contains(standardLibraryOnly, strings.TrimPrefix(dep, module+"/")) {
				continue
			}
			assert.True(t, !own && isStandard(dep), "%s depends on %s, but has to do with the standard library alone",
				p.folder(), dep)
		}
	}
}

func TestDirectDependenciesAreTheAgreedOnes(t *testing.T) {
	var mod struct {
		Module  struct{ Path string }
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace []struct{ Old struct{ Path string } }
		Tool    []struct{ Path string }
	}
	require.NoError(t, json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod))

	require.Equal(t, module, mod.Module.Path)
	for _, r := range mod.Require {
		if !r.Indirect {
			assert.Contains(t, allowedDependencies, r.Path,
				"a new direct dependency: do without it, or add it to allowedDependencies with the reason in the commit")
		}
	}
	assert.Empty(t, mod.Replace, "replace lines do not reach the users of a module")
	assert.Empty(t, mod.Tool, "development tools belong into tools/go.mod")
}

// A checkout's own path, or somebody's home directory, means that something was pasted which works on one machine only.
func TestNoFileContainsPathsOfAMachine(t *testing.T) {
	root := moduleRoot(t)
	traces := machinePaths(root)
	files := repositoryFiles(t, root)
	require.Contains(t, files, "layout_test.go", "the list of files looks wrong")
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and the deletion is not committed yet
		}
		require.NoError(t, err)
		for _, found := range traces.FindAll(content, 3) {
			t.Errorf("%s contains the path %q of one machine", name, bytes.TrimSpace(found))
		}
	}
}

func TestMachinePathsAreRecognised(t *testing.T) {
	// ^ stands for a slash, so that this file passes the test wherever it is checked out.
	for _, c := range []struct {
		name, root, text string
		found            bool
	}{
		{"the checkout", "^build/foolscap", `open("^build/foolscap/go.mod")`, true},
		{"a neighbour of the checkout", "^build/foolscap", "see ^build/notes.txt", true},
		{"the same word in a URL", "^build/foolscap", "https://host.example^build/notes", false},
		{"a checkout below a standard folder", "^tmp/clone", "in ^tmp/clone/go.mod", true},
		{"another file below that standard folder", "^tmp/clone", "in ^tmp/other", false},
		{"a program of the system", "^usr/src/foolscap", "^usr/bin/python3", false},
		{"a home directory", "^build/foolscap", "path=^home/alice/key.pem", true},
		{"the home of root", "^build/foolscap", "^root/.cache", true},
		{"an object called root", "^build/foolscap", "pb://tub@tcp:127.0.0.1:9^root", false},
		{"the root of a file system as checkout", "^", "^etc/hosts", false},
		{"a checkout at the top of the file system", "^foolscap", "^foolscap/go.mod", true},
		{"a name that only looks like that checkout", "^foolscap", "^foolscap", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			unescape := strings.NewReplacer("^", "/")
			found := machinePaths(unescape.Replace(c.root)).MatchString(unescape.Replace(c.text))
			assert.Equal(t, c.found, found)
		})
	}
}

func TestTheImportTableFindsTheClosestRoom(t *testing.T) {
	for _, c := range []struct {
		folder, imported string
		allowed          bool
	}{
		{"protocol/furl", "net/netip", true},
		{"protocol/furl", testify + "/assert", false},
		{"protocol/banana", module + "/protocol/furl", false},
		{"protocol/broker", module + "/protocol/negotiate", false},
		{"handlers/socks", module + "/handlers", true},
		{"handlers/socks", xnet + "/proxy", true},
		{"handlers/socks", module + "/tub", false},
		{"handlers/tcp", xnet + "/proxy", false},
		{"handlers/handlertest", module + "/tub", true},
		{"tub", module + "/handlers/tcp", true},
		{"tub", module + "/handlers/tor", false},
		{"tub", module + "/flog", false},
		{"flog", module + "/tub", true},
		{"examples/echo/server", module + "/handlers/tor", true},
		{"examples/echo/server", module + "/protocol/broker", false},
		{"cmd/foolscap", module + "/protocol/banana", true},
	} {
		t.Run(c.folder+" and "+path.Base(c.imported), func(t *testing.T) {
			r, ok := findRoom(c.folder)
			require.True(t, ok)
			assert.Equal(t, c.allowed, r.allows(c.imported))
		})
	}
	_, ok := findRoom("utils")
	assert.False(t, ok)
}

func findRoom(folder string) (room, bool) {
	if r, ok := rooms[folder]; ok {
		return r, true
	}
	best := ""
	for pattern := range rooms {
		if ok, err := path.Match(pattern, folder); ok && err == nil && len(pattern) > len(best) {
			best = pattern
		}
	}
	r, ok := rooms[best]
	return r, ok
}

func (r room) allows(imported string) bool {
	if r.mayBeAll || isStandard(imported) {
		return true
	}
	if own, ok := strings.CutPrefix(imported, module+"/"); ok {
		return slices.ContainsFunc(r.own, func(pattern string) bool {
			ok, err := path.Match(pattern, own)
			return ok && err == nil
		})
	}
	return slices.ContainsFunc(r.outside, func(m string) bool {
		return imported == m || strings.HasPrefix(imported, m+"/")
	})
}

// isStandard goes by the rule that the go command itself uses: the first element of any other path has a dot in it.
func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// A listedPackage is what `go list -json` says of one package.
type listedPackage struct {
	ImportPath, Name, Dir string
	GoFiles, CgoFiles     []string
	IgnoredGoFiles        []string // not for this platform
	Deps                  []string
}

func (p listedPackage) folder() string {
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

// sources are the non-test files for all platforms.
func (p listedPackage) sources() []string {
	files := slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles)
	return slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
}

// imports reads the files itself: the list that the go command gives leaves out those of other platforms.
func (p listedPackage) imports(t *testing.T) []string {
	found := make(map[string]bool)
	for _, name := range p.sources() {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ImportsOnly)
		require.NoError(t, err)
		if file.Name.Name != p.Name {
			continue // a generator beside the package
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			found[imported] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func listPackages(t *testing.T) []listedPackage {
	decoder := json.NewDecoder(bytes.NewReader(goCommand(t, "list", "-json", "./...")))
	var packages []listedPackage
	for {
		var p listedPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
	require.NotEmpty(t, packages)
	return packages
}

func goCommand(t *testing.T, args ...string) []byte {
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = moduleRoot(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	require.NoError(t, err, "%v: %s", cmd, &stderr)
	return output
}

func moduleRoot(t *testing.T) string {
	root, err := os.Getwd() // this file is in the root, and go test runs a test in its folder
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(root, "go.mod"))
	return root
}

// repositoryFiles gives what is committed or would be; without git (an unpacked archive), everything.
func repositoryFiles(t *testing.T, root string) []string {
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	if output, err := cmd.Output(); err == nil && len(output) > 0 {
		return strings.Split(strings.TrimSuffix(string(output), "\x00"), "\x00")
	}
	var files []string
	require.NoError(t, fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, name)
		}
		return err
	}))
	return files
}

// The folders that honest text names: paths in them say nothing about a machine, except that of the checkout itself.
var standardFolders = []string{
	"bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp",
	"usr", "var",
}

// machinePaths matches the path of the checkout, every path below its topmost folder unless that is a standard one, and
// home directories. The character before keeps parts of URLs and of longer paths out.
func machinePaths(root string) *regexp.Regexp {
	alternatives := []string{`/(?:home|Users)/\w`, `/root[/]`}
	root = filepath.ToSlash(root)
	if top, _, _ := strings.Cut(strings.TrimPrefix(root, "/"), "/"); top != "" {
		trace := root
		if !slices.Contains(standardFolders, top) {
			trace = "/" + top
		}
		alternatives = append(alternatives, regexp.QuoteMeta(trace+"/"))
	}
	return regexp.MustCompile(fmt.Sprintf(`(?:^|[^\w./-])(?:%s)`, strings.Join(alternatives, "|")))
}
