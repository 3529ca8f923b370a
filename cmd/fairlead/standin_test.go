package main

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

const inPlace = "answering on port 53 in dnsmasq's place"

// takesPlace is a home whose fairlead has taken dnsmasq's place.
func takesPlace(t *testing.T) (m *masq, files, state string) {
	t.Helper()
	m = newMasq(t)
	t.Setenv(stageOfDNSMasq, m.dir)
	files = m.files()
	state, err := m.RouterState()
	if err != nil {
		t.Fatal(err)
	}
	m.configureWith("option dnsmasq replace")
	m.start()
	if err := m.daemon.WaitLog(m.ctx(), inPlace); err != nil {
		t.Fatal(err)
	}
	return m, files, state
}

// restored fails unless dnsmasq answers and everything is as it was before.
func (m *masq) restored(files, state string) {
	m.t.Helper()
	m.isDNSMasq()
	if got := m.files(); got != files {
		m.t.Errorf("dnsmasq's files are\n%s\nwant\n%s", got, files)
	}
	if got, err := m.RouterState(); err != nil || got != state {
		m.t.Errorf("the router's kernel is not as before (%v):\n%s", err, difference(state, got))
	}
}

func difference(before, after string) string {
	var all []string
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	for _, line := range was {
		if !slices.Contains(is, line) {
			all = append(all, "- "+line)
		}
	}
	for _, line := range is {
		if !slices.Contains(was, line) {
			all = append(all, "+ "+line)
		}
	}
	return strings.Join(all, "\n")
}

func TestAClientByDHCPResolvesInBothModesWithoutAChange(t *testing.T) {
	m := newMasq(t)
	t.Setenv(stageOfDNSMasq, m.dir)
	before := m.files()
	m.configureWith()
	m.start()
	check := func(mode string) {
		t.Helper()
		addr, servers := m.lease("laptop", "phone")
		if want := []netip.Addr{m.At.RouterLAN.V4}; !slices.Equal(servers, want) {
			t.Fatalf("%s: the client is told of the DNS servers %v, want %v", mode, servers, want)
		}
		laptop := m.Clients["laptop"]
		until(t, patience, mode+": the client's own name", func() bool { return m.told(laptop, servers[0], "phone.lan", "udp") == addr.String() })
		for name, want := range map[string]string{"www.domestic.example": m.At.Domestic.V4.String(), "nas": "192.168.77.5", "www.foreign.example": "198.18."} {
			if got := m.told(laptop, servers[0], name, "udp"); !strings.HasPrefix(got, want) {
				t.Errorf("%s: the client is told %s of %s, want %s", mode, got, name, want)
			}
		}
	}
	check("keep")
	m.isDNSMasq()
	if a, err := m.Clients["laptop"].Lookup(m.ctx(), m.At.RouterLAN.V4, "note.lan", 16, "udp"); err != nil || len(a.Records) != 1 {
		t.Errorf("keep: a name that only dnsmasq knows is answered %+v (%v), want its text", a.Records, err)
	}
	m.configureWith("option dnsmasq replace")
	m.reloads()
	if err := m.daemon.WaitLog(m.ctx(), inPlace); err != nil {
		t.Fatal(err)
	}
	check("replace")
	m.configureWith()
	m.reloads()
	m.isDNSMasq()
	check("keep again")
	if got := m.files(); got != before {
		t.Errorf("after keep again dnsmasq's files are\n%s\nwant\n%s", got, before)
	}
}

