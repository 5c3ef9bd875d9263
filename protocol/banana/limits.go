package banana

import (
	"math"
	"sync/atomic"
)

// Limits bound one message. The zero value of a field means its default.
type Limits struct {
	// MaxToken is the longest body of a string or long integer, in bytes;
	// default 16 MiB.
	MaxToken int
	// MaxMessage is what the Go values of one message may cost, in bytes,
	// and the longest message that is sent; default 32 MiB.
	MaxMessage int
	// MaxDepth is how deep sequences may nest; default 200.
	MaxDepth int
	// MaxTokens is the number of tokens in a message; default 1 000 000.
	MaxTokens int
}

// WithDefaults returns l with every unset field at its default.
func (l Limits) WithDefaults() Limits {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&l.MaxToken, 16<<20)
	def(&l.MaxMessage, 32<<20)
	def(&l.MaxDepth, 200)
	def(&l.MaxTokens, 1_000_000)
	// Offsets within a message are kept in 32 bits.
	l.MaxMessage = min(l.MaxMessage, math.MaxInt32)
	l.MaxToken = min(l.MaxToken, math.MaxInt32)
	return l
}

// An Account bounds the memory that is held on behalf of somebody. Accounts
// nest: what is reserved in one is reserved in its parents too. It is safe for
// concurrent use.
type Account struct {
	name   string
	limit  int64
	parent *Account
	used   atomic.Int64
}

// NewAccount returns an account of limit bytes; name is the option that sets
// the limit, for errors.
func NewAccount(name string, limit int64, parent *Account) *Account {
	return &Account{name: name, limit: limit, parent: parent}
}

// Reserve takes n bytes, or nothing and returns a *LimitError.
func (a *Account) Reserve(n int64) error {
	for at := a; at != nil; at = at.parent {
		if used, ok := at.take(n); !ok {
			for back := a; back != at; back = back.parent {
				back.used.Add(-n)
			}
			return &LimitError{Limit: at.name, Max: at.limit, Asked: used + n}
		}
	}
	return nil
}

// take does not go over the limit even for a moment: somebody else's smaller
// request would be refused in that moment.
func (a *Account) take(n int64) (used int64, ok bool) {
	for {
		used = a.used.Load()
		if n > a.limit-used {
			return used, false
		}
		if a.used.CompareAndSwap(used, used+n) {
			return used, true
		}
	}
}

// Release gives back n bytes that were reserved.
func (a *Account) Release(n int64) {
	for at := a; at != nil; at = at.parent {
		at.used.Add(-n)
	}
}

// Used returns how many bytes are reserved now.
func (a *Account) Used() int64 { return a.used.Load() }

// Scarce returns a *LimitError when less than a quarter is left: what strangers
// may not use up.
func (a *Account) Scarce() error {
	if max, used := a.limit/4*3, a.Used(); used >= max {
		return &LimitError{Limit: a.name, Max: max, Asked: used}
	}
	return nil
}
