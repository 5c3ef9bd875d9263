package main

import (
	"fmt"
	"strings"
)

// selected returns the elements of all that a comma separated list names, in
// the order they have there; all of them when the list is empty.
func selected[T any](kind string, all []T, name func(T) string, list string) ([]T, error) {
	if list == "" {
		return all, nil
	}
	wanted := make(map[string]bool)
	for name := range strings.SplitSeq(list, ",") {
		wanted[strings.TrimSpace(name)] = true
	}
	var chosen []T
	for _, one := range all {
		if wanted[name(one)] {
			chosen = append(chosen, one)
			delete(wanted, name(one))
		}
	}
	for unknown := range wanted {
		return nil, fmt.Errorf("no %s is called %q; there are %s", kind, unknown, names(all, name))
	}
	return chosen, nil
}

// names is the list of them all.
func names[T any](all []T, name func(T) string) string {
	var list []string
	for _, one := range all {
		list = append(list, name(one))
	}
	return strings.Join(list, ",")
}
