package gen

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/cmd/foolscap/internal/gen/testdata/every"
	"github.com/foolscap-go/foolscap/cmd/foolscap/internal/gen/testdata/extends"
	"github.com/foolscap-go/foolscap/cmd/foolscap/internal/gen/testdata/shapes"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

func content(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}

func TestTheSameDeclarationsGiveTheSameStubs(t *testing.T) {
	for _, file := range []string{"testdata/every/every.go", "testdata/logs/logs.go", "testdata/common/common.go", "testdata/shapes/shapes.go", "testdata/extends/extends.go", "testdata/names/names.go",
		"../../../../examples/typed/guestbook.go", "../../../../integration/internal/remote/remote.go"} {
		for range 2 {
			o, err := Stubs(file)
			require.NoError(t, err)
			assert.Equal(t, strings.TrimSuffix(file, ".go")+suffix, o.File)
			assert.Equal(t, content(t, o.File), string(o.Source), "it is out of date: run foolscap gen %s", file)
		}
	}
}

func TestGeneratedCodeIsCleanForVet(t *testing.T) {
	output, err := exec.CommandContext(t.Context(), "go", "vet", "./testdata/every", "./testdata/logs", "./testdata/common", "./testdata/shapes", "./testdata/extends", "./testdata/names").CombinedOutput()
	assert.NoError(t, err, "%s", output)
}

// What the generator reads from the source is what the program finds by
// reflection.
func TestASchemaIsTheSameInTheSourceAndInTheProgram(t *testing.T) {
	for dir, running := range map[string][]*schema.Interface{
		"testdata/every":  {every.ListenerInterface, every.BaseInterface, every.EveryInterface},
		"testdata/shapes": {shapes.ShapesInterface, shapes.NestedInterface},
	} {
		s, err := Read(t.Context(), "", dir)
		require.NoError(t, err)
		assert.Equal(t, s.Text(), (&Schemas{Interfaces: running}).Text())
	}
}

// fromJSON is a module as extract.py has described it.
func fromJSON(t testing.TB, text string) *pyModule {
	m := new(pyModule)
	require.NoError(t, json.Unmarshal([]byte(text), m))
	return m
}

// pythonModules are those that testdata has as extract.py describes them and as
// Go source, with what is not the same there. Those of Foolscap itself are
// foolscap.logging.interfaces and foolscap.test.common. That both come of the
// Python source, integration/gen_test.go makes sure.
var pythonModules = map[string][]string{
	"logs": nil,
	"common": {
		"RIDummy has no methods: references to it are *tub.Ref",
		"RITypes.takes_interface, argument a: no value that is sent satisfies IFoo, an interface of Python objects",
		"RITypes.returns_interface: no value that is sent satisfies IFoo, an interface of Python objects",
	},
	"every": {
		"RIEvery.optional, argument items: its default, [], is left out",
		"RIEvery.optional, argument last: its default, (1, 2), is left out",
		"RIEvery.local, argument what: no value that is sent satisfies ILocal, an interface of Python objects",
		"RIEvery.ignores: it takes arguments that are not declared, so it takes any",
		"RIEvery.accepts: it takes arguments that are not declared, so it takes any",
	},
	"extends": {
		"RIRedefined extends RIRoot, which its Go interface does not: that is not of the module, has no methods, or other ones",
		"RIForeign extends RISubscription.foolscap.lothar.com, which its Go interface does not: that is not of the module, has no methods, or other ones",
		"RITwice extends RISame, which its Go interface does not: that is not of the module, has no methods, or other ones",
	},
}

func TestAPythonModuleBecomesGoSource(t *testing.T) {
	for name, notes := range pythonModules {
		o, err := fromJSON(t, content(t, "testdata/"+name+".json")).translate(name)
		require.NoError(t, err)
		assert.Equal(t, content(t, "testdata/"+name+"/"+name+".go"), string(o.Source))
		assert.ElementsMatch(t, notes, o.Notes)
	}
}

