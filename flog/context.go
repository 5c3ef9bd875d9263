package flog

import (
	"context"
	"sync/atomic"
)

type causeKey struct{}

// A cause is the parent of what is logged with a context. Its number is not
// there before the event is.
type cause struct {
	num    atomic.Uint64
	parent *cause
}

// ContextWithParent makes the event of that number the parent of those logged
// with the context.
func ContextWithParent(ctx context.Context, num uint64) context.Context {
	c := new(cause)
	c.num.Store(num)
	return context.WithValue(ctx, causeKey{}, c)
}

// ContextWithCause makes the first event that is logged with the context the
// parent of all others. The first one itself has the parent that ctx gives.
//
//	ctx = flog.ContextWithCause(ctx)
//	logger.InfoContext(ctx, "a request has come in")
//	logger.DebugContext(ctx, "and this is a part of it")
func ContextWithCause(ctx context.Context) context.Context {
	return context.WithValue(ctx, causeKey{}, &cause{parent: causeOf(ctx)})
}

// ParentFromContext returns the number of the event that is the parent of what
// is logged with the context.
func ParentFromContext(ctx context.Context) (num uint64, ok bool) {
	return causeOf(ctx).get()
}

func causeOf(ctx context.Context) *cause {
	c, _ := ctx.Value(causeKey{}).(*cause)
	return c
}

func (c *cause) get() (uint64, bool) {
	for ; c != nil; c = c.parent {
		if n := c.num.Load(); n != 0 {
			return n, true
		}
	}
	return 0, false
}

func (c *cause) set(num uint64) {
	if c != nil && num != 0 {
		c.num.CompareAndSwap(0, num)
	}
}
