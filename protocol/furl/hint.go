package furl

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Hint is one connection hint: a way to reach a Tub, in the form "type:address".
// The type says which handler knows how to dial it. A Hint keeps its text byte
// for byte, also that of a type that nobody here knows, which may hold characters
// that are invisible or reorder text: show hints of strangers with %q. Hints are
// compared with == and can be keys of a map.
//
// Older programs write "host:port" without a type and mean tcp. Just like
// theirs, our rule is that a hint of one name and one number is such a legacy
// hint, whatever the name: "tor:80" is port 80 of a host called tor.
type Hint string

// ParseHint checks that s can be a hint: not empty, at most MaxHintLength bytes
// of UTF-8, no control characters (line ends are some), no ',' and no '/'. It
// does not look at the address, whose form is the handler's business.
//
// The error is a *ParseError.
func ParseHint(s string) (Hint, error) {
	switch {
	case s == "":
		return "", invalid(PartHint, "is empty")
	case len(s) > MaxHintLength:
		return "", exceeds(PartHint, len(s), MaxHintLength, "bytes")
	case strings.ContainsAny(s, ",/"):
		return "", invalid(PartHint, "contains ',' or '/', which separate the parts of a FURL")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return "", invalid(PartHint, "must be UTF-8 without line ends and other control characters")
	}
	return Hint(s), nil
}

// StreamHint returns the hint "typ:host:port". An IPv6 address is put into
// brackets unless it has them. The parts are not checked; ParseHint and
// HostPort of the result tell whether they were good.
func StreamHint(typ, host string, port uint16) Hint {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	return Hint(typ + ":" + host + ":" + strconv.Itoa(int(port)))
}

// Type returns what selects the handler: "tcp" for a legacy hint, otherwise
// what stands before the first ':', and "" if there is none.
func (h Hint) Type() string {
	if h.legacy() {
		return "tcp"
	}
	typ, _, found := strings.Cut(string(h), ":")
	if !found {
		return ""
	}
	return typ
}

// Address returns what follows the type and its ':', or the whole text of a
// hint that has no type or is a legacy hint.
func (h Hint) Address() string {
	if h.legacy() {
		return string(h)
	}
	_, address, found := strings.Cut(string(h), ":")
	if !found {
		return string(h)
	}
	return address
}

// HostPort splits the address of a hint of any type that has the form
// "host:port". The host is a DNS name of the characters [A-Za-z0-9.-] (no
// underscore, since Python peers refuse it), an IPv4 address, or an IPv6
// address in brackets, with or without a zone; it is returned as written but
// without brackets. The port is in 1..65535.
//
// A host whose last label is a number must be a dotted IPv4 address: "127.1" or
// "2130706433" mean an address to some resolvers and proxies and nothing to
// others, and would slip past a check of the addresses that may be dialled.
//
// The error is a *ParseError.
func (h Hint) HostPort() (host string, port uint16, err error) {
	address := h.Address()
	var digits string
	if rest, bracketed := strings.CutPrefix(address, "["); bracketed {
		var closed bool
		host, rest, closed = strings.Cut(rest, "]")
		if !closed || !validIPv6(host) {
			return "", 0, invalid(PartHint, "has no valid IPv6 address in its brackets")
		}
		var found bool
		if digits, found = strings.CutPrefix(rest, ":"); !found {
			return "", 0, invalid(PartHint, "has no ':' and port behind the IPv6 address")
		}
	} else {
		var found bool
		host, digits, found = strings.Cut(address, ":")
		switch {
		case !found:
			return "", 0, invalid(PartHint, "is not of the form type:host:port")
		case strings.Contains(digits, ":"):
			return "", 0, invalid(PartHint, "has too many ':' for type:host:port; an IPv6 address needs brackets")
		}
		if reason := hostFault(host); reason != "" {
			return "", 0, invalid(PartHint, reason)
		}
	}
	if !allDigits(digits) {
		return "", 0, invalid(PartHint, "its port is not a number")
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 {
		return "", 0, invalid(PartHint, "its port is not in 1..65535")
	}
	return host, uint16(n), nil
}

// String returns the text of the hint.
func (h Hint) String() string { return string(h) }

// legacy reports whether h is "host:port" without a type. The port may have any
// number of digits here, as it may for Python; HostPort judges it.
func (h Hint) legacy() bool {
	host, port, found := strings.Cut(string(h), ":")
	return found && host != "" && strings.IndexFunc(host, notInName) < 0 && allDigits(port)
}

func notInName(r rune) bool {
	return (r < 'a' || 'z' < r) && (r < 'A' || 'Z' < r) && (r < '0' || '9' < r) && r != '.' && r != '-'
}

func allDigits(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < '0' || '9' < r }) < 0
}

// hostFault says what is wrong with a host outside brackets, or "".
func hostFault(host string) string {
	// The limits on names are those of DNS.
	const maxName, maxLabel = 253, 63
	if strings.IndexFunc(host, notInName) >= 0 {
		return "its host may only contain letters, digits, '.' and '-'"
	}
	name := strings.TrimSuffix(host, ".") // a name may be marked as complete
	if len(name) > maxName {
		return "its host is longer than a DNS name can be"
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" {
			return "its host is empty or has an empty label"
		}
		if len(label) > maxLabel {
			return "its host has a label longer than DNS allows"
		}
	}
	if isNumber(labels[len(labels)-1]) {
		if _, err := netip.ParseAddr(host); err != nil {
			return "its host ends in a number but is not an IPv4 address of four decimal parts"
		}
	}
	return ""
}

// isNumber reports whether label is what C libraries read as a number: decimal,
// octal or hexadecimal.
func isNumber(label string) bool {
	if len(label) >= 2 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X') {
		return strings.Trim(label[2:], "0123456789abcdefABCDEF") == ""
	}
	return allDigits(label)
}

func validIPv6(s string) bool {
	addr, err := netip.ParseAddr(s)
	if err != nil || !addr.Is6() || addr.Is4In6() && addr.Zone() != "" {
		return false
	}
	// Zones are names of network interfaces.
	return strings.IndexFunc(addr.Zone(), func(r rune) bool { return notInName(r) && r != '_' }) < 0
}
