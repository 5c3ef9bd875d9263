package furl_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/foolscap-go/foolscap/protocol/furl"
)

// hidden keeps secrets where fmt and encoders reach them without their methods.
type hidden struct {
	furl    furl.FURL
	pointer *furl.FURL
	name    furl.Swissnum
	names   []furl.Swissnum
	keys    map[string]furl.Swissnum
	any     any
}

// exposed is what encoders look into.
type exposed struct {
	FURL    furl.FURL
	Pointer *furl.FURL
	Name    furl.Swissnum
	Names   []furl.Swissnum
	Keys    map[string]furl.Swissnum
	hidden  hidden
}

// holders returns the name alone and in all places from which it could leak.
func holders(n furl.Swissnum) map[string]any {
	f := furl.FURL{TubID: tub, Hints: []furl.Hint{"tcp:a:1"}, Name: n}
	keys := map[string]furl.Swissnum{"name": n}
	h := hidden{f, &f, n, []furl.Swissnum{n}, keys, f}
	return map[string]any{
		"name":                n,
		"pointer to name":     &n,
		"FURL":                f,
		"pointer to FURL":     &f,
		"array":               [1]furl.Swissnum{n},
		"map":                 keys,
		"map of FURLs":        map[string]furl.FURL{"f": f},
		"struct":              h,
		"pointer to struct":   &h,
		"exported and hidden": exposed{f, &f, n, []furl.Swissnum{n}, keys, h},
	}
}

// assertHidden checks that text has the secret neither as it is nor in hexadecimal.
func assertHidden(t *testing.T, text string, context ...any) {
	t.Helper()
	assert.NotContains(t, text, secret, context...)
	assert.NotContains(t, strings.ToLower(text), fmt.Sprintf("%x", secret), context...)
	assert.NotContains(t, strings.ToLower(text), fmt.Sprintf("% x", secret), context...)
}

func TestNoVerbOfFmtReachesTheName(t *testing.T) {
	verbs := []string{"v", "+v", "#v", "s", "q", "x", "X", "# x", "d", "o", "b", "c", "U", "e", "t", "p", "w", "T", "!", "10.3s", "-30v"}
	for kind, value := range holders(name(t, secret)) {
		for _, verb := range verbs {
			assertHidden(t, fmt.Sprintf("%"+verb, value), "%s under %s", kind, verb)
		}
		assertHidden(t, fmt.Sprint(value), kind)
		assertHidden(t, fmt.Sprintf("%[2]*[1]v", 1, value), "%s for a width", kind)
		assertHidden(t, fmt.Errorf("failed: %v", value).Error(), kind)
	}
}

func TestNoLogReachesTheName(t *testing.T) {
	for kind, value := range holders(name(t, secret)) {
		var log strings.Builder
		options := &slog.HandlerOptions{AddSource: true}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&log, options), slog.NewJSONHandler(&log, options)} {
			slog.New(handler).With("with", value).Info("about", "value", value, slog.Group("group", "value", value))
		}
		require.Equal(t, 2, strings.Count(log.String(), "about"))
		assertHidden(t, log.String(), kind)
	}
}

func TestNoEncoderReachesTheName(t *testing.T) {
	encoders := map[string]func(*bytes.Buffer, any) error{
		"json": func(b *bytes.Buffer, v any) error { return json.NewEncoder(b).Encode(v) },
		"xml":  func(b *bytes.Buffer, v any) error { return xml.NewEncoder(b).Encode(v) },
		"gob":  func(b *bytes.Buffer, v any) error { return gob.NewEncoder(b).Encode(v) },
		"template": func(b *bytes.Buffer, v any) error {
			return template.Must(template.New("").Parse(`{{.}} {{printf "%#v" .}} {{js .}}`)).Execute(b, v)
		},
	}
	for encoder, encode := range encoders {
		for kind, value := range holders(name(t, secret)) {
			var b bytes.Buffer
			err := encode(&b, value)
			assertHidden(t, b.String(), "%s in %s", kind, encoder)
			if err != nil {
				assertHidden(t, err.Error(), "%s in the error of %s", kind, encoder)
			}
		}
	}
}

func TestMarshallingASecretGivesTheRedactedForm(t *testing.T) {
	f := furl.FURL{TubID: tub, Hints: []furl.Hint{"tcp:a:1"}, Name: name(t, secret)}
	text, err := json.Marshal(struct {
		F furl.FURL
		P *furl.FURL
		N furl.Swissnum
		M map[string]furl.Swissnum
		Z furl.Swissnum
		O furl.Swissnum `json:",omitzero"`
	}{F: f, P: &f, N: f.Name, M: map[string]furl.Swissnum{"n": f.Name}})
	require.NoError(t, err)
	shown := "pb://" + tub + "@tcp:a:1/[redacted]"
	assert.JSONEq(t, `{"F":"`+shown+`","P":"`+shown+`","N":"[redacted]","M":{"n":"[redacted]"},"Z":""}`, string(text))
}

func TestGobRefusesSecrets(t *testing.T) {
	n := name(t, secret)
	for _, value := range []any{n, furl.FURL{TubID: tub, Name: n}} {
		require.ErrorContains(t, gob.NewEncoder(new(bytes.Buffer)).Encode(value), "no exported fields")
	}
}

// recorder takes the output of an assertion that fails.
type recorder struct{ strings.Builder }

func (r *recorder) Errorf(format string, args ...any) { fmt.Fprintf(r, format, args...) }

// testify follows pointers without calling methods to show how values differ.
func TestAFailedAssertionDoesNotShowTheName(t *testing.T) {
	one, other := holders(name(t, secret)), holders(name(t, "other-0815"))
	for kind := range one {
		var failure recorder
		require.False(t, assert.Equal(&failure, one[kind], other[kind]), kind)
		assert.False(t, assert.ElementsMatch(&failure, []any{one[kind]}, []any{other[kind]}), kind)
		assert.False(t, assert.Empty(&failure, one[kind]), kind)
		assert.False(t, assert.Nil(&failure, one[kind]), kind)
		assert.Contains(t, failure.String(), "extra elements", "the dump is there")
		assertHidden(t, failure.String(), kind)
		assert.NotContains(t, failure.String(), "other-0815", kind)
	}
}

func TestAWrappedErrorOfParseDoesNotShowTheName(t *testing.T) {
	_, err := furl.Parse("pb://" + tub + "@tcp:a:1/" + secret + "\n")
	require.Error(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		assertHidden(t, fmt.Sprintf(verb, errors.Join(err)))
		assertHidden(t, fmt.Sprintf(verb, err))
	}
}
