package banana

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/big"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// endless is a stream that begins with data and goes on with n zero bytes.
type endless struct {
	data []byte
	n    int64
	then []byte
}

func (r *endless) Read(p []byte) (int, error) {
	switch {
	case len(r.data) > 0:
		n := copy(p, r.data)
		r.data = r.data[n:]
		return n, nil
	case r.n > 0:
		n := int(min(int64(len(p)), r.n))
		clear(p[:n])
		r.n -= int64(n)
		return n, nil
	case len(r.then) > 0:
		n := copy(p, r.then)
		r.then = r.then[n:]
		return n, nil
	}
	return 0, io.EOF
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func requireLimit(t testing.TB, err error, name string) *LimitError {
	t.Helper()
	var v *Violation
	require.ErrorAs(t, err, &v)
	var limit *LimitError
	require.ErrorAs(t, err, &limit)
	require.Equal(t, name, limit.Limit)
	require.Contains(t, err.Error(), "limit "+name+" is ")
	return limit
}

func TestADeclaredLengthAllocatesNothing(t *testing.T) {
	const declared = 1 << 30
	for name, head := range map[string][]byte{
		"a string":            AppendToken(nil, TypeString, declared),
		"a long integer":      AppendToken(nil, TypeLongInt, declared),
		"a negative one":      AppendToken(nil, TypeLongNeg, declared),
		"a text":              AppendToken(wireFrom(1, "(unicode"), TypeString, declared),
		"a decimal":           AppendToken(wireFrom(1, "(decimal"), TypeString, declared),
		"the type of a value": AppendToken(AppendToken(nil, TypeOpen, 1), TypeString, declared),
		"a string in a list":  AppendToken(wireFrom(1, "(list 1 2"), TypeString, declared),
		"a key":               AppendToken(wireFrom(1, "(dict"), TypeString, declared),
	} {
		t.Run(name, func(t *testing.T) {
			for _, target := range []any{new(any), new([]byte), new(string), new(int), new([]any), new(map[string]int), new(point)} {
				closing := bytes.Count(head, []byte{byte(TypeOpen)})
				var rest []byte
				for n := closing; n >= 0; n-- {
					rest = AppendToken(rest, TypeClose, uint64(n))
				}
				rest = append(rest, wireFrom(10, "(answer 2 (list 7))")...)
				r := &endless{data: append(wire("(answer 1"), head...), n: declared, then: rest}
				account := NewAccount("Test", 1<<20, nil)
				d := NewDecoder(r, nil, &DecoderConfig{Vocab: 1, Limits: Limits{MaxMessage: 1 << 20}, Account: account})
				var err error
				read := func() { err = answerValue(d, func() error { return decodeTarget(d, target, nil) }) }
				size := allocated(read)
				var v *Violation
				require.ErrorAs(t, err, &v)
				assert.Less(t, size, uint64(64<<10))
				assert.Less(t, account.Used(), int64(64<<10))
				if name != "a string in a list" {
					continue // skipping a gigabyte once is enough
				}
				// The rest is skipped and the connection lives.
				size = allocated(func() { err = d.Skip() })
				require.NoError(t, err)
				assert.Less(t, size, uint64(64<<10))
				assert.Zero(t, account.Used())
				var next []int
				require.NoError(t, answerValue(d, func() error { return decodeTarget(d, &next, nil) }))
				assert.Equal(t, []int{7}, next)
				break
			}
		})
	}
}

func TestLimitsOfAMessage(t *testing.T) {
	list := func(n int, item string) string { return "(list" + strings.Repeat(" "+item, n) + ")" }
	for _, test := range []struct {
		name   string
		limits Limits
		fits   string
		not    string
		limit  string
		max    int64
	}{
		{"a string", Limits{MaxToken: 10}, `"aaaaaaaaaa"`, `"aaaaaaaaaab"`, "MaxToken", 10},
		{"a long integer", Limits{MaxToken: 10}, `#0a85` + strings.Repeat("ff", 10), `#0b85` + strings.Repeat("ff", 11), "MaxToken", 10},
		{"a text", Limits{MaxToken: 10}, `(unicode "aaaaaaaaaa")`, `(unicode "aaaaaaaaaab")`, "MaxToken", 10},
		{"depth", Limits{MaxDepth: 4}, "(list (list (list)))", "(list (list (list (list))))", "MaxDepth", 4},
		{"depth of text", Limits{MaxDepth: 4}, `(list (list (unicode "x")))`, `(list (list (list (unicode "x"))))`, "MaxDepth", 4},
		{"tokens", Limits{MaxTokens: 11}, list(4, "1"), list(5, "1"), "MaxTokens", 11},
		{"sequences", Limits{MaxTokens: 10}, "(list (none))", "(list (none) (none))", "MaxTokens", 10},
		{"the size of strings", Limits{MaxMessage: 1000}, list(1, `"`+strings.Repeat("x", 500)+`"`), list(2, `"`+strings.Repeat("x", 500)+`"`), "MaxMessage", 1000},
		{"the size of many small things", Limits{MaxMessage: 20000}, list(50, `(none)`), list(300, `(none)`), "MaxMessage", 20000},
		{"the size of integers", Limits{MaxMessage: 20000}, list(200, `1`), list(2000, `1`), "MaxMessage", 20000},
		{"the size of a long integer", Limits{MaxMessage: 1000}, "#648501" + strings.Repeat("00", 99), "#00088501" + strings.Repeat("00", 1023), "MaxMessage", 1000},
	} {
		t.Run(test.name, func(t *testing.T) {
			known := wireFrom(1000, `(answer 1 7)`)
			for _, target := range []func() any{func() any { return new(any) }, func() any { return new([]any) }} {
				if target == nil {
					continue
				}
				if _, typed := target().(*[]any); typed && !strings.HasPrefix(test.fits, "(list") {
					continue
				}
				d := NewDecoder(bytes.NewReader(append(answer(test.fits), known...)), nil, &DecoderConfig{Vocab: 1, Limits: test.limits})
				require.NoError(t, answerValue(d, func() error { return decodeTarget(d, target(), nil) }))

				d = NewDecoder(bytes.NewReader(append(answer(test.not), known...)), nil, &DecoderConfig{Vocab: 1, Limits: test.limits})
				err := answerValue(d, func() error { return decodeTarget(d, target(), nil) })
				limit := requireLimit(t, err, test.limit)
				assert.Equal(t, test.max, limit.Max)
				assert.Greater(t, limit.Asked, test.max)
				require.NoError(t, d.Skip())
				var n int
				require.NoError(t, answerValue(d, func() error { return decodeTarget(d, &n, nil) }))
				assert.Equal(t, 7, n)
			}
		})
	}
}

func TestNoLimitOfTokensPartsAReferenceFromItsNumber(t *testing.T) {
	for limit := 2; limit < 30; limit++ {
		var got []int64
		number := func(d *Decoder) {
			n, err := d.Int("its number")
			require.NoError(t, err)
			got = append(got, n)
		}
		cfg := &DecoderConfig{Vocab: 1, Limits: Limits{MaxTokens: limit},
			External: func(d *Decoder, opentype string, _ Taster) (any, bool, error) {
				number(d)
				return &object{}, true, d.Close(opentype)
			},
			Skipped: func(d *Decoder, opentype string) error {
				if opentype != "my-reference" {
					return nil
				}
				n, ok, err := d.SkippedInt()
				require.True(t, ok)
				got = append(got, n)
				return err
			}}
		d := NewDecoder(bytes.NewReader(answer("(list (my-reference 5) (list (my-reference 6)))")), nil, cfg)
		var v any
		if err := answerValue(d, func() error { return decodeTarget(d, &v, nil) }); err != nil {
			requireLimit(t, err, "MaxTokens")
			require.NoError(t, d.Skip())
		}
		require.Equal(t, []int64{5, 6}, got, "limit %d", limit)
	}
}

func TestTheEncoderKeepsTheLimitsOfDepthTokensAndSize(t *testing.T) {
	l := Limits{MaxDepth: 5, MaxTokens: 40, MaxMessage: 2000}
	deep := NewList(NewList(NewList(NewList())))
	for _, test := range []struct {
		fits, not any
		limit     string
	}{
		{deep, NewList(deep), "MaxDepth"},
		{NewList(NewList(NewList(&object{1}))), NewList(NewList(NewList(NewList(&object{1})))), "MaxDepth"},
		{make([]int, 30), make([]int, 40), "MaxTokens"},
		{make([]*struct{}, 10), make([]*struct{}, 20), "MaxTokens"},
		{make([]byte, 1900), make([]byte, 2000), "MaxMessage"},
		{strings.Repeat("x", 1900), strings.Repeat("x", 2000), "MaxMessage"},
		{tenTo(4000), tenTo(6000), "MaxMessage"},
		{[]any{&object{1}, &object{2}}, []any{&object{1}, &object{2}, &object{3}, &object{4}, &object{5}, &object{6}}, "MaxTokens"},
	} {
		for _, borrow := range []bool{false, true} {
			encode := func(v any) error {
				e := NewEncoder(&EncoderConfig{Vocab: 1, Limits: l, External: plainEncoder.External}, borrow)
				e.Open("answer")
				e.Int(1)
				e.Value(v)
				e.Close()
				m, _, err := e.Finish()
				if m != nil {
					m.Free()
				}
				return err
			}
			assert.NoError(t, encode(test.fits), "%T %s", test.fits, test.limit)
			err := encode(test.not)
			var limit *LimitError
			require.ErrorAs(t, err, &limit, "%T %s", test.not, test.limit)
			assert.Equal(t, test.limit, limit.Limit)
		}
	}
}

// What we send within our limits, a receiver with the same limits takes.
func TestTheLimitsOfBothSidesAgree(t *testing.T) {
	l := Limits{MaxDepth: 6, MaxTokens: 50}
	for n := range 30 {
		deep := any(&object{1})
		for range n {
			deep = NewList(deep)
		}
		wide := make([]any, n)
		for i := range wide {
			wide[i] = []any{nil, 1, "x", &object{5}, []byte("list"), Tuple{}}[i%6]
		}
		for _, v := range []any{deep, wide} {
			e := NewEncoder(&EncoderConfig{Vocab: 1, Limits: l, External: plainEncoder.External}, false)
			e.Open("answer")
			e.Int(1)
			e.Value(v)
			e.Close()
			m, _, err := e.Finish()
			if err != nil {
				requireLimitOfEncoder(t, err)
				continue
			}
			out, _ := new(Numberer).Append(nil, m, math.MaxInt, appendReference)
			d := NewDecoder(bytes.NewReader(out), nil, &DecoderConfig{Vocab: 1, Limits: l, External: references})
			require.NoError(t, answerValue(d, func() error { _, err := d.Value(nil); return err }))
		}
	}
}

func requireLimitOfEncoder(t *testing.T, err error) {
	t.Helper()
	var limit *LimitError
	require.ErrorAs(t, err, &limit)
}

func TestLimitsHaveDefaults(t *testing.T) {
	assert.Equal(t, Limits{MaxToken: 16 << 20, MaxMessage: 32 << 20, MaxDepth: 200, MaxTokens: 1_000_000}, Limits{}.WithDefaults())
	assert.Equal(t, Limits{1, 2, 3, 4}, Limits{1, 2, 3, 4}.WithDefaults())
	assert.Equal(t, math.MaxInt32, Limits{MaxMessage: math.MaxInt}.WithDefaults().MaxMessage)
	// The zero value is usable everywhere.
	assert.Equal(t, answer("(list 1)"), mustEncode(t, mustDecode(t, answer("(list 1)"))))
}

func TestLimitsCanChangeWithinAMessage(t *testing.T) {
	d := decoderFor(answer(`(list (list (list (list "0123456789"))))`))
	err := answerValue(d, func() error {
		d.SetLimits(Limits{MaxToken: 9})
		_, err := d.Value(nil)
		return err
	})
	requireLimit(t, err, "MaxToken")

	// Levels that were open when the limit fell below them stay in order.
	in := answer("(list (list (list (list) (list (list)))) 5)")
	d = decoderFor(append(in, wireFrom(50, "(answer 1 7)")...))
	err = answerValue(d, func() error {
		for range 2 {
			if _, _, err := d.NextOpen("list"); err != nil {
				return err
			}
		}
		d.SetLimits(Limits{MaxDepth: 1})
		_, err := d.Value(nil)
		d.SetLimits(Limits{MaxDepth: 100})
		return err
	})
	requireLimit(t, err, "MaxDepth")
	require.NoError(t, d.Skip())
	var n int
	require.NoError(t, answerValue(d, func() error { return decodeTarget(d, &n, nil) }))
	assert.Equal(t, 7, n)
}

func TestAccountsNestAndBalance(t *testing.T) {
	tub := NewAccount("TubMemory", 1000, nil)
	conn := NewAccount("ConnectionMemory", 600, tub)
	other := NewAccount("ConnectionMemory", 600, tub)
	require.NoError(t, conn.Reserve(600))
	err := conn.Reserve(1)
	assert.Equal(t, &LimitError{Limit: "ConnectionMemory", Max: 600, Asked: 601}, err)
	err = other.Reserve(401)
	assert.Equal(t, &LimitError{Limit: "TubMemory", Max: 1000, Asked: 1001}, err)
	assert.Zero(t, other.Used(), "nothing is kept of what was refused")
	require.NoError(t, other.Reserve(400))
	assert.Equal(t, int64(1000), tub.Used())
	assert.Error(t, other.Reserve(math.MaxInt64))
	conn.Release(600)
	other.Release(400)
	assert.Zero(t, tub.Used()+conn.Used()+other.Used())

	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			a := []*Account{conn, other}[i%2]
			for range 1000 {
				if a.Reserve(200) == nil {
					a.Release(200)
				}
			}
		})
	}
	wg.Wait()
	assert.Zero(t, tub.Used()+conn.Used()+other.Used())
}

