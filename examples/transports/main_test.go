//go:build unix

package main

import (
	"context"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/examples/transports/child"
)

// The program runs itself as a child, which here is this test.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "relay" {
		if err := child.Relay(context.Background(), os.Args[2], os.Stdin, os.Stdout); err != nil {
			log.Fatal(err)
		}
		return
	}
	os.Exit(m.Run())
}

func TestTheProgramShowsBothTransports(t *testing.T) {
	var out strings.Builder
	require.NoError(t, show(t.Context(), &out))
	assert.Equal(t, "over unix:calculator  1 + 2 = 3\nover exec:office      1 + 2 = 3\n", out.String())
}
