package foolscap_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io"
	"maps"
	"os"
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

// These tests show that whatever reaches the network, or could, is in the handlers, and that a Tub gets to them in one
// place, after one gate. What a hidden Tub promises stands on that.
//
// They go by names: a method of a type of package net can only be called by somebody who can name the type, or get it from
// somebody who does. Therefore what may be named is listed rather than what may not; a package that is in no list, and can
// reach out, may not be imported.

// harmless are the packages that can reach out, and what may be named of them outside of the handlers.
var harmless = map[string][]string{
	"net": {
		"Addr", "AddrError", "Conn", "DNSError", "ErrClosed", "Error", "InterfaceAddrs", "JoinHostPort", "OpError", "Pipe",
		"SplitHostPort", "TCPAddr", "TCPConn", "UnixConn",
	},
	// TLS over a connection that is there already.
	"crypto/tls": {
		"Certificate", "CertificateRequestInfo", "Client", "Config", "Conn", "ConnectionState", "RecordHeaderError",
		"RequireAnyClientCert", "Server", "VersionTLS10", "VersionTLS12", "VersionTLS13",
	},
	// Nothing that verifies: some systems ask a server whether a certificate is revoked.
	"crypto/x509": {
		"Certificate", "CreateCertificate", "MarshalPKCS8PrivateKey", "ParseCertificate", "ParseECPrivateKey",
		"ParsePKCS1PrivateKey", "ParsePKCS8PrivateKey",
	},
	"os/exec": {"Error"},
	"syscall": {"Conn", "EAGAIN", "EINTR", "RawConn", "Read", "SIGTERM", "Stat_t", "Write"},
}

// reaching are packages by which one can reach out though they do not depend on package net: by a program that they start,
// or a daemon that they ask.
var reaching = []string{"net", "os/exec", "os/user", "plugin", "syscall", "C"}

// harmful are names in packages that are harmless otherwise.
var harmful = map[string][]string{
	"os":                 {"StartProcess"},
	module + "/handlers": {"Dial"},
}

// What tub may name of the handlers that it imports.
var tubHandlers = map[string][]string{module + "/handlers/tcp": {"New"}}

// What it takes to start a proxy and wait until it is there.
var startsProxies = []string{"exec.Command", "exec.LookPath", "net.Listen", "net.Dial", "net.Dialer", "new(net.Dialer).DialContext"}

// exceptions are the files outside of the handlers in which something else may be named. Those of the second part have
// nothing to do with Tubs: a demonstration starts the proxy that it shows, and waits until that is there; the generator
// asks the go command and Python.
var exceptions = map[string][]string{
	"handlers/dial.go":   {"h.Dial"},        // what handlers.Dial is about
	"handlers/dialer.go": {"d.DialContext"}, // likewise
	"tub/dial.go":        {"handlers.Dial"}, // see TestATubDialsInOnePlaceBehindOneGate

	// Reads and writes what is connected already.
	"protocol/broker/instant.go": {"syscall.RawSyscall", "syscall.SYS_READ", "syscall.SYS_WRITE"},

	// Files only.
	"flog/bzip2.go":     {"github.com/dsnet/compress/bzip2"},
	"flog/writer.go":    {"github.com/dsnet/compress/bzip2"},
	"flog/lock_unix.go": {"syscall.Flock", "syscall.LOCK_EX", "syscall.LOCK_NB"},
	// Runs what its operator has chosen.
	"appserver/command.go":       {"exec.Command", "exec.Cmd"},
	"appserver/process_unix.go":  {"exec.Cmd", "syscall.SysProcAttr", "syscall.Signal", "syscall.Kill", "syscall.SIGKILL", "syscall.WaitStatus"},
	"appserver/process_other.go": {"exec.Cmd"},
	"appserver/lock_unix.go":     {"syscall.Flock", "syscall.LOCK_EX"},
	"cmd/foolscap/umask_unix.go": {"syscall.Umask"},

	"cmd/foolscap/demotransports.go":       startsProxies,
	"cmd/foolscap/internal/gen/package.go": {"exec.Command"},
	"cmd/foolscap/internal/gen/python.go":  {"exec.CommandContext", "exec.ExitError"},
	"examples/onion/main.go":               startsProxies,
	"examples/socks/main.go":               startsProxies,
}

