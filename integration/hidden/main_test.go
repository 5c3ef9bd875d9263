//go:build linux

package hidden

import (
	"fmt"
	"os"
	"testing"

	"github.com/foolscap-go/foolscap/integration/internal/tornet"
)

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(programVariable); ok {
		if err := runProgram(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(tornet.Main(m))
}
