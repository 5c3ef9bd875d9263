package tor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestHowLongTorIsLeftAloneBeforeItGetsTheServiceAgain(t *testing.T) {
	const ms = time.Millisecond
	for name, test := range map[string]struct{ last, lived, want time.Duration }{
		"at first":                             {0, 0, 250 * ms},
		"after a failure":                      {250 * ms, 0, 500 * ms},
		"after a connection that is soon lost": {500 * ms, 29 * time.Second, 1000 * ms},
		"after one that was good":              {5000 * ms, 30 * time.Second, 250 * ms},
		"after many failures":                  {4000 * ms, 0, 5000 * ms},
		"at most":                              {5000 * ms, 0, 5000 * ms},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, nextDelay(test.last, test.lived)) })
	}
}
