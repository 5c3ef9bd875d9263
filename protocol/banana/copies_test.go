package banana

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type place struct {
	X, Y int
	Note string `foolscap:"remark,optional"`
}

type family struct {
	Name     string
	Parent   *family   `foolscap:",optional"`
	Children []*family `foolscap:",optional"`
	Extra    any       `foolscap:",optional"`
}

// celsius and box travel by hooks: one is no struct, the other shows nothing.
type celsius float64

type box struct{ content any }

type boxed struct{ Content any }

type instant struct{ Seconds int64 }

var errCold = errors.New("colder than that it cannot be")

func copiesOf(t testing.TB, more ...Copy) *Copies {
	t.Helper()
	all, err := NewCopies(append([]Copy{
		CopyOf[place]("example.Place"),
		CopyOf[family]("example.Family"),
		CopyOf[square]("example.Square"),
		CopyAs("example.Box", func(b box) (boxed, error) { return boxed{b.content}, nil }, func(s boxed) (box, error) { return box{s.Content}, nil }),
		CopyAs("example.Celsius", func(c celsius) (struct{ Degrees float64 }, error) {
			if c < -273.15 {
				return struct{ Degrees float64 }{}, errCold
			}
			return struct{ Degrees float64 }{float64(c)}, nil
		}, func(s struct{ Degrees float64 }) (celsius, error) {
			if s.Degrees < -273.15 {
				return 0, errCold
			}
			return celsius(s.Degrees), nil
		}),
		CopyAs("example.Instant", func(t time.Time) (instant, error) { return instant{t.Unix()}, nil },
			func(s instant) (time.Time, error) { return time.Unix(s.Seconds, 0), nil }),
	}, more...)...)
	require.NoError(t, err)
	return all
}

func encodeCopies(cfg EncoderConfig, v any) ([]byte, error) {
	cfg.Vocab, cfg.External = 1, plainEncoder.External
	e := NewEncoder(&cfg, false)
	e.Open("answer")
	e.Int(1)
	e.Value(v)
	e.Close()
	m, _, err := e.Finish()
	if err != nil {
		return nil, err
	}
	defer m.Free()
	var w Numberer
	out, _ := w.Append(nil, m, 1<<30, appendReference)
	return out, nil
}

// decodeCopies decodes into a target, and then reads a message behind it if
// there was no error of the stream.
func decodeCopies(t testing.TB, copies *Copies, in []byte, target any) error {
	t.Helper()
	skipped := 0
	account := NewAccount("Test", 2<<20, nil)
	stream := append(bytes.Clone(in), wireFrom(decoderOpens(t, in), "(answer 1 7)")...)
	d := NewDecoder(bytes.NewReader(stream), nil, &DecoderConfig{
		Vocab: 1, Copies: copies, Account: account,
		External: func(d *Decoder, opentype string, t Taster) (any, bool, error) {
			skipped++
			return references(d, opentype, t)
		},
		Skipped: func(d *Decoder, opentype string) error {
			if opentype == "my-reference" {
				skipped++
			}
			return nil
		},
	})
	err := answerValue(d, func() error { return decodeTarget(d, target, nil) })
	if outcome(err) == "DROP" {
		return err
	}
	require.NoError(t, d.Skip())
	require.Equal(t, bytes.Count(in, []byte{15, byte(TypeVocab)}), skipped, "each reference was received, or seen when it was skipped")
	var next int
	require.NoError(t, answerValue(d, func() error { return decodeTarget(d, &next, nil) }))
	require.Equal(t, 7, next)
	d.Release()
	require.Zero(t, account.Used())
	return err
}

func into[T any](t testing.TB, in []byte) (v T, err error) {
	t.Helper()
	err = decodeCopies(t, copiesOf(t), in, &v)
	return v, err
}

