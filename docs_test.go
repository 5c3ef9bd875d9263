package foolscap_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/tub"
)

func TestLinksInTheDocumentsLeadSomewhere(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(moduleRoot(t), "docs", "*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := "docs/" + filepath.Base(file)
		if name != "docs/README.md" {
			assert.Contains(t, readFile(t, "docs/README.md"), "("+filepath.Base(file)+")", "the index")
		}
		for _, link := range regexp.MustCompile(`\]\(([^)#\s"]+)(#[^)]*)?\)`).FindAllStringSubmatch(readFile(t, name), -1) {
			if !strings.Contains(link[1], "://") {
				_, err := os.Stat(filepath.Join(moduleRoot(t), "docs", link[1]))
				assert.NoError(t, err, "in %s", name)
			}
		}
	}
}

// options returns the names of all fields of a struct, and of those within.
func options(of reflect.Type) (names []string) {
	for f := range of.Fields() {
		switch {
		case f.Anonymous:
			names = append(names, options(f.Type)...)
		case f.Type.Kind() == reflect.Struct:
			names = append(names, options(f.Type)...)
			fallthrough
		default:
			names = append(names, f.Name)
		}
	}
	return names
}

func TestEveryOptionIsDescribed(t *testing.T) {
	page := readFile(t, "docs/options.md")
	names := append(options(reflect.TypeFor[tub.Options]()), options(reflect.TypeFor[tub.ListenerOptions]())...)
	require.Greater(t, len(names), 40)
	for _, name := range names {
		assert.True(t, strings.Contains(page, "`"+name+"`"), name)
	}
}

// The public names of foolscap.api, and the methods that programs call on what it gives them.
var foolscapNames = []string{
	"Tub", "RemoteInterface", "Referenceable", "SturdyRef", "Copyable", "RemoteCopy", "registerRemoteCopy", "registerCopier",
	"registerRemoteCopyFactory", "DeadReferenceError", "IConnectionHintHandler", "BananaError", "StringConstraint", "IntegerConstraint",
	"ListOf", "TupleOf", "SetOf", "DictOf", "ChoiceOf", "Any", "serialize", "unserialize", "Violation", "RemoteException", "eventually",
	"fireEventually", "flushEventualQueue", "app_versions", "__version__",

	"setOption", "startService", "stopService", "listenOn", "stopListeningOn", "getListeners", "setLocation", "setLocationAutomatically",
	"getTubID", "getShortTubID", "getCertData", "createCertificate", "registerReference", "unregisterReference", "revokeReference",
	"unregisterURL", "getOrCreateURLForReference", "buildURL", "getReferenceForName", "getReferenceForURL", "registerNameLookupHandler",
	"unregisterNameLookupHandler", "generateSwissnumber", "getReference", "connectTo", "getConnectionInfoForFURL",
	"addConnectionHintHandler", "removeAllConnectionHintHandlers", "log", "getLogPort", "getLogPortFURL", "setLogPortFURLFile",
	"setLogGathererFURL", "setLogGathererFURLFile", "debug_listBrokers",

	"callRemote", "callRemoteOnly", "notifyOnDisconnect", "dontNotifyOnDisconnect", "getSturdyRef", "getLocationHints", "getRemoteTubID",
	"getPeer", "isConnected", "getConnectionInfo", "getDataLastReceivedAt", "stopConnecting", "reset", "getDelayUntilNextAttempt",
	"getLastFailure", "getReconnectionInfo",
}

// foolscapOptions are those that Tub.setOption of Foolscap knows.
var foolscapOptions = []string{
	"logLocalFailures", "logRemoteFailures", "keepaliveTimeout", "disconnectTimeout", "logport-furlfile", "log-gatherer-furl",
	"log-gatherer-furlfile", "bridge-twisted-logs", "handle-old-duplicate-connections", "expose-remote-exception-types", "accept-gifts",
}

func TestEveryNameOfFoolscapIsExplained(t *testing.T) {
	for page, names := range map[string][]string{"docs/from-python.md": foolscapNames, "docs/options.md": foolscapOptions} {
		var left []string // the first cells of all tables
		for _, row := range regexp.MustCompile(`(?m)^\| ([^|]*) \|`).FindAllStringSubmatch(readFile(t, page), -1) {
			left = append(left, row[1])
		}
		for _, name := range names {
			assert.Contains(t, strings.Join(left, "\n"), "`"+name+"`", page)
		}
	}
}