// reachingMethods are names of methods that dial or look up, whatever they are methods of. (A DialTimeout is a time.)
var reachingMethods = regexp.MustCompile(
	`^(Dial(Context|Hint|TLS|TLSContext|Addr|Early|AddrEarly|TCP|UDP|IP|Unix)?|Lookup(Addr|CNAME|Host|IP|IPAddr|MX|NetIP|NS|Port|SRV|TXT))$`)

func TestOnlyHandlersReachOut(t *testing.T) {
	sources := productSources(t)
	for _, name := range []string{"tub/tub.go", "internal/keyfile/posix.go", "protocol/broker/stream_unix.go", "handlers/dial.go", "cmd/foolscap/main.go"} {
		require.True(t, slices.ContainsFunc(sources, func(s source) bool { return s.name == name }), "%s is not looked at", name)
	}
	for _, found := range reachesOut(t, sources) {
		t.Errorf("%s, which can reach the network past the gate of the Tub.\n"+
			"What reaches out belongs into a handler. If this cannot, add it to harmless in gate_test.go.", found)
	}
	for _, folder := range []string{"tub", "protocol", "handlers"} {
		require.NoError(t, filepath.WalkDir(folder, func(name string, _ os.DirEntry, err error) error {
			if strings.HasSuffix(name, ".s") || strings.HasSuffix(name, ".c") {
				t.Errorf("%s cannot be checked", name)
			}
			return err
		}))
	}
}

func TestWhatReachesOutIsFound(t *testing.T) {
	for _, c := range []struct {
		name, folder, text string
		found              string // "" if it may stay
	}{
		{"a dial", "tub", `import "net"; var _, _ = net.Dial("tcp", "")`, "net.Dial"},
		{"a dial under another name", "tub", `import quiet "net"; var d = quiet.DialTCP`, "net.DialTCP"},
		{"a dial without a name", "tub", `import . "net"; var _, _ = Dial("tcp", "")`, "imports net with a dot"},
		{"an import for its effects", "tub", `import _ "net/http/pprof"`, "net/http/pprof"},
		{"a dialer", "tub", `import "net"; var d net.Dialer`, "net.Dialer"},
		{"a listener", "protocol/broker", `import "net"; func f() { net.Listen("tcp", ":0") }`, "net.Listen"},
		{"a packet socket", "tub", `import "net"; var f = net.ListenPacket`, "net.ListenPacket"},
		{"a listen config", "tub", `import "net"; var c = &net.ListenConfig{}`, "net.ListenConfig"},
		{"a look-up", "protocol/furl", `import "net"; var f = net.LookupHost`, "net.LookupHost"},
		{"an address with a name in it", "protocol/furl", `import "net"; var f = net.ResolveTCPAddr`, "net.ResolveTCPAddr"},
		{"the resolver of the system", "tub", `import "net"; var r = net.DefaultResolver`, "net.DefaultResolver"},
		{"a connection from a descriptor", "tub", `import "net"; var f = net.FileConn`, "net.FileConn"},
		{"a dial of TLS", "protocol/negotiate", `import "crypto/tls"; var f = tls.Dial`, "crypto/tls.Dial"},
		{"a dialer of TLS", "protocol/negotiate", `import "crypto/tls"; type d struct { tls.Dialer }`, "crypto/tls.Dialer"},
		{"the roots of the system", "tub", `import "crypto/x509"; var f = x509.SystemCertPool`, "crypto/x509.SystemCertPool"},
		{"an HTTP client", "tub", `import "net/http"; var c http.Client`, "imports net/http"},
		{"the log of the system", "flog", `import "log/syslog"; var f = syslog.New`, "imports log/syslog"},
		{"a program", "tub", `import "os/exec"; var f = exec.Command`, "os/exec.Command"},
		{"a process", "tub", `import "os"; var f = os.StartProcess`, "os.StartProcess"},
		{"a socket", "protocol/broker", `import "syscall"; var f = syscall.Connect`, "syscall.Connect"},
		{"a system call", "protocol/broker", `import "syscall"; var f = syscall.RawSyscall`, "syscall.RawSyscall"},
		{"C", "tub", `import "C"`, "imports C"},
		{"QUIC", "tub", `import "github.com/quic-go/quic-go"; var f = quic.DialAddr`, "imports github.com/quic-go/quic-go"},
		{"another network library", "cmd/foolscap", `import "golang.org/x/net/proxy"; var f = proxy.Dial`, "imports golang.org/x/net/proxy"},
		{"a name of another package", "tub", "import _ \"unsafe\"\n\n//go:linkname dial net.Dial\nfunc dial()", "go:linkname"},
		{"a second dial of handlers", "tub", `import "` + module + `/handlers"; var f = handlers.Dial`, "handlers.Dial"},
		{"a handler that is called directly", "tub", `import "` + module + `/handlers"; func f(h handlers.Handler) { h.Dial(nil, handlers.DialRequest{}) }`, "h.Dial"},
		{"a dialer of somebody else", "tub", `func f(d interface{ DialContext(int) }) { d.DialContext(1) }`, "d.DialContext"},
		{"a resolver of somebody else", "protocol/furl", `func f(r interface{ LookupNetIP() }) { r.LookupNetIP() }`, "r.LookupNetIP"},
		{"a listener of a handler in a Tub", "tub", `import "` + module + `/handlers/tcp"; var f = tcp.Listen`, "handlers/tcp.Listen"},
		{"a dial in the tool", "cmd/foolscap", `import "net"; var f = net.Dial`, "net.Dial"},
		{"a dial in an example", "examples/new", `import "net"; var f = net.Dial`, "net.Dial"},

		{"a connection", "tub", `import "net"; func f(c net.Conn) { c.Write(nil) }`, ""},
		{"a variable of that name", "tub", `func f(net interface{ Dial() int }) { _ = net }`, ""},
		{"a time", "tub", `func f(h interface{ DialTimeout() int }) { h.DialTimeout() }`, ""},
		{"a listener of a handler in an example", "examples/new", `import "` + module + `/handlers/tcp"; var f = tcp.Listen`, ""},
		{"a dial in a handler", "handlers/new", `import "net"; var f = net.Dial`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := reachesOut(t, []source{{c.folder, c.folder + "/bad.go", "package bad\n" + c.text}})
			if c.found == "" {
				assert.Empty(t, found)
				return
			}
			require.NotEmpty(t, found)
			assert.Contains(t, found[0], c.found)
		})
	}
}

