package gen

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A source is a Go package as far as it can be understood without what is to
// be generated.
type source struct {
	dir   string
	fset  *token.FileSet
	files []*ast.File
	pkg   *types.Package
	info  *types.Info
	// wrong is what the type checker objected to. Bodies of functions are not
	// looked at, and a declaration that lacks generated code need not matter.
	wrong []types.Error
}

// suffix is that of the names of generated files.
const suffix = "_foolscap.go"

// loadPackage reads the package in a directory. The file without is left out:
// what it holds is about to be made anew.
func loadPackage(dir, without string) (*source, error) {
	found, err := build.ImportDir(dir, 0)
	if err != nil {
		return nil, err
	}
	s := &source{dir: dir, fset: token.NewFileSet()}
	var imports []string
	for _, name := range slices.Concat(found.GoFiles, found.CgoFiles) {
		if name == without {
			continue
		}
		f, err := parser.ParseFile(s.fset, filepath.Join(dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, f)
		for _, i := range f.Imports {
			if path, err := strconv.Unquote(i.Path.Value); err == nil && path != "C" && path != "unsafe" {
				imports = append(imports, path)
			}
		}
	}
	slices.Sort(imports)
	compiled, err := exports(dir, slices.Compact(imports))
	if err != nil {
		return nil, err
	}
	config := types.Config{
		Importer:         compiled.importer(s.fset),
		IgnoreFuncBodies: true,
		FakeImportC:      true,
		Error: func(err error) {
			var wrong types.Error
			if errors.As(err, &wrong) {
				s.wrong = append(s.wrong, wrong)
			}
		},
	}
	s.info = &types.Info{Defs: map[*ast.Ident]types.Object{}}
	s.pkg, _ = config.Check(cmp.Or(found.ImportPath, dir), s.fset, s.files, s.info)
	return s, nil
}

// compiledPackages has the files in which the go command keeps the types of
// packages, by import path.
type compiledPackages map[string]string

// has returns an error if a file of the directory was not read.
func (s *source) has(name string) error {
	if slices.ContainsFunc(s.files, func(f *ast.File) bool { return filepath.Base(s.fset.File(f.FileStart).Name()) == name }) {
		return nil
	}
	file := filepath.Join(s.dir, name)
	if _, err := os.Stat(file); err != nil {
		return err
	}
	return fmt.Errorf("%s is no part of the package %s here: build constraints or its name leave it out", file, s.pkg.Name())
}

// exports asks the go command for what packages export. They are compiled if
// need be, as they are to be for the program itself.
func exports(dir string, imports []string) (compiledPackages, error) {
	all := compiledPackages{}
	if len(imports) == 0 {
		return all, nil
	}
	cmd := exec.Command("go", append([]string{"list", "-e", "-export", "-deps", "-json=ImportPath,Export", "--"}, imports...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("asking the go command for imported packages: %w: %s", err, strings.Join(strings.Fields(stderr.String()), " "))
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ ImportPath, Export string }
		err := d.Decode(&p)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading what the go command says of imported packages: %w", err)
		}
		if p.Export != "" {
			all[p.ImportPath] = p.Export
		}
	}
}

func (c compiledPackages) importer(fset *token.FileSet) types.Importer {
	return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		file, ok := c[path]
		if !ok {
			return nil, fmt.Errorf("it does not compile, or there is none; \"go build %s\" says more", path)
		}
		return os.Open(file)
	})
}

// at is an error at a place of the source.
func (s *source) at(pos token.Pos, format string, args ...any) error {
	p := s.fset.Position(pos)
	return fmt.Errorf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...))
}

// why says what is wrong with a type at a place that the type checker could not
// make out.
func (s *source) why(pos token.Pos) string {
	line := s.fset.Position(pos)
	text := "its type is not known"
	for _, w := range s.wrong {
		p := s.fset.Position(w.Pos)
		if p.Filename == line.Filename && p.Line == line.Line {
			return text + ": " + w.Msg
		}
	}
	for _, w := range s.wrong { // an import, usually
		return text + "; " + s.at(w.Pos, "%s", w.Msg).Error()
	}
	return text
}
