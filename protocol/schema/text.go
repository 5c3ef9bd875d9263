package schema

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A call writes a constraint that has something in parentheses.
type call struct {
	b strings.Builder
	n int
}

func begin(name string) *call {
	c := new(call)
	c.b.WriteString(name)
	return c
}

func (c *call) add(s string) *call {
	sep := ", "
	if c.n == 0 {
		sep = "("
	}
	c.n++
	c.b.WriteString(sep)
	c.b.WriteString(s)
	return c
}

func (c *call) min(n int) *call {
	if n > 0 {
		c.add("min=" + strconv.Itoa(n))
	}
	return c
}

func (c *call) max(n int) *call {
	if m, bounded := length(n); bounded {
		c.add("max=" + strconv.Itoa(m))
	}
	return c
}

func (c *call) pattern(re *regexp.Regexp) *call {
	if re != nil {
		c.add("pattern=" + strconv.Quote(re.String()))
	}
	return c
}

func (c *call) bytes(n int) *call {
	switch {
	case n < 0:
		c.add("bytes=none")
	case n > 0:
		c.add("bytes=" + strconv.Itoa(n))
	}
	return c
}

func (c *call) big(name string, n *big.Int) *call {
	if n != nil {
		c.add(name + "=" + n.String())
	}
	return c
}

func (c *call) constraints(all ...Constraint) *call {
	for _, x := range all {
		c.add(orAny(x).String())
	}
	return c
}

func (c *call) fields(fields []Field, unknown Unknown) *call {
	for _, f := range fields {
		c.add(nameText(f.Name) + ": " + orAny(f.Constraint).String())
	}
	return c.unknown(unknown)
}

func (c *call) unknown(u Unknown) *call {
	if u != RefuseUnknown {
		c.add("unknown=" + unknownWords[u])
	}
	return c
}

var unknownWords = []string{RefuseUnknown: "refuse", IgnoreUnknown: "ignore", AcceptUnknown: "accept"}

// always ends a constraint that has parentheses even when nothing is in them.
func (c *call) always() string {
	if c.n == 0 {
		c.b.WriteByte('(')
		c.n++
	}
	return c.end()
}

func (c *call) end() string {
	if c.n > 0 {
		c.b.WriteByte(')')
	}
	return c.b.String()
}

// nameText writes a name as it is, if it looks like one.
func nameText(s string) string {
	if isName(s) {
		return s
	}
	return strconv.Quote(s)
}

func isName(s string) bool {
	for i := range len(s) {
		if !nameByte(s[i], i > 0) {
			return false
		}
	}
	return s != ""
}

func nameByte(b byte, digits bool) bool {
	return b == '_' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || digits && '0' <= b && b <= '9'
}

func (Any) String() string     { return "any" }
func (c Bytes) String() string { return begin("bytes").min(c.Min).max(c.Max).pattern(c.Pattern).end() }
func (c Text) String() string  { return begin("text").min(c.Min).max(c.Max).pattern(c.Pattern).end() }

func (c Int) String() string {
	return begin("int").bytes(c.Bytes).big("min", c.Min).big("max", c.Max).end()
}

func (c Number) String() string { return begin("number").bytes(c.Bytes).end() }

func (c Bool) String() string {
	if c.Only == nil {
		return "bool"
	}
	return strconv.FormatBool(*c.Only)
}

func (None) String() string      { return "none" }
func (c Decimal) String() string { return begin("decimal").max(c.Max).end() }
func (c List) String() string {
	return begin("list").constraints(c.Item).min(c.Min).max(c.Max).end()
}
func (c Tuple) String() string { return begin("tuple").constraints(c.Items...).always() }

func (c Set) String() string {
	return begin(setWords[c.Kind]).constraints(c.Item).max(c.Max).end()
}

var setWords = [unknownKind]string{EitherSet: "set", MutableSet: "mutableset", FrozenSet: "frozenset"}

func (c Dict) String() string   { return begin("dict").constraints(c.Key, c.Value).max(c.Max).end() }
func (c Choice) String() string { return begin("choice").constraints(c.Of...).always() }

func (c Optional) String() string {
	b := begin("optional").constraints(c.Of)
	if c.Default != nil {
		b.add("default=" + literalText(c.Default))
	}
	return b.end()
}

func (Referenceable) String() string { return "referenceable" }

func (c RemoteInterface) String() string {
	return begin("interface").add(strconv.Quote(c.Name)).end()
}

func (c Struct) String() string   { return begin("struct").fields(c.Fields, RefuseUnknown).always() }
func (c AttrDict) String() string { return begin("attrdict").fields(c.Fields, c.Unknown).always() }

func (c Copyable) String() string {
	return begin("copyable").add(strconv.Quote(c.Class)).fields(c.State.Fields, c.State.Unknown).end()
}

// literalText writes a default: a scalar.
func literalText(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case *big.Int:
		return v.String()
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".eInN") {
			s += ".0"
		}
		return s
	case string:
		return strconv.Quote(v)
	case []byte:
		return "b" + strconv.Quote(string(v))
	case banana.Decimal:
		return "decimal(" + strconv.Quote(string(v)) + ")"
	}
	return noLiteral
}

// noLiteral stands for what is no scalar.
const noLiteral = "?"
