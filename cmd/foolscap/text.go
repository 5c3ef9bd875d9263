package main

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// clean makes a text of others fit for one line of a terminal: what could move
// the cursor, change colours or reorder the text is shown as an escape.
func clean(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// quote shows an argument of the user, cut to a length that fits a message.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

const redacted = "[redacted]"

// anyFURL finds FURLs within other texts.
var anyFURL = regexp.MustCompile(`(pb://[^\s@/]*@[^\s/]*/)[^\s"'<>]+`)

// withoutFURLs leaves out the secrets of all FURLs in a text.
func withoutFURLs(s string) string {
	if !strings.Contains(s, "pb://") {
		return s
	}
	return anyFURL.ReplaceAllString(s, "${1}"+redacted)
}

// minSecret is the length from which on a name of a FURL is looked for in what
// others say. A shorter one is no secret, and would tear holes in every text.
const minSecret = 6

// keepSecret has withoutSecrets leave a text out.
func (e *env) keepSecret(name string) {
	if len(name) >= minSecret {
		e.secrets = append(e.secrets, name)
	}
}

// withoutSecrets leaves out what a message must not show, wherever the message
// comes from: a remote side may well repeat the name that it was asked for.
func (e *env) withoutSecrets(s string) string {
	for _, secret := range e.secrets {
		s = strings.ReplaceAll(s, secret, redacted)
	}
	return withoutFURLs(s)
}

// safe is a text as it may be shown to a person.
func (e *env) safe(s string) string { return clean(e.withoutSecrets(s)) }

// appendString appends a text as a JSON string in which everything that does
// not print is escaped.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case unicode.IsPrint(r):
			dst = append(dst, s[i:i+size]...)
		default:
			dst = appendEscape(dst, r)
		}
		i += size
	}
	return append(dst, '"')
}

func appendEscape(dst []byte, r rune) []byte {
	if hi, lo := utf16.EncodeRune(r); hi != unicode.ReplacementChar {
		return fmt.Appendf(dst, `\u%04x\u%04x`, hi, lo)
	}
	return fmt.Appendf(dst, `\u%04x`, r)
}

// escapeJSON escapes what does not print in a JSON document: such characters
// can only be within its strings.
func escapeJSON(doc []byte) []byte {
	out := make([]byte, 0, len(doc))
	for i := 0; i < len(doc); {
		r, size := utf8.DecodeRune(doc[i:])
		if r < 0x7f || unicode.IsPrint(r) {
			out = append(out, doc[i:i+size]...)
		} else {
			out = appendEscape(out, r)
		}
		i += size
	}
	return out
}
