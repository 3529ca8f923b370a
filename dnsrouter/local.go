package dnsrouter

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

const (
	// localTTL is the life of an answer from hosts and leases in seconds: a lease
	// can change at any time.
	localTTL = 10
	// maxAliases bounds how many aliases lead to a name: they could be a circle.
	maxAliases = 8
)

// Host is what is known of one name of this network.
type Host struct {
	Addrs   []netip.Addr
	Alias   string // the name that it stands for (CNAME); empty: none
	Records []Record
}

// Record is a record of a local name that is neither address nor alias. Data is
// in wire form, without compressed names.
type Record struct {
	Type uint16
	Data []byte
}

// LocalRules are what holds for names of this network beside what is known of
// each. Domains are lower-case, without dots around. The zero LocalRules add
// nothing.
type LocalRules struct {
	Domains  []string // exist in this network only, as Config.LocalDomain does
	Localise bool     // of several IPv4 addresses, those of the asker's own subnet are given

	RebindDomains  []string // answers may have private addresses, as for Config.RebindDomains
	RebindLoopback bool     // any answer may have loopback addresses

	// KeepsPlain and KeepsReverse say that the Neighbour asks nobody else for
	// names without a dot, and for those of private addresses. Of Domains it
	// never does.
	KeepsPlain, KeepsReverse bool
}

// mayBePrivate tells names whose answers may have private addresses.
func (l *LocalRules) mayBePrivate(name string) bool { return underAny(name, l.RebindDomains) }

func (r *Router) localRules() *LocalRules {
	if r.deps.Local == nil {
		return &r.noRules
	}
	return r.deps.Local.Rules()
}

// local answers names that are this network's own or special (RFC 6761, RFC
// 6303): they are neither faked nor sent on. Nil means that the name is none.
func (r *Router) local(ctx context.Context, plan *Plan, q *question, from netip.Addr) ([]byte, error) {
	if strings.HasSuffix(q.name, ".arpa") {
		if net, ok := reverseOf(q.Name()); ok {
			return r.reverse(ctx, plan, q, net, from)
		}
	}
	switch {
	case under(q.name, "localhost"):
		return q.addresses([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}), nil
	case under(q.name, "resolver.arpa"):
		return r.noData(q), nil // RFC 9462: we offer no encrypted resolver of our own
	}
	if q.name == "" {
		return r.root(q), nil
	}
	rules := r.localRules()
	if q.delegation() && q.name != plan.Config.LocalDomain && !underAny(q.name, rules.Domains) {
		return nil, nil
	}
	ours := IsLocal(q.name, plan.Config.LocalDomain, rules.Domains)
	if h, ok := r.localHost(q.name); ok && (ours || h.answers(q.Type)) {
		return r.host(q, h, from), nil
	}
	if !ours {
		return nil, nil
	}
	if underAny(q.name, rules.Domains) || rules.KeepsPlain && q.Labels() == 1 && (q.Type == wire.TypeA || q.Type == wire.TypeAAAA) {
		return r.askNeighbour(ctx, plan, q, from)
	}
	if rules.KeepsPlain && q.Labels() == 1 && !isSpecial(q.name) {
		return r.noData(q), nil // dnsmasq would send other types on, though it may have an address
	}
	if q.name == plan.Config.LocalDomain || q.name == "home.arpa" {
		return r.noData(q), nil // a name that there are names under exists (RFC 8020)
	}
	return q.negative(wire.RcodeNXDomain), nil
}

// root answers for the root itself: it has no addresses, and the rest of it is
// everybody's (nil).
func (r *Router) root(q *question) []byte {
	if carriesAddress(q.Type) {
		return r.noData(q)
	}
	return nil
}

// delegation tells what a validating client asks on its way from the root to a
// public name: no host's name, though it has one label only, and a device may
// call itself com.
func (q *question) delegation() bool {
	return (q.Type == wire.TypeDS || q.Type == wire.TypeDNSKEY) && q.Labels() == 1 && !isSpecial(q.name)
}

func (r *Router) localHost(name string) (Host, bool) {
	if r.deps.Local == nil {
		return Host{}, false
	}
	return r.deps.Local.Host(name)
}

// answers says whether a name elsewhere is answered from here: one that has an
// address here is, whatever is asked of it, and else the records that there are.
func (h Host) answers(qtype uint16) bool {
	return len(h.Addrs) > 0 || h.Alias != "" || slices.ContainsFunc(h.Records, func(r Record) bool { return r.Type == qtype })
}

// host answers a name that we know, with what there is of the type asked.
func (r *Router) host(q *question, h Host, from netip.Addr) []byte {
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, wire.RcodeSuccess)
	reply.Authoritative()
	for range maxAliases {
		if h.Alias == "" || reply.CNAME(localTTL, h.Alias) != nil {
			break
		}
		target, known := r.localHost(h.Alias)
		if q.Type == wire.TypeCNAME || !known {
			return q.finish(&reply)
		}
		h = target
	}
	return q.give(&reply, h, r.near(h, from))
}

// addresses answers a name whose addresses we know.
func (q *question) addresses(addrs []netip.Addr) []byte {
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, wire.RcodeSuccess)
	reply.Authoritative()
	return q.give(&reply, Host{Addrs: addrs}, netip.Prefix{})
}

