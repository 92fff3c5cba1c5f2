package deps

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// layer forbids packages to reach others.
type layer struct {
	from, reason string
	notFrom      []string // exceptions from from
	to           []string
	except       []string // exceptions from to
	testsMay     bool     // test files may
}

// covers reports whether the rule is about a directory's package.
func (l layer) covers(dir string) bool {
	return within(dir, []string{l.from}) && !within(dir, l.notFrom)
}

// module allows a module, or one package of it, in some places.
type module struct {
	path   string // import path of the module or package; the longest that matches counts
	in     []string
	tests  bool // in test files everywhere too
	reason string
}

// symbol allows functions of a package in some places.
type symbol struct {
	path   string
	names  []string
	in     []string
	reason string
}

// phrase forbids a text.
type phrase struct {
	text, reason string
	wordStart    bool // only where no letter or digit precedes it
}

// goFile is what a Go file imports.
type goFile struct {
	path    string // below the root, with slashes
	dir     string
	test    bool
	imports []imported
	syntax  *ast.File
	lines   *token.FileSet
}

type imported struct {
	path, name string // name is the one used in the file
	line       int
}

// within reports whether a directory is in one of the places.
func within(dir string, places []string) bool {
	return slices.ContainsFunc(places, func(place string) bool {
		if place == "..." || place == dir {
			return true
		}
		above, ok := strings.CutSuffix(place, "/...")
		return ok && (dir == above || strings.HasPrefix(dir, above+"/"))
	})
}

// inside reports whether an import path is a module's, or a package below it.
func inside(importPath, module string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

// check returns every breach of the rules below root, each a line, sorted.
func check(root string) ([]string, error) {
	var breaches []string
	var files []goFile
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if base := d.Name(); rel != "." && (base == ".git" || base == "node_modules" || rel == "bin" || rel == "dist") {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		body, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if isText(rel, body) {
			breaches = append(breaches, checkText(rel, body)...)
		}
		if !strings.HasSuffix(rel, ".go") || within("testdata", strings.Split(path.Dir(rel), "/")) {
			return nil
		}
		f, err := parseGo(rel, body)
		if err != nil {
			breaches = append(breaches, fmt.Sprintf("%s: cannot be parsed: %v", rel, err))
			return nil
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	breaches = append(breaches, checkModules(files)...)
	breaches = append(breaches, checkSymbols(files)...)
	breaches = append(breaches, checkLayers(files)...)
	slices.Sort(breaches)
	return slices.Compact(breaches), nil
}

func parseGo(rel string, body []byte) (goFile, error) {
	lines := token.NewFileSet()
	syntax, err := parser.ParseFile(lines, rel, body, parser.SkipObjectResolution)
	if err != nil {
		return goFile{}, err
	}
	f := goFile{path: rel, dir: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), syntax: syntax, lines: lines}
	for _, spec := range syntax.Imports {
		importPath, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return goFile{}, err
		}
		i := imported{path: importPath, name: path.Base(importPath), line: lines.Position(spec.Pos()).Line}
		if spec.Name != nil {
			i.name = spec.Name.Name
		}
		f.imports = append(f.imports, i)
	}
	return f, nil
}

// checkModules holds imports from outside against the table of modules.
func checkModules(files []goFile) (breaches []string) {
	for _, f := range files {
		for _, i := range f.imports {
			first, _, _ := strings.Cut(i.path, "/")
			if inside(i.path, project) || i.path != "C" && !strings.Contains(first, ".") {
				continue // the standard library has no dot in its first element
			}
			var rule *module
			for n := range modules {
				if m := &modules[n]; inside(i.path, m.path) && (rule == nil || len(m.path) > len(rule.path)) {
					rule = m
				}
			}
			switch {
			case rule == nil:
				breaches = append(breaches, fmt.Sprintf("%s:%d: imports %s, which no rule allows: say in the table modules of internal/deps what it is for and where it may be used",
					f.path, i.line, i.path))
			case !within(f.dir, rule.in) && !(rule.tests && f.test):
				breaches = append(breaches, fmt.Sprintf("%s:%d: imports %s, which only %s may (%s)",
					f.path, i.line, i.path, strings.Join(rule.in, " and "), rule.reason))
			}
		}
	}
	return breaches
}

// checkSymbols looks for functions that are used in the wrong place.
func checkSymbols(files []goFile) (breaches []string) {
	for _, f := range files {
		for _, rule := range symbols {
			if within(f.dir, rule.in) {
				continue
			}
			for _, i := range f.imports {
				if i.path != rule.path {
					continue
				}
				if i.name == "." {
					breaches = append(breaches, fmt.Sprintf("%s:%d: imports %s with a dot, which hides what is used of it", f.path, i.line, i.path))
				}
				ast.Inspect(f.syntax, func(n ast.Node) bool {
					s, ok := n.(*ast.SelectorExpr)
					if !ok || !slices.Contains(rule.names, s.Sel.Name) {
						return true
					}
					if x, ok := s.X.(*ast.Ident); ok && x.Name == i.name {
						breaches = append(breaches, fmt.Sprintf("%s:%d: uses %s, which only %s may (%s)",
							f.path, f.lines.Position(s.Pos()).Line, s.Sel.Name, strings.Join(rule.in, " and "), rule.reason))
					}
					return true
				})
			}
		}
	}
	return breaches
}

// checkLayers follows the imports within the project.
func checkLayers(files []goFile) (breaches []string) {
	// imports of the code that is built, all systems together
	graph := make(map[string][]string)
	for _, f := range files {
		for _, i := range f.imports {
			if !f.test && inside(i.path, project) {
				graph[f.dir] = append(graph[f.dir], below(i.path))
			}
		}
	}
	for dir := range graph {
		slices.Sort(graph[dir])
	}
	for _, rule := range layers {
		forbidden := func(dir string) bool { return within(dir, rule.to) && !within(dir, rule.except) }
		for _, f := range files {
			if !rule.covers(f.dir) || f.test && rule.testsMay {
				continue
			}
			for _, i := range f.imports {
				if !inside(i.path, project) {
					continue
				}
				way := wayTo(graph, below(i.path), forbidden)
				if way == nil || slices.ContainsFunc(way[:len(way)-1], rule.covers) {
					continue // the package on the way is told itself
				}
				breaches = append(breaches, fmt.Sprintf("%s:%d: %s must not reach %s, and does: %s (%s)",
					f.path, i.line, f.dir, way[len(way)-1], strings.Join(append([]string{f.dir}, way...), " -> "), rule.reason))
			}
		}
	}
	return breaches
}

// below turns an import path of the project into a directory.
func below(importPath string) string {
	if importPath == project {
		return "."
	}
	return strings.TrimPrefix(importPath, project+"/")
}

// wayTo returns the shortest way from a package to a forbidden one, itself included; nil
// when there is none.
func wayTo(graph map[string][]string, from string, forbidden func(string) bool) []string {
	type step struct {
		dir  string
		prev *step
	}
	seen := map[string]bool{from: true}
	queue := []*step{{dir: from}}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		if forbidden(s.dir) {
			var way []string
			for ; s != nil; s = s.prev {
				way = append(way, s.dir)
			}
			slices.Reverse(way)
			return way
		}
		for _, next := range graph[s.dir] {
			if !seen[next] {
				seen[next] = true
				queue = append(queue, &step{next, s})
			}
		}
	}
	return nil
}

