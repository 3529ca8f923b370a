package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/openwrt/dnsmasq"
)

// stageOfDNSMasq leads fairlead to a dnsmasq that a test configured.
const stageOfDNSMasq = "FAIRLEAD_TEST_DNSMASQ"

func stagedDNSMasq() dnsmasq.System {
	dir := os.Getenv(stageOfDNSMasq)
	if dir == "" {
		return dnsmasq.OpenWrt()
	}
	return dnsmasq.System{
		Configs:  filepath.Join(dir, "etc", "dnsmasq.conf"),
		Service:  dnsmasq.InitScript(filepath.Join(dir, "init")),
		InMemory: func(string) bool { return true },
	}
}

// masq is a home whose router has Debian's dnsmasq for DHCP and DNS, configured
// and restarted as by OpenWrt's init script.
type masq struct {
	*home
	dir string
}

// newMasq starts dnsmasq with more lines in its configuration than the usual.
// Fairlead is not started yet.
func newMasq(t *testing.T, more ...string) *masq {
	t.Helper()
	program, err := exec.LookPath("dnsmasq")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/dnsmasq")
	}
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("CI has to have the program dnsmasq: %v", err)
	default:
		t.Skip("NOT TESTED: the program dnsmasq, whose place fairlead takes, is not installed")
	}
	m := &masq{home: newHouse(t, lab.Options{NoResolver: true})}
	m.dir = filepath.Join(m.Dir, "masq")
	for _, dir := range []string{"etc", "confdir", "run"} {
		if err := os.MkdirAll(filepath.Join(m.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.write("init", `#!/bin/sh
cd `+m.dir+` || exit 1
if [ -e run/pid ]; then
	kill "$(cat run/pid)"
	while [ -e "/proc/$(cat run/pid)/exe" ]; do sleep 0.02; done
	rm run/pid
fi
[ "$1" = stop ] && exit
echo restarted >>run/log
exec `+program+` -C etc/dnsmasq.conf.cfg01 -x `+m.dir+`/run/pid
`)
	m.write("hosts", "192.168.77.5 nas\n")
	m.write("etc/dnsmasq.conf.cfg01", strings.Join(append([]string{
		"user=root", "group=root", "bind-dynamic", "except-interface=" + lab.WAN, "no-resolv", "server=" + m.At.ISP.V4.String(),
		"no-hosts", "addn-hosts=" + m.dir + "/hosts", "domain=lan", "local=/lan/", "expand-hosts", "domain-needed", "bogus-priv",
		"dhcp-leasefile=" + m.dir + "/run/leases", "dhcp-range=192.168.77.100,192.168.77.199,12h", "no-ping",
		"txt-record=note.lan,only dnsmasq knows", "conf-dir=" + m.dir + "/confdir",
	}, more...), "\n")+"\n")
	m.write("../dhcp", "config dnsmasq\n\toption domain lan\n\toption local /lan/\n\toption expandhosts 1\n\toption domainneeded 1\n"+
		"\toption leasefile "+m.dir+"/run/leases\n\tlist addnhosts "+m.dir+"/hosts\n")
	m.script("restart")
	t.Cleanup(func() { m.script("stop") })
	return m
}

func (m *masq) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// script runs the init script in the router.
func (m *masq) script(argument string) {
	m.t.Helper()
	cmd := exec.Command(filepath.Join(m.dir, "init"), argument)
	if err := m.Router.Start(cmd); err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		m.t.Errorf("the init script: %v", err)
	}
}

// restarts counts how often dnsmasq was started.
func (m *masq) restarts() int {
	text, _ := os.ReadFile(filepath.Join(m.dir, "run", "log"))
	return bytes.Count(text, []byte("\n"))
}

// files are the configuration, to the byte; what dnsmasq itself writes is not.
func (m *masq) files() string {
	m.t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(m.dir, func(path string, entry fs.DirEntry, err error) error {
		if entry.Name() == "run" {
			return fs.SkipDir
		}
		text, _ := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %s\n%s\n", path, entry.Type(), text)
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return all.String()
}

// configureWith writes fairlead's configuration: the television is not diverted.
func (m *masq) configureWith(lines ...string) {
	m.t.Helper()
	m.configure(m.ConfigText(lab.Config{
		Main:    lines,
		Clients: "config client tv\n\tlist mac '" + m.Clients["tv"].MAC.String() + "'\n\toption mode off\n\n",
	}))
}

// router is the router itself as an asker.
func (m *masq) router() *lab.Client { return &lab.Client{Name: "router", NS: m.Router} }

// told is the first address that a client is told; empty if none.
func (m *masq) told(client *lab.Client, server netip.Addr, name, network string) string {
	m.t.Helper()
	a, err := client.Lookup(m.ctx(), server, name, lab.TypeA, network)
	if err != nil || len(a.Addrs) == 0 {
		return fmt.Sprintf("rcode %d, %v", a.RCode, err)
	}
	return a.Addrs[0].String()
}

// isDNSMasq waits until dnsmasq answers the router, which it tells by a text
// that nobody else knows.
func (m *masq) isDNSMasq() {
	m.t.Helper()
	const typeTXT = 16
	const again = 500 * time.Millisecond // a question can get lost while the port changes hands
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(m.t.Context(), again)
		a, err := m.router().Lookup(ctx, netip.MustParseAddr("127.0.0.1"), "note.lan", typeTXT, "udp")
		cancel()
		if err == nil && len(a.Records) == 1 {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("the router's own resolver says %+v (%v), want dnsmasq's answer", a.Records, err)
		}
	}
}

// lease has a client ask for an address by DHCP (RFC 2131), and gives the
// addresses that it was offered and of its DNS servers.
func (m *masq) lease(client, hostname string) (addr netip.Addr, servers []netip.Addr) {
	m.t.Helper()
	c, err := m.Clients[client].NS.ListenUDP(netip.MustParseAddrPort("0.0.0.0:68"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	exchange := func(kind, answer byte, options ...byte) (netip.Addr, map[byte][]byte) {
		p := make([]byte, 240)
		copy(p, []byte{1, 1, 6, 0, 'l', 'a', 'b', kind, 0, 0, 0x80}) // broadcast the answer
		copy(p[28:], m.Clients[client].MAC)
		binary.BigEndian.PutUint32(p[236:], 0x63825363)
		p = append(append(p, 53, 1, kind, 12, byte(len(hostname))), hostname...)
		p = append(append(append(p, 55, 2, 6, 15), options...), 255)
		if _, err := c.WriteToUDPAddrPort(p, netip.MustParseAddrPort("255.255.255.255:67")); err != nil {
			m.t.Fatal(err)
		}
		for b := make([]byte, 1500); ; {
			n, _, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				m.t.Fatalf("%s asking for a lease: %v", client, err)
			}
			told := dhcpOptions(b[240:n])
			if bytes.Equal(b[4:8], p[4:8]) && len(told[53]) == 1 && told[53][0] == answer {
				return netip.AddrFrom4([4]byte(b[16:20])), told
			}
		}
	}
	const discover, offer, request, ack = 1, 2, 3, 5
	addr, told := exchange(discover, offer)
	requested := addr.As4()
	addr, told = exchange(request, ack, append(append([]byte{50, 4}, requested[:]...), append([]byte{54, 4}, told[54]...)...)...)
	for b := told[6]; len(b) >= 4; b = b[4:] {
		servers = append(servers, netip.AddrFrom4([4]byte(b[:4])))
	}
	return addr, servers
}

func dhcpOptions(b []byte) map[byte][]byte {
	options := make(map[byte][]byte)
	for len(b) > 2 && b[0] != 255 && len(b) >= 2+int(b[1]) {
		options[b[0]] = b[2 : 2+b[1]]
		b = b[2+b[1]:]
	}
	return options
}

func (m *masq) reloads() {
	m.t.Helper()
	if _, errs, code := m.command("reload"); code != 0 {
		m.t.Fatalf("reload exits %d: %s", code, errs)
	}
}
