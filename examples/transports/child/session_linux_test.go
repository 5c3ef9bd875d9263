package child_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/examples/transports/child"
	"github.com/foolscap-go/foolscap/handlers"
)

// A session of its own has no terminal.
func TestTheCommandHasASessionOfItsOwn(t *testing.T) {
	const script = `read -r pid name state parent group session terminal rest </proc/self/stat; echo "$pid $session $terminal" >&2; exit 1`
	h := child.New(map[string][]string{"a": {"sh", "-c", script}})
	defer h.Close()
	_, err := h.Dial(t.Context(), handlers.DialRequest{Hint: "exec:a"})
	said := regexp.MustCompile(`it said "(\d+) (\d+) (\d+)"`).FindStringSubmatch(err.Error())
	require.NotNil(t, said, "%v", err)
	require.Equal(t, said[1], said[2])
	require.Equal(t, "0", said[3], "its terminal")
}
