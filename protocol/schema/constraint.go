package schema

import (
	"fmt"
	"math/big"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/banana"
)

// A Constraint says what one value may be. The implementations are the types
// of this package, as values; they must not be changed once they are in use,
// and are then safe for concurrent use. What a nil Constraint within another
// one stands for is Any.
type Constraint interface {
	// Taster returns a taster for one value after another. It is for one
	// goroutine. Those who taste many messages use a Tasting.
	Taster() banana.Taster
	// Check looks at a value as banana decodes it into an any, or at an
	// External. Its error is a *banana.Violation.
	Check(v any) error
	// MaxSize returns the size of the largest legal value on the wire, in
	// bytes, as senders write it: without zeros in front of a number. It may
	// be more than the exact size. It is not ok when there is no bound.
	MaxSize() (bytes int64, ok bool)
	// String returns the text of the constraint, which Parse reads.
	String() string

	// kinds are what it accepts as far as that shows in the first token.
	kinds() kinds
	// token judges the header of a value of those kinds that is no sequence.
	token(tok banana.Token) error
	// body judges the body that follows such a header.
	body(tok banana.Token, b []byte) error
	// open returns the taster for the inside of a sequence of those kinds;
	// nil has no objections. self is the constraint as an interface.
	open(self Constraint, t *Tasting, k kinds, opentype string) (banana.Taster, error)
	// look judges a whole value of those kinds.
	look(w *walk, v any) error
	size() size
}

// kinds is a set of kinds of values.
type kinds uint16

const (
	kindInt kinds = 1 << iota
	kindFloat
	kindBytes
	kindText
	kindBool
	kindNone
	kindDecimal
	kindList
	kindTuple
	kindSet
	kindFrozenSet
	kindDict
	kindReference // my-, your- and their-reference
	kindCopyable
	kindOther

	everyKind = kindOther<<1 - 1
	// What a "reference" sequence can stand for.
	sharedKinds = kindList | kindTuple | kindSet | kindDict | kindCopyable
)

var kindNames = []string{"integer", "float", "bytes", "text", "boolean", "none", "decimal", "list", "tuple", "set", "frozen set", "dict", "reference", "copyable"}

// String lists the kinds for people.
func (k kinds) String() string {
	if k == everyKind {
		return "anything"
	}
	var names []string
	for i, name := range kindNames {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " or ")
}

func kindOfToken(t banana.Type) kinds {
	switch t {
	case banana.TypeInt, banana.TypeNeg, banana.TypeLongInt, banana.TypeLongNeg:
		return kindInt
	case banana.TypeFloat:
		return kindFloat
	case banana.TypeString:
		return kindBytes
	}
	return kindOther
}

func kindOfSequence(opentype string) kinds {
	switch opentype {
	case "unicode":
		return kindText
	case "boolean":
		return kindBool
	case "none":
		return kindNone
	case "decimal":
		return kindDecimal
	case "list":
		return kindList
	case "tuple":
		return kindTuple
	case "set":
		return kindSet
	case "immutable-set":
		return kindFrozenSet
	case "dict":
		return kindDict
	case "my-reference", "your-reference", "their-reference":
		return kindReference
	case "copyable":
		return kindCopyable
	}
	return kindOther
}

func kindOfValue(v any) kinds {
	switch v := v.(type) {
	case int, int64:
		return kindInt
	case *big.Int:
		return orNone(v == nil, kindInt)
	case float64:
		return kindFloat
	case []byte:
		return kindBytes
	case string:
		return kindText
	case bool:
		return kindBool
	case nil:
		return kindNone
	case banana.Decimal:
		return kindDecimal
	case *banana.List:
		return orNone(v == nil, kindList)
	case banana.Tuple:
		return kindTuple
	case *banana.Set:
		return orNone(v == nil, kindSet)
	case *banana.FrozenSet:
		return orNone(v == nil, kindFrozenSet)
	case *banana.Dict:
		return orNone(v == nil, kindDict)
	case Copied:
		return kindCopyable
	case banana.External:
		return kindReference
	}
	return kindOther
}

func orNone(isNil bool, k kinds) kinds {
	if isNil {
		return kindNone
	}
	return k
}

func violation(format string, args ...any) error {
	return &banana.Violation{Reason: fmt.Sprintf(format, args...)}
}

// mismatch is the objection to a value of the wrong kind.
func mismatch(c Constraint, got string) error {
	return violation("expected %s, got %.20s", c.kinds(), got)
}

func gotSequence(k kinds, opentype string) string {
	if k == kindOther {
		return opentype
	}
	return k.String()
}

// orAny is what a constraint within another one stands for.
func orAny(c Constraint) Constraint {
	if c == nil {
		return Any{}
	}
	return c
}

// What constraints embed.
type (
	// scalar is for values that are one token.
	scalar struct{}
	// boxed is for values that are a sequence with one token.
	boxed struct{ sequence }
	// items is for values that are sequences of values.
	items    struct{ sequence }
	sequence struct{}
)

func (scalar) open(Constraint, *Tasting, kinds, string) (banana.Taster, error) { return nil, nil }

func (boxed) open(self Constraint, t *Tasting, _ kinds, _ string) (banana.Taster, error) {
	return t.level(self, inLeaf), nil
}

func (items) open(self Constraint, t *Tasting, _ kinds, _ string) (banana.Taster, error) {
	return t.level(self, inItems), nil
}

func (sequence) token(banana.Token) error        { return nil }
func (sequence) body(banana.Token, []byte) error { return nil }
