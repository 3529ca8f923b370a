package lab_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

func TestMain(m *testing.M) {
	if os.Getenv("LAB_TEST_DAEMON") != "" {
		os.Exit(daemon(os.Args[1:]))
	}
	os.Exit(nstest.Main(m))
}

func world(t *testing.T, o lab.Options) *lab.World {
	t.Helper()
	w, err := lab.New(o)
	ok(t, err)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Errorf("closing the lab: %v", err)
		}
	})
	return w
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestWebServersSayWhoConnected(t *testing.T) {
	w := world(t, lab.Options{})
	laptop := w.Clients["laptop"]
	for _, tt := range []struct {
		at     netip.Addr
		url    string
		client netip.Addr
		sni    string
	}{
		{w.At.Foreign.V4, "http://foreign.example/", w.At.RouterWAN.V4, ""},
		{w.At.Foreign.V6, "http://foreign.example/", laptop.Addr6, ""},
		{w.At.Shared.V4, "https://cdn.foreign.example/", w.At.RouterWAN.V4, "cdn.foreign.example"},
		{w.At.Shared.V6, "https://cdn.foreign.example/", laptop.Addr6, "cdn.foreign.example"},
	} {
		t.Run(fmt.Sprint(tt.url, " at ", tt.at), func(t *testing.T) {
			got, err := laptop.GetHTTPAt(soon(t), tt.at, tt.url)
			ok(t, err)
			if got.Client.Addr() != tt.client {
				t.Errorf("the server saw %s, want %s", got.Client.Addr(), tt.client)
			}
			if got.Server.Addr() != tt.at {
				t.Errorf("reached %s, want %s", got.Server.Addr(), tt.at)
			}
			if want := strings.Trim(tt.url[strings.Index(tt.url, ":")+1:], "/"); got.Host != want {
				t.Errorf("host %q, want %q", got.Host, want)
			}
			if got.SNI != tt.sni {
				t.Errorf("SNI %q, want %q", got.SNI, tt.sni)
			}
		})
	}
}

func TestWithoutFairleadAClientFallsForThePoison(t *testing.T) {
	w := world(t, lab.Options{})
	got, err := w.Clients["tv"].GetHTTP(soon(t), "http://foreign.example/")
	ok(t, err)
	if got.Server.Addr() != w.At.Poison.V4 {
		t.Errorf("reached %s, want the poisoned address %s", got.Server.Addr(), w.At.Poison.V4)
	}
}

func TestResolversAnswer(t *testing.T) {
	w := world(t, lab.Options{})
	laptop := w.Clients["laptop"]
	servers := map[string]netip.Addr{
		"the router over v4":          w.At.RouterLAN.V4,
		"the router over v6":          w.At.RouterLAN.V6,
		"the ISP over v4":             w.At.ISP.V4,
		"the ISP over v6":             w.At.ISP.V6,
		"a public resolver over v4":   w.At.Public.V4,
		"a public resolver over v6":   w.At.Public.V6,
		"the router's WAN address v4": w.At.RouterWAN.V4,
		"the router's WAN address v6": w.At.RouterWAN.V6,
	}
	for who, server := range servers {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(who+" "+network, func(t *testing.T) {
				for _, tt := range []struct {
					name  string
					qtype uint16
					want  netip.Addr
				}{
					{"domestic.example", lab.TypeA, w.At.Domestic.V4},
					{"www.domestic.example", lab.TypeAAAA, w.At.Domestic.V6},
					{"foreign.example", lab.TypeA, w.At.Poison.V4},
					{"foreign.example", lab.TypeAAAA, w.At.Poison.V6},
				} {
					got, err := laptop.Lookup(soon(t), server, tt.name, tt.qtype, network)
					ok(t, err)
					if !slices.Equal(got.Addrs, []netip.Addr{tt.want}) {
						t.Errorf("%s is at %v, want %s", tt.name, got.Addrs, tt.want)
					}
				}
			})
		}
	}
}

func TestTheISPLogsWhatItWasAsked(t *testing.T) {
	w := world(t, lab.Options{})
	_, err := w.Clients["laptop"].Lookup(soon(t), w.At.Public.V4, "Foreign.Example", lab.TypeTXT, "tcp")
	ok(t, err)
	log := w.ISPLog()
	if len(log) != 1 {
		t.Fatalf("the ISP logged %d questions, want 1", len(log))
	}
	q := log[0]
	if q.Name != "foreign.example" || q.Type != lab.TypeTXT || q.Network != "tcp" ||
		q.Server != netip.AddrPortFrom(w.At.Public.V4, 53) || q.From.Addr() != w.At.RouterWAN.V4 {
		t.Errorf("the ISP logged %+v", q)
	}
}

func TestOnlyTheNodeReachesTheHonestResolver(t *testing.T) {
	w := world(t, lab.Options{})
	for _, server := range []netip.Addr{w.At.Honest.V4, w.At.Honest.V6} {
		for _, network := range []string{"udp", "tcp"} {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			got, err := w.Clients["laptop"].Lookup(ctx, server, "foreign.example", lab.TypeA, network)
			cancel()
			if err == nil {
				t.Errorf("%s answered a client over %s: %v", server, network, got.Addrs)
			}
		}
	}
	if log := w.NodeResolverLog(); len(log) != 0 {
		t.Errorf("the honest resolver was asked %v", log)
	}
}

