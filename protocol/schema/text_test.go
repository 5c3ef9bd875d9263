package schema_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/foolscap-go/foolscap/protocol/schema"
)

// canonical are texts that String returns as they are.
var canonical = []string{
	"any", "none", "bool", "true", "false", "number", "number(bytes=none)", "number(bytes=4)", "decimal", "decimal(max=40)",
	"bytes", `bytes(min=1, max=10, pattern="^a\"b")`, "bytes(max=0)", "text(max=100)", `text(pattern="\\d")`,
	"int", "int(bytes=8)", "int(bytes=none)", "int(min=0, max=255)", "int(bytes=9, min=-340282366920938463463374607431768211456)",
	"list(int, min=1, max=30)", "list(any)", "tuple(int, bytes)", "tuple()", "set(int, max=5)", "mutableset(text)", "frozenset(any)",
	"dict(text, any, max=10)", "choice(int, none)", "optional(int)", "optional(int, default=-5)", `optional(text, default="x")`,
	`optional(bytes, default=b"\x00")`, "optional(bool, default=true)", "optional(number, default=1.5)", "optional(number, default=2.0)",
	"optional(number, default=NaN)", "optional(number, default=-Inf)", `optional(decimal, default=decimal("1.5"))`,
	"optional(int, default=100000000000000000000)",
	"referenceable", `interface("RIFoo.example.org")`,
	"attrdict(name: bytes, age: optional(int))", `attrdict("a b": any, unknown=ignore)`, "attrdict(unknown=accept)", "attrdict()",
	"struct(name: text, age: optional(int))", "struct()", `copyable("Name.example.org")`, `copyable("Name", a: int, unknown=ignore)`,
}

func TestTheTextOfAConstraintIsReadBack(t *testing.T) {
	for _, text := range canonical {
		assert.Equal(t, text, parse(t, text).String())
	}
	for text, want := range map[string]string{
		" list ( int , ) # a comment\n":    "list(int)",
		"list":                             "list(any)",
		"dict":                             "dict(any, any)",
		"int(max=255, min=0)":              "int(min=0, max=255)",
		"list(max=3, int)":                 "list(int, max=3)",
		"bytes(min=0)":                     "bytes",
		"bytes(pattern=`a`)":               `bytes(pattern="a")`,
		"bool()":                           "bool",
		"optional(int, default=none)":      "optional(int)",
		`struct("a": int)`:                 "struct(a: int)",
		"attrdict(unknown=refuse, a: int)": "attrdict(a: int)",
	} {
		assert.Equal(t, want, parse(t, text).String(), text)
	}
	// The zero values are useful too.
	for want, c := range map[string]Constraint{
		"list(any)": List{}, "dict(any, any)": Dict{}, "set(any)": Set{}, "optional(any)": Optional{}, "tuple(any)": Tuple{Items: []Constraint{nil}},
	} {
		assert.Equal(t, want, c.String())
	}
}

