package dnsrouter

import (
	"net/netip"

	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// wellKnown answers names whose answer is the same everywhere; nil means that
// the name is none.
func (r *Router) wellKnown(q *question) []byte {
	switch {
	case q.name == "ipv4only.arpa": // RFC 8880 section 7.2: without DNS64, there is no NAT64 to be found
		return q.addresses([]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 0, 170}), netip.AddrFrom4([4]byte{192, 0, 0, 171})})
	case under(q.name, "ipv4only.arpa"):
		return q.negative(wire.RcodeNXDomain)
	}
	return nil
}

// IsCanary tells the names by which browsers and devices ask whether they may
// go round the network's DNS: Firefox with DNS over HTTPS of its own
// (use-application-dns.net), Apple's with iCloud Private Relay.
func IsCanary(name string) bool {
	return under(name, "use-application-dns.net") ||
		under(name, "mask.icloud.com") || under(name, "mask-h2.icloud.com") || under(name, "mask-canary.icloud.com")
}

// discouraged answers a canary: that there is no such name, at once and for
// every type, is what makes those who ask stay with us.
func (r *Router) discouraged(q *question) []byte {
	r.count.refused.Add(1)
	reply := wire.NewReply(q.out[:0], q.msg, &q.Query, wire.RcodeNXDomain)
	reply.EDE(wire.EDEBlocked, "")
	reply.Negative(negativeTTL)
	return q.finish(&reply)
}