func TestAPythonModuleAndItsGoSourceMeanTheSame(t *testing.T) {
	for name := range pythonModules {
		python, _, err := fromJSON(t, content(t, "testdata/"+name+".json")).interfaces()
		require.NoError(t, err)
		here, err := Read(t.Context(), "", "testdata/"+name)
		require.NoError(t, err)
		compared := 0
		for _, i := range python {
			if len(i.Methods) == 0 {
				continue
			}
			now := here.find(i.Name)
			require.NotNil(t, now, i.Name)
			require.Len(t, now.Methods, len(i.Methods))
			for k, m := range i.Methods {
				want := m.String()
				if m.Unknown != schema.RefuseUnknown { // as its note says
					want = m.Name + "(...)"
				}
				assert.Equal(t, want, now.Methods[k].String())
				compared++
			}
		}
		assert.Greater(t, compared, 10)
	}
	kept, err := Read(t.Context(), "", "testdata/every/every.schema")
	require.NoError(t, err)
	now, err := Read(t.Context(), "", "testdata/every/every.go")
	require.NoError(t, err)
	assert.Equal(t, kept.Text(), now.Text())
	assert.Equal(t, content(t, "testdata/every/every.schema"), now.Text())
}

func TestWhatPythonAllowsAndWeCannotSay(t *testing.T) {
	const module = `{"module": "a.b-c", "interfaces": [{"class": "RIRef", "name": "RIRef", "methods": [{"name": "%s", "arguments": [
		{"name": "a", "constraint": %s}], "result": {"kind": "none"}%s}]}, {"class": "RIEmpty", "name": "RIEmpty"}]}`
	for _, c := range []struct{ name, method, constraint, more, source, note string }{
		{"a pattern that is not Go's", "m", `{"kind": "text", "text": "(?=a)b"}`, "", "A string\n", "its pattern is left out"},
		{"a default that is none", "m", `{"kind": "optional", "of": [{"kind": "bool"}], "default": {"kind": "int", "text": "1"}}`, "",
			"A *bool `foolscap:\",optional\" schema:\"bool\"`\n", "its default does not satisfy"},
		{"an optional item", "m", `{"kind": "list", "of": [{"kind": "optional", "of": [{"kind": "bool"}]}]}`, "", "A []any\n", "Optional says nothing"},
		{"a constraint of its own", "m", `{"kind": "unknown", "text": "Mine is not Foolscap's"}`, "", "A any\n", "argument a: Mine is not Foolscap's"},
		{"an interface without methods", "m", `{"kind": "interface", "text": "RIEmpty"}`, "",
			"A *tub.Ref `schema:\"interface(\\\"RIEmpty\\\")\"`\n", "RIEmpty has no methods"},
		{"a name that the client has", "ref", `{"kind": "any"}`, "", "//foolscap:method ref\n\tRef2(", "RIEmpty"},
		{"a name that is not exported in Go", "_1", `{"kind": "any"}`, "", "//foolscap:method _1\n\tX1(", "RIEmpty"},
		{"a long integer as default", "m", `{"kind": "optional", "of": [{"kind": "int", "bytes": null}], "default": {"kind": "int", "text": "100000000000000000000"}}`, "",
			"A *int64 `foolscap:\",optional\" schema:\"int(bytes=none)\" default:\"100000000000000000000\"`", "RIEmpty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := fromJSON(t, fmt.Sprintf(module, c.method, c.constraint, c.more)).translate("")
			require.NoError(t, err)
			assert.Contains(t, string(o.Source), "package bc\n")
			assert.Contains(t, string(o.Source), c.source)
			assert.Contains(t, strings.Join(o.Notes, "; "), c.note)
		})
	}
	_, err := fromJSON(t, fmt.Sprintf(module, "m", `{"kind": "any"}`, `, "problem": "it is odd"`)).translate("")
	assert.EqualError(t, err, "RIRef.m: it is odd")
	_, err = fromJSON(t, `{"module": "m"}`).translate("no name")
	assert.ErrorContains(t, err, "cannot be the name of a package")
}

