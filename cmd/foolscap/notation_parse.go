package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// A node is one value of a JSON text, with everything that encoding/json would
// otherwise lose: the digits of numbers, the order of keys and their doubles.
type node struct {
	kind  byte // one of n t f # " [ {
	text  string
	keys  []string
	items []*node
}

// parseJSON reads one JSON text. The errors say where it goes wrong.
func parseJSON(text []byte) (*node, error) {
	var raw json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("it is not JSON: %w (at byte %d)", err, syntax.Offset)
		}
		return nil, fmt.Errorf("it is not JSON: %w", err)
	}
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	if err := checkSurrogates(text); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return readNode(d)
}

func readNode(d *json.Decoder) (*node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case nil:
		return &node{kind: 'n'}, nil
	case bool:
		if v {
			return &node{kind: 't'}, nil
		}
		return &node{kind: 'f'}, nil
	case json.Number:
		return &node{kind: '#', text: string(v)}, nil
	case string:
		return &node{kind: '"', text: v}, nil
	case json.Delim:
		return readItems(d, v)
	}
	return nil, fmt.Errorf("it is not JSON: %v", token)
}

func readItems(d *json.Decoder, open json.Delim) (*node, error) {
	n := &node{kind: byte(open)}
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			n.keys = append(n.keys, key.(string))
		}
		item, err := readNode(d)
		if err != nil {
			return nil, err
		}
		n.items = append(n.items, item)
	}
	_, err := d.Token()
	return n, err
}

// checkSurrogates refuses \ud800 and its like without a partner: encoding/json
// would replace them, and they have no form in Foolscap.
func checkSurrogates(text []byte) error {
	unit := func(i int) (v uint64, ok bool) {
		if i+6 > len(text) || text[i] != '\\' || text[i+1] != 'u' {
			return 0, false
		}
		v, err := strconv.ParseUint(string(text[i+2:i+6]), 16, 16)
		return v, err == nil
	}
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		v, ok := unit(i)
		switch {
		case !ok:
			i++ // another escape, of two characters
		case v < 0xd800 || v > 0xdfff:
			i += 5
		default:
			low, paired := unit(i + 6)
			if v > 0xdbff || !paired || low < 0xdc00 || low > 0xdfff {
				return fmt.Errorf("a text with half a character, %s: it cannot be sent", text[i:i+6])
			}
			i += 11
		}
	}
	return nil
}

// index returns the item of an object's key.
func (n *node) index(key string) (*node, bool) {
	for i, k := range n.keys {
		if k == key {
			return n.items[i], true
		}
	}
	return nil, false
}

// marker returns a key that begins with "$", if the object has one.
func (n *node) marker() (string, bool) {
	for _, k := range n.keys {
		if isMarker(k) {
			return k, true
		}
	}
	return "", false
}