func TestServiceRecordsCarryAddressesAndECH(t *testing.T) {
	w := world(t, lab.Options{})
	got, err := w.Clients["laptop"].Lookup(soon(t), w.At.ISP.V4, "domestic.example", lab.TypeHTTPS, "udp")
	ok(t, err)
	for what, b := range map[string]string{
		"ipv4hint": string(w.At.Domestic.V4.AsSlice()), "ipv6hint": string(w.At.Domestic.V6.AsSlice()), "ech": "lab ech config",
	} {
		if !strings.Contains(string(got.Raw), b) {
			t.Errorf("the HTTPS record lacks %s", what)
		}
	}
}

func TestLongAnswersAreTruncatedOverUDP(t *testing.T) {
	var many []netip.Addr
	for i := range 60 {
		many = append(many, netip.AddrFrom4([4]byte{198, 51, 100, byte(100 + i)}))
	}
	w := world(t, lab.Options{Hosts: map[string][]netip.Addr{"many.domestic.example": many}})
	for network, want := range map[string]int{"udp": 0, "tcp": 60} {
		got, err := w.Clients["laptop"].Lookup(soon(t), w.At.ISP.V4, "many.domestic.example", lab.TypeA, network)
		ok(t, err)
		if len(got.Addrs) != want || got.Truncated != (network == "udp") {
			t.Errorf("over %s: %d addresses, truncated %v; want %d", network, len(got.Addrs), got.Truncated, want)
		}
	}
}

func TestASilencedResolverLogsButDoesNotAnswer(t *testing.T) {
	w := world(t, lab.Options{})
	w.SilenceISP(true)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := w.Clients["laptop"].Lookup(ctx, w.At.ISP.V4, "domestic.example", lab.TypeA, "udp"); err == nil {
		t.Error("a silenced resolver answered")
	}
	if got := len(w.ISPLog()); got != 1 {
		t.Errorf("it logged %d questions, want 1", got)
	}
}

func TestEchoServersTellThePeer(t *testing.T) {
	w := world(t, lab.Options{})
	laptop := w.Clients["laptop"]
	for at, peer := range map[netip.Addr]netip.Addr{
		w.At.Domestic.V4: w.At.RouterWAN.V4,
		w.At.Domestic.V6: laptop.Addr6,
	} {
		u, err := laptop.DialUDP(soon(t), netip.AddrPortFrom(at, lab.EchoPort))
		ok(t, err)
		defer u.Close()
		u.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(u, "datagram")
		buf := make([]byte, 100)
		n, err := u.Read(buf)
		ok(t, err)
		expectPeer(t, strings.TrimSuffix(string(buf[:n]), " datagram"), peer)

		for _, port := range []uint16{lab.EchoPort, lab.BannerPort} {
			c, err := laptop.DialTCP(soon(t), netip.AddrPortFrom(at, port))
			ok(t, err)
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			if port == lab.EchoPort {
				io.WriteString(c, "bytes")
				ok(t, c.CloseWrite())
			}
			r := bufio.NewReader(c)
			line, err := r.ReadString('\n')
			ok(t, err)
			expectPeer(t, strings.TrimSuffix(line, "\n"), peer)
			if port == lab.BannerPort {
				io.WriteString(c, "bytes")
				ok(t, c.CloseWrite())
			}
			rest, err := io.ReadAll(r)
			ok(t, err)
			if string(rest) != "bytes" {
				t.Errorf("port %d echoed %q, want %q", port, rest, "bytes")
			}
		}
	}
}

func expectPeer(t *testing.T, got string, want netip.Addr) {
	t.Helper()
	at, err := netip.ParseAddrPort(got)
	ok(t, err)
	if at.Addr() != want {
		t.Errorf("the server saw %s, want %s", at.Addr(), want)
	}
}

func TestClosingAWorldLeavesNothing(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		ok(t, err)
		return len(entries)
	}
	before := count()
	w, err := lab.New(lab.Options{Clients: []string{"one", "two", "three"}})
	ok(t, err)
	_, err = w.CaptureWAN()
	ok(t, err)
	_, err = w.Clients["three"].GetHTTP(soon(t), "http://domestic.example/")
	ok(t, err)
	ok(t, w.Close())
	ok(t, w.Close())
	if after := count(); after > before { // fewer: what earlier tests dropped was collected
		t.Errorf("%d descriptors are open, want %d as before", after, before)
	}
	if _, err := os.Stat(w.Dir); !os.IsNotExist(err) {
		t.Errorf("the world's directory %s is still there", w.Dir)
	}
}

func TestTheWorldStandsWithoutPrivilege(t *testing.T) {
	if os.Getuid() != 0 || os.Getenv("FAIRLEAD_IN_USER_NAMESPACE") != "" {
		world(t, lab.Options{}) // this very run is without
		return
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "lab")
	ok(t, err)
	defer os.RemoveAll(dir)
	ok(t, os.Chmod(dir, 0o755))
	program, err := os.ReadFile("/proc/self/exe")
	ok(t, err)
	path := filepath.Join(dir, "lab.test")
	ok(t, os.WriteFile(path, program, 0o755))

	cmd := exec.Command(path, "-test.run", "^TestWebServersSayWhoConnected$|^TestAPlainRouterLeaks$|^TestTheDaemonRunsInTheRouter$", "-test.v")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "\n--- PASS: ") != 3 {
		t.Errorf("running as nobody: %v, want three tests to pass\n%s", err, out)
	}
}