func TestWhatIsWrongWithATextIsSaidWithItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "at 1: expected a constraint, got the end",
		"list(int":                         `at 9: expected ",", got the end`,
		"list(int))":                       `at 10: expected the end, got ")"`,
		"lost(int)":                        `at 1: unknown constraint "lost"`,
		"list(int, int)":                   "at 11: list does not take this",
		"int(foo=3)":                       "at 5: int does not take this",
		"int(min=3, max=2)":                "at 1: min is more than max",
		"bytes(min=-1)":                    "at 7: min has to be a number up to 2147483647",
		"bytes(min=3, max=2)":              "at 1: min is more than max",
		"bytes(pattern=\"(\")":             "at 7: the pattern cannot be read: error parsing regexp: missing closing ): `(`",
		"int(bytes=0)":                     "at 5: bytes has to be a number from 1 on, or none",
		"dict(int)":                        "at 1: dict takes a constraint for its keys and one for its values",
		"choice()":                         "at 1: choice needs an alternative",
		"list(optional(int))":              "at 6: optional has no meaning within list",
		"interface()":                      "at 1: interface takes a name in quotes",
		`copyable("a", "b")`:               "at 1: copyable takes the name of its class in quotes",
		"struct(a: int, a: int)":           `at 16: a second field "a"`,
		"struct(a: int, unknown=accept)":   "at 16: struct does not take this",
		"attrdict(unknown=maybe)":          "at 10: unknown has to be refuse, ignore or accept",
		`optional(int, default="x")`:       "at 15: the default is not legal: expected integer, got text",
		"list(\n  lost)":                   `line 2, at 3: unknown constraint "lost"`,
		`bytes(pattern="abc)`:              `at 15: expected a text in quotes, got "\""`,
		strings.Repeat("list(", 60):        "at 251: more than 50 constraints within each other",
		strings.Repeat(" ", 1<<20) + "int": "at 1048577: the text is longer than 1 MiB",
	} {
		_, err := Parse(text)
		var syntax *SyntaxError
		if assert.ErrorAs(t, err, &syntax, text) {
			assert.Equal(t, "schema: "+want, err.Error(), "%.40q", text)
		}
	}
}

const calculator = `interface RICalculator.example.org extends RIBase.example.org, RIOther
  add(a: int(bytes=8), b: optional(int(bytes=8), default=1)) -> int(bytes=8)
  interface() -> none
  raw(...)
  log(unknown=ignore) -> any
`

func TestTheTextOfAnInterfaceIsReadBack(t *testing.T) {
	i, err := ParseInterface(calculator)
	require.NoError(t, err)
	assert.Equal(t, calculator, i.String())
	add := i.Method("add")
	require.NotNil(t, add)
	assert.Equal(t, 1, add.Arg("b"))
	assert.Equal(t, -1, add.Arg("c"))
	assert.Equal(t, Arg{Name: "b", Constraint: Int{Bytes: 8}, Optional: true, Default: int64(1)}, add.Args[1])
	n, ok := add.MaxArguments()
	assert.True(t, ok)
	assert.Greater(t, n, int64(2*9))
	n, ok = add.MaxResult()
	assert.True(t, ok)
	assert.EqualValues(t, 11, n)
	_, ok = i.Method("log").MaxArguments()
	assert.False(t, ok)
	assert.Nil(t, i.Method("sub"))

	two, err := ParseInterfaces("# two of them\n" + calculator + "interface RIOther\n  f() -> none")
	require.NoError(t, err)
	require.Len(t, two, 2)
	assert.Equal(t, "interface RIOther\n  f() -> none\n", two[1].String())
}

func TestBadInterfacesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"interface A\n f() -> none f() -> none":    `A has two methods called "f"`,
		"interface A interface A":                  `at 13: a second interface "A"`,
		"interface A f(a: int, a: int) -> none":    `a second field "a"`,
		"interface A f(a: int)":                    `expected "-", got the end`,
		"interface A f(int) -> none":               "expected NAME: CONSTRAINT",
		`interface A f("a b": int) -> none`:        `"a b" cannot be the name of an argument`,
		"interface A f() -> optional(int)":         "a result cannot be optional",
		"f() -> none":                              `expected an interface, got "f"`,
		"interface":                                "expected the name of an interface, got the end",
		"interface " + strings.Repeat("x", 1001):   "cannot be the name of an interface",
		"interface A\n f(a: list(int, 5)) -> none": "line 2, at 17: expected a constraint",
	} {
		_, err := ParseInterfaces(text)
		var syntax *SyntaxError
		if assert.ErrorAs(t, err, &syntax, text) {
			assert.ErrorContains(t, err, want, text)
		}
	}
	for want, m := range map[string]*Method{
		`"a-b" cannot be the name of a method`:     {Name: "a-b"},
		"is unconstrained and has constraints":     {Name: "f", Unconstrained: true, Result: Int{}},
		`argument "a" says Optional in its`:        {Name: "f", Args: []Arg{{Name: "a", Constraint: Optional{}}}},
		"has a default and is not optional":        {Name: "f", Args: []Arg{{Name: "a", Default: 1}}},
		`the default of "a": expected text, got i`: {Name: "f", Args: []Arg{{Name: "a", Constraint: Text{}, Optional: true, Default: 1}}},
		`has two arguments called "a"`:             {Name: "f", Args: []Arg{{Name: "a"}, {Name: "a"}}},
	} {
		_, err := NewInterface("RIFoo", nil, m)
		assert.ErrorContains(t, err, want)
	}
	_, err := NewInterface("RI Foo", nil)
	assert.Error(t, err)
	_, err = ParseInterface("")
	assert.True(t, errors.As(err, new(*SyntaxError)))
}