// What a Python module says, which may be any text, must not become source.
func TestTextsOfPythonStayInTheirComments(t *testing.T) {
	const module = `{"module": "m\nvar a = 1", "interfaces": [{"class": "RIRef", "name": %q, "methods": [{"name": %q, "arguments": [
		{"name": "a", "constraint": {"kind": "text", "text": "(a\nvar b = 1"}},
		{"name": "b", "constraint": {"kind": "unknown", "text": "odd\r\u2028\nvar c = 1"}}]}]}]}`
	o, err := fromJSON(t, fmt.Sprintf(module, "RIRef", "m")).translate("x")
	require.NoError(t, err)
	for line := range strings.Lines(string(o.Source)) {
		assert.False(t, strings.HasPrefix(line, "var "), line)
	}
	assert.Contains(t, string(o.Source), "odd var c = 1.\n")
	_, err = fromJSON(t, fmt.Sprintf(module, "RI\ntype T int", "m")).translate("x")
	assert.ErrorContains(t, err, "cannot be the name of an interface")
	_, err = fromJSON(t, fmt.Sprintf(module, "RIRef", "größe")).translate("x")
	assert.ErrorContains(t, err, "cannot be the name of a method")
	_, err = fromJSON(t, `{"module": "m", "interfaces": [{"class": "A\nB", "name": "RI", "methods": [{"name": "m"}]}]}`).translate("x")
	assert.ErrorContains(t, err, "cannot be the name of a type")
}

func TestWhatExtendsInPythonEmbedsInGo(t *testing.T) {
	s, err := Read(t.Context(), "", "testdata/extends")
	require.NoError(t, err)
	for name, want := range map[string][]string{
		"RIRoot": nil, "RILeft": {"RIRoot"}, "RIDiamond": {"RILeft", "RIRight", "RIRoot"}, "RIRedefined": nil, "RIForeign": nil, "RITwice": {"RIRoot"},
	} {
		assert.Equal(t, want, s.find(name).Extends, name)
	}
	diamond := s.find("RIDiamond").String()
	assert.Equal(t, `interface RIDiamond extends RILeft, RIRight, RIRoot
  leftHand() -> bool
  left_hand() -> bool
  right() -> bool
  text(a: int) -> text
`, diamond)
	again, err := schema.ParseInterface(diamond)
	require.NoError(t, err)
	assert.Equal(t, diamond, again.String())
	assert.Equal(t, diamond, extends.DiamondInterface.String())
}

