// Package fairlead_test keeps the house as docs/architecture.md draws it: which
// package may know which, what may be global, and that the pages tell the truth.
package fairlead_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/fairlead/fairlead"

// pkg is one of our packages as `go list -json` describes it, without tests.
type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	Name       string
	GoFiles    []string
	Imports    []string
}

// room is the package's directory from the root of the module.
func (p pkg) room() string { return strings.TrimPrefix(p.ImportPath, module+"/") }

// ours are the rooms that the package imports.
func (p pkg) ours() []string {
	var rooms []string
	for _, path := range p.Imports {
		if room, ok := strings.CutPrefix(path, module+"/"); ok {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

// packages are all of ours that consist of more than tests, with what only some
// builds have.
func packages(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-buildvcs=false", "-tags=quic", "-json=ImportPath,Dir,Doc,Name,GoFiles,Imports", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("reading go list: %v", err)
		}
		if len(p.GoFiles) > 0 {
			all = append(all, p)
		}
	}
	if len(all) < 10 {
		t.Fatalf("go list knows %d packages, want the whole house", len(all))
	}
	return all
}

// in says whether a room is one of some, or lies within one that ends in a slash.
func in(room string, rooms ...string) bool {
	return slices.ContainsFunc(rooms, func(r string) bool {
		return room == strings.TrimSuffix(r, "/") || strings.HasSuffix(r, "/") && strings.HasPrefix(room, r)
	})
}

// An arrow from some rooms that must not lead to others. Rooms that end in a
// slash are meant with all below them.
type arrow struct {
	from, to, except []string
	why              string
}

func forbidden() []arrow {
	core := []string{"sniff/", "gateway/", "dnsrouter/", "nft/"}
	everything := append([]string{"cmd/", "openwrt/", "package/"}, core...)
	return []arrow{
		{from: []string{"gateway/policy", "nft/mark"}, to: everything,
			why: "it is a leaf: every room may know it because it knows none"},
		{from: core, to: []string{"openwrt/", "cmd/"},
			why: "the core runs on any Linux: adapters fill its Configs and implement its interfaces"},
		{from: []string{"gateway/"}, to: []string{"dnsrouter/", "nft/"},
			why: "flows and questions meet in gateway/policy and in interfaces that the consumer declares"},
		{from: []string{"dnsrouter/"}, to: []string{"gateway/", "nft/"}, except: []string{"gateway/policy"},
			why: "flows and questions meet in gateway/policy and in interfaces that the consumer declares"},
		{from: []string{"nft/"}, to: []string{"gateway/", "dnsrouter/", "sniff/"}, except: []string{"gateway/policy"},
			why: "the table carries verdicts out; it does not know who took them"},
		{from: []string{"sniff/"}, to: everything, except: []string{"gateway/policy", "sniff/"},
			why: "sniffing is bytes in, name out"},
		{from: []string{"openwrt/uci"}, to: everything,
			why: "it reads a file format, whatever the file is about"},
		{from: []string{"package/ipk", "package/apk", "package/payload"}, to: everything, except: []string{"package/payload"},
			why: "packages are made of files, whatever is in them"},
		{from: []string{"openwrt/"}, to: []string{"cmd/"},
			why: "commands wire the adapters, not the other way round"},
	}
}

func TestArrowsPointDownOnly(t *testing.T) {
	for _, p := range packages(t) {
		for _, a := range forbidden() {
			if !in(p.room(), a.from...) {
				continue
			}
			for _, to := range p.ours() {
				if in(to, a.to...) && !in(to, a.except...) {
					t.Errorf("%s imports %s, want no such arrow: %s", p.room(), to, a.why)
				}
			}
		}
	}
}

// scaffold are the rooms that tests, the demo and measurements are built of; a
// router does not use them.
func scaffold() []string {
	return []string{"nft/nstest", "cmd/fairlead/lab", "cmd/bench", "cmd/interop", "cmd/vm/", "package/openwrt/rootlab"}
}

// kernel is the kernel's own interface: whoever opens sockets may use it, and
// pure rooms may not.
const kernel = "golang.org/x/sys"

func pure() []string {
	return []string{"sniff/", "dnsrouter/", "gateway/policy", "nft/mark", "openwrt/"}
}

func TestTheKernelStaysOutOfPureRooms(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if moduleOf(imported) == kernel && in(p.room(), pure()...) {
				t.Errorf("%s imports %s, want it to work on values and on interfaces that it declares", p.room(), imported)
			}
		}
	}
}

// users are the rooms that may import a module of somebody else, apart from
// tests and the scaffold.
func users() map[string][]string {
	return map[string][]string{
		"github.com/google/nftables":     {"nft"},
		"github.com/quic-go/quic-go":     {"dnsrouter/upstream"},
		"github.com/mdlayher/netlink":    {"nft", "nft/route"},
		"github.com/vishvananda/netlink": {"nft/route"},
	}
}

func TestEachForeignModuleIsUsedInOneOrTwoRooms(t *testing.T) {
	unused := users()
	for _, p := range packages(t) {
		if in(p.room(), scaffold()...) {
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, module) || !strings.Contains(strings.Split(imported, "/")[0], ".") {
				continue
			}
			foreign := moduleOf(imported)
			if foreign == kernel {
				continue
			}
			if slices.Contains(users()[foreign], p.room()) {
				unused[foreign] = slices.DeleteFunc(unused[foreign], func(r string) bool { return r == p.room() })
				continue
			}
			t.Errorf("%s imports %s, want it in %v only: a module that everybody uses cannot be replaced. "+
				"Ask the room that uses it, or add yours to users() and say in the commit why", p.room(), imported, users()[foreign])
		}
	}
	for foreign, rooms := range unused {
		if len(rooms) > 0 {
			t.Errorf("%s is not imported by %v any more, want users() to say so", foreign, rooms)
		}
	}
}

func TestNoForeignModuleSpreads(t *testing.T) {
	for foreign, rooms := range users() {
		if len(rooms) > 2 {
			t.Errorf("%s is used in %d rooms %v, want at most 2", foreign, len(rooms), rooms)
		}
	}
}

// moduleOf is the module of an import path: as many elements as its host takes.
func moduleOf(imported string) string {
	parts := strings.Split(imported, "/")
	n := 2
	if slices.Contains([]string{"github.com", "golang.org"}, parts[0]) {
		n = 3
	}
	return path.Join(parts[:min(n, len(parts))]...)
}

func TestEveryPackageSaysWhatItDoes(t *testing.T) {
	for _, p := range packages(t) {
		want := "Package " + p.Name + " "
		if p.Name == "main" {
			want = "Command " + path.Base(p.ImportPath) + " "
		}
		if !strings.HasPrefix(p.Doc, want) || len(p.Doc) < len(want)+20 {
			t.Errorf("the doc comment of %s is %q, want a sentence that begins %q", p.room(), p.Doc, want)
		}
	}
}
