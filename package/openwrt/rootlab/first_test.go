package main

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// documented is the first configuration as docs/openwrt.md tells it.
func documented(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/openwrt.md")
	ok(t, err)
	_, rest, found := strings.Cut(string(page), "```\nuci set ")
	text, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatal("docs/openwrt.md has no first configuration")
	}
	return "uci set " + text
}

// join adds a device to the LAN that has no address yet.
func (r *router) join() *lab.Client {
	r.t.Helper()
	ns, err := nstest.New("phone")
	ok(r.t, err)
	r.t.Cleanup(func() { ns.Close() })
	ok(r.t, nstest.Veth(nstest.End{NS: ns, Dev: "eth0"}, nstest.End{NS: r.Router, Dev: "lan9"}))
	ok(r.t, r.Router.Enslave("lan9", lab.LAN))
	return &lab.Client{Name: "phone", NS: ns, Dev: "eth0"}
}

// lease has a device take what DHCP gives it, and gives the DNS server among that.
func (r *router) lease(c *lab.Client) (dns netip.Addr) {
	r.t.Helper()
	script := filepath.Join(r.Dir, "udhcpc")
	ok(r.t, os.WriteFile(script, []byte("#!"+r.busybox+` sh
[ "$1" = bound ] || exit 0
`+r.busybox+` ip addr flush dev "$interface"
`+r.busybox+` ip addr add "$ip/$mask" dev "$interface"
`+r.busybox+` ip route add default via "$router"
echo "$dns" >`+script+`.dns
`), 0o755))
	var out strings.Builder
	cmd := exec.Command(r.busybox, "udhcpc", "-i", c.Dev, "-f", "-q", "-n", "-t", "8", "-T", "1", "-s", script)
	cmd.Stdout, cmd.Stderr = &out, &out
	ok(r.t, c.NS.Start(cmd))
	if err := cmd.Wait(); err != nil {
		r.t.Fatalf("udhcpc: %v\n%s", err, out.String())
	}
	text, err := os.ReadFile(script + ".dns")
	ok(r.t, err)
	dns, err = netip.ParseAddr(strings.TrimSpace(string(text)))
	ok(r.t, err)
	return dns
}

func TestTheFirstConfigurationOfThePageServesADeviceThatKnowsDHCPOnly(t *testing.T) {
	r := boot(t)
	r.install()
	// The lab's node wants to know who it is; the page says where to write it.
	r.sh("uci set fairlead.node.username=" + lab.User + "; uci set fairlead.node.password=" + lab.Password)
	r.sh(documented(t))
	r.daemon()
	r.firewalled()
	c := r.join()
	dns := r.lease(c)
	if dns != r.At.RouterLAN.V4 {
		t.Fatalf("DHCP names the DNS server %s, want the router", dns)
	}
	answer, err := c.Lookup(r.ctx(), dns, "www.foreign.example", lab.TypeA, "udp")
	ok(t, err)
	if len(answer.Addrs) != 1 || !netip.MustParsePrefix("198.18.0.0/15").Contains(answer.Addrs[0]) {
		t.Fatalf("www.foreign.example is %v, want a fake address", answer.Addrs)
	}
	seen, err := c.GetHTTPAt(r.ctx(), answer.Addrs[0], "http://www.foreign.example/")
	if err != nil || seen.Client.Addr() != r.At.Node.V4 {
		t.Errorf("the web sees %v (%v), want the node", seen, err)
	}
	if answer, err = c.Lookup(r.ctx(), dns, "www.domestic.example", lab.TypeA, "udp"); err != nil {
		t.Fatal(err)
	}
	seen, err = c.GetHTTPAt(r.ctx(), answer.Addrs[0], "http://www.domestic.example/")
	if err != nil || seen.Client.Addr() != r.At.RouterWAN.V4 {
		t.Errorf("of a name without a rule the web sees %v (%v), want the router", seen, err)
	}
}

// typed are the commands that the page has a user type after that.
func typed(t *testing.T) (all []string) {
	t.Helper()
	page, err := os.ReadFile("../../../docs/openwrt.md")
	ok(t, err)
	_, rest, _ := strings.Cut(string(page), "## The first configuration")
	text, _, _ := strings.Cut(rest, "\n## ")
	for _, m := range regexp.MustCompile("`((?:service fairlead|fairlead|logread) [^`]+)`").FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}

func TestTheCommandsOfThePageWork(t *testing.T) {
	r := boot(t)
	r.install()
	r.sh(documented(t))
	r.daemon()
	if _, err := r.Clients["laptop"].Lookup(r.ctx(), r.At.RouterLAN.V4, "www.domestic.example", lab.TypeA, "udp"); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"service fairlead check": "is valid", "service fairlead explain": "outbound  node", "service fairlead doctor": "",
		"fairlead status": "flows now", "logread -e": "serving", "service fairlead support": "fairlead", "service fairlead reload": "",
		"fairlead clients": "default",
	}
	for _, command := range typed(t) {
		for begin, text := range want {
			if !strings.HasPrefix(command, begin) {
				continue
			}
			delete(want, begin)
			// BusyBox has an applet of the same name, which its shell prefers.
			out, code := r.try(strings.Replace(command, "logread", "/sbin/logread", 1))
			if code != 0 || !strings.Contains(out, text) {
				t.Errorf("`%s` exits %d and prints %q, want 0 and something with %q", command, code, out, text)
			}
		}
	}
	for begin := range want {
		t.Errorf("the page does not tell of `%s`", begin)
	}
}