// A refused request must not make others fail in passing.
func TestARefusedReservationDoesNotGetInTheWayOfOthers(t *testing.T) {
	tub := NewAccount("TubMemory", 1000, nil)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					assert.Error(t, tub.Reserve(1001))
				}
			}
		})
	}
	for range 10000 {
		if !assert.NoError(t, tub.Reserve(10)) {
			break
		}
		tub.Release(10)
	}
	close(stop)
	wg.Wait()
}

func TestEveryPathGivesBackWhatItReserved(t *testing.T) {
	long := `"` + strings.Repeat("x", 10000) + `"`
	known := wireFrom(1000, `(answer 1 7)`)
	for _, test := range []struct {
		name  string
		value string
		ends  bool // with a Violation
	}{
		{"a value", long, false},
		{"a Violation at the end", "(list " + long + " (strange))", true},
		{"a Violation at the start", "(strange " + long + ")", true},
		{"an abort", "(list " + long + " !)", true},
		{"too much", "(list" + strings.Repeat(" "+long, 20) + ")", true},
		{"a tuple in itself", "(tuple " + long + " (reference 1))", true},
	} {
		for _, take := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, taken %v", test.name, take), func(t *testing.T) {
				tub := NewAccount("Tub", 1<<20, nil)
				account := NewAccount("Connection", 100000, tub)
				d := NewDecoder(bytes.NewReader(append(answer(test.value), known...)), nil, &DecoderConfig{Vocab: 1, Account: account})
				err := answerValue(d, func() error { _, err := d.Value(nil); return err })
				var taken int64
				if test.ends {
					require.Equal(t, "VIOLATION", outcome(err))
				} else {
					require.NoError(t, err)
					assert.GreaterOrEqual(t, account.Used(), int64(9500))
					if take {
						taken = d.TakeCharge()
						assert.Equal(t, taken, account.Used())
						assert.Zero(t, d.TakeCharge())
					}
				}
				require.NoError(t, d.Skip())
				assert.Equal(t, taken, account.Used(), "before the next message arrives")
				require.NoError(t, answerValue(d, func() error { _, err := d.Value(nil); return err }))
				account.Release(taken)
				d.Release()
				d.Release()
				assert.Zero(t, account.Used())
				assert.Zero(t, tub.Used())
			})
		}
	}
}

