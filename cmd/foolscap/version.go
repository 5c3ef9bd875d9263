package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
)

func versionCommand() *command {
	return &command{
		name:    "version",
		summary: "show which version of the program this is",
		about: `Shows the version of the module that the program was built from, the revision of
its source if that is known, and the Go release that has built it.`,
		examples: `foolscap version
foolscap version --json | jq -r .version`,
		setup: func(*flag.FlagSet) runFunc {
			return func(_ context.Context, e *env, args []string) error {
				if err := want(args, 0, 0, "no arguments"); err != nil {
					return err
				}
				return e.version()
			}
		},
	}
}

// versionDocument is what --json writes.
type versionDocument struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Modified bool   `json:"modified"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (e *env) version() error {
	doc := versionDocument{Version: "(unknown)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		doc.Version = info.Main.Version
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				doc.Revision = s.Value
			case "vcs.modified":
				doc.Modified = s.Value == "true"
			}
		}
	}
	if e.json {
		return e.writeJSON(doc)
	}
	text := "foolscap " + doc.Version
	if doc.Revision != "" {
		text += ", revision " + doc.Revision
		if doc.Modified {
			text += " with changes"
		}
	}
	fmt.Fprintf(e.stdout, "%s, %s, %s\n", text, doc.Go, doc.Platform)
	return nil
}
