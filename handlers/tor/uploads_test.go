package tor

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cretz/bine/control"
	"github.com/stretchr/testify/assert"
)

func TestWhenAServiceCountsAsPublished(t *testing.T) {
	const never = -1
	for _, test := range []struct {
		name   string
		events string // letters, with a second before each space: Begun, Stored, Rejected, Failed for a client
		after  time.Duration
	}{
		{"not before anything was stored", "BBB", never},
		{"when all that was begun is stored and nothing follows", "BBB SSS", time.Second + quiet},
		{"when the rest was rejected", "BBB RRS", time.Second + quiet},
		{"not when all of it was rejected", "BBB RRR", never},
		{"not before the second descriptor is stored too", "BBSSBB S S", 2*time.Second + quiet},
		{"when enough time has passed, though some do not answer", "BBB S", time.Second + enough},
		{"when the last was stored in that time", "BBBS   SS", 3*time.Second + quiet},
		{"whatever happens to clients", "BFFS", quiet},
		{"if the beginning was missed", "S", quiet},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				after := time.Duration(never)
				var rejections []string
				u := newUploads(func() {
					assert.Equal(t, time.Duration(never), after, "it was told twice")
					after = time.Since(began)
				}, func(reason string) { rejections = append(rejections, reason) })
				for i, burst := range strings.Split(test.events, " ") {
					if i > 0 {
						time.Sleep(time.Second)
					}
					for _, letter := range burst {
						u.take(map[rune]*control.HSDescEvent{
							'B': {Action: "UPLOAD"},
							'S': {Action: "UPLOADED"},
							'R': {Action: "FAILED", Reason: "UPLOAD_REJECTED"},
							'F': {Action: "FAILED", Reason: "NOT_FOUND"},
						}[letter])
					}
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Equal(t, test.after, after)
				assert.Equal(t, after == never, u.stop())
				if strings.Contains(test.events, "R") {
					assert.Equal(t, []string{"UPLOAD_REJECTED"}, rejections, "once is enough")
				} else {
					assert.Empty(t, rejections)
				}
			})
		})
	}
}

func TestAServiceThatIsTakenBackIsNotPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUploads(func() { t.Error("it was told") }, nil)
		u.take(&control.HSDescEvent{Action: "UPLOAD"})
		u.take(&control.HSDescEvent{Action: "UPLOADED"})
		assert.True(t, u.stop())
		u.take(&control.HSDescEvent{Action: "UPLOADED"})
		time.Sleep(time.Minute)
	})
}
