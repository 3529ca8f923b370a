package main

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft/nstest"
)

// resolverName is that of the encrypted resolver, where it is given by name.
const resolverName = "dns.resolver.example"

// encrypted is how an upstream is encrypted, and the way to it.
type encrypted struct {
	scheme, outbound string
}

func (e encrypted) String() string { return e.scheme + " by " + e.outbound }

func encryptions() []encrypted {
	return []encrypted{{"tls", "direct"}, {"https", "direct"}, {"tls", "node"}, {"https", "node"}}
}

// place is where the resolver is: at the ISP's gateway, or where only the node
// reaches it.
func (e encrypted) place(h *home) (*nstest.NS, netip.AddrPort) {
	if e.outbound == "node" {
		return h.Node, at(h.At.Honest.V4, 8853)
	}
	return h.Internet, at(h.At.Gateway.V4, 8853)
}

// secured is a running home whose remote upstream is encrypted.
type secured struct {
	*probe
	server *lab.SecureResolver
}

// credential is what is special of the resolver; the zero value is nothing.
type credential struct {
	host    string // that the configuration calls it by; empty: its address
	subject string // of its certificate; empty: host
	expired bool
	early   bool // it is not valid yet
	unknown bool // the daemon does not know who signed it
}

// newSecured makes a home whose remote upstream is an encrypted resolver.
func newSecured(t *testing.T, e encrypted, c credential) *secured {
	t.Helper()
	whereabouts := map[string]string{"direct": "203.0.113.1", "node": "192.0.2.53"}
	h := newHouse(t, lab.Options{
		Domestic: []string{resolverName},
		Hosts:    map[string][]netip.Addr{resolverName: {netip.MustParseAddr(whereabouts[e.outbound])}},
	})
	ns, where := e.place(h)
	host := or(c.host, where.Addr().String())
	authority, err := h.Authority()
	ok(t, err)
	from, until := time.Now().Add(-24*time.Hour), time.Now().Add(time.Hour)
	switch {
	case c.expired:
		until = time.Now().Add(-time.Hour)
	case c.early:
		from = until
		until = from.Add(time.Hour)
	}
	certificate, err := authority.Certificate(or(c.subject, host), from, until)
	ok(t, err)
	serve := h.ServeDoT
	if e.scheme == "https" {
		serve = h.ServeDoH
	}
	server, err := serve(ns, where, certificate)
	ok(t, err)
	remote := fmt.Sprintf("list server '%s://%s:%d'\n\toption outbound '%s'", e.scheme, host, where.Port(), e.outbound)
	if host == resolverName {
		remote += "\n\tlist bootstrap '" + h.At.ISP.V4.String() + "'"
	}
	h.configure(replaced(h.ConfigText(lab.Config{}),
		"list server '"+h.At.Honest.V4.String()+"'\n\toption outbound 'node'", remote))
	trusted := authority.File
	if c.unknown {
		trusted = os.DevNull
	}
	s := &secured{probe: newProbe(t, h), server: server}
	s.startWith(t, "SSL_CERT_FILE="+trusted)
	return s
}

// wantSecret checks that nobody on the WAN's side learned a name.
func (s *secured) wantSecret(also ...string) {
	s.t.Helper()
	for _, leak := range s.leaks(also) {
		s.t.Errorf("leak: %s", leak)
	}
}

func TestAnEncryptedUpstreamIsAskedOverOneKeptConnection(t *testing.T) {
	for _, e := range encryptions() {
		t.Run(e.String(), func(t *testing.T) {
			s := newSecured(t, e, credential{})
			const questions = 20
			var all sync.WaitGroup
			for i := range questions {
				all.Go(func() {
					a := s.ask("tv", fmt.Sprintf("n%d.%s", i, s.name()), lab.TypeA)
					if len(a.Addrs) != 1 || a.Addrs[0] != s.At.Foreign.V4 {
						t.Errorf("answer %d = %v, want %s", i, a.Addrs, s.At.Foreign.V4)
					}
				})
			}
			all.Wait()
			if got := len(s.server.Log()); got != questions {
				t.Errorf("the resolver was asked %d times, want %d", got, questions)
			}
			if got := s.server.Accepts(); got != 1 {
				t.Errorf("the resolver was connected to %d times, want once", got)
			}
			s.wantSecret()
		})
	}
}

