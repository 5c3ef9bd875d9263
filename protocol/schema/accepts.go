package schema

import "slices"

// accepts reports whether every value that b accepts is legal for a. It is
// false when that cannot be told.
func accepts(a, b Constraint) bool {
	a, _ = unwrap(a)
	b, _ = unwrap(b)
	if b, ok := b.(Choice); ok {
		return !slices.ContainsFunc(b.Of, func(x Constraint) bool { return !accepts(a, x) })
	}
	if a.String() == b.String() {
		return true
	}
	switch a := a.(type) {
	case Any:
		return true
	case Choice:
		return slices.ContainsFunc(a.Of, func(x Constraint) bool { return accepts(x, b) }) || acceptsParts(a, b)
	case Bytes:
		b, ok := b.(Bytes)
		return ok && within(a.Min, a.Max, b.Min, b.Max) && (a.Pattern == nil || b.Pattern != nil && a.Pattern.String() == b.Pattern.String())
	case Text:
		b, ok := b.(Text)
		return ok && within(a.Min, a.Max, b.Min, b.Max) && (a.Pattern == nil || b.Pattern != nil && a.Pattern.String() == b.Pattern.String())
	case Int:
		b, ok := b.(Int)
		return ok && a.acceptsInt(b)
	case Number:
		switch b := b.(type) {
		case Int:
			return Int{Bytes: a.Bytes}.acceptsInt(b)
		case Number:
			return Int{Bytes: a.Bytes}.acceptsInt(Int{Bytes: b.Bytes})
		}
	case Bool:
		b, ok := b.(Bool)
		return ok && (a.Only == nil || b.Only != nil && *a.Only == *b.Only)
	case Decimal:
		b, ok := b.(Decimal)
		return ok && within(0, a.Max, 0, b.Max)
	case List:
		b, ok := b.(List)
		return ok && within(a.Min, a.Max, b.Min, b.Max) && (b.Max < 0 || accepts(a.Item, b.Item))
	case Tuple:
		b, ok := b.(Tuple)
		return ok && len(a.Items) == len(b.Items) && !slices.ContainsFunc(slices.Collect(pairs(a.Items, b.Items)), func(p [2]Constraint) bool { return !accepts(p[0], p[1]) })
	case Set:
		b, ok := b.(Set)
		return ok && a.kinds()&b.kinds() == b.kinds() && within(0, a.Max, 0, b.Max) && (b.Max < 0 || accepts(a.Item, b.Item))
	case Dict:
		switch b := b.(type) {
		case Dict:
			return within(0, a.Max, 0, b.Max) && (b.Max < 0 || accepts(a.Key, b.Key) && accepts(a.Value, b.Value))
		case Struct:
			return a.acceptsFields(b.Fields)
		case AttrDict:
			return b.Unknown == RefuseUnknown && a.acceptsFields(b.Fields)
		}
	case Struct:
		return acceptsAttrs(a.attrs(), b)
	case AttrDict:
		return acceptsAttrs(a, b)
	case Copyable:
		b, ok := b.(Copyable)
		return ok && a.Class == b.Class && acceptsAttrs(a.State, b.State)
	case Referenceable:
		return b.kinds() == kindReference
	case RemoteInterface:
		b, ok := b.(RemoteInterface)
		return ok && a.Name == b.Name
	}
	return false
}

// acceptsParts is for a b that no alternative accepts as a whole.
func acceptsParts(a Choice, b Constraint) bool {
	switch b := b.(type) {
	case Bool:
		return b.Only == nil && accepts(a, Bool{Only: new(true)}) && accepts(a, Bool{Only: new(false)})
	case Set:
		if b.Kind != EitherSet {
			return false
		}
		mutable, frozen := b, b
		mutable.Kind, frozen.Kind = MutableSet, FrozenSet
		return accepts(a, mutable) && accepts(a, frozen)
	}
	return false
}

func pairs(a, b []Constraint) func(yield func([2]Constraint) bool) {
	return func(yield func([2]Constraint) bool) {
		for i := range a {
			if !yield([2]Constraint{a[i], b[i]}) {
				return
			}
		}
	}
}

// within reports whether lengths that fit the second pair fit the first.
func within(minA, maxA, minB, maxB int) bool {
	a, boundA := length(maxA)
	b, boundB := length(maxB)
	return minA <= minB && (!boundA || boundB && b <= a)
}

// acceptsInt compares what both come to: the bounds of Bytes and of the range.
func (c Int) acceptsInt(b Int) bool {
	lowA, highA := c.bounds()
	lowB, highB := b.bounds()
	return (lowA == nil || lowB != nil && lowA.Cmp(lowB) <= 0) && (highA == nil || highB != nil && highA.Cmp(highB) >= 0)
}

// acceptsFields reports whether a dict accepts one with these fields. The
// names may be texts or bytes.
func (c Dict) acceptsFields(fields []Field) bool {
	if m, bounded := length(c.Max); bounded && len(fields) > m {
		return false
	}
	for _, f := range fields {
		if orAny(c.Key).Check(f.Name) != nil || orAny(c.Key).Check([]byte(f.Name)) != nil || !accepts(c.Value, f.Constraint) {
			return false
		}
	}
	return true
}

func acceptsAttrs(a AttrDict, other Constraint) bool {
	var b AttrDict
	switch x := other.(type) {
	case Struct:
		b = x.attrs()
	case AttrDict:
		b = x
	default:
		return false
	}
	if b.Unknown != RefuseUnknown && a.Unknown == RefuseUnknown {
		return false
	}
	find := func(fields []Field, name string) *Field {
		if i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name }); i >= 0 {
			return &fields[i]
		}
		return nil
	}
	for _, f := range b.Fields {
		mine := find(a.Fields, f.Name)
		if mine == nil && a.Unknown == RefuseUnknown || mine != nil && !accepts(mine.Constraint, f.Constraint) {
			return false
		}
	}
	for _, f := range a.Fields {
		theirs := find(b.Fields, f.Name)
		_, optional := unwrap(f.Constraint)
		switch {
		case theirs == nil && b.Unknown != RefuseUnknown: // it may be there, with any value
			if !optional || !accepts(f.Constraint, Any{}) {
				return false
			}
		case theirs == nil:
			if !optional {
				return false
			}
		default:
			if _, theirsToo := unwrap(theirs.Constraint); theirsToo && !optional {
				return false
			}
		}
	}
	return true
}
