package fairlead_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"
)

// excused are package variables that must be, because the linker sets them.
func excused() []string { return []string{"cmd/fairlead.version", "cmd/fairlead.built"} }

func TestNothingIsGlobal(t *testing.T) {
	excuses := excused()
	for _, p := range packages(t) {
		if p.room() == "cmd/bench" {
			continue // it measures from outside; a router never runs it
		}
		for _, file := range p.GoFiles {
			for name, why := range globals(t, filepath.Join(p.Dir, file)) {
				id := p.room() + "." + name
				if i := slices.Index(excuses, id); i >= 0 {
					excuses = slices.Delete(excuses, i, i+1)
					continue
				}
				t.Errorf("%s: %s, want neither init functions nor variables of packages, except errors: dependencies are parameters", id, why)
			}
		}
	}
	for _, id := range excuses {
		t.Errorf("%s does not exist any more, want it gone from excused()", id)
	}
}

// globals are the init functions and the mutable variables of a file.
func globals(t *testing.T, path string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				found["init"] = "it runs before main, unasked"
			}
		case *ast.GenDecl:
			if d.Tok != token.VAR {
				continue
			}
			for _, spec := range d.Specs {
				variables(spec.(*ast.ValueSpec), found)
			}
		}
	}
	return found
}

// variables adds those of a declaration, apart from errors, pools of memory that
// goroutines lend each other, and assertions that a type implements an interface.
func variables(v *ast.ValueSpec, found map[string]string) {
	for i, name := range v.Names {
		if name.Name == "_" || i < len(v.Values) && (isSentinel(v.Values[i]) || isPool(v.Values[i])) {
			continue
		}
		found[name.Name] = "it is a variable of its package"
	}
}

// isSentinel says whether a value is an error made on the spot.
func isSentinel(value ast.Expr) bool {
	call, ok := value.(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	from, ok := f.X.(*ast.Ident)
	return ok && (from.Name == "errors" && f.Sel.Name == "New" || from.Name == "fmt" && f.Sel.Name == "Errorf")
}

// isPool says whether a value is a sync.Pool.
func isPool(value ast.Expr) bool {
	literal, ok := value.(*ast.CompositeLit)
	if !ok {
		return false
	}
	typ, ok := literal.Type.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	from, ok := typ.X.(*ast.Ident)
	return ok && from.Name == "sync" && typ.Sel.Name == "Pool"
}