func TestACopyIsItsClassAndItsAttributes(t *testing.T) {
	cfg := EncoderConfig{Copies: copiesOf(t)}
	p := &place{X: 1, Y: 2}
	pp := &p
	cold := celsius(-1.5)
	const one = `(copyable "example.Place" "x" 1 "y" 2)`
	for name, test := range map[string]struct {
		value any
		wire  string
	}{
		"a value":                      {*p, one},
		"a pointer":                    {p, one},
		"a pointer to a pointer":       {&pp, one},
		"a nil pointer":                {(*place)(nil), `(none)`},
		"an optional attribute":        {place{1, 2, "x"}, `(copyable "example.Place" "remark" (unicode "x") "x" 1 "y" 2)`},
		"values in a list":             {[]place{*p, *p}, `(list ` + one + one + `)`},
		"one pointer twice":            {[]*place{p, p}, `(list ` + one + `(reference 2))`},
		"one pointer twice in an any":  {NewList(p, Tuple{p}), `(list ` + one + `(tuple (reference 2)))`},
		"one that holds another":       {box{p}, `(copyable "example.Box" "content" ` + one + `)`},
		"one of a type that is hidden": {[]any{time.Unix(5, 1)}, `(list (copyable "example.Instant" "seconds" 5))`},
		"one that is no struct":        {[]*celsius{&cold}, `(list (copyable "example.Celsius" "degrees" -1.5))`},
		"within a struct":              {struct{ At place }{*p}, `(dict (unicode "at") ` + one + `)`},
		"in an interface":              {[]figure{square{2}}, `(list (copyable "example.Square" "side" 2.0))`},
	} {
		got, err := encodeCopies(cfg, test.value)
		require.NoError(t, err, name)
		assert.Equal(t, answer(test.wire), got, name)
	}

	plain, err := encode(place{X: 1, Y: 2})
	require.NoError(t, err)
	assert.Equal(t, answer(`(dict (unicode "x") 1 (unicode "y") 2)`), plain, "elsewhere the type is what it was")
	alone, err := NewCopies(CopyOf[place]("example.Place").Unshared())
	require.NoError(t, err)
	got, err := encodeCopies(EncoderConfig{Copies: alone}, []*place{p, p})
	require.NoError(t, err)
	assert.Equal(t, answer(`(list `+one+one+`)`), got)
}

func TestCopiesArriveInWhateverCanHoldThem(t *testing.T) {
	const one = `(copyable "example.Place" "y" 2 "x" 1)`
	want := place{X: 1, Y: 2}

	v, err := into[any](t, answer(one))
	require.NoError(t, err)
	assert.Equal(t, &want, v)
	value, err := into[place](t, answer(one))
	require.NoError(t, err)
	assert.Equal(t, want, value)
	pp, err := into[**place](t, answer(one))
	require.NoError(t, err)
	assert.Equal(t, want, **pp)
	none, err := into[*place](t, answer(`(none)`))
	require.NoError(t, err)
	assert.Nil(t, none)
	when, err := into[struct{ At time.Time }](t, answer(`(dict "at" (copyable "example.Instant" "seconds" 5))`))
	require.NoError(t, err)
	assert.Equal(t, time.Unix(5, 0), when.At)
	temperatures, err := into[map[string]celsius](t, answer(`(dict (unicode "a") (copyable "example.Celsius" "degrees" 1))`))
	require.NoError(t, err)
	assert.Equal(t, map[string]celsius{"a": 1}, temperatures)
	figures, err := into[[]figure](t, answer(`(list (copyable "example.Square" "side" 2.0) (none))`))
	require.NoError(t, err)
	assert.Equal(t, []figure{&square{2}, nil}, figures)
	nested, err := into[box](t, answer(`(copyable "example.Box" "content" (list `+one+`))`))
	require.NoError(t, err)
	assert.Equal(t, NewList(&want), nested.content)
}

