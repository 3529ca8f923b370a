package main

import (
	"maps"
	"strings"
	"testing"
)

func TestRecordedSizesAreReadAsTheyAreWritten(t *testing.T) {
	want := map[string]size{"fairlead arm64": {1, 2, 3}, "fairlead-tiny arm64": {4, 5, 6}}
	got, err := parseSizes(format([]string{"fairlead arm64", "fairlead-tiny arm64"}, want))
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("read again they are %v, %v, want %v", got, err, want)
	}
}

func TestEveryBuildAndVariantIsRecorded(t *testing.T) {
	root(t)
	sizes, err := parseSizes(readFile(t, recorded))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range builds() {
		for _, v := range variants() {
			if sizes[v+" "+b.name].packed == 0 {
				t.Errorf("%s has no line for %s %s: `make size RECORD=1` writes them", recorded, v, b.name)
			}
		}
	}
	if err := within(limits(), sizes, 0, ""); err != nil {
		t.Errorf("what is recorded breaks the promise to small routers: %v", err)
	}
}

func TestGrowthBeyondThreePercentIsRefused(t *testing.T) {
	known := map[string]size{"fairlead arm64": {packed: 1000, installed: 2000}}
	for _, tt := range []struct {
		says string
		is   size
		want string // empty: it is fine
	}{
		{"as before", size{packed: 1000, installed: 2000}, ""},
		{"smaller", size{packed: 900, installed: 1900}, ""},
		{"three percent", size{packed: 1030, installed: 2060}, ""},
		{"a larger package", size{packed: 1031, installed: 2000}, "fairlead arm64, its package: 1031 bytes"},
		{"larger files", size{packed: 1000, installed: 2061}, "fairlead arm64, its files: 2061 bytes"},
	} {
		err := within(known, map[string]size{"fairlead arm64": tt.is}, growth, "record it by `make size RECORD=1`")
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v, want it taken", tt.says, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "make size RECORD=1")):
			t.Errorf("%s: %v, want %q, and how to record it", tt.says, err, tt.want)
		}
	}
}

func TestAPackageThatNobodyRecordedIsRefused(t *testing.T) {
	err := within(nil, map[string]size{"fairlead arm64": {}}, growth, "")
	if err == nil || !strings.Contains(err.Error(), "fairlead arm64 is not recorded") {
		t.Errorf("a new build = %v, want it asked for", err)
	}
}

func TestSymbolsAreTheirModules(t *testing.T) {
	for symbol, want := range map[string]string{
		"main.main": "fairlead",
		"github.com/fairlead/fairlead/nft.(*Table).Beat":             "fairlead",
		"github.com/mdlayher/netlink/nlenc.PutUint16":                "github.com/mdlayher/netlink",
		"golang.org/x/sys/unix.Bind":                                 "golang.org/x/sys",
		"net/http.(*Transport).RoundTrip":                            "Go: net/http",
		"vendor/golang.org/x/net/idna.ToASCII":                       "Go: vendor/golang.org/x/net/idna",
		"slices.Sort[go.shape.[]github.com/fairlead/fairlead/nft.X]": "Go: slices",
		"go:itab.*os.File,io.Reader":                                 "Go: tables of the linker",
		"type:.eq.net/netip.Addr":                                    "Go: tables of the linker",
		"_rt0_mipsle_linux":                                          "Go: tables of the linker",
	} {
		if got := owner(symbol); got != want {
			t.Errorf("%s belongs to %q, want %q", symbol, got, want)
		}
	}
}
