package gen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/foolscap-go/foolscap/protocol/schema"
)

// Schemas are what a source declares.
type Schemas struct {
	Interfaces []*schema.Interface
	// Notes tell what could not be expressed.
	Notes []string
}

// Read returns the schemas of a Go file, the package in a directory, a Python
// file, a file that ends in .schema, or the Python module of that name.
func Read(ctx context.Context, python, name string) (*Schemas, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil && (!errors.Is(err, fs.ErrNotExist) || strings.ContainsAny(name, `/\`) || knownExt(name)):
		return nil, err
	case err == nil && info.IsDir():
		return readGo(name, "")
	case filepath.Ext(name) == ".go":
		return readGo(filepath.Dir(name), filepath.Base(name))
	case filepath.Ext(name) == ".schema":
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all, err := schema.ParseInterfaces(string(text))
		var syntax *schema.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("%s:%d:%d: %s", name, syntax.Line, syntax.Column, syntax.Reason)
		}
		return &Schemas{Interfaces: all}, err
	case err == nil && filepath.Ext(name) != ".py":
		return nil, fmt.Errorf("%s: a schema is read from a .go, .py or .schema file, from a directory or a Python module", name)
	}
	m, err := readPython(ctx, python, name)
	if err != nil {
		return nil, err
	}
	all, notes, err := m.interfaces()
	return &Schemas{all, notes}, err
}

func knownExt(name string) bool {
	switch filepath.Ext(name) {
	case ".go", ".py", ".schema":
		return true
	}
	return false
}

// readGo returns what a package declares, or one file of it.
func readGo(dir, file string) (*Schemas, error) {
	s, err := loadPackage(dir, "")
	if err != nil {
		return nil, err
	}
	if file != "" {
		if err := s.has(file); err != nil {
			return nil, err
		}
	}
	all, err := s.declarations()
	if err != nil {
		return nil, err
	}
	found := new(Schemas)
	for _, d := range all {
		if file == "" || d.file == file {
			found.Interfaces = append(found.Interfaces, d.schema)
		}
	}
	if found.Interfaces == nil {
		return nil, fmt.Errorf("%s has no interface with a directive, such as //foolscap:interface RIFoo.example.org", filepath.Join(dir, file))
	}
	return found, nil
}

// Text is the text of all of them, fit for a .schema file.
func (s *Schemas) Text() string {
	var b strings.Builder
	for i, one := range s.Interfaces {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(one.String())
	}
	return b.String()
}

// A Change is a difference between two versions of an interface.
type Change struct {
	Interface string
	schema.Change
}

// Compare returns what is different in after.
func Compare(before, after *Schemas) []Change {
	var all []Change
	note := func(name string, c schema.Change) { all = append(all, Change{name, c}) }
	for _, old := range before.Interfaces {
		now := after.find(old.Name)
		if now == nil {
			note(old.Name, schema.Change{Breaks: true, Text: "the interface is gone"})
			continue
		}
		for _, c := range schema.Compare(old, now) {
			note(old.Name, c)
		}
	}
	for _, now := range after.Interfaces {
		if before.find(now.Name) == nil {
			note(now.Name, schema.Change{Text: "the interface is new"})
		}
	}
	return all
}

func (s *Schemas) find(name string) *schema.Interface {
	for _, i := range s.Interfaces {
		if i.Name == name {
			return i
		}
	}
	return nil
}