func TestInDNSMasqsPlaceEverybodyIsAnswered(t *testing.T) {
	m, _, _ := takesPlace(t)
	m.lease("laptop", "phone")
	tv, router := m.Clients["tv"], m.router()
	for _, tt := range []struct {
		sentence string
		client   *lab.Client
		server   string
		name     string
		want     string
	}{
		{"a client that is not diverted gets the provider's answer", tv, m.At.RouterLAN.V4.String(), "www.foreign.example", m.At.Poison.V4.String()},
		{"over IPv6, too", tv, m.At.RouterLAN.V6.String(), "www.domestic.example", m.At.Domestic.V4.String()},
		{"and the names of the house", tv, m.At.RouterLAN.V4.String(), "nas.lan", "192.168.77.5"},
		{"the router gets real answers", router, "127.0.0.1", "www.domestic.example", m.At.Domestic.V4.String()},
		{"also of names that go to the node", router, "::1", "www.foreign.example", m.At.Foreign.V4.String()},
		{"at any of its addresses", router, m.At.RouterLAN.V4.String(), "nas", "192.168.77.5"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := m.told(tt.client, netip.MustParseAddr(tt.server), tt.name, network); got != tt.want {
				t.Errorf("%s: over %s %s is told %s of %s, want %s", tt.sentence, network, tt.client.Name, got, tt.name, tt.want)
			}
		}
	}
	for _, q := range m.ISPLog() {
		if strings.HasSuffix(q.Name, "foreign.example") && q.From.Addr() == m.At.RouterWAN.V4 && q.Type != lab.TypeA {
			t.Errorf("the provider was asked for %s, type %d", q.Name, q.Type)
		}
	}
}

func TestWhoIsBeyondTheWANIsNotAnswered(t *testing.T) {
	m, _, _ := takesPlace(t)
	c, err := m.Internet.Dial(m.ctx(), "tcp", netip.AddrPortFrom(m.At.Foreign.V4, 0), netip.AddrPortFrom(m.At.RouterWAN.V4, 53))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	c.Write([]byte{0, 12, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}) // malformed: it would be told so
	if n, err := c.Read(make([]byte, 20)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes (%v), want the end of the connection", n, err)
	}
}

func TestAStopGivesDNSMasqItsDNSBack(t *testing.T) {
	m, files, state := takesPlace(t)
	if err := m.daemon.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := m.daemon.Wait(m.ctx()); err != nil || code != 0 {
		t.Errorf("fairlead exits %d (%v), want 0", code, err)
	}
	m.restored(files, state)
}

func TestAfterACrashDNSMasqGetsItsDNSBack(t *testing.T) {
	for _, command := range []string{"guard", "flush"} {
		t.Run(command, func(t *testing.T) {
			m, files, state := takesPlace(t)
			if err := m.daemon.Kill(); err != nil {
				t.Fatal(err)
			}
			if _, errs, code := m.command(command); code != 0 {
				t.Fatalf("%s exits %d: %s", command, code, errs)
			}
			m.restored(files, state)
		})
	}
}

func TestAfterACrashTheNextOneTakesThePlaceWithoutARestart(t *testing.T) {
	m, files, state := takesPlace(t)
	before := m.restarts()
	if err := m.daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	m.start()
	if err := m.daemon.WaitLog(m.ctx(), inPlace); err != nil {
		t.Fatal(err)
	}
	if got := m.restarts(); got != before {
		t.Errorf("dnsmasq was restarted %d times, want its DHCP left alone", got-before)
	}
	if err := m.daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	m.configureWith() // and the one after that is to keep dnsmasq
	m.start()
	m.isDNSMasq()
	if got := m.files(); got != files {
		t.Errorf("dnsmasq's files are\n%s\nwant\n%s", got, files)
	}
	if err := m.daemon.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	m.daemon.Wait(m.ctx())
	m.restored(files, state)
}

func TestARestartOfDNSMasqBySomebodyElseChangesNothing(t *testing.T) {
	m, _, _ := takesPlace(t)
	m.script("restart")
	if got := m.told(m.router(), netip.MustParseAddr("127.0.0.1"), "nas.lan", "udp"); got != "192.168.77.5" {
		t.Errorf("the router is told %s of nas.lan, want 192.168.77.5", got)
	}
	if _, servers := m.lease("laptop", "phone"); !slices.Equal(servers, []netip.Addr{m.At.RouterLAN.V4}) {
		t.Errorf("DHCP tells of the DNS servers %v, want the router", servers)
	}
}