func TestAComparisonSaysWhoFails(t *testing.T) {
	for _, c := range []struct {
		old, now string // of one method f, or whole interfaces
		breaks   bool
		text     string // "" if nothing has changed
	}{
		{"(a: int) -> none", "(a: int) -> none", false, ""},
		{"(a: int) -> none", "() -> none", true, "argument a of f is gone: old callers who give it fail"},
		{"(a: int) -> none", "(unknown=ignore) -> none", true, "argument a of f is gone: new callers do not give it"},
		{"(a: optional(int)) -> none", "(unknown=ignore) -> none", true, "argument a of f is gone: old callers who give it by position fail"},
		{"() -> none", "(a: int) -> none", true, "argument a of f is new and required"},
		{"() -> none", "(a: optional(int)) -> none", false, "argument a of f is new and optional"},
		{"(unknown=accept) -> none", "(a: optional(int), unknown=accept) -> none", true, "argument a of f has a constraint"},
		{"(a: int, b: int) -> none", "(b: int, a: int) -> none", true, "argument a of f is number 2, it was number 1"},
		{"(a: int) -> none", "(b: optional(int), unknown=accept) -> none", true, "argument 1 of f is b, it was a"},
		{"(a: optional(int)) -> none", "(a: int) -> none", true, "argument a of f is required"},
		{"(a: int) -> none", "(a: optional(int)) -> none", false, "argument a of f is optional"},
		{"(a: optional(int, default=1)) -> none", "(a: optional(int, default=2)) -> none", false, "the default of argument a of f is 2, it was 1"},
		{"(a: int) -> none", "(a: int(bytes=8)) -> none", true, "argument a of f is int(bytes=8), it was int: calls of old callers may be refused"},
		{"(a: int(bytes=8)) -> none", "(a: int) -> none", false, "argument a of f is int, it was int(bytes=8)"},
		{"() -> int", "() -> number", true, "old callers may refuse what new objects return"},
		{"() -> number", "() -> int", true, "new callers may refuse what old objects return"},
		{"() -> text", "() -> int", true, "of different versions may refuse each other's"},
		{"() -> none", "(unknown=ignore) -> none", false, "method f takes unknown arguments"},
		{"(unknown=ignore) -> none", "() -> none", true, "method f refuses unknown arguments"},
		{"(...)", "(...)", false, ""},
		{"(...)", "() -> any", true, "method f is constrained"},
		{"() -> any", "(...)", true, "method f is no longer constrained"},
		{"interface A f() -> none", "interface A", true, "method f is gone"},
		{"interface A", "interface A f() -> none", false, "method f is new"},
		{"interface A", "interface B", true, "interface A is called B"},
		{"interface A extends B", "interface A", true, "A no longer extends B"},
		{"interface A", "interface A extends B", false, "A extends B"},
	} {
		changes := Compare(iface(t, c.old), iface(t, c.now))
		if c.text == "" {
			assert.Empty(t, changes, c.old)
			continue
		}
		found := false
		for _, change := range changes {
			found = found || change.Breaks == c.breaks && strings.Contains(change.Text, c.text)
			assert.False(t, !c.breaks && change.Breaks, change.Text)
		}
		assert.True(t, found, "%s, %s: %v", c.old, c.now, changes)
	}
}

