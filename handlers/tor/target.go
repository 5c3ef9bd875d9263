package tor

import (
	"encoding/base32"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/cretz/bine/torutil"

	"github.com/foolscap-go/foolscap/handlers"
	"github.com/foolscap-go/foolscap/protocol/furl"
)

// target takes a hint apart and refuses what Tor cannot reach, so that tor is
// not even asked.
func target(hint furl.Hint) (host string, port uint16, err error) {
	invalid := func(err error) (string, uint16, error) {
		return "", 0, fmt.Errorf("%w: %w", handlers.ErrInvalidHint, err)
	}
	if typ := hint.Type(); typ != "tor" && typ != "tcp" {
		return invalid(fmt.Errorf("it is of the type %q, and not tor or tcp", typ))
	}
	host, port, err = hint.HostPort()
	if err != nil {
		return invalid(err)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if reason := notTorable(addr); reason != "" {
			return invalid(errors.New(reason))
		}
		return host, port, nil
	}
	if name, ok := onionName(host); ok {
		if err := checkOnion(name); err != nil {
			return invalid(err)
		}
		// Tor itself knows no onion address that ends with a dot, and would ask an
		// exit for the name.
		host = strings.ToLower(strings.TrimSuffix(host, "."))
	}
	return host, port, nil
}

// Like Python Foolscap, which asks the module ipaddress of its library, with the
// addresses that providers share among their customers (RFC 6598) besides.
var notPublic = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)

func prefixes(texts ...string) []netip.Prefix {
	parsed := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		parsed[i] = netip.MustParsePrefix(text)
	}
	return parsed
}

// notTorable says why an address cannot be dialled over Tor, or "".
func notTorable(addr netip.Addr) string {
	switch {
	case !addr.Is4():
		return "an IPv6 address is not dialled over Tor, since few exits could reach it"
	case slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(addr) }):
		return "the address belongs to no host on the public Internet, so no exit could reach it"
	}
	return ""
}

// onionName returns the label before .onion, without the subdomains which a name
// may have, and whether host is below .onion at all.
func onionName(host string) (name string, ok bool) {
	name, ok = strings.CutSuffix(strings.ToLower(strings.TrimSuffix(host, ".")), ".onion")
	return name[strings.LastIndexByte(name, '.')+1:], ok
}

// checkOnion checks an onion address without ".onion", its checksum included.
func checkOnion(name string) error {
	const lengthV2, lengthV3 = 16, 56
	if len(name) == lengthV2 {
		return errors.New("it is an onion address of version 2, which Tor has given up; ask for a new one")
	}
	if len(name) == lengthV3 {
		if _, err := torutil.PublicKeyFromV3OnionServiceID(name); err == nil {
			return nil
		}
	}
	return errors.New("it is not an onion address; a character may be wrong or missing")
}

// base32Keys is how tor writes keys for people.
var base32Keys = base32.StdEncoding.WithPadding(base32.NoPadding)