func TestATubDialsInOnePlaceBehindOneGate(t *testing.T) {
	files := make(map[string]string)
	for _, s := range productSources(t) {
		if s.folder == "tub" {
			files[s.name] = s.text
		}
	}
	require.NoError(t, oneGate(t, files))

	// Where something is wrong, the checker says so.
	for name, breakage := range map[string]struct{ file, old, new string }{
		"the gate is not asked":                   {"tub/dial.go", "h, err := t.handler(s.Hint)", "h, err := handlers.Handler(nil), error(nil)"},
		"what the gate says is not heeded":        {"tub/dial.go", "h, err := t.handler(s.Hint)\n\tif err != nil {", "h, err := t.handler(s.Hint)\n\tif err == nil {"},
		"another handler dials":                   {"tub/dial.go", "handlers.Dial(a.ctx, h,", "handlers.Dial(a.ctx, other,"},
		"another hint is dialled":                 {"tub/dial.go", "Hint:      s.Hint,", "Hint:      a.hints[0].Hint,"},
		"the handler is replaced":                 {"tub/dial.go", "stream, err := handlers.Dial(", "if lucky {\n\t\th = other\n\t}\n\tstream, err := handlers.Dial("},
		"there is a second dial":                  {"tub/tub.go", "// TubID returns", "var second = handlers.Dial\n\n// TubID returns"},
		"a handler is taken past the gate":        {"tub/tub.go", "// TubID returns", "func (t *Tub) past() any { return t.handlers[\"tcp\"] }\n\n// TubID returns"},
		"the handlers are registered past Handle": {"tub/dial.go", "// current returns", "func (t *Tub) open() { t.handlers[\"tcp\"] = nil }\n\n// current returns"},
	} {
		t.Run(name, func(t *testing.T) {
			broken := maps.Clone(files)
			require.Contains(t, broken[breakage.file], breakage.old, "the code has changed, and this test has to follow")
			broken[breakage.file] = strings.Replace(broken[breakage.file], breakage.old, breakage.new, 1)
			assert.Error(t, oneGate(t, broken))
		})
	}
}

// A source is a Go file.
type source struct{ folder, name, text string }