func iface(t *testing.T, text string) *Interface {
	t.Helper()
	if !strings.HasPrefix(text, "interface") {
		text = "interface A f" + text
	}
	i, err := ParseInterface(text)
	require.NoError(t, err, text)
	return i
}

func TestWiderConstraintsAcceptNarrowerOnes(t *testing.T) {
	for _, c := range [][2]string{
		{"any", "list(int)"}, {"number", "int"}, {"int", "int(bytes=8)"}, {"int(bytes=8)", "int(min=0, max=255)"}, {"int(min=-9, max=9)", "int(min=0, max=9)"},
		{"int(bytes=none)", "int"}, {"bytes(max=9)", "bytes(min=1, max=9)"}, {"text", `text(pattern="a")`}, {"bool", "true"}, {"choice(true, false)", "bool"},
		{"choice(int, none)", "none"}, {"choice(int, none, text)", "choice(none, int)"}, {"list(number)", "list(int, max=3)"}, {"tuple(any, int)", "tuple(int, int)"},
		{"set(int)", "frozenset(int)"}, {"choice(mutableset(int), frozenset(int))", "set(int)"}, {"dict(any, any)", "struct(a: int)"}, {"dict(any, int, max=2)", "attrdict(a: int)"},
		{"struct(a: number, b: optional(int))", "struct(a: int)"}, {"attrdict(a: int, unknown=accept)", "struct(a: int, b: text)"}, {"referenceable", `interface("A")`},
		{`copyable("A", a: number)`, `copyable("A", a: int)`}, {"decimal", "decimal(max=3)"}, {"list(int)", "list(text, max=0)"},
		{"list(any, min=1)", "list(int, min=2)"},
	} {
		wide, narrow := "interface A f(a: "+c[0]+") -> none", "interface A f(a: "+c[1]+") -> none"
		for _, change := range Compare(iface(t, narrow), iface(t, wide)) {
			assert.False(t, change.Breaks, change.Text)
		}
		require.Len(t, Compare(iface(t, wide), iface(t, narrow)), 1)
		assert.True(t, Compare(iface(t, wide), iface(t, narrow))[0].Breaks || c[0] == "choice(true, false)" || strings.HasPrefix(c[0], "choice(mutable"), c)
	}
}

func TestEveryTextInTheDocumentIsOne(t *testing.T) {
	page, err := os.ReadFile("../../docs/interfaces.md")
	require.NoError(t, err)
	texts := 0
	language, _, _ := strings.Cut(string(page), "\n## Interfaces\n")
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?`) \\|").FindAllStringSubmatch(language, -1) {
		for _, text := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[1], -1) {
			parse(t, text[1])
			texts++
		}
	}
	assert.Equal(t, 25, texts)
	_, block, _ := strings.Cut(string(page), "```\n")
	block, _, _ = strings.Cut(block, "```")
	i, err := ParseInterface(block)
	require.NoError(t, err)
	assert.Equal(t, block, i.String())
}

func FuzzParse(f *testing.F) {
	for _, text := range canonical {
		f.Add(text)
	}
	f.Add(calculator)
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := Parse(text); err == nil {
			again, err := Parse(c.String())
			require.NoError(t, err, c)
			require.Equal(t, c.String(), again.String())
			c.MaxSize()
			_ = c.Check(nil)
		}
		if all, err := ParseInterfaces(text); err == nil {
			for _, i := range all {
				again, err := ParseInterface(i.String())
				require.NoError(t, err, i)
				require.Equal(t, i.String(), again.String())
				for _, change := range Compare(i, again) {
					t.Errorf("not equal: %s", change.Text)
				}
			}
		}
	})
}
