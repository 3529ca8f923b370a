package payload_test

import (
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/package/payload"
)

func TestModesFollowFromThePlace(t *testing.T) {
	for file, want := range map[string]fs.FileMode{
		"/usr/bin/fairlead":                     0o755,
		"/etc/init.d/fairlead":                  0o755,
		"/usr/libexec/rpcd/fairlead":            0o755,
		"/etc/uci-defaults/50-fairlead":         0o755,
		"/etc/hotplug.d/ntp/50-fairlead":        0o755,
		"/etc/config/fairlead":                  0o600,
		"/etc/capabilities/fairlead.json":       0o644,
		"/usr/share/rpcd/acl.d/fairlead.json":   0o644,
		"/lib/upgrade/keep.d/fairlead":          0o644,
		"/usr/bin/fairlead.d/not-a-program.txt": 0o644,
	} {
		if got := payload.Mode(file); got != want {
			t.Errorf("the mode of %s = %o, want %o", file, got, want)
		}
	}
}

func TestAllMistakesOfAPackageAreFoundAtOnce(t *testing.T) {
	p := payload.Package{
		Info: payload.Info{Name: "Fair lead"}, Built: time.Unix(0, 0),
		Files:     []payload.File{{Path: "/a"}, {Path: "/a"}, {Path: "b"}, {Path: "/c/../d"}},
		Conffiles: []string{"/e"},
		Scripts:   map[string]string{"postinst": ""},
	}
	err := p.Check()
	if err == nil {
		t.Fatal("a package full of mistakes is good, want it refused")
	}
	for _, want := range []string{"small letters", "no version", "no architecture", "/a is there twice", `"b" is not`, `"/c/../d" is not`, "/e is not among", "no script postinst"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the mistakes are\n%v\nwant one that says %q", err, want)
		}
	}
}

func TestTheTreeOfTheRouterIsReadAsAWhole(t *testing.T) {
	files, err := payload.Read("../openwrt/files")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]fs.FileMode)
	for _, f := range files {
		found[f.Path] = f.Mode
	}
	for file, want := range map[string]fs.FileMode{"/etc/config/fairlead": 0o600, "/etc/init.d/fairlead": 0o755, "/usr/libexec/rpcd/fairlead": 0o755} {
		if found[file] != want {
			t.Errorf("%s has the mode %o, want %o", file, found[file], want)
		}
	}
}
