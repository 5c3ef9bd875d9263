package flog

import "strings"

// redacted stands for a secret.
const redacted = "[redacted]"

// swissnumLength is how long a swissnum is that a Tub has made: 160 bits in
// base32. A TubID looks the same; text from which one cannot tell which it is
// loses it, unless it is the beginning of a FURL.
const swissnumLength = 32

// inBase32 has the characters of a swissnum, inName those that may be beside
// one in a longer word, which is no swissnum then.
var inBase32, inWord = func() (alphabet, word [256]bool) {
	for c := range 256 {
		lower, digit := 'a' <= c && c <= 'z', '0' <= c && c <= '9'
		alphabet[c] = lower || '2' <= c && c <= '7'
		word[c] = lower || digit || 'A' <= c && c <= 'Z'
	}
	return
}()

// redact returns s without secrets; the very same s if there is none.
func redact(s string) string {
	if strings.Contains(s, "pb://") {
		s = redactFURLs(s)
	}
	at, n := findSwissnum(s, 0)
	if at < 0 {
		return s
	}
	var b strings.Builder
	done := 0
	for ; at >= 0; at, n = findSwissnum(s, at+n) {
		if strings.HasSuffix(s[:at], "pb://") {
			continue // a TubID
		}
		b.WriteString(s[done:at])
		b.WriteString(redacted)
		done = at + n
	}
	b.WriteString(s[done:])
	return b.String()
}

// redactFURLs cuts the names out of FURLs. A name ends with white space, a
// quotation mark or an angle bracket, whatever else it has.
func redactFURLs(s string) string {
	var b strings.Builder
	for {
		at := strings.Index(s, "pb://")
		if at < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:at+len("pb://")])
		s = s[at+len("pb://"):]
		end := strings.IndexAny(s, " \t\r\n\"'`<>")
		if end < 0 {
			end = len(s)
		}
		furl := s[:end]
		s = s[end:]
		hints := max(strings.IndexByte(furl, '@'), 0)
		slash := strings.IndexByte(furl[hints:], '/')
		if slash < 0 {
			b.WriteString(furl)
			continue
		}
		b.WriteString(furl[:hints+slash+1])
		name := furl[hints+slash+1:]
		rest := strings.TrimRight(name, ":,;.)]}")
		b.WriteString(redacted)
		b.WriteString(name[len(rest):])
	}
}

// findSwissnum finds the first word from an index on that is as long as a
// swissnum and has only its characters. It looks at one character in 32 of
// most texts.
func findSwissnum(s string, from int) (at, n int) {
	for i := from + swissnumLength - 1; i < len(s); {
		if !inBase32[s[i]] {
			i += swissnumLength
			continue
		}
		first, last := i, i
		for first > from && inWord[s[first-1]] {
			first--
		}
		for last+1 < len(s) && inWord[s[last+1]] {
			last++
		}
		if last+1-first == swissnumLength && allBase32(s[first:last+1]) {
			return first, swissnumLength
		}
		i = last + swissnumLength + 1
	}
	return -1, 0
}

func allBase32(s string) bool {
	for i := range len(s) {
		if !inBase32[s[i]] {
			return false
		}
	}
	return true
}