func TestSharedCopiesStayShared(t *testing.T) {
	const one = `(copyable "example.Place" "y" 2 "x" 1)`
	v, err := into[any](t, answer(`(list `+one+`(reference 2))`))
	require.NoError(t, err)
	assert.Same(t, v.(*List).Items[0], v.(*List).Items[1])

	p, err := into[[]*place](t, answer(`(list `+one+`(reference 2))`))
	require.NoError(t, err)
	assert.Same(t, p[0], p[1])

	boxes, err := into[[]*box](t, answer(`(list (copyable "example.Box" "content" 1) (reference 2))`))
	require.NoError(t, err)
	assert.Same(t, boxes[0], boxes[1])

	mixed, err := into[struct {
		_ struct{} `foolscap:",tuple"`
		A place
		B *place
		C any
		D place
	}](t, answer(`(tuple `+one+`(reference 2) (reference 2) (reference 2))`))
	require.NoError(t, err)
	assert.Equal(t, place{X: 1, Y: 2}, mixed.A)
	assert.Equal(t, &place{X: 1, Y: 2}, mixed.B)
	assert.Equal(t, &place{X: 1, Y: 2}, mixed.C)
	assert.Equal(t, mixed.A, mixed.D)

	// A list of them that was sent once for two targets.
	lists, err := into[struct {
		_ struct{} `foolscap:",tuple"`
		A any
		B []*place
	}](t, answer(`(tuple (list `+one+`) (reference 2))`))
	require.NoError(t, err)
	assert.Equal(t, NewList(&place{X: 1, Y: 2}), lists.A)
	assert.Equal(t, []*place{{X: 1, Y: 2}}, lists.B)
}

func TestCyclesOfCopies(t *testing.T) {
	father, child := &family{Name: "a"}, &family{Name: "b"}
	child.Parent, father.Children = father, []*family{child}
	own := &family{Name: "own", Extra: &List{}}
	own.Extra.(*List).Items = []any{own}
	itself := &box{}
	itself.content = NewList(itself)
	tuple := &family{Name: "t"}
	tuple.Extra = Tuple{tuple}

	cfg := EncoderConfig{Copies: copiesOf(t)}
	in, err := encodeCopies(cfg, father)
	require.NoError(t, err)
	typed, err := into[*family](t, in)
	require.NoError(t, err)
	assert.Same(t, typed, typed.Children[0].Parent)
	v, err := into[any](t, in)
	require.NoError(t, err)
	assert.Same(t, v, v.(*family).Children[0].Parent)
	_, err = into[family](t, in)
	requireViolation(t, err, "(example.Family).children[0](example.Family).parent: expected a value without cycles, got one that contains itself (a target of type any can hold it)")

	_, err = encodeCopies(cfg, itself)
	assert.ErrorContains(t, err, "a value by copy that contains itself")
	_, err = into[any](t, answer(`(copyable "example.Box" "content" (list (reference 1)))`))
	requireViolation(t, err, "(example.Box).content[0]: a value by copy that contains itself, and is made only once it is complete")

	// A receiver of Foolscap's own: what would end the connection is not sent.
	cfg.WholeAttributes = true
	for name, v := range map[string]any{"an attribute": father, "an attribute by way of a tuple": tuple} {
		_, err := encodeCopies(cfg, v)
		assert.ErrorContains(t, err, "a value by copy that contains itself", name)
	}
	// A tuple that has ended is not complete before what it refers to is.
	waits := Tuple{nil}
	root := &family{Name: "root", Extra: NewList(NewList(waits), &family{Extra: waits})}
	waits[0] = root
	inner, outer := Tuple{nil}, Tuple{nil, nil}
	inner[0], outer[0], outer[1] = outer, NewList(inner), &family{Extra: inner}
	inmost, middle, outmost := Tuple{nil, nil}, Tuple{nil, nil}, Tuple{nil, nil}
	inmost[0], middle[0], middle[1] = middle, NewList(inmost), outmost
	outmost[0], outmost[1] = NewList(middle), &family{Extra: Tuple{inmost}}
	for name, v := range map[string]any{"for the value": root, "for a tuple": outer, "for a tuple that waits": outmost} {
		_, err := encodeCopies(cfg, v)
		assert.ErrorContains(t, err, "a tuple as an attribute of a value by copy, before it is complete", name)
		before := cfg
		before.WholeAttributes = false
		_, err = encodeCopies(before, v)
		assert.NoError(t, err, name)
	}
	root.Extra = NewList(waits, &family{Extra: NewList(waits)})
	_, err = encodeCopies(cfg, NewList(root, &family{Extra: waits}))
	require.NoError(t, err, "a list can hold it, and what is complete can be an attribute")
	_, err = encodeCopies(cfg, Tuple{&family{Name: "x", Extra: Tuple{}}, Tuple{}})
	require.NoError(t, err, "what is complete can be referred to")
	in, err = encodeCopies(cfg, own)
	require.NoError(t, err, "what a list holds can come later")
	typed, err = into[*family](t, in)
	require.NoError(t, err)
	assert.Same(t, typed, typed.Extra.(*List).Items[0])
}

