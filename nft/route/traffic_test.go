package route

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft"
	"golang.org/x/sys/unix"
)

// The addresses of the far server, and of a resolver in another network of the LAN.
const (
	server4, server6     = "198.51.100.7", "2001:db8:51::7"
	resolver4, resolver6 = "192.168.88.9", "2001:db8:88::9"
)

// lab is a client, a router, a far server and a second network of the LAN, each
// in a namespace. The test's goroutine is in the router's.
type lab struct {
	t                        *testing.T
	client, server, resolver int // network namespaces
	table                    *nft.Table
	config                   nft.Config
}

func newLab(t *testing.T) *lab {
	l := &lab{t: t}
	for _, fd := range []*int{&l.client, &l.server, &l.resolver} {
		*fd = enter(t)
	}
	enter(t)
	cable(t, "lan0", "eth0", l.client)
	cable(t, "lan1", "eth0", l.resolver)
	cable(t, "wan0", "eth0", l.server)
	for dev, addrs := range map[string]string{"lan0": "192.168.77.1/24 2001:db8:77::1/64", "lan1": "192.168.88.1/24 2001:db8:88::1/64", "wan0": "203.0.113.1/24 2001:db8:f::1/64"} {
		up(t, dev, addrs)
	}
	ip(t, "route add default via 203.0.113.9")
	ip(t, "-6 route add default via 2001:db8:f::9")
	sysctl(t, "net/ipv4/ip_forward", "1")
	sysctl(t, "net/ipv6/conf/all/forwarding", "1")
	host := func(addrs, gw4, gw6 string) func() {
		return func() {
			up(t, "eth0", addrs)
			ip(t, "route add default via "+gw4)
			ip(t, "-6 route add default via "+gw6)
		}
	}
	within(t, l.client, host("192.168.77.2/24 2001:db8:77::2/64", "192.168.77.1", "2001:db8:77::1"))
	within(t, l.resolver, host(resolver4+"/24 "+resolver6+"/64", "192.168.88.1", "2001:db8:88::1"))
	within(t, l.server, host("203.0.113.9/24 2001:db8:f::9/64 "+server4+"/32 "+server6+"/128", "203.0.113.1", "2001:db8:f::1"))
	within(t, l.server, func() {
		l.serve(listenTCP(t, "tcp4", ":80", false), "server")
		l.serve(listenTCP(t, "tcp6", ":80", false), "server")
	})
	apply(t, config())
	l.install()
	return l
}

func up(t *testing.T, dev, addrs string) {
	for _, a := range strings.Fields(addrs) {
		nodad := ""
		if strings.Contains(a, ":") {
			nodad = " nodad"
		}
		ip(t, "addr add "+a+" dev "+dev+nodad)
	}
	ip(t, "link set "+dev+" up")
}

func (l *lab) install() {
	l.config = nft.Config{
		LAN:    []string{"lan0"},
		Home:   prefixList("192.168.77.0/24", "192.168.88.0/24", "203.0.113.0/24", "2001:db8:77::/64", "2001:db8:88::/64", "2001:db8:f::/64", "fe80::/10"),
		Fake4:  config().Fake4,
		Fake6:  config().Fake6,
		Groups: []nft.Group{{Mode: policy.RealIP, Rest: nft.RestRelay}},
	}
	table, err := nft.Open(nft.Options{})
	if err != nil {
		l.t.Fatal(err)
	}
	l.table = table
	if err := table.Install(l.build(), nil); err != nil {
		l.t.Fatalf("Install: %v", err)
	}
}

func (l *lab) build() *nft.Ruleset {
	l.t.Helper()
	rs, err := nft.Build(l.config)
	if err != nil {
		l.t.Fatalf("Build: %v", err)
	}
	return rs
}

// beat has the table believe in the daemon. The lab has none, so each look
// beats before it.
func (l *lab) beat() {
	l.t.Helper()
	if err := l.table.Beat(); err != nil {
		l.t.Fatalf("Beat: %v", err)
	}
}

// daemon opens the transparent listeners, which answer with the destination
// that the client asked for. It gives back how to close them.
func (l *lab) daemon() (closeAll func()) {
	var all []io.Closer
	for _, address := range []string{"127.0.0.1:", "[::1]:"} {
		listener := listenTCP(l.t, "tcp", fmt.Sprint(address, nft.GatewayPort), true)
		l.serve(listener, "daemon")
		dns := listenTCP(l.t, "tcp", fmt.Sprint(address, nft.DNSPort), true)
		l.serve(dns, "dns")
		all = append(all, listener, dns)
	}
	return func() {
		for _, c := range all {
			c.Close()
		}
	}
}

func (l *lab) serve(listener net.Listener, who string) {
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s %s", who, c.LocalAddr())
			c.Close()
		}
	}()
}

