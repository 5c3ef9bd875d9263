package banana

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// claims says, for every group of vectors, which test of which package runs all
// of them. Others may look at them too.
var claims = map[string]struct{ dir, test string }{
	"value":            {"banana", "TestVectorsOfValuesMeanWhatPythonMeant"},
	"storage":          {"banana", "TestVectorsOfStorageAreValuesAtTopLevel"},
	"vocab0":           {"banana", "TestVectorsOfMessagesAreWrittenAgainByteForByte"},
	"gift":             {"banana", "TestVectorsOfMessagesAreWrittenAgainByteForByte"},
	"token":            {"banana", "TestVectorsOfTokensWithoutSequences"},
	"vocab":            {"banana", "TestVectorsOfChangingVocabulariesAreNotFollowed"},
	"vocabhash":        {"banana", "TestVectorsOfVocabularyHashes"},
	"call":             {"broker", "TestCallsOfPythonAreAnsweredAsPythonAnswersThem"},
	"answer":           {"broker", "TestCallsOfPythonAreAnsweredAsPythonAnswersThem"},
	"malformed":        {"broker", "TestMalformedMessagesHaveTheOutcomeThatTheyHaveAtAPythonPeer"},
	"malformed-answer": {"broker", "TestMalformedAnswersHaveTheOutcomeThatTheyHaveAtAPythonPeer"},
	"handshake":        {"negotiate", "TestBlocksAreByteForByteThoseOfPythonFoolscap"},
	"handshake-in":     {"negotiate", "TestReactionsAreThoseOfPythonFoolscap"},
	"tubid":            {"furl", "TestTubIDsAreThoseThatFoolscapComputes"},
	"furl":             {"furl", "TestFURLsAreReadAsFoolscapReadsThem"},
	"hint":             {"furl", "TestHintsAreReadAsFoolscapReadsThem"},
}

func TestEveryVectorIsInOneGroupThatATestRuns(t *testing.T) {
	text, err := os.ReadFile("testdata/vectors.json")
	require.NoError(t, err)
	var all []struct{ Name string }
	require.NoError(t, json.Unmarshal(text, &all))
	names, groups := map[string]bool{}, map[string]bool{}
	for _, v := range all {
		assert.False(t, names[v.Name], "two vectors with the name %s", v.Name)
		names[v.Name] = true
		group, _, ok := strings.Cut(v.Name, "/")
		assert.True(t, ok, "%s is in no group", v.Name)
		assert.Contains(t, claims, group, "no test runs %s", v.Name)
		groups[group] = true
	}
	assert.Len(t, groups, len(claims), "every claim is about something")
	for group, claim := range claims {
		assert.Contains(t, groupsRun(t, claim.dir, claim.test), group, "by %s of %s", claim.test, claim.dir)
	}
}

// groupsRun returns the groups whose vectors a test asks for.
func groupsRun(t *testing.T, dir, test string) (groups []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", dir, "vectors_test.go"), nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != test {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if name, ok := call.Fun.(*ast.Ident); ok && name.Name == "vectors" {
				for _, arg := range call.Args[1:] {
					group, err := strconv.Unquote(arg.(*ast.BasicLit).Value)
					require.NoError(t, err)
					groups = append(groups, group)
				}
			}
			return true
		})
	}
	return groups
}
