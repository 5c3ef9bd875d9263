// Package furl parses, formats and compares the names under which objects are
// reached: the FURL and its three parts, the TubID, the connection hints and
// the secret name (the swissnum).
//
//	pb://<TubID>@<hint>,<hint>/<name>
//
// A FURL is a capability: whoever knows the whole text may use the object. For
// that reason the types that hold a secret print, log and marshal in a redacted
// form, and give the whole only through their one method Reveal. That holds for
// unexported fields and keys of maps too, and for printers that call no methods.
// No error of this package contains any of the text it refused.
//
// # Strictness
//
// What Python Foolscap produces is accepted, and hints of types that nobody
// here knows are kept byte for byte. Where Python is careless about what it
// reads, this package refuses with an error that says why:
//
//   - anything before "pb://", which Python skips;
//   - a TubID that is shorter than 32 characters or has upper-case letters,
//     which Python takes and then never finds;
//   - a '/' between "pb://" and the '@', which Python counts to the TubID;
//   - a line end behind the name, which Python cuts off, and other characters
//     of a name that do not print; a name that begins or ends with a space;
//   - control characters in a hint, and FURLs that are not UTF-8;
//   - a host that is almost an IPv4 address, such as "127.1" or "2130706433",
//     which different resolvers read as different addresses;
//   - FURLs beyond the limits [MaxLength], [MaxHints], [MaxHintLength] and
//     [MaxNameLength].
//
// All values are immutable and safe for concurrent use. The package does no
// input or output and never resolves a name.
package furl
