package tub

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/protocol/broker"
	"github.com/foolscap-go/foolscap/protocol/furl"
	"github.com/foolscap-go/foolscap/protocol/schema"
)

// A Copy says how the values of one Go type travel by copy: what Foolscap calls
// a Copyable and a RemoteCopy. Make it with [CopyOf] or [CopyAs], and give it
// to a Tub in [Options].
//
// A T, and what a *T points to, goes out as a copy wherever a value can be. What
// arrives becomes a T or a *T where that is asked for, and a *T in an any, or in
// another interface that *T implements. A nil pointer is None. Several pointers
// to one T are one object on the other side, too; with [Copy.Unshared] each is
// an object of its own.
//
// A class or an attribute that is not known, an attribute that is missing or of
// the wrong type, or a class other than the one that is asked for, fails the
// call with an error that names it.
type Copy = banana.Copy

// CopyOf lets the values of T, a struct type with a name, travel by copy under
// the name of a class. Its exported fields are the attributes, by their names in
// snake case or in a `foolscap:"name"` tag; one with the option
// `foolscap:",optional"` may be missing, and is left out when it is zero. A tag
// `schema:"text(max=10)"` bounds an attribute, wherever a T goes out or arrives:
// docs/interfaces.md has the language.
//
// [New] returns the error of a type or class that cannot be.
func CopyOf[T any](class string) Copy {
	return constrained(banana.CopyOf[T](class), class, reflect.TypeFor[T]())
}

// CopyAs is [CopyOf] for values of any type with a name, such as time.Time,
// which are made into a struct S, and out of one, by two functions of the
// program: the fields of S are the attributes. An error of encode fails the call
// before anything of it is sent; one of decode refuses what has arrived.
//
// The functions are called from any goroutine, several at once, while messages
// are written and read: they must be quick, and make no remote calls. A value
// that a function makes cannot contain itself.
func CopyAs[T, S any](class string, encode func(T) (S, error), decode func(S) (T, error)) Copy {
	return constrained(banana.CopyAs(class, encode, decode), class, reflect.TypeFor[S]())
}

// constrained returns a Copy that is held to the schema tags of its state.
func constrained(c Copy, class string, state reflect.Type) Copy {
	fields, _, err := banana.FieldsOf(state)
	if err != nil { // which NewCopies tells
		return c
	}
	whole := schema.Copyable{Class: class}
	tagged := false
	for _, f := range fields {
		var of schema.Constraint
		if tag, ok := f.Struct.Tag.Lookup("schema"); ok {
			tagged = true
			if of, err = schema.ForType(f.Struct.Type, tag); err != nil {
				return c.Constrained(nil, fmt.Errorf("attribute %q: %w", f.Name, err))
			}
		}
		if f.Optional {
			of = schema.Optional{Of: of}
		}
		whole.State.Fields = append(whole.State.Fields, schema.Field{Name: f.Name, Constraint: of})
	}
	if !tagged {
		return c
	}
	return c.Constrained(whole.Taster, nil)
}

// copies returns all that travels by copy.
func (o *Options) copies() (*banana.Copies, error) {
	failures := broker.CopyFailures(o.TracesToPeers && !o.Hidden, o.TracesFromPeers)
	return banana.NewCopies(slices.Concat([]Copy{failures, sturdyRefs}, o.Copies)...)
}

// sturdyRefs is what a FURL is as a value: Foolscap's SturdyRef, whose
// attributes are text, and bytes when it runs on Python 2.
var sturdyRefs = banana.CopyAs("foolscap.SturdyRef", sturdyState, fromSturdyState)

type sturdyRef struct {
	URL   any          `foolscap:"url"`
	TubID any          `foolscap:"tubID,optional"`
	Hints *banana.List `foolscap:"locationHints,optional"`
	Name  any          `foolscap:",optional"`
}

func sturdyState(f furl.FURL) (sturdyRef, error) {
	if err := complete(f); err != nil {
		return sturdyRef{}, err
	}
	hints := banana.NewList()
	for _, h := range f.Hints {
		hints.Items = append(hints.Items, string(h))
	}
	return sturdyRef{f.Reveal(), string(f.TubID), hints, f.Name.Reveal()}, nil
}

// fromSturdyState reads the FURL alone, of which the rest are parts.
func fromSturdyState(s sturdyRef) (furl.FURL, error) {
	switch url := s.URL.(type) {
	case string:
		return furl.Parse(url)
	case []byte:
		return furl.Parse(string(url))
	}
	return furl.FURL{}, errors.New("it has no FURL")
}