func TestAMessageThatWasReadIsForgottenBeforeTheNextOneArrives(t *testing.T) {
	account := NewAccount("Connection", 1<<20, nil)
	r, w := io.Pipe()
	d := NewDecoder(r, nil, &DecoderConfig{Vocab: 1, Account: account})
	go w.Write(answer(`(list "` + strings.Repeat("x", 10000) + `")`))
	require.NoError(t, answerValue(d, func() error { _, err := d.Value(nil); return err }))
	require.NotZero(t, account.Used())
	require.NotEmpty(t, d.refs)
	waiting := &waitingReader{r: r, waits: make(chan struct{})}
	d.r = waiting
	done := make(chan error)
	go func() {
		_, err := d.Begin()
		done <- err
	}()
	<-waiting.waits
	assert.Zero(t, account.Used())
	w.Close()
	assert.ErrorIs(t, <-done, io.EOF)
	assert.Empty(t, d.refs)
}

type waitingReader struct {
	r     io.Reader
	waits chan struct{}
}

func (r *waitingReader) Read(p []byte) (int, error) {
	close(r.waits)
	return r.r.Read(p)
}

func TestAChargeThatWasTakenIsNotReservedAgain(t *testing.T) {
	account := NewAccount("Connection", 1<<20, nil)
	d := NewDecoder(bytes.NewReader(answer(`(list 1)`)), nil, &DecoderConfig{Vocab: 1, Account: account})
	_, err := d.Begin()
	require.NoError(t, err)
	require.NoError(t, d.Charge(50000))
	taken := d.TakeCharge()
	require.NoError(t, d.Charge(100))
	assert.LessOrEqual(t, account.Used(), taken+chargeSlice)
	requireLimit(t, d.Charge(64<<20), "MaxMessage")
	require.NoError(t, d.Skip())
	account.Release(taken)
	assert.Zero(t, account.Used())
}

