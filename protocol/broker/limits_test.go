package broker

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLimitsHaveTheirDefaults(t *testing.T) {
	l := Limits{}.WithDefaults()
	assert.Equal(t, 16<<20, l.MaxToken)
	assert.Equal(t, 32<<20, l.MaxMessage)
	assert.Equal(t, 200, l.MaxDepth)
	assert.Equal(t, 1_000_000, l.MaxTokens)
	assert.Equal(t, 16<<10, l.StrangerMessage)
	assert.Equal(t, 16, l.StrangerReferences)
	assert.Equal(t, 10_000, l.MaxInbound)
	assert.Equal(t, 100_000, l.MaxReferences)
	assert.Equal(t, 1<<20, l.SendQueue)
	assert.Equal(t, 64<<20, l.AnswerQueue)
	assert.EqualValues(t, 64<<20, l.Connection)
	assert.Equal(t, l, l.WithDefaults())
}

func TestTheTenThousandthCallIsTheLast(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	s, p := newPeer(t, nil)
	s.publish(1, NewObject("", nil, method("wait", func(context.Context) (int, error) {
		<-release
		return 0, nil
	})))
	for range 10_000 {
		p.send(callSeq(7, 1, "wait"))
	}
	p.send(callSeq(8, 1, "wait"))
	refused := p.receive()
	assert.Equal(t, "error", refused.kind())
	assert.EqualValues(t, 8, refused.request())
	assert.Contains(t, refused.attribute("value"), "limit MaxInbound is 10000")
}