func TestErrorsNameTheirPlace(t *testing.T) {
	const usual = "//foolscap:interface RIFoo\ntype Foo interface {\n%s\n}\n"
	method := func(s string) string { return fmt.Sprintf(usual, s) }
	for _, c := range []struct {
		name, source string
		line         int
		says         string
	}{
		{"an unknown directive", method("//foolscap:methods x\nM(ctx context.Context, a struct{}) (int, error)"), 5, "foolscap:methods does not belong to a method"},
		{"a directive twice", method("//foolscap:method x\n//foolscap:method y\nM(ctx context.Context, a struct{}) (int, error)"), 6, "is there twice"},
		{"an empty directive", "//foolscap:interface\ntype Foo interface{ M(ctx context.Context, a struct{}) (int, error) }", 3, "has to be followed by"},
		{"a directive in the wrong place", "//foolscap:interface RIFoo\nvar x = 1", 3, "stands where it says nothing"},
		{"a directive on a struct", "//foolscap:interface RIFoo\ntype Foo struct{}", 4, "belongs to an interface"},
		{"a directive on a generic interface", "//foolscap:interface RIFoo\ntype Foo[T any] interface{}", 4, "without type parameters"},
		{"a directive for a method on a type", "//foolscap:method m\ntype Foo interface{}", 3, "does not belong to a type"},
		{"a name with blanks", "//foolscap:interface RI Foo\ntype Foo interface{ M(ctx context.Context, a struct{}) (int, error) }", 4, `"RI Foo" cannot be the name`},
		{"no name in Go", "//foolscap:interface RIFoo\ntype _ interface{ M(ctx context.Context, a struct{}) (int, error) }", 4, "_ is none"},
		{"a name twice", method("M(ctx context.Context, a struct{}) (int, error)") +
			"//foolscap:interface RIBar\ntype Foo interface{ N(ctx context.Context, a struct{}) (int, error) }", 8, "redeclared"},
		{"what contains itself", method("M(ctx context.Context, a struct{ T *Tree }) (int, error)") + "type Tree struct{ Left *Tree }", 5, "foo.Tree contains itself"},
		{"a constraint for types", "//foolscap:interface RIFoo\ntype Foo interface{ ~int }", 4, "a constraint for types"},
		{"no methods", "//foolscap:interface RIFoo\ntype Foo interface{}", 4, "has no methods"},
		{"two of one name", method("M(ctx context.Context, a struct{}) (int, error)") +
			"//foolscap:interface RIFoo\ntype Bar interface{ M(ctx context.Context, a struct{}) (int, error) }", 7, "is the name of Foo already"},
		{"no context", method("M(a struct{}) (int, error)"), 5, "has to have the form M(ctx context.Context, a A) (R, error)"},
		{"no error", method("M(ctx context.Context, a struct{}) int"), 5, "has to have the form"},
		{"another second result", method("M(ctx context.Context, a struct{}) (int, int)"), 5, "has to have the form"},
		{"many arguments", method("M(ctx context.Context, a, b int) (int, error)"), 5, "has to have the form"},
		{"arguments that are no struct", method("M(ctx context.Context, a int) (int, error)"), 5, "M takes int; its arguments are the fields of a struct"},
		{"a method that is not exported", method("m(ctx context.Context, a struct{}) (int, error)"), 5, "m is not exported"},
		{"a method that the client has", method("Ref(ctx context.Context, a struct{}) (int, error)"), 5, "put above it: //foolscap:method ref"},
		{"two methods of one name", method("//foolscap:method n\nM(ctx context.Context, a struct{}) (int, error)\nN(ctx context.Context, a struct{}) (int, error)"), 7, `both called "n"`},
		{"two arguments of one name", method("M(ctx context.Context, a struct{\nA int\nB int `foolscap:\"a\"`\n}) (int, error)"), 7, `two arguments of M are called "a"`},
		{"an unknown option", method("M(ctx context.Context, a struct{\nA int `foolscap:\",option\"`\n}) (int, error)"), 6, `"option" in the foolscap tag`},
		{"a type without a form", method("M(ctx context.Context, a struct{\nA int\nB chan int\n}) (int, error)"), 7, "argument B of M: type chan int has no form"},
		{"a result without a form", method("M(ctx context.Context, a struct{}) (complex128, error)"), 5, "the result of M: type complex128 has no form"},
		{"an unknown constraint", method("M(ctx context.Context, a struct{\nA int `schema:\"integer\"`\n}) (int, error)"), 6, `unknown constraint "integer"`},
		{"an unknown constraint of a result", method("//foolscap:result bites\nM(ctx context.Context, a struct{}) (int, error)"), 6, `unknown constraint "bites"`},
		{"a constraint that does not fit", method("M(ctx context.Context, a struct{ A int `schema:\"text\"` }) (int, error)"), 5, "no value that text accepts fits the type"},
		{"a type that is not there", method("M(ctx context.Context, a struct{\nA []Missing\n}) (int, error)"), 6, "undefined: Missing"},
		{"arguments that are not there", method("M(ctx context.Context, a Missing) (int, error)"), 5, "undefined: Missing"},
		{"a package that is not there", "import m \"example.org/missing\"\n" + method("M(ctx context.Context, a m.A) (int, error)"), 6, "example.org/missing"},
		{"an embedded interface that is not there", method("Missing"), 4, "undefined: Missing"},
		{"a name that is taken", method("M(ctx context.Context, a struct{}) (int, error)") + "func NewFooObject() {}", 4, "NewFooObject is what is to be generated for Foo"},
		{"an odd name of a method", method("//foolscap:method a-b\nM(ctx context.Context, a struct{}) (int, error)"), 4, `"a-b" cannot be the name of a method`},
		{"nothing", "", 0, "foo.go has no interface with a directive"},
		{"what does not parse", "type", 3, "expected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "foo.go")
			text := "package foo\nimport \"context\"\n" + c.source
			require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			o, err := Stubs(file)
			require.ErrorContains(t, err, c.says)
			assert.Nil(t, o)
			if c.line > 0 {
				assert.Contains(t, err.Error(), fmt.Sprintf("foo.go:%d:", c.line))
			}
		})
	}
}

