package main

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// status is a line of /proc/PID/status of the gateway's process.
func (r *router) status(line string) string {
	r.t.Helper()
	out := r.sh("sed -n 's/^" + line + ":[^0-9a-f]*//p' /proc/$(pidof fairlead)/status")
	return strings.Join(strings.Fields(out), " ")
}

func TestInAJailItHasItsOwnUserAndFourCapabilities(t *testing.T) {
	r := served(t, lab.Config{})
	if got := r.daemon().User; got != "fairlead" {
		t.Errorf("procd runs it as %q, want its own user", got)
	}
	// An ordinary user's tests have no other user to become.
	if text, err := os.ReadFile("/proc/self/uid_map"); err == nil && len(strings.Fields(string(text))) == 3 && strings.Fields(string(text))[2] != "1" {
		if got := r.status("Uid"); strings.HasPrefix(got, "0 ") {
			t.Errorf("its user numbers are %s, want none of root", got)
		}
	}
	// DAC_OVERRIDE 1, NET_BIND_SERVICE 10, NET_ADMIN 12, NET_RAW 13: capability.h
	want := fmt.Sprintf("%016x", 1<<1|1<<10|1<<12|1<<13)
	for _, set := range []string{"CapEff", "CapPrm", "CapBnd"} {
		if got := r.status(set); got != want {
			t.Errorf("%s is %s, want %s", set, got, want)
		}
	}
	if got := r.status("NoNewPrivs"); got != "1" {
		t.Errorf("NoNewPrivs is %s, want 1", got)
	}
	for _, dir := range []string{"/etc/config", "/tmp"} {
		if mounts := r.sh("grep ' " + dir + " ' /proc/$(pidof fairlead)/mounts"); !strings.Contains(mounts, " ro,") {
			t.Errorf("in the jail %s is mounted as %q, want it to be read only", dir, mounts)
		}
	}
	if out, code := r.try("ls /proc/$(pidof fairlead)/root/etc/shadow"); code == 0 {
		t.Errorf("in the jail there is %s", out)
	}
	if strings.Contains(r.read("/tmp/log"), "could not be recorded") || r.read("/tmp/run/fairlead/sysctl") == "" {
		t.Error("from the jail no sysctl could be changed, and one was in the way")
	}
}

// nxdomain is the answer to a name that does not exist (RFC 1035 section 4.1.1).
const nxdomain = 3

func TestARuleSetIsReadInTheJailWhereverItLies(t *testing.T) {
	r := served(t, lab.Config{})
	r.sh("uci set fairlead.list=ruleset; uci set fairlead.listed=rule; uci add_list fairlead.listed.ruleset=list; uci set fairlead.listed.outbound=reject")
	for i, file := range []string{"/etc/fairlead/list", "/root/lists/list", "/etc/list"} { // no directory of these was there when the jail was built
		name := fmt.Sprintf("listed%d.example", i)
		r.sh("mkdir -p $(dirname " + file + "); echo " + name + " >" + file + "; uci set fairlead.list.path=" + file + "; uci commit fairlead; service fairlead reload")
		until(t, name+" is rejected", func() bool {
			answer, err := r.Clients["laptop"].Lookup(r.ctx(), r.At.RouterLAN.V4, name, lab.TypeA, "udp")
			return err == nil && answer.RCode == nxdomain
		})
	}
}

func TestAHostsFileIsReadInTheJailWhereverItLies(t *testing.T) {
	r := boot(t)
	r.sh("mkdir /etc/fairlead; echo 192.0.2.9 blocked.example >/etc/fairlead/hosts; sed -i \"/^config dnsmasq/a list addnhosts '/etc/fairlead/hosts'\" /etc/config/dhcp")
	r.install()
	r.configure(lab.Config{})
	r.sh("service fairlead start")
	r.daemon()
	answer, err := r.Clients["laptop"].Lookup(r.ctx(), r.At.RouterLAN.V4, "blocked.example", lab.TypeA, "udp")
	if want := []netip.Addr{netip.MustParseAddr("192.0.2.9")}; err != nil || !slices.Equal(answer.Addrs, want) {
		t.Errorf("a name of dnsmasq's option addnhosts has the addresses %v (%v), want %v", answer.Addrs, err, want)
	}
}

func TestWithoutUjailItRunsAsRoot(t *testing.T) {
	r := boot(t)
	r.sh("rm /sbin/ujail")
	r.install()
	r.configure(lab.Config{})
	r.sh("/etc/init.d/fairlead start")
	r.daemon()
	r.firewalled()
	r.wantNode("laptop")
	if got := r.status("Uid"); !strings.HasPrefix(got, "0 ") {
		t.Errorf("its user numbers are %s, want root's", got)
	}
}