// textEndings are those of code, scripts, documents and the tests' own scripts.
var textEndings = []string{
	".go", ".c", ".h", ".s", ".js", ".mjs", ".py", ".sh", ".ps1", ".psm1", ".cmd", ".bat", ".md", ".txt", ".txtar",
	".toml", ".yml", ".yaml", ".json", ".html", ".css", ".service", ".plist", ".iss", ".wxs",
}

// isText reports whether the rules for text apply to a file.
func isText(rel string, body []byte) bool {
	ending := strings.ToLower(path.Ext(rel))
	return slices.Contains(textEndings, ending) || bytes.HasPrefix(body, []byte("#!")) ||
		slices.Contains([]string{"Makefile", "Dockerfile", "LICENSE", ".gitignore", ".gitattributes"}, path.Base(rel))
}

func checkText(rel string, body []byte) (breaches []string) {
	for _, p := range phrases {
		for at := 0; ; at++ {
			i := bytes.Index(body[at:], []byte(p.text))
			if i < 0 {
				break
			}
			at += i
			if p.wordStart && at > 0 && isWord(body[at-1]) {
				continue
			}
			line := 1 + bytes.Count(body[:at], []byte("\n"))
			breaches = append(breaches, fmt.Sprintf("%s:%d: holds %q: %s", rel, line, p.text, p.reason))
		}
	}
	return breaches
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// root returns the directory of go.mod.
func root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, statErr := os.Stat(filepath.Join(dir, "go.mod")); statErr == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			err = errors.New("no go.mod above the working directory")
		}
		dir = up
	}
	return "", err
}