// RFC 8467, section 4.1: the length of a padded question tells nothing.
func TestQuestionsToAnEncryptedUpstreamAreAllOfOneLength(t *testing.T) {
	for _, e := range encryptions()[:2] {
		t.Run(e.String(), func(t *testing.T) {
			s := newSecured(t, e, credential{})
			for i := range 4 {
				s.ask("tv", strings.Repeat("x", 1+10*i)+"."+s.name(), lab.TypeA)
			}
			log := s.server.Log()
			if len(log) != 4 {
				t.Errorf("the resolver was asked %d times, want 4", len(log))
			}
			for _, q := range log {
				if len(q.Raw) != 128 {
					t.Errorf("the question for %s has %d bytes, want 128", q.Name, len(q.Raw))
				}
			}
		})
	}
}

func TestAnUpstreamOverHTTPSIsAskedByHTTP2(t *testing.T) {
	s := newSecured(t, encrypted{"https", "direct"}, credential{})
	s.ask("tv", s.name(), lab.TypeA)
	if got := s.server.HTTPVersions(); len(got) != 1 || got[0] != "HTTP/2.0" {
		t.Errorf("asked by %v, want HTTP/2.0 once", got)
	}
}

// To the WAN a question through the node is a connection to the node.
func TestAnEncryptedUpstreamBehindTheNodeIsReachedThroughItOnly(t *testing.T) {
	for _, e := range encryptions()[2:] {
		t.Run(e.String(), func(t *testing.T) {
			s := newSecured(t, e, credential{})
			for i := range 3 {
				s.ask("tv", fmt.Sprintf("n%d.%s", i, s.name()), lab.TypeA)
			}
			_, where := e.place(s.home)
			visits := s.NodeLog()
			if len(visits) != 1 || visits[0].Target != where.String() {
				t.Errorf("the node was asked for %+v, want %s once", visits, where)
			}
			packets, err := s.capture.Packets()
			ok(t, err)
			for _, p := range packets {
				if g, decoded := p.Segment(); decoded && (g.Dst == where || g.Src == where) {
					t.Errorf("a packet passed the WAN between %s and %s, want the node's only", g.Src, g.Dst)
				}
			}
		})
	}
}

// A certificate that does not hold is an answer of nobody: not a reason to ask
// in the clear, or somebody else.
func TestACertificateThatDoesNotHoldIsNeverADowngrade(t *testing.T) {
	for name, c := range map[string]credential{
		"it is for another name": {subject: "dns.other.example"},
		"it has expired":         {expired: true},
		"nobody known signed it": {unknown: true},
	} {
		for _, e := range encryptions() {
			t.Run(name+", "+e.String(), func(t *testing.T) {
				s := newSecured(t, e, c)
				s.rcode(s.ask("tv", s.name(), lab.TypeA), lab.ServFail)
				if log := s.server.Log(); len(log) > 0 {
					t.Errorf("the resolver was asked for %s over %s, want nothing told to it", log[0].Name, log[0].Network)
				}
				if log := s.NodeResolverLog(); len(log) > 0 {
					t.Errorf("the honest resolver was asked for %s over %s, want nothing", log[0].Name, log[0].Network)
				}
				ok(t, s.daemon.WaitLog(s.ctx(), "certificate of DNS server refused"))
				s.wantSecret()
			})
		}
	}
}

func TestTheBootstrapIsAskedForTheServersNameOnly(t *testing.T) {
	for _, e := range encryptions() {
		t.Run(e.String(), func(t *testing.T) {
			s := newSecured(t, e, credential{host: resolverName})
			for i := range 3 {
				a := s.ask("tv", fmt.Sprintf("n%d.%s", i, s.name()), lab.TypeA)
				if len(a.Addrs) != 1 || a.Addrs[0] != s.At.Foreign.V4 {
					t.Errorf("answer %d = %v, want %s", i, a.Addrs, s.At.Foreign.V4)
				}
			}
			asked := map[uint16]int{}
			for _, q := range s.ISPLog() {
				if q.Network == "udp" { // the lab's resolver changes the case of names: then TCP is asked, too
					asked[q.Type]++
				}
				if q.Name != resolverName {
					t.Errorf("the bootstrap server was asked for %s", q.Name)
				}
			}
			if asked[lab.TypeA] != 1 || asked[lab.TypeAAAA] != 1 || len(asked) != 2 {
				t.Errorf("the bootstrap server was asked by type %v, want A and AAAA once each", asked)
			}
			s.wantSecret(resolverName)
		})
	}
}