// An introduced is what Later says of things that go by reference.
type introduced struct{ object }

func (introduced) Later() bool { return true }

func TestNoIntroductionsInCopiesForFoolscap(t *testing.T) {
	tuple := Tuple{Tuple{&introduced{}}}
	for _, test := range []struct {
		whole bool
		value any
		fails bool
	}{
		{true, box{NewList(&introduced{})}, true}, {true, NewList(&introduced{}), false}, {true, box{&object{1}}, false}, {false, box{&introduced{}}, false},
		{true, NewList(tuple, box{tuple}), true}, {true, NewList(tuple, box{NewList(tuple)}, tuple), false}, {false, NewList(tuple, box{tuple}), false},
	} {
		e := NewEncoder(&EncoderConfig{Vocab: 1, Copies: copiesOf(t), WholeAttributes: test.whole, External: plainEncoder.External}, false)
		e.Value(test.value)
		_, held, err := e.Finish()
		assert.Equal(t, test.fails, err != nil, "%v", test.value)
		assert.Equal(t, test.fails, len(held) == 1, "what was held is to be released: %v", test.value)
	}
}

func TestCopiesThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		wire   string
		target any
		text   string
	}{
		"an unknown class":             {`(list (copyable "x.Y" "a" (my-reference 1)) (my-reference 2))`, new(any), `[0]: copyable of the unknown class "x.Y"`},
		"an unknown class for an int":  {`(copyable "x.Y")`, new(int), `copyable of the unknown class "x.Y"`},
		"another class":                {`(copyable "example.Place" "x" (my-reference 3))`, new(box), `expected banana.box, got copyable "example.Place"`},
		"another class in a slice":     {`(list (copyable "example.Place" "x" 1))`, new([]*family), `[0]: expected banana.family, got copyable "example.Place"`},
		"one for text":                 {`(copyable "example.Place")`, new(string), `expected string, got copyable "example.Place"`},
		"one for another interface":    {`(copyable "example.Place")`, new(figure), `expected banana.figure, got copyable "example.Place"`},
		"a dict":                       {`(dict "x" 1 "y" 2)`, new(place), `expected copyable "example.Place", got dict`},
		"none for a value":             {`(none)`, new(place), `expected copyable "example.Place", got none`},
		"an unknown attribute":         {`(copyable "example.Place" "z" (my-reference 1))`, new(any), `(example.Place): unknown attribute "z"`},
		"a missing attribute":          {`(copyable "example.Place" "x" 1)`, new(any), `(example.Place): missing attribute "y"`},
		"an attribute without value":   {`(copyable "example.Place" "x")`, new(any), `(example.Place): attribute "x" without a value`},
		"an attribute of a wrong type": {`(list (copyable "example.Place" "x" (my-reference 1)))`, new(any), `[0](example.Place).x: expected integer, got reference`},
		"what a hook refuses":          {`(copyable "example.Celsius" "degrees" -300)`, new(celsius), `(example.Celsius): ` + errCold.Error()},
		"one as a key":                 {`(dict (copyable "example.Place" "x" 1 "y" 1) 1)`, new(any), `key: *banana.place cannot be a key or a member of a set`},
		"a very long class":            {`(copyable "` + strings.Repeat("x", 2000) + `")`, new(any), `the class of a copyable has 2000 bytes, 1000 are allowed`},
	} {
		t.Run(name, func(t *testing.T) {
			requireViolation(t, decodeCopies(t, copiesOf(t), answer(test.wire), test.target), test.text)
		})
	}
	for name, value := range map[string]string{
		"an attribute twice":              `(copyable "example.Place" "x" 1 "x" 1)`,
		"a name that is text":             `(copyable "example.Place" (unicode "x") 1)`,
		"a class that is text":            `(copyable (unicode "example.Place"))`,
		"no class":                        `(copyable)`,
		"a reference to what is not done": `(copyable "example.Place" "x" (reference 0))`,
	} {
		assert.Equal(t, "DROP", outcome(decodeCopies(t, copiesOf(t), answer(value), new(any))), name)
	}
}

