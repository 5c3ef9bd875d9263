package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLongDocumentsAreLaidOut(t *testing.T) {
	word := `"` + strings.Repeat("x", 40) + `"`
	for _, c := range []struct{ name, doc, want string }{
		{"a short one stays", `[1,{"a":"b"}]`, `[1,{"a":"b"}]`},
		{"an array", `[` + word + `,[1,2],` + word + `,"],{\""]`, "[\n  " + word + ",\n  [1,2],\n  " + word + ",\n  \"],{\\\"\"\n]"},
		{"an object", `{"a":` + word + `,"b]":{"c":` + word + `},"d":1,"e":"\\"}`, "{\n  \"a\": " + word + ",\n  \"b]\": {\"c\":" + word + "},\n  \"d\": 1,\n  \"e\": \"\\\\\"\n}"},
		{"a long text", `"` + strings.Repeat("x", 200) + `"`, `"` + strings.Repeat("x", 200) + `"`},
		{"empty ones", `[[],{},` + word + `,` + word + `,` + word + `]`, "[\n  [],\n  {},\n  " + word + ",\n  " + word + ",\n  " + word + "\n]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			assert.Equal(t, c.want, string(layOut([]byte(c.doc))))
		})
	}
}

func TestLayoutOfNestedDocumentsIsBounded(t *testing.T) {
	deep := strings.Repeat(`[1,`, 10000) + `2` + strings.Repeat(`]`, 10000)
	out := layOut([]byte(deep))
	assert.Less(t, len(out), len(deep)+2*(maxIndent/2+1)*(maxIndent+2))
	huge := `[` + strings.Repeat(`1,`, maxLayout) + `1]`
	assert.Equal(t, huge, string(layOut([]byte(huge))))
}

func FuzzLayout(f *testing.F) {
	f.Add([]byte(`{"a":[1,-2.5e3,"]\\\"",null,{}],"b":{"c":[[[]]]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var compact bytes.Buffer
		if json.Compact(&compact, text) != nil {
			return
		}
		// Longer than a line in any case.
		doc := []byte(`["` + strings.Repeat("x", lineWidth) + `",` + compact.String() + `]`)
		out := layOut(doc)
		var back bytes.Buffer
		require.NoError(t, json.Compact(&back, out), "%s", out)
		assert.Equal(t, string(doc), back.String())
	})
}
