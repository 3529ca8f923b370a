package dnsrouter

import (
	"net/netip"
	"strings"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// localTTL is the life of an answer from hosts and leases in seconds: a lease
// can change at any time.
const localTTL = 10

// local answers names that are this network's own or special (RFC 6761, RFC
// 6303): they are neither faked nor sent on. Nil means that the name is none.
func (r *Router) local(plan *Plan, q *question) []byte {
	if prefix, ok := wire.ReversePrefix(q.Name()); ok {
		return r.reverse(plan, q, prefix)
	}
	if addrs, ok := r.localAddrs(q.name); ok {
		return q.addresses(addrs)
	}
	switch {
	case under(q.name, "localhost"):
		return q.addresses([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()})
	case q.name == "resolver.arpa", strings.HasSuffix(q.name, ".resolver.arpa"):
		return r.noData(q) // RFC 9462: we offer no encrypted resolver of our own
	case IsLocal(q.name, plan.Config.LocalDomain):
		return q.negative(wire.RcodeNXDomain)
	}
	return nil
}

func (r *Router) localAddrs(name string) ([]netip.Addr, bool) {
	if r.deps.Local == nil {
		return nil, false
	}
	return r.deps.Local.Addrs(name)
}

// addresses answers a name whose addresses we know, with those of the type asked.
func (q *question) addresses(addrs []netip.Addr) []byte {
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, wire.RcodeSuccess)
	reply.Authoritative()
	found := false
	for _, a := range addrs {
		if a.Is4() && q.Type == wire.TypeA || a.Is6() && q.Type == wire.TypeAAAA {
			reply.Addr(localTTL, a)
			found = true
		}
	}
	if !found {
		reply.Negative(negativeTTL)
	}
	return q.finish(&reply)
}

// reverse answers for addresses of this network, of private ones and of the
// fakeip ranges. Other reverse names are like any name: nil.
func (r *Router) reverse(plan *Plan, q *question, prefix netip.Prefix) []byte {
	if r.deps.Local != nil && prefix.IsSingleIP() {
		if name, ok := r.deps.Local.NameOf(prefix.Addr()); ok {
			return q.pointer(name)
		}
	}
	own := plan.Config.Fake4.Overlaps(prefix) || plan.Config.Fake6.Overlaps(prefix)
	if prefix.Bits() == 0 || !own && !wire.IsPrivate(prefix.Addr()) {
		return nil
	}
	return q.negative(wire.RcodeNXDomain)
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

// IsLocal tells the names that are never sent on: special ones, those without a
// dot, and those of the local domain, which may be empty.
func IsLocal(name, domain string) bool {
	return isSpecial(name) || strings.IndexByte(name, '.') < 0 || domain != "" && under(name, domain)
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

func under(name, domain string) bool {
	return len(name) >= len(domain) && strings.HasSuffix(name, domain) &&
		(len(name) == len(domain) || name[len(name)-len(domain)-1] == '.')
}