func TestCopiesThatCannotBeSent(t *testing.T) {
	cfg := EncoderConfig{Copies: copiesOf(t, CopyAs("example.Panics",
		func(time.Duration) (instant, error) { panic("no") }, func(instant) (time.Duration, error) { panic("no") }))}
	for name, test := range map[string]struct {
		value any
		text  string
	}{
		"what a hook refuses":         {[]celsius{-300}, "cannot encode [0](example.Celsius): " + errCold.Error()},
		"what makes a hook panic":     {time.Second, "cannot encode (example.Panics): panic: no"},
		"an attribute without a form": {box{func() {}}, "cannot encode (example.Box).content: type func() has no form in Banana"},
		"one as a key":                {map[place]int{{}: 1}, "cannot encode: banana.place travels by copy, so it cannot be a key or a member of a set"},
	} {
		_, err := encodeCopies(cfg, test.value)
		var e *EncodeError
		require.ErrorAs(t, err, &e, name)
		assert.Equal(t, test.text, err.Error(), name)
	}
	_, err := encodeCopies(cfg, celsius(-300))
	assert.ErrorIs(t, err, errCold)
	requireViolation(t, decodeCopies(t, cfg.Copies, answer(`(copyable "example.Panics" "seconds" 1)`), new(any)), "(example.Panics): panic: no")

	const hidden = "banana.box has no exported fields: it can travel by copy only, and is not registered for that"
	_, err = encode(box{1})
	assert.EqualError(t, err, "cannot encode: "+hidden)
	requireViolation(t, decodeInto(answer("(dict)"), new(box)), hidden)
}

func TestCopiesThatCannotBeRegistered(t *testing.T) {
	same := func(p place) (place, error) { return p, nil }
	type tuple struct {
		_ struct{} `foolscap:",tuple"`
	}
	for name, test := range map[string]struct {
		copies []Copy
		text   string
	}{
		"two of one class":       {[]Copy{CopyOf[place]("a"), CopyOf[box]("a")}, `two types are to travel as the class "a"`},
		"two of one type":        {[]Copy{CopyOf[place]("a"), CopyOf[place]("b")}, `banana.place is to travel as two classes, "a" and "b"`},
		"no class":               {[]Copy{CopyOf[place]("")}, "0 bytes"},
		"no name":                {[]Copy{CopyOf[struct{ A int }]("a")}, "types with a name"},
		"a pointer":              {[]Copy{CopyOf[*place]("a")}, "types with a name"},
		"an interface":           {[]Copy{CopyOf[figure]("a")}, "types with a name"},
		"a reference":            {[]Copy{CopyOf[object]("a")}, "types with a name"},
		"a reader":               {[]Copy{CopyOf[strings.Reader]("a")}, "types with a name"},
		"a type of this package": {[]Copy{CopyOf[List]("a")}, "types with a name"},
		"no struct":              {[]Copy{CopyOf[celsius]("a")}, "is not a struct"},
		"a tuple":                {[]Copy{CopyOf[tuple]("a")}, "marked as a tuple"},
		"a field without a form": {[]Copy{CopyOf[unsendable]("a")}, "has no form"},
		"no hooks":               {[]Copy{CopyAs[place, place]("a", same, nil)}, "both hooks"},
		"one made by hand":       {[]Copy{{}}, "CopyOf or CopyAs"},
	} {
		_, err := NewCopies(test.copies...)
		assert.ErrorContains(t, err, test.text, name)
	}
}

type unsendable struct{ C chan int }

func TestCopiesKeepToTheLimits(t *testing.T) {
	in := answer(`(list ` + strings.Repeat(`(copyable "example.Box" "content" 1)`, 1000) + `)`)
	for _, limits := range []Limits{{MaxMessage: 20_000}, {MaxTokens: 2000}, {MaxDepth: 2}} {
		account := NewAccount("Test", 1<<20, nil)
		d := NewDecoder(bytes.NewReader(in), nil, &DecoderConfig{Vocab: 1, Limits: limits, Copies: copiesOf(t), Account: account})
		var limit *LimitError
		require.ErrorAs(t, answerValue(d, func() error { _, err := d.Value(nil); return err }), &limit)
		require.NoError(t, d.Skip())
		assert.Zero(t, account.Used())
	}
	var deep any = 1
	for range 300 {
		deep = &box{deep}
	}
	_, err := encodeCopies(EncoderConfig{Copies: copiesOf(t)}, deep)
	var limit *LimitError
	require.ErrorAs(t, err, &limit)
	assert.Equal(t, "MaxDepth", limit.Limit)
}