// productSources are the non-test files of this module, for all platforms; programs of the integration tests are none.
func productSources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, p := range listPackages(t) {
		if p.folder() == "integration" || strings.HasPrefix(p.folder(), "integration/") {
			continue
		}
		for _, name := range p.sources() {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			require.NoError(t, err)
			all = append(all, source{p.folder(), path.Join(p.folder(), name), string(text)})
		}
	}
	return all
}

// reachesOut says where files name what can reach out and may not.
func reachesOut(t *testing.T, sources []source) (found []string) {
	t.Helper()
	files := token.NewFileSet()
	parsed := make(map[string]*ast.File)
	imported := make(map[string]bool)
	for _, s := range sources {
		file, err := parser.ParseFile(files, s.name, s.text, parser.ParseComments)
		require.NoError(t, err)
		parsed[s.name] = file
		for _, spec := range file.Imports {
			imported[importPath(spec)] = true
		}
	}
	dangerous := dependOnNet(t, imported)
	for _, s := range sources {
		if strings.HasPrefix(s.folder, "handlers/") {
			continue
		}
		c := checker{files: files, source: s, dangerous: dangerous}
		c.check(parsed[s.name])
		found = append(found, c.found...)
	}
	return found
}

func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic(err) // the parser has let it pass
	}
	return p
}

// dependOnNet returns those packages of the standard library that can reach out.
func dependOnNet(t *testing.T, imported map[string]bool) map[string]bool {
	t.Helper()
	can := make(map[string]bool)
	for _, p := range reaching {
		can[p] = true
	}
	ask := []string{"list", "-json=ImportPath,Deps"}
	for _, p := range slices.Sorted(maps.Keys(imported)) {
		if isStandard(p) && p != "C" {
			ask = append(ask, p)
		}
	}
	if len(ask) == 2 {
		return can
	}
	decoder := json.NewDecoder(bytes.NewReader(goCommand(t, ask...)))
	for {
		var p listedPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return can
		} else {
			require.NoError(t, err)
		}
		if slices.Contains(p.Deps, "net") {
			can[p.ImportPath] = true
		}
	}
}

// A checker looks at one file.
type checker struct {
	files     *token.FileSet
	source    source
	dangerous map[string]bool
	found     []string
}

// objects says that a name may not be there, unless there is an exception for what the code calls it.
func (c *checker) object(at token.Pos, called, format string, args ...any) {
	if !slices.Contains(exceptions[c.source.name], called) {
		c.found = append(c.found, fmt.Sprintf("%v: it %s", c.files.Position(at), fmt.Sprintf(format, args...)))
	}
}

func (c *checker) check(file *ast.File) {
	names := make(map[string]string) // of packages
	for _, spec := range file.Imports {
		p := importPath(spec)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		_, listed := harmless[p]
		own := p == module || strings.HasPrefix(p, module+"/")
		switch {
		case !own && !isStandard(p), c.dangerous[p] && !listed:
			c.object(spec.Pos(), p, "imports %s", p)
			continue
		case name == "." && (listed || own || harmful[p] != nil):
			c.object(spec.Pos(), p, "imports %s with a dot", p)
		}
		names[name] = p
	}
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if strings.HasPrefix(comment.Text, "//go:linkname ") {
				c.object(comment.Pos(), "", "has a %s", comment.Text)
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		called, name := c.text(selector), selector.Sel.Name
		// A name that the parser finds in the file is not that of a package.
		x, plain := selector.X.(*ast.Ident)
		if plain && x.Obj == nil && names[x.Name] != "" {
			if p := names[x.Name]; !c.mayName(p, name) {
				c.object(selector.Pos(), called, "names %s.%s", p, name)
			}
		} else if reachingMethods.MatchString(name) {
			c.object(selector.Pos(), called, "uses %s", called)
		}
		return true
	})
}

func (c *checker) mayName(p, name string) bool {
	if allowed, ok := harmless[p]; ok {
		return slices.Contains(allowed, name)
	}
	if c.source.folder == "tub" && strings.HasPrefix(p, module+"/handlers/") {
		return slices.Contains(tubHandlers[p], name)
	}
	return !slices.Contains(harmful[p], name)
}

func (c *checker) text(n ast.Node) string { return nodeText(c.files, n) }

func nodeText(files *token.FileSet, n any) string {
	var text strings.Builder
	if err := printer.Fprint(&text, files, n); err != nil {
		panic(err)
	}
	return text.String()
}

