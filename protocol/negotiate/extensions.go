package negotiate

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds on the value of the extension key, part of its definition.
const (
	maxExtensions     = 16
	maxExtensionBytes = 512
)

// checkExtensions says what keeps tokens from being offered, if anything.
func checkExtensions(tokens []string) error {
	if len(tokens) > maxExtensions {
		return fmt.Errorf("more than %d extensions", maxExtensions)
	}
	if len(strings.Join(tokens, " ")) > maxExtensionBytes {
		return fmt.Errorf("the extensions take more than %d bytes", maxExtensionBytes)
	}
	for i, token := range tokens {
		if token == "" || strings.Trim(token, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			return fmt.Errorf("extension %q has other characters than a-z, 0-9, '.' and '-'", printable(token, 64))
		}
		if slices.Contains(tokens[:i], token) {
			return fmt.Errorf("extension %q is there twice", token)
		}
	}
	return nil
}

func parseExtensions(value string) ([]string, error) {
	if len(value) > maxExtensionBytes {
		return nil, refuse(ErrMalformed, "the extensions take more than %d bytes", maxExtensionBytes)
	}
	tokens := strings.Split(strings.Clone(value), " ")
	if err := checkExtensions(tokens); err != nil {
		return nil, refuse(ErrMalformed, "%v", err)
	}
	slices.Sort(tokens)
	return tokens, nil
}

// inCommon returns the tokens that are in both lists, in the order of a.
func inCommon(a, b []string) []string {
	var both []string
	for _, token := range a {
		if slices.Contains(b, token) {
			both = append(both, token)
		}
	}
	return both
}