func TestADNSMasqThatCannotBeReplacedIsKept(t *testing.T) {
	m := newMasq(t, "port=53")
	t.Setenv(stageOfDNSMasq, m.dir)
	before := m.files()
	m.configureWith("option dnsmasq replace")
	m.start()
	if err := m.daemon.WaitLog(m.ctx(), "remove `option port` from /etc/config/dhcp"); err != nil {
		t.Fatal(err)
	}
	m.isDNSMasq()
	if m.files() != before || m.restarts() != 1 {
		t.Errorf("dnsmasq was restarted %d times or its files changed, want neither", m.restarts()-1)
	}
	out, _, _ := m.command("status")
	if !strings.Contains(out, "is not carried out") {
		t.Errorf("status says\n%s\nwant a warning that dnsmasq was kept", out)
	}
	if got := m.told(m.Clients["laptop"], m.At.RouterLAN.V4, "www.foreign.example", "udp"); !strings.HasPrefix(got, "198.18.") {
		t.Errorf("a client is told %s, want a fake address all the same", got)
	}
}

func TestAClosedGuardGivesDNSMasqItsDNSBackToo(t *testing.T) {
	m, files, _ := takesPlace(t)
	m.configure(m.ConfigText(lab.Config{Main: []string{"option dnsmasq replace"}, Default: "node", OnFailure: "closed"}))
	if err := m.daemon.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := m.command("guard"); code != 0 {
		t.Fatalf("guard exits %d: %s", code, errs)
	}
	m.isDNSMasq()
	if got := m.files(); got != files {
		t.Errorf("dnsmasq's files are\n%s\nwant\n%s", got, files)
	}
	if _, err := m.Clients["laptop"].Lookup(m.ctx(), m.At.RouterLAN.V4, "www.foreign.example", lab.TypeA, "udp"); err == nil {
		t.Error("a client's question is answered, want it refused until a daemon is there")
	}
}

func TestAPortThatSomebodyElseHasIsLeftToHimUntilAReload(t *testing.T) {
	m := newMasq(t)
	t.Setenv(stageOfDNSMasq, m.dir)
	before := m.files()
	other, err := m.Router.ListenTCP(netip.AddrPortFrom(m.At.RouterWAN.V4, 53))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	m.configureWith("option dnsmasq replace")
	m.start()
	if err := m.daemon.WaitLog(m.ctx(), "port 53 is not free"); err != nil {
		t.Fatal(err)
	}
	m.isDNSMasq()
	if got := m.files(); got != before {
		t.Errorf("dnsmasq's files are\n%s\nwant\n%s", got, before)
	}
	other.Close()
	m.reloads()
	if err := m.daemon.WaitLog(m.ctx(), inPlace); err != nil {
		t.Errorf("a reload after the port was free: %v", err)
	}
}

// resolves asks as resolvers do: a question that is lost once more, but not one
// that is refused.
func (m *masq) resolves(client, name string) bool {
	for range 2 {
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Second)
		a, err := m.Clients[client].Lookup(ctx, m.At.RouterLAN.V4, name, lab.TypeA, "udp")
		cancel()
		if err == nil || errors.Is(err, syscall.ECONNREFUSED) {
			return len(a.Addrs) == 1
		}
	}
	return false
}

func TestClientsMissNoAnswerWhileThePlaceIsTakenAndGivenBack(t *testing.T) {
	m := newMasq(t)
	t.Setenv(stageOfDNSMasq, m.dir)
	m.configureWith()
	m.start()
	stop, missed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				missed <- n
				return
			default:
			}
			if !m.resolves("laptop", "nas.lan") {
				n++
			}
		}
	}()
	m.configureWith("option dnsmasq replace")
	m.reloads()
	if err := m.daemon.WaitLog(m.ctx(), inPlace); err != nil {
		t.Error(err)
	}
	if err := m.daemon.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	m.isDNSMasq()
	m.daemon.Wait(m.ctx())
	close(stop)
	if n := <-missed; n > 0 {
		t.Errorf("%d questions were not answered, want none", n)
	}
}
