package support

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// router is the file system of a router, with what is private in it marked.
func router(t *testing.T) Machine {
	t.Helper()
	m := Machine{Root: t.TempDir(), Devices: []string{"br-lan"}, Dirs: []string{"/tmp", "/overlay"}}
	for path, text := range map[string]string{
		"/etc/board.json":                          `{"model":{"id":"acme,router","name":"Acme Router"},"network":{"lan":{"macaddr":"private"}},"credentials":{"root_password_hash":"private"}}`,
		"/etc/openwrt_release":                     "DISTRIB_ID='OpenWrt'\nDISTRIB_RELEASE='24.10.8'\nSECRET=private\n",
		"/proc/meminfo":                            "MemTotal:         123456 kB\nMemFree: 1 kB\nMemAvailable:      65432 kB\n",
		"/proc/modules":                            "nft_tproxy 16384 0 - Live 0x0\nprivate 1 0\nnf_tables 200000 5 - Live 0x0\n",
		"/proc/sys/net/ipv4/ip_forward":            "1\n",
		"/proc/sys/net/ipv4/conf/br-lan/rp_filter": "2\n",
		"/etc/init.d/tailscale":                    "",
		"/etc/init.d/mwan3":                        "",
		"/etc/init.d/private":                      "",
		"/etc/rc.d/S90tailscale":                   "",
		"/var/etc/dnsmasq.conf.cfg01411c":          "# private\nport=53\nconf-dir=/tmp/dnsmasq.d\naddress=/private/192.0.2.1\naddress=/private/192.0.2.2\nserver=/private/private\ndomain-needed\ndhcp-host=private\n",
		"/tmp/x":                                   "",
	} {
		path = filepath.Join(m.Root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func written(t *testing.T, sections []Section) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, sections, func(line string) string { return line }); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTheMachineIsDescribedWithoutWhatIsPrivate(t *testing.T) {
	got := written(t, router(t).Sections())
	for _, want := range []string{
		"model acme,router Acme Router\n", "DISTRIB_RELEASE='24.10.8'\n", "MemTotal:         123456 kB\n", "/tmp: ",
		"net.ipv4.ip_forward = 1\n", "net.ipv4.conf.br-lan.rp_filter = 2\n", "nf_tables nft_tproxy\n",
		"mwan3 disabled\ntailscale enabled\n",
		"file dnsmasq.conf.cfg01411c\nport=53\nconf-dir=/tmp/dnsmasq.d\naddress=[removed]\nserver=[removed]\ndomain-needed\ndhcp-host=[removed]\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the machine is described as\n%s\nwant %q in it", got, want)
		}
	}
	for _, not := range []string{"private", "MemFree", "/overlay"} {
		if strings.Contains(got, not) {
			t.Errorf("the machine is described as\n%s\nwant no %q in it", got, not)
		}
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	got := written(t, Machine{Root: t.TempDir()}.Sections())
	for _, want := range []string{"== memory\n(not to be had: open ", "== other programs\n(nothing)\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("an empty machine is described as\n%s\nwant %q in it", got, want)
		}
	}
	got = written(t, []Section{Text("title", "a\nb\n", errors.New("one\ntwo"))})
	if want := "\n== title\na\nb\n(not to be had: one; two)\n"; got != want {
		t.Errorf("a section is written as %q, want %q", got, want)
	}
}
