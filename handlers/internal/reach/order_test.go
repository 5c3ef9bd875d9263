package reach

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAddressesAreTriedInTurnsOfFamilies(t *testing.T) {
	tests := []struct{ name, resolved, want string }{
		{"none", "", ""},
		{"IPv4 alone keeps its order", "192.0.2.2 192.0.2.1", "192.0.2.2 192.0.2.1"},
		{"IPv6 alone keeps its order", "2001:db8::2 2001:db8::1", "2001:db8::2 2001:db8::1"},
		{"IPv6 comes first", "192.0.2.1 2001:db8::1", "2001:db8::1 192.0.2.1"},
		{"the families take turns", "192.0.2.1 192.0.2.2 2001:db8::1 2001:db8::2", "2001:db8::1 192.0.2.1 2001:db8::2 192.0.2.2"},
		{"the longer family ends the list", "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1", "2001:db8::1 192.0.2.1 192.0.2.2 192.0.2.3"},
		{"an address is tried once", "192.0.2.1 2001:db8::1 192.0.2.1 2001:db8::1", "2001:db8::1 192.0.2.1"},
		{"a mapped address is IPv4", "::ffff:192.0.2.1 192.0.2.1 2001:db8::1", "2001:db8::1 192.0.2.1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var resolved []netip.Addr
			for _, text := range strings.Fields(test.resolved) {
				resolved = append(resolved, netip.MustParseAddr(text))
			}
			var got []string
			for _, addr := range order(append(resolved, netip.Addr{})) {
				got = append(got, addr.String())
			}
			assert.Equal(t, test.want, strings.Join(got, " "))
		})
	}
}

func TestOneNameCannotMakeUsDialWithoutEnd(t *testing.T) {
	var resolved []netip.Addr
	for i := range 100 {
		resolved = append(resolved, netip.MustParseAddr("192.0.2."+strconv.Itoa(i)))
	}
	assert.Len(t, order(resolved), maxAddresses)

	resolved = append(resolved, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"))
	got := order(resolved)
	assert.Len(t, got, maxAddresses)
	assert.Equal(t, "2001:db8::2", got[2].String(), "both families are kept")
}
