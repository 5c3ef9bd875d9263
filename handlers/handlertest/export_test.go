package handlertest

import "time"

// SetAtOnce makes the kit less patient.
func SetAtOnce(d time.Duration) { atOnce = d }
