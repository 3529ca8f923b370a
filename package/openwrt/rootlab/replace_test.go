package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// replaced is a router whose fairlead has taken dnsmasq's place, and dnsmasq's
// files as they were before.
func replaced(t *testing.T, second time.Duration) (r *router, files string) {
	t.Helper()
	r = bootWith(t, second)
	files = r.dnsmasqFiles()
	r.install()
	r.configure(lab.Config{})
	r.sh("uci set fairlead.main.dnsmasq=replace && uci commit fairlead && service fairlead start")
	r.daemon()
	r.inPlace(1)
	r.firewalled()
	return r, files
}

// inPlace waits until fairlead has taken dnsmasq's place for the nth time.
func (r *router) inPlace(nth int) {
	r.t.Helper()
	until(r.t, "fairlead answers in dnsmasq's place", func() bool {
		return strings.Count(r.read("/tmp/log"), "in dnsmasq's place") >= nth && !r.dnsmasqAnswers()
	})
}

// dnsmasqFiles are those that dnsmasq reads.
func (r *router) dnsmasqFiles() string {
	r.t.Helper()
	return r.sh("md5sum /etc/config/dhcp; ls -A /var/etc /tmp/dnsmasq.*.d; cat /var/etc/dnsmasq.conf.*")
}

// dnsmasqAnswers tells whether it is dnsmasq whom the router itself asks, by a name
// that nobody else knows.
func (r *router) dnsmasqAnswers() bool {
	itself := &lab.Client{Name: "router", NS: r.Router}
	answer, err := itself.Lookup(r.ctx(), netip.MustParseAddr("127.0.0.1"), "note.lan", lab.TypeTXT, "udp")
	return err == nil && len(answer.Records) == 1
}

// givenBack fails unless dnsmasq comes to answer again, with its files as before.
func (r *router) givenBack(files string) {
	r.t.Helper()
	until(r.t, "dnsmasq answers again", r.dnsmasqAnswers)
	if now := r.dnsmasqFiles(); now != files {
		r.t.Errorf("dnsmasq's files are now\n%swant\n%s", now, files)
	}
}

func TestADeviceByDHCPIsServedInBothModesWithoutAChange(t *testing.T) {
	r := served(t, lab.Config{})
	files := r.dnsmasqFiles()
	phone := r.join()
	check := func(mode string) {
		t.Helper()
		dns := r.lease(phone)
		if dns != r.At.RouterLAN.V4 {
			t.Fatalf("%s: DHCP names the DNS server %s, want the router", mode, dns)
		}
		for name, want := range map[string]netip.Addr{"www.foreign.example": r.At.Node.V4, "www.domestic.example": r.At.RouterWAN.V4} {
			answer, err := phone.Lookup(r.ctx(), dns, name, lab.TypeA, "udp")
			if err != nil || len(answer.Addrs) == 0 {
				t.Errorf("%s: %s is %v (%v)", mode, name, answer.Addrs, err)
				continue
			}
			if seen, err := phone.GetHTTPAt(r.ctx(), answer.Addrs[0], "http://"+name+"/"); err != nil || seen.Client.Addr() != want {
				t.Errorf("%s: of %s the web sees %v (%v), want %s", mode, name, seen.Client, err, want)
			}
		}
	}
	change := func(mode string) {
		t.Helper()
		before := r.daemon()
		r.sh("uci set fairlead.main.dnsmasq=" + mode + " && uci commit fairlead && service fairlead reload")
		until(t, "another process serves", func() bool { return r.daemon().Pid != before.Pid })
	}
	check("keep")
	change("replace")
	r.inPlace(1)
	check("replace")
	if got := r.status("Uid"); !strings.HasPrefix(got, "0 ") || r.daemon().User != "" {
		t.Errorf("its user numbers are %s and procd runs it as %q, want root: no other can restart dnsmasq", got, r.daemon().User)
	}
	if root := r.sh("ls -id / /proc/$(pidof fairlead)/root/. | cut -d' ' -f1 | uniq | wc -l"); strings.TrimSpace(root) != "1" {
		t.Error("its root is another than the router's, want no jail: in one dnsmasq could not be restarted")
	}
	change("keep")
	r.givenBack(files)
	check("keep again")
	if got := r.daemon().User; got != "fairlead" {
		t.Errorf("procd runs it as %q, want its own user again", got)
	}
}

func TestACrashInDNSMasqsPlaceGivesItBackAtOnce(t *testing.T) {
	r, files := replaced(t, time.Minute) // before procd starts it again
	r.kill()
	r.givenBack(files)
	if !r.web("laptop") {
		t.Error("a client does not get to the web, want a router as without fairlead")
	}
	r.sh("service fairlead start")
	r.inPlace(2)
	r.wantNode("laptop")
	r.sh("service fairlead stop")
	r.givenBack(files)
}

func TestACrashLoopInDNSMasqsPlaceLeavesItAlone(t *testing.T) {
	r, dnsmasq := replaced(t, 50*time.Millisecond)
	r.spoil()
	r.kill()
	r.givenBack(dnsmasq)
	until(t, "procd has started it three times more", func() bool { return strings.Count(r.read("/tmp/log"), "instance.respawn") > 3 })
	r.givenBack(dnsmasq)
	r.mend()
	r.inPlace(2)
	r.sh("opkg remove fairlead")
	r.givenBack(dnsmasq)
	if left := r.sh("ls /tmp/run"); strings.Contains(left, "fairlead") {
		t.Errorf("in /var/run there is %q, want nothing of fairlead", left)
	}
}