// give completes a reply with what there is of the type asked. Of IPv4 addresses
// only those within near are given, if that is valid.
func (q *question) give(reply *wire.Reply, h Host, near netip.Prefix) []byte {
	found := false
	for _, a := range h.Addrs {
		if a.Is4() && q.Type == wire.TypeA && (!near.IsValid() || near.Contains(a)) || a.Is6() && q.Type == wire.TypeAAAA {
			reply.Addr(localTTL, a)
			found = true
		}
	}
	for _, rr := range h.Records {
		if rr.Type == q.Type {
			reply.Record(rr.Type, localTTL, rr.Data)
			found = true
		}
	}
	if !found {
		reply.Negative(negativeTTL)
	}
	return q.finish(reply)
}

// near is the asker's own subnet, if the name has an address in it and only
// such ones are to be given.
func (r *Router) near(h Host, from netip.Addr) netip.Prefix {
	if len(h.Addrs) < 2 || r.deps.Subnet == nil || !r.localRules().Localise {
		return netip.Prefix{}
	}
	subnet, ok := r.deps.Subnet(from)
	if !ok || !slices.ContainsFunc(h.Addrs, subnet.Contains) || !subnet.Addr().Is4() {
		return netip.Prefix{}
	}
	return subnet
}

// reverseName is what a name of the reverse zones is about: an address, a
// network, or, with under, something that is called so below it.
type reverseName struct {
	netip.Prefix
	under bool
}

// reverseOf reads a name of the reverse zones; other names are not ok.
func reverseOf(name []byte) (r reverseName, ok bool) {
	for {
		if r.Prefix, ok = wire.ReversePrefix(name); ok {
			return r, true
		}
		dot := bytes.IndexByte(name, '.')
		if dot < 0 {
			return r, false
		}
		name, r.under = name[dot+1:], true
	}
}

// reverse answers for addresses of this network, of private ones, of those of
// examples and of the fakeip ranges. Other reverse names are like any name: nil.
func (r *Router) reverse(ctx context.Context, plan *Plan, q *question, of reverseName, from netip.Addr) ([]byte, error) {
	host := of.IsSingleIP() && !of.under
	if host && r.deps.Local != nil {
		if name, ok := r.deps.Local.NameOf(of.Addr()); ok {
			return q.pointer(name), nil
		}
	}
	switch {
	case of.Bits() == 0:
		return nil, nil
	case plan.Config.Fake4.Overlaps(of.Prefix), plan.Config.Fake6.Overlaps(of.Prefix):
	case wire.IsPrivate(of.Addr()):
		if host && q.Type == wire.TypePTR && r.localRules().KeepsReverse && keptByDnsmasq(of.Addr()) {
			return r.askNeighbour(ctx, plan, q, from)
		}
	case isExample(of.Addr()):
	case !r.onLAN(of.Prefix):
		return nil, nil
	}
	if !host && !of.under {
		return r.noData(q), nil // there may be names under it (RFC 8020)
	}
	return q.negative(wire.RcodeNXDomain), nil
}

// keptByDnsmasq tells the private addresses whose names dnsmasq with bogus-priv
// asks nobody for: not the shared ones of RFC 6598, nor what is written in IPv6.
func keptByDnsmasq(a netip.Addr) bool { return a.IsPrivate() || a.IsLinkLocalUnicast() }

// isExample tells the addresses of documentation (RFC 5737, RFC 3849), of which
// nobody elsewhere has names (RFC 6303 sections 4.2 and 4.6).
func isExample(a netip.Addr) bool {
	b := a.AsSlice()
	switch [3]byte(b) {
	case [3]byte{192, 0, 2}, [3]byte{198, 51, 100}, [3]byte{203, 0, 113}:
		return a.Is4()
	}
	return a.Is6() && [4]byte(b) == [4]byte{0x20, 0x01, 0x0d, 0xb8}
}

// onLAN tells the networks of the LAN, which may be public ones: who lives
// there is nobody's business.
func (r *Router) onLAN(prefix netip.Prefix) bool {
	if r.deps.Subnet == nil {
		return false
	}
	subnet, ok := r.deps.Subnet(prefix.Addr())
	return ok && subnet.Bits() <= prefix.Bits()
}

func (q *question) pointer(name string) []byte {
	if q.Type != wire.TypePTR {
		return q.negative(wire.RcodeSuccess)
	}
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, wire.RcodeSuccess)
	reply.Authoritative()
	if reply.PTR(localTTL, name) != nil {
		return q.negative(wire.RcodeNXDomain)
	}
	return q.finish(&reply)
}

// IsLocal tells the names that are never sent on: special ones, those of one
// label, and those of the local domain, which may be empty, and of further ones.
func IsLocal(name, domain string, more []string) bool {
	return isSpecial(name) || name != "" && strings.IndexByte(name, '.') < 0 || domain != "" && under(name, domain) || underAny(name, more)
}

// isSpecial tells the names that exist in no public DNS: special-use domain
// names (RFC 6761, 6762, 7686, 8375, 9476) and the one that ICANN reserved for
// private use (resolution 2024.07.29.06).
func isSpecial(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	switch last {
	case "local", "onion", "invalid", "test", "internal", "alt":
		return true
	}
	return under(name, "home.arpa")
}

func underAny(name string, domains []string) bool {
	for _, d := range domains {
		if under(name, d) {
			return true
		}
	}
	return false
}

func under(name, domain string) bool {
	return len(name) >= len(domain) && strings.HasSuffix(name, domain) &&
		(len(name) == len(domain) || name[len(name)-len(domain)-1] == '.')
}