// When the Tub's memory is exhausted, a request can still be read far enough
// to be refused.
func TestAnExhaustedAccountLetsTheRequestNumberThrough(t *testing.T) {
	account := NewAccount("TubMemory", 10, nil)
	in := wire(`(call 77 1 "hello" (arguments 1 (list 1 2 3 4 5 6 7 8 9 10)))`)
	p := newPeer(bytes.NewReader(in), 1)
	p.d.cfg.Account = account
	require.NoError(t, p.run())
	require.Len(t, p.seen, 1)
	assert.Equal(t, int64(77), p.seen[0].req)
	assert.Equal(t, "hello", p.seen[0].method)
	requireLimit(t, p.seen[0].err, "TubMemory")
	assert.Zero(t, account.Used())
	// The last bytes of an account can be used too.
	account = NewAccount("TubMemory", 3000, nil)
	p = newPeer(bytes.NewReader(wire(`(answer 1 "`+strings.Repeat("x", 2800)+`")`)), 1)
	p.d.cfg.Account = account
	require.NoError(t, p.run())
	require.NoError(t, p.seen[0].err)
}

func TestSkippingCostsNothingWhateverIsSkipped(t *testing.T) {
	const million = 1_000_000
	opens := bytes.Repeat([]byte{0x88, 0x04, 0x87}, million) // without numbers, which is allowed
	closes := bytes.Repeat([]byte{0x89}, million)
	known := wireFrom(million+1, "(answer 1 (list (list) (reference 1000003)))")
	in := append(append(append(wire("(answer 1"), opens...), closes...), append(wire("")[:0], 0x00, 0x89)...)
	in = append(in, known...)
	d := NewDecoder(bytes.NewReader(in), nil, &DecoderConfig{Vocab: 1, Skipped: func(*Decoder, string) error { return nil }})
	err := answerValue(d, func() error { _, err := d.Value(nil); return err })
	requireLimit(t, err, "MaxDepth")
	size := allocated(func() { err = d.Skip() })
	require.NoError(t, err)
	assert.Less(t, size, uint64(16<<10))
	assert.LessOrEqual(t, cap(d.stack), 512)
	var v any
	require.NoError(t, answerValue(d, func() (err error) { v, err = d.Value(nil); return err }))
	assert.Equal(t, NewList(NewList(), NewList()), v)
	assert.Equal(t, uint64(million+5), d.opens)
}

