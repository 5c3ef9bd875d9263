package schema

import (
	"fmt"
	"slices"
)

// A Change is a difference between two versions of an interface.
type Change struct {
	// Breaks says that programs of the one version and of the other may
	// fail to understand each other because of it.
	Breaks bool
	// Text says what has changed and, if it breaks something, who fails.
	Text string
}

// Compare returns the differences between an old and a new version of an
// interface. What breaks is what can fail between an old caller and a new
// object, or between a new caller and an old object which it uses as it used
// it before. New methods and new optional arguments break nothing: callers who
// use them need new objects. Where it cannot be told whether a constraint
// accepts less than before, it is taken to do so.
func Compare(old, new *Interface) []Change {
	c := comparison{}
	if old.Name != new.Name {
		c.breaks("interface %s is called %s: references with the one name are refused where the other one is demanded", old.Name, new.Name)
	}
	for _, name := range old.Extends {
		if !slices.Contains(new.Extends, name) {
			c.breaks("%s no longer extends %s: its methods are gone for old callers", new.Name, name)
		}
	}
	for _, name := range new.Extends {
		if !slices.Contains(old.Extends, name) {
			c.note("%s extends %s", new.Name, name)
		}
	}
	for _, m := range old.Methods {
		if now := new.Method(m.Name); now == nil {
			c.breaks("method %s is gone: old callers fail", m.Name)
		} else {
			c.method(m, now)
		}
	}
	for _, m := range new.Methods {
		if old.Method(m.Name) == nil {
			c.note("method %s is new", m.Name)
		}
	}
	return c.changes
}

type comparison struct{ changes []Change }

func (c *comparison) breaks(format string, args ...any) {
	c.changes = append(c.changes, Change{Breaks: true, Text: fmt.Sprintf(format, args...)})
}

func (c *comparison) note(format string, args ...any) {
	c.changes = append(c.changes, Change{Text: fmt.Sprintf(format, args...)})
}

func (c *comparison) method(old, now *Method) {
	switch {
	case old.Unconstrained && now.Unconstrained:
		return
	case old.Unconstrained:
		c.breaks("method %s is constrained: calls of old callers may be refused", old.Name)
		return
	case now.Unconstrained:
		c.breaks("method %s is no longer constrained: old callers may refuse its results", old.Name)
		return
	}
	for i, a := range old.Args {
		at := now.Arg(a.Name)
		if at < 0 {
			switch {
			case now.Unknown == RefuseUnknown:
				c.breaks("argument %s of %s is gone: old callers who give it fail", a.Name, old.Name)
			case !a.Optional:
				c.breaks("argument %s of %s is gone: new callers do not give it, and old objects require it", a.Name, old.Name)
			case i >= len(now.Args):
				c.breaks("argument %s of %s is gone: old callers who give it by position fail", a.Name, old.Name)
			default:
				c.note("argument %s of %s is gone", a.Name, old.Name)
			}
			if i < len(now.Args) && old.Arg(now.Args[i].Name) < 0 {
				c.breaks("argument %d of %s is %s, it was %s: who gives it by position gives another one", i+1, old.Name, now.Args[i].Name, a.Name)
			}
			continue
		}
		if at != i {
			c.breaks("argument %s of %s is number %d, it was number %d: who gives it by position gives another one", a.Name, old.Name, at+1, i+1)
		}
		c.argument(old.Name, a, now.Args[at])
	}
	for _, a := range now.Args {
		switch {
		case old.Arg(a.Name) >= 0:
		case !a.Optional:
			c.breaks("argument %s of %s is new and required: old callers do not give it", a.Name, old.Name)
		case old.Unknown != RefuseUnknown:
			c.breaks("argument %s of %s has a constraint: old callers may have given it with any value", a.Name, old.Name)
		default:
			c.note("argument %s of %s is new and optional", a.Name, old.Name)
		}
	}
	switch {
	case old.Unknown == now.Unknown:
	case now.Unknown == RefuseUnknown:
		c.breaks("method %s refuses unknown arguments: old callers who give some fail", old.Name)
	default:
		c.note("method %s takes unknown arguments", old.Name)
	}
	switch {
	case orAny(old.Result).String() == orAny(now.Result).String():
	case accepts(old.Result, now.Result):
		// A new caller judges what an old object returns.
		c.breaks("the result of %s is %s, it was %s: new callers may refuse what old objects return", old.Name, orAny(now.Result), orAny(old.Result))
	case accepts(now.Result, old.Result):
		c.breaks("the result of %s is %s, it was %s: old callers may refuse what new objects return", old.Name, orAny(now.Result), orAny(old.Result))
	default:
		c.breaks("the result of %s is %s, it was %s: callers and objects of different versions may refuse each other's", old.Name, orAny(now.Result), orAny(old.Result))
	}
}

func (c *comparison) argument(method string, old, now Arg) {
	switch {
	case old.Optional && !now.Optional:
		c.breaks("argument %s of %s is required: old callers may leave it out", now.Name, method)
	case !old.Optional && now.Optional:
		c.note("argument %s of %s is optional: old objects still require it", now.Name, method)
	case literalText(old.Default) != literalText(now.Default):
		c.note("the default of argument %s of %s is %s, it was %s", now.Name, method, literalText(now.Default), literalText(old.Default))
	}
	was, is := orAny(old.Constraint), orAny(now.Constraint)
	switch {
	case was.String() == is.String():
	case !accepts(is, was):
		c.breaks("argument %s of %s is %s, it was %s: calls of old callers may be refused", now.Name, method, is, was)
	default:
		c.note("argument %s of %s is %s, it was %s: old objects may refuse what is new", now.Name, method, is, was)
	}
}
