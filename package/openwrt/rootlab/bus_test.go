package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// tunnel makes a network of the router's own that is called guest, like its device,
// with a client behind it.
func (r *router) tunnel() *lab.Client {
	r.t.Helper()
	ns, err := nstest.New("guest")
	ok(r.t, err)
	r.t.Cleanup(func() { ns.Close() })
	ok(r.t, nstest.Veth(nstest.End{NS: r.Router, Dev: "guest"}, nstest.End{NS: ns, Dev: "eth0"}))
	router := netip.MustParsePrefix("192.168.78.1/24")
	ok(r.t, r.Router.Addr("guest", router))
	ok(r.t, ns.Addr("eth0", netip.MustParsePrefix("192.168.78.11/24")))
	ok(r.t, ns.Route(netip.MustParsePrefix("0.0.0.0/0"), router.Addr()))
	return &lab.Client{Name: "guest", NS: ns, Dev: "eth0"}
}

// Its device is in no configuration file: only netifd knows it.
func TestANetworkThatComesLaterIsServedWhereNetifdHasIt(t *testing.T) {
	r := boot(t)
	r.install()
	r.configure(lab.Config{})
	r.sh("uci add_list fairlead.main.network=guest && uci commit fairlead && service fairlead start")
	before := r.daemon()
	r.firewalled()
	r.wantNode("laptop")
	guest := r.tunnel()
	asks := func() bool {
		answer, err := guest.Lookup(r.ctx(), r.At.RouterLAN.V4, "www.foreign.example", lab.TypeA, "udp")
		return err == nil && len(answer.Addrs) == 1 && netip.MustParsePrefix("198.18.0.0/15").Contains(answer.Addrs[0])
	}
	if asks() {
		t.Fatal("a client of a network that netifd does not know is served")
	}
	r.sh("uci set network.guest=interface && uci set network.guest.proto=wireguard && uci commit network && service network reload")
	until(t, "its clients are served", asks)
	if after := r.daemon(); after != before {
		t.Errorf("procd has %+v, want the same process as before, %+v", after, before)
	}
	r.wantNode("laptop")
}

func TestAHostsFileWrittenInPlaceIsReadInTheJail(t *testing.T) {
	r := served(t, lab.Config{})
	f, err := os.OpenFile(filepath.Join(r.root, "etc/hosts"), os.O_APPEND|os.O_WRONLY, 0)
	ok(t, err)
	_, err = f.WriteString("192.168.77.44 printer\n")
	ok(t, err)
	ok(t, f.Close())
	until(t, "the printer's name is known", func() bool {
		answer, err := r.Clients["laptop"].Lookup(r.ctx(), r.At.RouterLAN.V4, "printer.lan", lab.TypeA, "udp")
		return err == nil && len(answer.Addrs) == 1 && answer.Addrs[0] == netip.MustParseAddr("192.168.77.44")
	})
}

func TestRPCDKnowsThePackageAsLongAsItIsInstalled(t *testing.T) {
	r := boot(t)
	r.install()
	if known := r.read("/tmp/rpcd"); !strings.Contains(known, "fairlead") {
		t.Errorf("rpcd knows %q, want fairlead", known)
	}
	r.sh("opkg remove fairlead")
	if known := r.read("/tmp/rpcd"); strings.Contains(known, "fairlead") {
		t.Errorf("after the removal rpcd knows %q, want fairlead gone", known)
	}
}
