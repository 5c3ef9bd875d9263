package leftovers

import (
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestOnlyGoroutinesThatAreMeantAreFound(t *testing.T) {
	end := make(chan struct{})
	go func() { <-end }()
	here := regexp.MustCompile(`leftovers\.TestOnlyGoroutinesThatAreMeantAreFound\.func1`)
	assert.Len(t, goroutines(here), 1)
	time.AfterFunc(100*time.Millisecond, func() { close(end) })
	assert.Empty(t, goroutines(here), "it is waited for")
	assert.Equal(t, 7, Check(7, ""))
	assert.Zero(t, Check(0, "no such package"))
}
