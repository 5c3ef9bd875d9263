package integration

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/integration/internal/pypeer"
)

// namesProgram prints, for each page, the names that the Foolscap that is installed has for programs.
const namesProgram = `
import inspect, re, types
import foolscap.api
from foolscap import pb, reconnector, referenceable
for name, value in vars(foolscap.api).items():
    if name == "__version__" or not name.startswith("_") and not isinstance(value, types.ModuleType):
        print("from-python.md", name)
internal = """negotiationClass brokerClass setupEncryptionFile setupEncryption make_incarnation getIncarnationString setup
    connectorStarted connectorFinished getBrokerForTubRef connectionFailed brokerAttached brokerDetached startConnecting""".split()
for c in pb.Tub, referenceable.RemoteReferenceOnly, referenceable.RemoteReference, reconnector.Reconnector:
    for name, value in vars(c).items():
        if callable(value) and not name.startswith("_") and name not in internal:
            print("from-python.md", name)
for name in re.findall(r'name == "([^"]+)"', inspect.getsource(pb.Tub.setOption)):
    print("options.md", name)
`

func TestEveryNameOfTheInstalledFoolscapIsExplained(t *testing.T) {
	t.Parallel()
	output, err := exec.CommandContext(t.Context(), pypeer.Require(t), "-W", "ignore", "-c", namesProgram).Output()
	require.NoError(t, err)
	left := make(map[string]string) // the first cells of all tables of a page
	for _, page := range []string{"from-python.md", "options.md"} {
		text, err := os.ReadFile("../docs/" + page)
		require.NoError(t, err)
		for _, row := range regexp.MustCompile(`(?m)^\| ([^|]*) \|`).FindAllStringSubmatch(string(text), -1) {
			left[page] += row[1] + "\n"
		}
	}
	names := strings.Fields(string(output))
	require.Greater(t, len(names), 2*80)
	for i := 0; i < len(names); i += 2 {
		assert.Contains(t, left[names[i]], "`"+names[i+1]+"`", names[i])
	}
}