// oneGate makes sure that the files of package tub reach for handlers.Dial once, in attempt.dial, for the handler which
// Tub.handler gives for the very hint, and that nobody else gets at the handlers of a Tub. What the gate itself says is
// shown by tests of the package.
func oneGate(t *testing.T, texts map[string]string) error {
	t.Helper()
	// These register and remove handlers, after asking whether they may be there; New has only one that a hidden Tub
	// leaves out.
	keepers := []string{"New", "Tub.Handle", "Tub.RemoveHandler", "Tub.uses", "Tub.handler", "Tub.Shutdown"}
	files := token.NewFileSet()
	dials := 0
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		file, err := parser.ParseFile(files, name, texts[name], 0)
		require.NoError(t, err)
		for _, declaration := range file.Decls {
			function, _ := declaration.(*ast.FuncDecl)
			ast.Inspect(declaration, func(n ast.Node) bool {
				selector, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, plain := selector.X.(*ast.Ident)
				switch isPackage := plain && x.Obj == nil; {
				case isPackage && x.Name == "handlers" && selector.Sel.Name == "Dial":
					dials++
					if function == nil || functionName(function) != "attempt.dial" {
						errs = append(errs, fmt.Errorf("%v: there is a dial elsewhere", files.Position(n.Pos())))
					} else if err := behindTheGate(files, function.Body); err != nil {
						errs = append(errs, fmt.Errorf("%v: %w", files.Position(function.Pos()), err))
					}
				case !isPackage && selector.Sel.Name == "handlers" && (function == nil || !slices.Contains(keepers, functionName(function))):
					errs = append(errs, fmt.Errorf("%v: the handlers are got at past the gate", files.Position(n.Pos())))
				}
				return true
			})
		}
	}
	if dials != 1 {
		errs = append(errs, fmt.Errorf("there are %d dials", dials))
	}
	return errors.Join(errs...)
}

func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	receiver := f.Recv.List[0].Type
	if pointer, ok := receiver.(*ast.StarExpr); ok {
		receiver = pointer.X
	}
	if named, ok := receiver.(*ast.Ident); ok {
		return named.Name + "." + f.Name.Name
	}
	return f.Name.Name
}

// behindTheGate makes sure that a function asks the gate for a hint, heeds what it says, and dials that hint by the handler
// that it was given.
func behindTheGate(files *token.FileSet, body *ast.BlockStmt) error {
	text := func(n any) string { return nodeText(files, n) }
	handler, hint := "", ""
	for i, statement := range body.List {
		assignment, ok := statement.(*ast.AssignStmt)
		if !ok || len(assignment.Rhs) != 1 {
			continue
		}
		call, ok := assignment.Rhs[0].(*ast.CallExpr)
		if !ok {
			continue
		}
		switch called := text(call.Fun); {
		case called == "t.handler":
			if handler != "" || len(assignment.Lhs) != 2 || len(call.Args) != 1 {
				return errors.New("the gate is asked in an unusual way")
			}
			handler, hint = text(assignment.Lhs[0]), text(call.Args[0])
			if next := strings.Join(strings.Fields(text(body.List[i+1])), " "); next != "if err != nil { return err }" {
				return errors.New("what the gate says is not heeded at once")
			}
		case called == "handlers.Dial":
			if handler == "" || len(call.Args) != 3 || text(call.Args[1]) != handler {
				return errors.New("the handler that dials is not the one that the gate has given")
			}
			request, ok := call.Args[2].(*ast.CompositeLit)
			if !ok || !slices.ContainsFunc(request.Elts, func(e ast.Expr) bool {
				pair, ok := e.(*ast.KeyValueExpr)
				return ok && text(pair.Key) == "Hint" && text(pair.Value) == hint
			}) {
				return errors.New("the hint that is dialled is not the one that the gate was asked about")
			}
			assignments := 0
			ast.Inspect(body, func(n ast.Node) bool {
				if a, ok := n.(*ast.AssignStmt); ok && slices.ContainsFunc(a.Lhs, func(e ast.Expr) bool { return text(e) == handler }) {
					assignments++
				}
				return true
			})
			if assignments != 1 {
				return errors.New("the handler that the gate has given is replaced")
			}
			return nil
		}
	}
	return errors.New("the dial is not a statement of its own")
}