func listenTCP(t *testing.T, network, address string, transparent bool) net.Listener {
	t.Helper()
	config := net.ListenConfig{Control: func(network, _ string, c syscall.RawConn) error {
		if !transparent {
			return nil
		}
		level, option := unix.SOL_IP, unix.IP_TRANSPARENT
		if network == "tcp6" {
			level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
		}
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) })
		return errors.Join(err, failed)
	}}
	l, err := config.Listen(context.Background(), network, address)
	if err != nil {
		t.Fatalf("listening on %s: %v", address, err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// ask connects from the client and gives back who answered, as whom, or the error.
func (l *lab) ask(address string) string {
	var answer string
	within(l.t, l.client, func() {
		c, err := net.DialTimeout("tcp", address, 3*time.Second)
		if err != nil {
			answer = reason(err)
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(3 * time.Second))
		data, err := io.ReadAll(c)
		answer = string(data)
		if err != nil {
			answer = reason(err)
		}
	})
	return answer
}

func reason(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "silence"
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	}
	return err.Error()
}

// sees checks, for both families, who answers the client.
func (l *lab) sees(when, who string, port string, addresses ...string) {
	l.t.Helper()
	for _, a := range addresses {
		address := net.JoinHostPort(a, port)
		want := who
		if who == "server" || who == "daemon" || who == "dns" {
			want += " " + address
		}
		l.beat()
		if got := l.ask(address); got != want {
			l.t.Errorf("%s, a client that connects to %s gets %q, want %q", when, address, got, want)
		}
	}
}

func TestNewFlowsReachTheDaemonWithTheirDestination(t *testing.T) {
	l := newLab(t)
	stop := l.daemon()
	l.sees("with the daemon", "daemon", "80", server4, server6)

	for _, a := range []string{server4, server6} {
		if err := l.table.SetWay(0, netip.MustParseAddr(a), nft.DirectWay, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	l.sees("with the address known as direct", "server", "80", server4, server6)

	for _, a := range []string{server4, server6} {
		if err := l.table.DelWay(0, netip.MustParseAddr(a)); err != nil {
			t.Fatal(err)
		}
	}
	l.sees("with the address forgotten", "daemon", "80", server4, server6)

	stop()
	l.sees("without the daemon, open", "server", "80", server4, server6)

	l.config.Closed = true
	if err := l.table.Reload(l.build()); err != nil {
		t.Fatal(err)
	}
	l.sees("without the daemon, closed", "refused", "80", server4, server6)
}

func TestFakeAddressesAreRefusedUnlessKnown(t *testing.T) {
	l := newLab(t)
	stop := l.daemon()
	fakes := []string{"198.18.0.5", "2001:2::5"}
	l.sees("before AddFake", "refused", "80", fakes...)
	if err := l.table.AddFake(netip.MustParseAddr(fakes[0]), netip.MustParseAddr(fakes[1])); err != nil {
		t.Fatal(err)
	}
	l.sees("after AddFake", "daemon", "80", fakes...)
	stop()
	l.sees("without the daemon", "refused", "80", fakes...)
}

func TestABlockOfFakeAddressesIsRelayedButForThoseThatAreTakenBack(t *testing.T) {
	l := newLab(t)
	stop := l.daemon()
	used, unused := []string{"198.18.1.5", "2001:2::105"}, []string{"198.18.1.6", "2001:2::1ff"}
	outside := []string{"198.18.0.255", "198.18.2.0", "2001:2::ff", "2001:2::200", "2001:2::1:105"}
	v4, v6 := netip.MustParsePrefix("198.18.1.0/24"), netip.MustParsePrefix("2001:2::100/120")
	if err := l.table.AddFakeBlock(v4, v6); err != nil {
		t.Fatal(err)
	}
	l.sees("after AddFakeBlock", "daemon", "80", append(used, unused...)...)
	l.sees("after AddFakeBlock", "refused", "80", outside...)
	pairs := [][2]netip.Addr{{netip.MustParseAddr(used[0]), netip.MustParseAddr(used[1])}}
	taking := func() ([][2]netip.Prefix, [][2]netip.Addr) { return [][2]netip.Prefix{{v4, v6}}, pairs }
	if err := l.table.DelFakeBlocks(taking); err != nil {
		t.Fatal(err)
	}
	l.sees("after DelFakeBlocks", "daemon", "80", used...)
	l.sees("after DelFakeBlocks", "refused", "80", unused...)
	stop()
	l.sees("without the daemon", "refused", "80", used...)
}

func TestQuestionsReachTheDaemonWhicheverResolverTheyAreFor(t *testing.T) {
	l := newLab(t)
	l.daemon()
	l.sees("of a far resolver", "dns", "53", server4, server6)
	l.sees("of the router", "dns", "53", "192.168.77.1", "2001:db8:77::1")
	l.sees("of a resolver in another network of the LAN", "dns", "53", resolver4, resolver6)
}

func TestSourceValidationByMarkDoesNotMatter(t *testing.T) {
	l := newLab(t)
	l.daemon()
	for _, filter := range []string{"0", "1", "2"} {
		for _, dev := range []string{"all", "lan0"} {
			sysctl(t, "net/ipv4/conf/"+dev+"/src_valid_mark", "1")
			sysctl(t, "net/ipv4/conf/"+dev+"/rp_filter", filter)
		}
		when := "with src_valid_mark and rp_filter " + filter
		l.sees(when, "daemon", "80", server4)
		l.sees(when, "dns", "53", "192.168.77.1", resolver4)
	}
}