func TestATasterSeesClassAndAttributes(t *testing.T) {
	var log []string
	d := NewDecoder(bytes.NewReader(answer(`(copyable "example.Place" "x" 1 "y" 2)`)), nil, &DecoderConfig{Vocab: 1, Copies: copiesOf(t)})
	require.NoError(t, answerValue(d, func() error {
		return decodeTarget(d, new(place), &recorder{log: &log, objectAt: -1})
	}))
	assert.Equal(t, []string{
		"open copyable", ". STRING(13)", `. body "example.Place"`,
		". STRING(1)", `. body "x"`, ". INT(1)", ". STRING(1)", `. body "y"`, ". INT(2)", ". close",
	}, log)
}

func TestRecodedCopiesAreCopies(t *testing.T) {
	copies := copiesOf(t)
	p := &place{X: 1, Y: 2}
	d, err := Recode(&DecoderConfig{Copies: copies}, nil, func(e *Encoder) {
		e.Open("answer")
		e.Int(1)
		e.Value(NewList(p, p))
		e.Close()
	})
	require.NoError(t, err)
	var got []*place
	require.NoError(t, answerValue(d, func() error { return decodeTarget(d, &got, nil) }))
	assert.Equal(t, []*place{p, p}, got)
	assert.Same(t, got[0], got[1])
}

// FuzzCopies decodes into all kinds of targets: whatever comes, the decoder
// ends or goes on, and what was read can be written.
func FuzzCopies(f *testing.F) {
	for i, value := range []string{
		`(list (copyable "example.Place" "x" 1 "y" 2 "remark" (unicode "r")) (reference 2))`,
		`(copyable "example.Family" "name" (unicode "a") "parent" (reference 1) "children" (list (reference 1)))`,
		`(copyable "example.Family" "name" (unicode "a") "extra" (tuple (list (reference 2)) (reference 1)))`,
		`(copyable "example.Box" "content" (copyable "example.Box" "content" (reference 2)))`,
		`(tuple (copyable "example.Celsius" "degrees" -300.5) (copyable "example.Instant" "seconds" 7))`,
		`(dict (copyable "example.Place" "x" 1 "y" 1) 1)`,
		`(list (copyable "x.Y" "z" (my-reference 1)) (copyable "example.Square" "side" 1.5))`,
	} {
		for j := range 3 {
			f.Add(answer(value), uint8(i+j))
		}
	}
	copies := copiesOf(f)
	f.Fuzz(func(t *testing.T, in []byte, which uint8) {
		targets := func() any {
			all := []any{new(any), new(family), new(*family), new([]*place), new(box), new([]any), new([]figure), new(map[string]celsius), new([]family)}
			return all[int(which)%len(all)]
		}
		account := NewAccount("Test", 2<<20, nil)
		target := targets()
		d := NewDecoder(bytes.NewReader(in), nil, &DecoderConfig{Vocab: 1, Limits: fuzzLimits, External: references, Account: account, Copies: copies})
		err := answerValue(d, func() error { return decodeTarget(d, target, nil) })
		if outcome(err) == "VIOLATION" {
			if err := d.Skip(); err != nil {
				require.Equal(t, "DROP", outcome(err))
			}
		}
		d.Release()
		require.Zero(t, account.Used())
		if err != nil {
			return
		}
		out, err := encodeCopies(EncoderConfig{Copies: copies}, target)
		if err != nil {
			var e *EncodeError
			require.ErrorAs(t, err, &e)
			return
		}
		again := NewDecoder(bytes.NewReader(out), nil, &DecoderConfig{Vocab: 1, External: references, Copies: copies})
		require.NoError(t, answerValue(again, func() error { return decodeTarget(again, targets(), nil) }))
	})
}
