package main

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// blocking is a home in which the laptop's own encrypted DNS is refused, and the
// tv's is not. The router's own traffic passes the same rules, so that nothing
// but the mark saves fairlead's own questions. Those for domestic names go to
// port 443 of a known DoH server.
func blocking(t *testing.T) (*probe, *aliases) {
	t.Helper()
	h := newHouse(t, lab.Options{})
	text := h.ConfigText(lab.Config{Main: []string{"option router '1'"}, DNS: []string{"option block_dot '1'", "option block_doh '1'"}})
	text = replaced(text, "config client 'tv'\n", "config client 'tv'\n\toption block_dot '0'\n\toption block_doh '0'\n")
	text = replaced(text, "list server '"+h.At.ISP.V4.String()+"'", fmt.Sprintf("list server 'udp://%s:443'", h.At.Public.V4))
	h.configure(text)
	h.start()
	p := newProbe(t, h)
	for _, to := range []netip.AddrPort{at(h.At.Public.V6, 443), at(h.At.Public.V4, 853), at(h.At.Public.V6, 853)} {
		p.serveAliases(p.Internet, to, "alias.domestic.example", h.At.Domestic.V4) // who is not refused gets an answer
	}
	return p, p.serveAliases(p.Internet, at(h.At.Public.V4, 443), "alias.domestic.example", h.At.Domestic.V4)
}

// wantBlocked checks that a flow is refused to the laptop at once, and to the
// tv, which may, not.
func (p *probe) wantBlocked(what string, try func(c *lab.Client) error) {
	p.t.Helper()
	began := time.Now()
	if err := try(p.Clients["laptop"]); !refused(err) {
		p.t.Errorf("%s: the laptop got %v, want a refusal", what, err)
	}
	if took := time.Since(began); took > atOnce {
		p.t.Errorf("%s: the laptop was refused after %v, want at once", what, took)
	}
	if err := try(p.Clients["tv"]); refused(err) {
		p.t.Errorf("%s: the tv got %v, want no refusal", what, err)
	}
}

// connects dials, and sends a datagram and waits for what comes of it.
func (p *probe) connects(to netip.AddrPort) map[string]func(*lab.Client) error {
	return map[string]func(*lab.Client) error{
		"TCP to " + to.String(): func(c *lab.Client) error {
			conn, err := c.DialTCP(p.ctx(), to)
			if err == nil {
				conn.Close()
			}
			return err
		},
		"UDP to " + to.String(): func(c *lab.Client) error {
			conn, err := c.DialUDP(p.ctx(), to)
			if err != nil {
				return err
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(atOnce / 2))
			conn.Write(append(append([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, wireName("a.example")...), 0, lab.TypeA, 0, 1))
			_, err = conn.Read(make([]byte, 100))
			return err
		},
	}
}

func TestLeak_L17_EncryptedDNSIsRefusedToThoseWhoMayNot(t *testing.T) {
	p, local := blocking(t)
	t.Run("known resolvers by their addresses, and port 853 of anybody", func(t *testing.T) {
		for _, port := range []uint16{443, 853} {
			for _, addr := range []netip.Addr{p.At.Public.V4, p.At.Public.V6} {
				for what, try := range p.connects(at(addr, port)) {
					p.wantBlocked(what, try)
				}
			}
		}
	})
	t.Run("known resolvers by their names", func(t *testing.T) {
		for client, want := range map[string]int{"laptop": lab.NXDomain, "tv": lab.NoError} {
			p.rcode(p.ask(client, "chrome.cloudflare-dns.com", lab.TypeA), want)
		}
		for _, addr := range []netip.Addr{p.At.Foreign.V4, p.At.Foreign.V6} {
			p.wantBlocked("TLS to a known name", func(c *lab.Client) error {
				_, err := c.GetHTTPAt(p.ctx(), addr, "https://dns.google/dns-query")
				return err
			})
		}
		_, err := p.Clients["laptop"].GetHTTPAt(p.ctx(), p.At.Foreign.V4, "https://www.foreign.example/")
		p.check(err)
	})
	t.Run("fairlead's own upstream on such a server is asked", func(t *testing.T) {
		a := p.ask("laptop", "www.domestic.example", lab.TypeA)
		if len(a.Addrs) != 1 || a.Addrs[0] != p.At.Domestic.V4 {
			t.Errorf("the laptop was told %v, want the upstream's answer", a.Addrs)
		}
		if len(local.names()) == 0 {
			t.Error("the upstream was not asked")
		}
	})
}
