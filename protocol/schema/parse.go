package schema

import (
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// What Parse and ParseInterfaces take.
const (
	maxText  = 1 << 20 // bytes
	maxDepth = 50      // constraints within each other
)

// A SyntaxError says what is wrong with a text, and where.
type SyntaxError struct {
	Line, Column int // from 1; the column in bytes
	Reason       string
}

func (e *SyntaxError) Error() string {
	if e.Line == 1 {
		return fmt.Sprintf("schema: at %d: %s", e.Column, e.Reason)
	}
	return fmt.Sprintf("schema: line %d, at %d: %s", e.Line, e.Column, e.Reason)
}

// Parse reads the text of a constraint, as docs/interfaces.md describes it.
// Its error is a *SyntaxError. A text has at most 1 MiB, and constraints are
// at most 50 deep within each other.
func Parse(text string) (Constraint, error) {
	p, err := newParser(text)
	if err != nil {
		return nil, err
	}
	c := p.constraint(0)
	if p.err == nil && p.peek() != 0 {
		p.fail(p.at, "expected the end, got %s", p.got())
	}
	if p.err != nil {
		return nil, p.err
	}
	return c, nil
}

// MustParse is Parse for texts in programs: it panics when there is an error.
func MustParse(text string) Constraint {
	c, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return c
}

// A parser reads a text; the first error sticks.
type parser struct {
	s   string
	at  int
	err error
}

func newParser(text string) (*parser, error) {
	if len(text) > maxText {
		return nil, &SyntaxError{Line: 1, Column: maxText + 1, Reason: "the text is longer than 1 MiB"}
	}
	return &parser{s: text}, nil
}

func (p *parser) fail(at int, format string, args ...any) {
	if p.err != nil {
		return
	}
	before := p.s[:at]
	p.err = &SyntaxError{
		Line:   1 + strings.Count(before, "\n"),
		Column: at - strings.LastIndexByte(before, '\n'),
		Reason: fmt.Sprintf(format, args...),
	}
	p.at = len(p.s)
}

// peek returns the next byte that is no blank, or 0 at the end.
func (p *parser) peek() byte {
	for p.at < len(p.s) {
		switch b := p.s[p.at]; b {
		case ' ', '\t', '\r', '\n':
			p.at++
		case '#': // a comment, up to the end of the line
			n := strings.IndexByte(p.s[p.at:], '\n')
			if n < 0 {
				n = len(p.s) - p.at
			}
			p.at += n
		case 0:
			p.fail(p.at, "a NUL")
		default:
			return b
		}
	}
	return 0
}

func (p *parser) got() string {
	rest := p.s[p.at:]
	if rest == "" {
		return "the end"
	}
	n := 0
	for n < len(rest) && n < 20 && nameByte(rest[n], true) {
		n++
	}
	return strconv.Quote(banana.CutText(rest, max(n, 1)))
}

func (p *parser) take(b byte) bool {
	if p.peek() != b {
		return false
	}
	p.at++
	return true
}

func (p *parser) expect(b byte) {
	if !p.take(b) {
		p.fail(p.at, "expected %q, got %s", string(b), p.got())
	}
}

// name reads a name, or returns "".
func (p *parser) name() string {
	p.peek()
	start := p.at
	for p.at < len(p.s) && nameByte(p.s[p.at], p.at > start) {
		p.at++
	}
	return p.s[start:p.at]
}

// str reads a text in quotes.
func (p *parser) str() string {
	p.peek()
	quoted, err := strconv.QuotedPrefix(p.s[p.at:])
	if err != nil || quoted[0] == '\'' {
		p.fail(p.at, "expected a text in quotes, got %s", p.got())
		return ""
	}
	p.at += len(quoted)
	s, _ := strconv.Unquote(quoted)
	return s
}

// number reads the characters of a number.
func (p *parser) number() string {
	p.peek()
	start := p.at
	for p.at < len(p.s) && (nameByte(p.s[p.at], true) || strings.IndexByte("+-.", p.s[p.at]) >= 0) {
		p.at++
	}
	return p.s[start:p.at]
}

// An operand is one thing in the parentheses of a constraint.
type operand struct {
	at   int
	key  string     // of KEY=…, or the name of NAME: …
	kind byte       // '=', ':', '"' for a text, or 'c' for a constraint
	c    Constraint // of ':' and 'c'
	text string     // of '"'
	word string     // of '=' and a word or number
	lit  any        // of '='
}

func (p *parser) operand(depth int) operand {
	b := p.peek()
	o := operand{at: p.at, kind: 'c'}
	if b == '"' || b == '`' {
		o.text, o.kind = p.str(), '"'
		if p.take(':') {
			o.key, o.kind, o.c = o.text, ':', p.constraint(depth)
		}
		return o
	}
	o.key = p.name()
	switch {
	case o.key != "" && p.take('='):
		o.kind = '='
		p.peek()
		at := p.at
		if o.key == "unknown" {
			o.word = p.name()
			break
		}
		o.lit = p.literal()
		o.word = p.s[at:max(at, p.at)]
	case o.key != "" && p.take(':'):
		o.kind, o.c = ':', p.constraint(depth)
	default:
		p.at = o.at
		o.c = p.constraint(depth)
	}
	return o
}

// constraint reads a constraint.
func (p *parser) constraint(depth int) Constraint {
	p.peek()
	start := p.at
	if depth == maxDepth {
		p.fail(p.at, "more than %d constraints within each other", maxDepth)
	}
	if p.err != nil {
		return nil
	}
	name := p.name()
	if name == "" {
		p.fail(p.at, "expected a constraint, got %s", p.got())
		return nil
	}
	read, ok := readers[name]
	if !ok {
		p.fail(start, "unknown constraint %.40q", name)
		return nil
	}
	ops := &operands{p: p, name: name, at: start}
	if p.take('(') {
		for first := true; p.err == nil && !p.take(')'); first = false {
			if !first {
				p.expect(',')
				if p.take(')') { // after a comma at the end
					break
				}
			}
			ops.all = append(ops.all, p.operand(depth+1))
		}
	}
	if p.err != nil {
		return nil
	}
	c := read(ops)
	for _, o := range ops.all {
		p.fail(o.at, "%s does not take this", name)
	}
	return c
}

// operands are what is in the parentheses, as far as nobody has taken it.
type operands struct {
	p    *parser
	name string
	at   int
	all  []operand
}

func (o *operands) key(name string) (operand, bool) {
	for i, x := range o.all {
		if x.kind == '=' && x.key == name {
			o.all = append(o.all[:i:i], o.all[i+1:]...)
			return x, true
		}
	}
	return operand{}, false
}

// count reads a number of things. 0 is written as it is, and means Empty as
// a maximum.
func (o *operands) count(name string, zero int) int {
	x, ok := o.key(name)
	if !ok {
		return 0
	}
	n, ok := x.lit.(int64)
	if !ok || n < 0 || n > math.MaxInt32 {
		o.p.fail(x.at, "%s has to be a number up to %d", name, math.MaxInt32)
	}
	if n == 0 {
		return zero
	}
	return int(n)
}

func (o *operands) min() int { return o.count("min", 0) }
func (o *operands) max() int { return o.count("max", Empty) }

// minMax reads both, which have to leave room for something.
func (o *operands) minMax() (least, most int) {
	least, most = o.min(), o.max()
	if n, bounded := length(most); bounded && n < least {
		o.p.fail(o.at, "min is more than max")
	}
	return least, most
}

func (o *operands) big(name string) *big.Int {
	x, ok := o.key(name)
	if !ok {
		return nil
	}
	switch n := x.lit.(type) {
	case int64:
		return big.NewInt(n)
	case *big.Int:
		return n
	}
	o.p.fail(x.at, "%s has to be an integer", name)
	return nil
}

func (o *operands) bytes() int {
	if x, ok := o.key("bytes"); ok {
		if n, isInt := x.lit.(int64); isInt && n > 0 && n <= math.MaxInt32 {
			return int(n)
		} else if x.lit != nil || x.word != "none" {
			o.p.fail(x.at, "bytes has to be a number from 1 on, or none")
		}
		return Unlimited
	}
	return 0
}

func (o *operands) pattern() *regexp.Regexp {
	x, ok := o.key("pattern")
	if !ok {
		return nil
	}
	s, ok := x.lit.(string)
	if !ok {
		o.p.fail(x.at, "pattern has to be a text in quotes")
		return nil
	}
	re, err := regexp.Compile(s)
	if err != nil {
		o.p.fail(x.at, "the pattern cannot be read: %v", err)
	}
	return re
}

// constraints takes all constraints, of which there are at most n.
func (o *operands) constraints(n int) []Constraint {
	var all []Constraint
	rest := o.all[:0]
	for _, x := range o.all {
		if x.kind != 'c' || len(all) == n {
			rest = append(rest, x)
			continue
		}
		if _, optional := x.c.(Optional); optional && o.name != "optional" {
			o.p.fail(x.at, "optional has no meaning within %s", o.name)
		}
		all = append(all, x.c)
	}
	o.all = rest
	return all
}

// one takes a constraint, which is Any when there is none.
func (o *operands) one() Constraint {
	if all := o.constraints(1); len(all) == 1 {
		return all[0]
	}
	return Any{}
}

func (o *operands) texts() []string {
	var all []string
	rest := o.all[:0]
	for _, x := range o.all {
		if x.kind == '"' {
			all = append(all, x.text)
		} else {
			rest = append(rest, x)
		}
	}
	o.all = rest
	return all
}

func (o *operands) fields() []Field {
	var all []Field
	names := make(map[string]bool)
	rest := o.all[:0]
	for _, x := range o.all {
		switch {
		case x.kind != ':':
			rest = append(rest, x)
			continue
		case names[x.key]:
			o.p.fail(x.at, "a second field %.40q", x.key)
		case len(x.key) > maxInterfaceName:
			o.p.fail(x.at, "a name of more than %d bytes", maxInterfaceName)
		}
		names[x.key] = true
		all = append(all, Field{Name: x.key, Constraint: x.c})
	}
	o.all = rest
	return all
}

func (o *operands) unknown() Unknown {
	x, ok := o.key("unknown")
	if !ok {
		return RefuseUnknown
	}
	for u, word := range unknownWords {
		if word == x.word {
			return Unknown(u)
		}
	}
	o.p.fail(x.at, "unknown has to be refuse, ignore or accept")
	return RefuseUnknown
}

func (o *operands) set(kind SetKind) Constraint {
	return Set{Item: o.one(), Max: o.max(), Kind: kind}
}

// readers read the constraints by their names.
var readers map[string]func(o *operands) Constraint

func init() { // they refer to each other by way of the parser
	readers = map[string]func(o *operands) Constraint{
		"any": func(*operands) Constraint { return Any{} },
		"bytes": func(o *operands) Constraint {
			least, most := o.minMax()
			return Bytes{Min: least, Max: most, Pattern: o.pattern()}
		},
		"text": func(o *operands) Constraint {
			least, most := o.minMax()
			return Text{Min: least, Max: most, Pattern: o.pattern()}
		},
		"int": func(o *operands) Constraint {
			c := Int{Min: o.big("min"), Max: o.big("max"), Bytes: o.bytes()}
			if c.Min != nil && c.Max != nil && c.Min.Cmp(c.Max) > 0 {
				o.p.fail(o.at, "min is more than max")
			}
			return c
		},
		"number":     func(o *operands) Constraint { return Number{Bytes: o.bytes()} },
		"bool":       func(*operands) Constraint { return Bool{} },
		"true":       func(*operands) Constraint { return Bool{Only: new(true)} },
		"false":      func(*operands) Constraint { return Bool{Only: new(false)} },
		"none":       func(*operands) Constraint { return None{} },
		"decimal":    func(o *operands) Constraint { return Decimal{Max: o.max()} },
		"tuple":      func(o *operands) Constraint { return Tuple{Items: o.constraints(math.MaxInt)} },
		"set":        func(o *operands) Constraint { return o.set(EitherSet) },
		"mutableset": func(o *operands) Constraint { return o.set(MutableSet) },
		"frozenset":  func(o *operands) Constraint { return o.set(FrozenSet) },
		"list": func(o *operands) Constraint {
			least, most := o.minMax()
			return List{Item: o.one(), Min: least, Max: most}
		},
		"dict": func(o *operands) Constraint {
			c := Dict{Key: Any{}, Value: Any{}, Max: o.max()}
			switch all := o.constraints(2); len(all) {
			case 0:
			case 2:
				c.Key, c.Value = all[0], all[1]
			default:
				o.p.fail(o.at, "dict takes a constraint for its keys and one for its values")
			}
			return c
		},
		"choice": func(o *operands) Constraint {
			c := Choice{Of: o.constraints(math.MaxInt)}
			if len(c.Of) == 0 {
				o.p.fail(o.at, "choice needs an alternative")
			}
			return c
		},
		"optional": func(o *operands) Constraint {
			c := Optional{Of: o.one()}
			if _, twice := c.Of.(Optional); twice {
				o.p.fail(o.at, "optional has no meaning within optional")
			}
			if x, ok := o.key("default"); ok {
				c.Default = x.lit
				if o.p.err == nil {
					if err := c.Of.Check(x.lit); err != nil && x.lit != nil {
						o.p.fail(x.at, "the default is not legal: %v", err)
					}
				}
			}
			return c
		},
		"referenceable": func(*operands) Constraint { return Referenceable{} },
		"interface": func(o *operands) Constraint {
			names := o.texts()
			if len(names) != 1 || len(names[0]) == 0 {
				o.p.fail(o.at, "interface takes a name in quotes")
				return nil
			}
			return RemoteInterface{Name: names[0]}
		},
		"struct":   func(o *operands) Constraint { return Struct{Fields: o.fields()} },
		"attrdict": func(o *operands) Constraint { return AttrDict{Fields: o.fields(), Unknown: o.unknown()} },
		"copyable": func(o *operands) Constraint {
			names := o.texts()
			if len(names) != 1 || len(names[0]) == 0 || len(names[0]) > maxInterfaceName {
				o.p.fail(o.at, "copyable takes the name of its class in quotes")
				return nil
			}
			return Copyable{Class: names[0], State: AttrDict{Fields: o.fields(), Unknown: o.unknown()}}
		},
	}
}

// literal reads a scalar: what a default is.
func (p *parser) literal() any {
	b := p.peek()
	start := p.at
	switch {
	case b == '"' || b == '`':
		return p.str()
	case b == 'b' && strings.HasPrefix(p.s[p.at:], `b"`):
		p.at++
		return []byte(p.str())
	case b == '-' || b == '+' || '0' <= b && b <= '9':
		s := p.number()
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n
		}
		if len(s) <= 10_000 {
			if n, ok := new(big.Int).SetString(s, 10); ok {
				return n
			}
			if f, err := strconv.ParseFloat(s, 64); err == nil {
				return f
			}
		}
		p.fail(start, "%.40q is no number", s)
		return nil
	}
	switch word := p.name(); word {
	case "true", "false":
		return word == "true"
	case "none":
		return nil
	case "NaN", "Inf":
		f, _ := strconv.ParseFloat(word, 64)
		return f
	case "decimal":
		p.expect('(')
		d := banana.Decimal(p.str())
		p.expect(')')
		if p.err == nil && !d.Valid() {
			p.fail(start, "%.40q is not a decimal number", string(d))
		}
		return d
	}
	p.fail(start, "expected a number, a text in quotes, b\"bytes\", true, false or none")
	return nil
}