func TestADecoderKeepsLittleBetweenMessages(t *testing.T) {
	in := append(answer("(list"+strings.Repeat(" (list)", 5000)+")"), wireFrom(6000, "(answer 1 7)")...)
	d := decoderFor(in)
	require.NoError(t, answerValue(d, func() error { _, err := d.Value(nil); return err }))
	assert.Greater(t, len(d.refs), 5000)
	_, err := d.Begin()
	require.NoError(t, err)
	assert.LessOrEqual(t, cap(d.refs), maxKeptRefs)
	assert.LessOrEqual(t, cap(d.buf), readBuffer)
}

// The account is to hold at least what the values take.
func TestTheChargeCoversWhatIsAllocated(t *testing.T) {
	repeat := func(n int, s string) string { return strings.Repeat(s, n) }
	numbered := func(n int, f string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, f, i)
		}
		return b.String()
	}
	type wide struct{ A, B, C, D, E, F, G, H int }
	for _, test := range []struct {
		name   string
		value  string
		target any
	}{
		{"integers in any", "(list " + numbered(10000, "%d000 ") + ")", new(any)},
		{"integers", "(list " + numbered(10000, "%d ") + ")", new([]int)},
		{"bytes in any", "(list " + repeat(10000, `"abcdefgh" `) + ")", new(any)},
		{"short bytes", "(list " + repeat(10000, `"a" `) + ")", new([][]byte)},
		{"texts", "(list " + repeat(10000, `(unicode "abcdefgh") `) + ")", new([]string)},
		{"texts in any", "(list " + repeat(10000, `(unicode "abcdefgh") `) + ")", new(any)},
		{"nones in any", "(list " + repeat(10000, `(none) `) + ")", new(any)},
		{"empty lists in any", "(list " + repeat(10000, `(list) `) + ")", new(any)},
		{"short lists in any", "(list " + repeat(10000, `(list 1) `) + ")", new(any)},
		{"short tuples in any", "(list " + repeat(10000, `(tuple 1) `) + ")", new(any)},
		{"short slices", "(list " + repeat(10000, `(list 1) `) + ")", new([][]int)},
		{"empty slices", "(list " + repeat(10000, `(list) `) + ")", new([][]int)},
		{"short dicts in any", "(list " + repeat(5000, `(dict 1 2) `) + ")", new(any)},
		{"empty dicts in any", "(list " + repeat(5000, `(dict) `) + ")", new(any)},
		{"empty sets in any", "(list " + repeat(5000, `(set) `) + ")", new(any)},
		{"short maps", "(list " + repeat(5000, `(dict 1 2) `) + ")", new([]map[int]int)},
		{"empty maps", "(list " + repeat(5000, `(dict) `) + ")", new([]map[int]int)},
		{"a dict in any", "(dict " + numbered(10000, `%d000 1 `) + ")", new(any)},
		{"a dict of bytes in any", "(dict " + numbered(10000, `"key-number-%d" 1 `) + ")", new(any)},
		{"a set of tuples in any", "(set " + numbered(5000, `(tuple %d 1) `) + ")", new(any)},
		{"a set of decimals in any", "(set " + numbered(2000, `(decimal "1E+%d") `) + ")", new(any)},
		{"a map", "(dict " + numbered(10000, `%d 1 `) + ")", new(map[int]int)},
		{"a map of texts", "(dict " + numbered(10000, `(unicode "key-number-%d") 1 `) + ")", new(map[string]int)},
		{"a set", "(set " + numbered(10000, `%d `) + ")", new(map[int]struct{})},
		{"a map of wide structs", "(dict " + numbered(2000, `%d (dict "a" 1 "b" 2 "c" 3 "d" 4 "e" 5 "f" 6 "g" 7 "h" 8) `) + ")", new(map[int]wide)},
		{"structs", "(list " + repeat(2000, `(dict "a" 1 "b" 2 "c" 3 "d" 4 "e" 5 "f" 6 "g" 7 "h" 8) `) + ")", new([]wide)},
		{"pointers to structs", "(list " + repeat(2000, `(dict "a" 1 "b" 2 "c" 3 "d" 4 "e" 5 "f" 6 "g" 7 "h" 8) `) + ")", new([]*wide)},
		{"pointers to integers", "(list " + repeat(10000, `7 `) + ")", new([]*int)},
		{"long integers", "(list " + repeat(5000, `#0a85ffffffffffffffffffff `) + ")", new(any)},
		{"long integers, typed", "(list " + repeat(5000, `#0a85ffffffffffffffffffff `) + ")", new([]*big.Int)},
		{"references", "(list (list 1) " + repeat(10000, `(reference 2) `) + ")", new(any)},
		{"references to an incomplete tuple", "(tuple (list " + repeat(10000, `(reference 1) `) + "))", new(any)},
		{"one value as two types", `(dict "a" (list ` + numbered(10000, "%d000 ") + `) "b" (reference 2))`, new(struct {
			A []int
			B any
		})},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := answer(test.value)
			account := NewAccount("Test", 1<<30, nil)
			// Codecs are made once.
			require.NoError(t, decodeInto(in, reflect.New(reflect.TypeOf(test.target).Elem()).Interface()))
			d := NewDecoder(bytes.NewReader(in), nil, &DecoderConfig{Vocab: 1, Account: account})
			live := liveBytes(func() {
				require.NoError(t, answerValue(d, func() error { return decodeTarget(d, test.target, nil) }))
			})
			runtime.KeepAlive(test.target)
			runtime.KeepAlive(d)
			t.Logf("%d bytes, charged %d", live, account.Used())
			assert.Less(t, live, account.Used()+8<<10)
		})
	}
}

// liveBytes returns how much more memory is in use after f.
func liveBytes(f func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}