func TestOnlyGoFilesHaveStubs(t *testing.T) {
	for _, file := range []string{"foo_test.go", "testdata", "testdata/every.py"} {
		_, err := Stubs(file)
		assert.ErrorContains(t, err, "is not a Go file")
	}
	dir := t.TempDir()
	_, err := Stubs(filepath.Join(dir, "foo.go"))
	assert.ErrorContains(t, err, "no buildable Go source files")
	for name, text := range map[string]string{
		"bar.go": "package foo\n", "foo.go": "//go:build never\n\npackage foo\nimport \"context\"\n//foolscap:interface RIFoo\ntype Foo interface{ M(ctx context.Context, a struct{}) (int, error) }\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for name, says := range map[string]string{"foo.go": "is no part of the package foo", "fooo.go": "no such file"} {
		_, err = Stubs(filepath.Join(dir, name))
		assert.ErrorContains(t, err, says)
		_, err = Read(t.Context(), "", filepath.Join(dir, name))
		assert.ErrorContains(t, err, says)
	}
}

// The rest of the package may lack what is about to be generated.
func TestThePackageNeedNotCompile(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"foo.go":          "package foo\nimport \"context\"\n//foolscap:interface RIFoo\ntype Foo interface{ M(ctx context.Context, a struct{ Other Bar }) (int, error) }\n",
		"bar.go":          "package foo\nimport \"context\"\n//foolscap:interface RIBar\ntype Bar interface{ M(ctx context.Context, a struct{}) (int, error) }\n",
		"main.go":         "package foo\nfunc f(r NoSuchType) { NewFooClient(r) }\nvar x FooClient = g()\n",
		"foo_foolscap.go": "package foo\ntype Foo int\nthis is old and broken",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	o, err := Stubs(filepath.Join(dir, "foo.go"))
	require.NoError(t, err)
	assert.Equal(t, []string{"RIFoo"}, o.Interfaces)
	assert.Contains(t, string(o.Source), `tub.Refers[Bar]("RIBar")`)
	assert.NotContains(t, string(o.Source), "BarClient")
}

func TestVersionsAreCompared(t *testing.T) {
	parse := func(text string) *Schemas {
		all, err := schema.ParseInterfaces(text)
		require.NoError(t, err)
		return &Schemas{Interfaces: all}
	}
	before := parse("interface RIA m(a: int) -> any interface RIB m() -> any")
	after := parse("interface RIC m() -> any interface RIA m(a: bool) -> any n() -> any")
	var found []string
	for _, c := range Compare(before, after) {
		found = append(found, fmt.Sprint(c.Interface, c.Breaks, strings.Contains(c.Text, "interface")))
	}
	assert.Equal(t, []string{"RIAtrue false", "RIAfalse false", "RIBtrue true", "RICfalse true"}, found)
	assert.Empty(t, Compare(before, before))
}

func TestSourcesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.schema")
	require.NoError(t, os.WriteFile(broken, []byte("interface RIFoo\n m(a: inte) -> any"), 0o600))
	other := filepath.Join(dir, "other.txt")
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	for source, says := range map[string]string{
		broken:                         "broken.schema:2:7: unknown constraint",
		other:                          "a schema is read from",
		dir:                            "no buildable Go source files",
		filepath.Join(dir, "missing"):  "no such file",
		filepath.Join(dir, "x.schema"): "no such file",
		"missing.py":                   "no such file",
		"gen.go":                       "has no interface with a directive",
	} {
		_, err := Read(t.Context(), "", source)
		assert.ErrorContains(t, err, says, source)
	}
	_, err := Read(t.Context(), filepath.Join(dir, "no-python"), "some.module")
	assert.ErrorContains(t, err, "--python")
}
