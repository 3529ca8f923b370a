package lease

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/fairlead/fairlead/dnsrouter"
	"github.com/fairlead/fairlead/dnsrouter/fakeip"
	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft/nstest"
	"github.com/fairlead/fairlead/openwrt/uci"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

// house is a random household: what OpenWrt's configuration, hosts files and
// leases of it say, and the names that somebody may ask for.
type house struct {
	rnd                  *rand.Rand
	config, hosts, lease strings.Builder
	names                []string
}

func newHouseOf(seed uint64) *house {
	h := &house{rnd: rand.New(rand.NewPCG(seed, 0))}
	fmt.Fprintf(&h.config, "config dnsmasq\n\toption domain lan\n\toption local /lan/\n\toption domainneeded 1\n\toption boguspriv 1\n"+
		"\toption localise_queries 1\n\toption expandhosts %d\n", h.rnd.IntN(4)/3^1)
	for range 12 {
		names := []string{h.name("h")}
		if h.rnd.IntN(3) == 0 {
			names = append(names, h.name("second"), h.name("www")+".example")
		}
		fmt.Fprintf(&h.hosts, "%s %s # comment\n", h.addr(), strings.Join(names, "\t"))
	}
	for i := range 12 {
		mac := fmt.Sprintf("02:00:00:00:00:%02x", i)
		name := h.name("phone")
		if h.rnd.IntN(5) == 0 {
			name = "*"
		}
		fmt.Fprintf(&h.lease, "2000000000 %s 192.168.1.%d %s 01:%s\n", mac, 100+i, name, mac)
		if h.rnd.IntN(4) == 0 {
			fmt.Fprintf(&h.config, "config host\n\toption name %s\n\toption mac %s\n\toption ip 192.168.1.%d\n\toption dns %d\n",
				h.name("static"), mac, 100+i, h.rnd.IntN(2))
		}
	}
	for i := range 3 {
		alias, target := fmt.Sprintf("alias%d", i), h.known() // dnsmasq takes each once, and no circles
		h.names = append(h.names, alias)
		fmt.Fprintf(&h.config, "config domain\n\toption name %s\n\toption ip %s\n", h.name("dom"), h.addr())
		fmt.Fprintf(&h.config, "config hostrecord\n\toption name '%s %s.lan'\n\toption ip %s\n", h.name("rec"), h.name("rec"), h.addr())
		fmt.Fprintf(&h.config, "config cname\n\toption cname %s.lan\n\toption target %s\n", alias, target)
		fmt.Fprintf(&h.config, "config srvhost\n\toption srv _%s._tcp\n\toption target %s\n\toption port %d\n\toption class 1\n\toption weight 2\n",
			h.name("srv"), h.known(), 1+h.rnd.IntN(60000))
		fmt.Fprintf(&h.config, "config mxhost\n\toption domain %s.lan\n\toption relay %s\n\toption pref 7\n", h.name("mail"), h.known())
	}
	return h
}

// name makes a name that may have been made before.
func (h *house) name(kind string) string {
	name := fmt.Sprintf("%s%d", kind, h.rnd.IntN(9))
	h.names = append(h.names, name)
	return name
}

func (h *house) known() string { return h.names[h.rnd.IntN(len(h.names))] + ".lan" }

func (h *house) addr() string {
	if h.rnd.IntN(4) == 0 {
		return fmt.Sprintf("fd00::%x", 1+h.rnd.IntN(9))
	}
	return fmt.Sprintf("192.168.%d.%d", 1+h.rnd.IntN(2), 2+h.rnd.IntN(9))
}

// questions are for every name in every form and type, for every address, and
// for much that there is not.
func (h *house) questions() (all []dns.Question) {
	add := func(name string, types ...uint16) {
		for _, typ := range types {
			all = append(all, dns.Question{Name: dns.Fqdn(name), Qtype: typ, Qclass: dns.ClassINET})
		}
	}
	slices.Sort(h.names)
	for _, name := range slices.Compact(h.names) {
		add(name, dns.TypeA, dns.TypeAAAA)
		add(name+".lan", dns.TypeA, dns.TypeAAAA, dns.TypeMX, dns.TypeCNAME, dns.TypeTXT)
		add(strings.ToUpper(name)+".Lan", dns.TypeA)
		add("sub."+name+".lan", dns.TypeA)
		add(name+".example", dns.TypeA)
		add("_"+name+"._tcp.lan", dns.TypeSRV, dns.TypeA)
	}
	for _, name := range []string{"nobody", "nobody.lan", "a.b.c.lan", "lan.lan"} {
		add(name, dns.TypeA, dns.TypeAAAA)
	}
	for net := range 3 {
		for host := range 12 {
			add(fmt.Sprintf("%d.%d.168.192.in-addr.arpa", host, net), dns.TypePTR)
			add(fmt.Sprintf("%d.1.168.192.in-addr.arpa", 100+host), dns.TypePTR)
		}
	}
	for host := range 12 {
		name, _ := dns.ReverseAddr(fmt.Sprintf("fd00::%x", host))
		add(name, dns.TypePTR)
	}
	return all
}

