package tor

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSOCKSPortsOfAnotherMachineAreNotLookedForHere(t *testing.T) {
	const elsewhere = "192.0.2.1:9050"
	onlyThere := []string{"127.0.0.1:9050", "[::1]:9050", "[::ffff:127.0.0.1]:9050", "0.0.0.0:9050", "[::]:9050", "unix:/run/tor/socks"}
	for _, control := range []address{{"tcp", "127.0.0.1:9051"}, {"tcp", "127.9.9.9:9051"}, {"tcp", "[::1]:9051"}, {"unix", "/run/tor/control"}} {
		for _, first := range onlyThere {
			at, ok := firstSOCKS([]string{"nonsense", first, elsewhere}, control)
			assert.True(t, ok)
			want, err := parseAddress(first, 1)
			assert.NoError(t, err)
			assert.Equal(t, want, at, "control port at %v", control)
		}
	}
	for _, control := range []address{{"tcp", "192.0.2.1:9051"}, {"tcp", "[2001:db8::1]:9051"}} {
		_, ok := firstSOCKS(onlyThere, control)
		assert.False(t, ok, "control port at %v", control)
		at, ok := firstSOCKS(append(onlyThere, elsewhere), control)
		assert.True(t, ok)
		assert.Equal(t, address{"tcp", elsewhere}, at)
	}
	_, ok := firstSOCKS(nil, address{"unix", "/run/tor/control"})
	assert.False(t, ok)
}