// asInit is what OpenWrt's init script makes of its configuration: lines for
// dnsmasq, and a hosts file.
func asInit(t *testing.T, text string) (conf, hosts []string) {
	t.Helper()
	file, mistakes := uci.Parse(text)
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	for _, s := range file.Sections {
		get := func(option string) string {
			if o := s.Option(option); o != nil {
				return o.Values[0].Text
			}
			return ""
		}
		switch s.Type {
		case "dnsmasq":
			conf = append(conf, "domain="+get("domain"), "local="+get("local"))
			for option, flag := range map[string]string{
				"domainneeded": "domain-needed", "boguspriv": "bogus-priv", "localise_queries": "localise-queries", "expandhosts": "expand-hosts",
			} {
				if get(option) == "1" {
					conf = append(conf, flag)
				}
			}
		case "host":
			conf = append(conf, fmt.Sprintf("dhcp-host=%s,%s,%s", get("mac"), get("ip"), get("name")))
			if get("dns") == "1" {
				hosts = append(hosts, get("ip")+" "+get("name")+".lan")
			}
		case "domain":
			hosts = append(hosts, get("ip")+" "+get("name"))
		case "hostrecord":
			conf = append(conf, "host-record="+strings.Join(strings.Fields(get("name")+" "+get("ip")), ","))
		case "cname":
			conf = append(conf, "cname="+get("cname")+","+get("target"))
		case "srvhost":
			conf = append(conf, fmt.Sprintf("srv-host=%s,%s,%s,%s,%s", get("srv"), get("target"), get("port"), get("class"), get("weight")))
		case "mxhost":
			conf = append(conf, fmt.Sprintf("mx-host=%s,%s,%s", get("domain"), get("relay"), get("pref")))
		}
	}
	return conf, hosts
}

// network is a router with two subnets and a client in the first.
type network struct {
	router, client *nstest.NS
	at             netip.Addr
}

func newNetwork(t *testing.T) network {
	t.Helper()
	var n network
	for name, ns := range map[string]**nstest.NS{"router": &n.router, "client": &n.client} {
		made, err := nstest.New(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { made.Close() })
		*ns = made
	}
	n.at = netip.MustParseAddr("192.168.1.1")
	for _, err := range []error{
		nstest.Veth(nstest.End{NS: n.router, Dev: "lan"}, nstest.End{NS: n.client, Dev: "eth0"}),
		n.router.Addr("lan", netip.PrefixFrom(n.at, 24)),
		n.router.Addr("lo", netip.MustParsePrefix("192.168.2.1/24")),
		n.router.Addr("lan", netip.MustParsePrefix("fd00::1/64")),
		n.client.Addr("eth0", netip.MustParsePrefix("192.168.1.77/24")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// dial connects the client to a port of the router as soon as somebody listens.
func (n network) dial(t *testing.T, network string, port uint16) *dns.Conn {
	t.Helper()
	const patience = 10 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithDeadline(t.Context(), deadline)
		c, err := n.client.Dial(ctx, network, netip.AddrPort{}, netip.AddrPortFrom(n.at, port))
		cancel()
		if err == nil {
			t.Cleanup(func() { c.Close() })
			c.SetDeadline(deadline)
			return &dns.Conn{Conn: c}
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody listens on port %d: %v", port, err)
		}
	}
}

// answers asks all questions, each for its code and its sorted records.
func answers(t *testing.T, c *dns.Conn, questions []dns.Question) (all []string) {
	t.Helper()
	for _, q := range questions {
		m := &dns.Msg{MsgHdr: dns.MsgHdr{Id: dns.Id(), RecursionDesired: true}, Question: []dns.Question{q}}
		if err := c.WriteMsg(m); err != nil {
			t.Fatal(err)
		}
		reply, err := c.ReadMsg()
		if err != nil {
			t.Fatalf("asking for %v: %v", q, err)
		}
		var records []string
		for _, rr := range reply.Answer {
			rr.Header().Ttl = 0
			records = append(records, strings.ToLower(strings.Join(strings.Fields(rr.String()), " ")))
		}
		slices.Sort(records)
		all = append(all, dns.RcodeToString[reply.Rcode]+" "+strings.Join(records, "; "))
	}
	return all
}

const refereePort, ourPort = 5353, 5354

// referee starts dnsmasq with what its init script would give it.
func (n network) referee(t *testing.T, program, dir string, h *house) {
	t.Helper()
	conf, hosts := asInit(t, h.config.String())
	write(t, filepath.Join(dir, "hosts"), h.hosts.String())
	write(t, filepath.Join(dir, "hosts.dhcp"), strings.Join(hosts, "\n")+"\n")
	write(t, filepath.Join(dir, "masq.leases"), h.lease.String())
	write(t, filepath.Join(dir, "conf"), strings.Join(append(conf, fmt.Sprintf("port=%d", refereePort), "interface=lan", "bind-interfaces",
		"no-hosts", "no-resolv", "user=root", "group=root", "dhcp-range=192.168.1.100,192.168.1.200,12h", "dhcp-leasefile="+dir+"/masq.leases",
		"addn-hosts="+dir+"/hosts.dhcp", "addn-hosts="+dir+"/hosts"), "\n")+"\n")
	cmd := exec.Command(program, "-k", "-C", filepath.Join(dir, "conf"), "-x", "", "--log-facility=-")
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.router.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("dnsmasq's log:\n%s\nits configuration:\n%s\n%s\n%s\n%s", log.String(), strings.Join(conf, "\n"), h.hosts.String(), strings.Join(hosts, "\n"), h.lease.String())
		}
	})
}

// ours serves the same files.
func (n network) ours(t *testing.T, dir string, h *house) {
	t.Helper()
	write(t, filepath.Join(dir, "dhcp"), h.config.String())
	write(t, filepath.Join(dir, "our.leases"), h.lease.String())
	log := slog.New(slog.DiscardHandler)
	book := NewBook(Paths{
		Leases: []string{filepath.Join(dir, "our.leases")}, Hosts: []string{filepath.Join(dir, "hosts")}, DHCP: filepath.Join(dir, "dhcp"),
	}, "", log)
	pool, err := fakeip.Open(fakeip.Config{Prefix4: netip.MustParsePrefix("198.18.0.0/24"), Prefix6: netip.MustParsePrefix("2001:2::/120"), Keep: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	router := dnsrouter.New(dnsrouter.Deps{
		Pool: pool, Local: book, Devices: nobody{}, Log: log,
		Subnet: func(a netip.Addr) (netip.Prefix, bool) {
			p := netip.MustParsePrefix("192.168.1.0/24")
			return p, p.Contains(a)
		},
	}, &dnsrouter.Plan{
		Config: dnsrouter.Config{Fake4: netip.MustParsePrefix("198.18.0.0/24"), Fake6: netip.MustParsePrefix("2001:2::/120"), CacheBytes: 1 << 20, IPv6: true},
		Policy: policy.New(policy.Config{Default: "direct", LocalUpstream: "none"}), Learns: []bool{false},
	})
	l, err := n.router.ListenTCP(netip.AddrPortFrom(n.at, ourPort))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- router.ServeTCP(ctx, l, nil) }()
	t.Cleanup(func() { cancel(); <-done })
}

type nobody struct{}

func (nobody) Device(a netip.Addr) policy.Device        { return policy.Device{Addr: a} }
func (nobody) Known(a netip.Addr) (policy.Device, bool) { return policy.Device{Addr: a}, true }

// TestLocalNamesAreAnsweredAsByDNSMasq leaves out what dnsmasq would send on,
// which it refuses here because it knows nobody to ask.
func TestLocalNamesAreAnsweredAsByDNSMasq(t *testing.T) {
	program := refereeOrSkip(t)
	compared := 0
	for seed := range uint64(4) {
		dir := t.TempDir()
		n := newNetwork(t)
		h := newHouseOf(seed)
		n.referee(t, program, dir, h)
		n.ours(t, dir, h)
		questions := h.questions()
		n.dial(t, "tcp", refereePort) // it has read its files when it listens
		want := answers(t, n.dial(t, "udp", refereePort), questions)
		got := answers(t, n.dial(t, "tcp", ourPort), questions)
		for i, q := range questions {
			if strings.HasPrefix(want[i], "REFUSED") {
				continue
			}
			compared++
			// Beside a host record, dnsmasq names the same address by a hosts file.
			one := strings.TrimPrefix(got[i], "NOERROR ")
			if got[i] != want[i] && !(q.Qtype == dns.TypePTR && one != got[i] && strings.Contains(want[i], one)) {
				t.Errorf("seed %d: %s %s: got %s, dnsmasq says %s", seed, q.Name, dns.TypeToString[q.Qtype], got[i], want[i])
			}
		}
	}
	if compared < 1500 {
		t.Errorf("%d answers were compared, want 1500", compared)
	}
}

func refereeOrSkip(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("dnsmasq")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/dnsmasq")
	}
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("CI has to have the program dnsmasq: %v", err)
	default:
		t.Skip("NOT TESTED: the program dnsmasq, which holds our answers against its own, is not installed")
	}
	return path
}
