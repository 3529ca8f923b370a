package main

import (
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/fairlead/fairlead/dnsrouter"
)

// allowed is a kind of difference that may be, and why.
type allowed struct {
	aspects string // separated by spaces
	when    func(q question, ours, theirs reply) bool
	why     string
}

// allowance finds why a difference may be.
func allowance(q question, d difference, ours, theirs reply) (allowed, bool) {
	for _, a := range allowances() {
		if slices.Contains(strings.Fields(a.aspects), d.aspect) && a.when(q, ours, theirs) {
			return a, true
		}
	}
	return allowed{}, false
}

// allowances are in the order in which they are looked at: what is about the
// form of a question, then what is about its name, then what is about answers.
func allowances() []allowed {
	return slices.Concat(ofForm(), ofNames(), ofAnswers())
}

func ofForm() []allowed {
	return []allowed{
		{"form", func(_ question, ours, theirs reply) bool {
			return ours.err == nil && ours.msg.Rcode == dns.RcodeFormatError
		},
			"of a message that cannot be read unbound sends back what it could not read; ours is the header alone (RFC 1035 section 4.1.1 wants a code only)"},
		{"question edns ra ad cd", func(_ question, ours, theirs reply) bool {
			return failing(ours, dns.RcodeFormatError) && failing(theirs, dns.RcodeFormatError)
		},
			"what stands beside FORMERR is nowhere said (RFC 1035 section 4.1.1)"},
		{"question edns ra rcode", func(_ question, ours, _ reply) bool {
			return ours.msg.Opcode != dns.OpcodeQuery && failing(ours, dns.RcodeNotImplemented)
		},
			"of another opcode nothing but the header is understood, and NOTIMP says so (RFC 1035 section 4.1.1); unbound refuses NOTIFY, as an authority that is not asked by its master"},
		{"rcode ra authority", func(q question, ours, theirs reply) bool { return isMeta(q.qtype) && failing(ours, dns.RcodeRefused) },
			"types that are no data are refused; unbound answers FORMERR, and forwards type 0 (RFC 6895 section 3.1 reserves them)"},
		{"answer", func(q question, _, _ reply) bool { return q.qtype == dns.TypeANY }, "ANY gets the least answer (RFC 8482 section 4.2); unbound forwards it"},
		{"rcode answer authority aa ra", func(q question, ours, _ reply) bool {
			return q.parsed != nil && q.parsed.Question[0].Qclass == dns.ClassANY && failing(ours, dns.RcodeRefused)
		},
			"class ANY is refused like every class but IN; unbound takes it for IN (RFC 1035 section 3.2.5)"},
		{"rcode answer aa authority", func(q question, ours, _ reply) bool {
			return q.parsed != nil && !q.parsed.RecursionDesired && failing(ours, dns.RcodeRefused)
		},
			"who wants no recursion is refused whatever the name is; unbound answers what it has itself (RFC 1034 section 4.3.1 leaves it open)"},
		{"rcode answer authority aa ra", func(q question, ours, theirs reply) bool {
			return q.odd("octets behind the end") && failing(ours, dns.RcodeFormatError)
		},
			"octets behind the message are an error; unbound does not look at them (RFC 1035 knows none)"},
		{"rcode answer authority ra edns", func(q question, ours, theirs reply) bool {
			return q.odd("a record", "truncated", "a signature", "a code") && failing(theirs, dns.RcodeFormatError)
		},
			"records in a question that are well-formed but mean nothing are left aside, and so are flags of answers; unbound answers FORMERR (RFC 1035 section 7.3 wants them ignored where possible)"},
		{"rcode answer authority ra edns ad", func(q question, ours, _ reply) bool {
			return q.odd("an OPT record as the answer", "two OPT", "an option cut") && failing(ours, dns.RcodeFormatError)
		},
			"an OPT record in a wrong place, or with an option cut short, is FORMERR (RFC 6891 section 6.1.1, 7); unbound overlooks it"},
	}
}

func ofNames() []allowed {
	named := func(names ...string) func(question, reply, reply) bool {
		return func(q question, _, _ reply) bool {
			return slices.ContainsFunc(names, func(n string) bool { return dns.IsSubDomain(n, q.name) })
		}
	}
	return []allowed{
		{"ttl", named("localhost."), "names of our own are kept for ten seconds only, since a reload can change them; unbound says three hours"},
		{"rcode answer authority aa", named("localhost.", "1.0.0.127.in-addr.arpa.", "1."+strings.Repeat("0.", 31)+"ip6.arpa."),
			"localhost and what leads to it: beside its addresses the answer is short, and loopback addresses have the names that the router's hosts file says (RFC 6761 section 6.3)"},
		{"rcode answer authority aa", named("ipv4only.arpa."), "there is no NAT64 here, so its addresses are answered as RFC 8880 section 7.2 says; unbound asks"},
		{"rcode answer authority aa", named("resolver.arpa."), "there is no encrypted resolver here (RFC 9462 section 4); unbound asks"},
		{"rcode authority aa", named("use-application-dns.net.", "mask.icloud.com."), "canaries do not exist, so that devices stay with the router"},
		{"aa authority", func(q question, ours, theirs reply) bool { return ownZone(q.name) },
			"names that are served locally (RFC 6303, 6761, 6762, 7686, 8375, 9476): the SOA record that bounds \"no\" is our own, without the AA flag"},
		{"rcode", func(q question, ours, theirs reply) bool {
			return ownZone(q.name) && failing(ours, dns.RcodeSuccess) && failing(theirs, dns.RcodeNameError)
		},
			"networks and local domains exist where names under them may; unbound's zones are empty, and a DS record of theirs is the public parent's to deny (RFC 8020)"},
		{"authority", func(q question, ours, _ reply) bool { return q.name == "." && ownSOA(ours.msg) }, "the root has no addresses, which needs no question"},
		{"rcode answer aa", func(q question, ours, theirs reply) bool { return ownZone(q.name) && q.qtype == dns.TypeSOA },
			"zones that are served locally have no SOA record to be asked for (RFC 6303 section 3 wants one: nobody but their owner asks)"},
		{"rcode answer authority", func(q question, ours, _ reply) bool {
			return dns.CountLabel(q.name) == 1 && failing(ours, dns.RcodeNameError)
		},
			"names of one label are hosts of this network, and never sent on; only DS and DNSKEY of top-level domains are, for validating clients"},
	}
}

func ofAnswers() []allowed {
	return []allowed{
		{"answer authority", func(q question, ours, theirs reply) bool { return carriesHints(theirs.msg) },
			"address hints are taken out of HTTPS and SVCB records, and with them records that insist on hints: who follows hints goes round DNS (RFC 9460 section 7.3 has A and AAAA asked for beside)"},
		{"authority", func(_ question, ours, theirs reply) bool { return len(theirs.msg.Ns) == 0 && ownSOA(ours.msg) },
			"where addresses were taken out, or the server gave no SOA record, one of our own bounds how long \"no\" is kept (RFC 2308 section 5); unbound gives none"},
		{"answer", func(_ question, ours, theirs reply) bool {
			return ours.msg.Truncated && theirs.msg.Truncated && len(ours.msg.Answer) == 0
		},
			"a truncated answer holds no records, since nobody may use them (RFC 2181 section 9); unbound gives sets that fit, such as the alias alone"},
		{"rcode answer authority", func(_ question, ours, theirs reply) bool {
			return failing(ours, dns.RcodeServerFailure) && aliases(theirs.msg) > 11
		},
			"a chain of more than eleven aliases fails; with unbound it fails the first time, and is put together from its cache the next"},
		{"ttl", func(q question, ours, _ reply) bool { return q.name == "huge."+domain },
			"a TTL with the highest bit set is cut to a day (RFC 8767 section 4); unbound takes it for 0 (RFC 2181 section 8)"},
		{"ttl", func(q question, _, _ reply) bool { return strings.HasPrefix(q.name, "bogus.") }, "unbound keeps what it finds bogus for a minute; fairlead does not validate"},
		{"ad", func(q question, ours, _ reply) bool {
			return q.parsed != nil && q.parsed.CheckingDisabled && ours.msg.AuthenticatedData
		},
			"with CD unbound does not check before it answers; fairlead says what its upstream said (RFC 6840 section 5.9)"},
	}
}

func failing(r reply, rcode int) bool { return r.raw != nil && r.msg.Rcode == rcode }

func isMeta(t uint16) bool { return t == 0 || t == dns.TypeOPT || t >= 128 && t <= 254 }

// odd tells questions about what begins so.
func (q question) odd(about ...string) bool {
	return slices.ContainsFunc(about, func(text string) bool { return strings.HasPrefix(q.about, "malformed: "+text) })
}

// ownZone tells names that neither resolver, or only fairlead, asks others for.
func ownZone(name string) bool {
	text := strings.TrimSuffix(name, ".")
	return dnsrouter.IsLocal(text, "lan", nil) || dns.IsSubDomain("in-addr.arpa.", name) || dns.IsSubDomain("ip6.arpa.", name)
}

func ownSOA(m *dns.Msg) bool {
	return slices.ContainsFunc(m.Ns, func(rr dns.RR) bool {
		soa, ok := rr.(*dns.SOA)
		return ok && soa.Ns == "fairlead.invalid."
	})
}

func aliases(m *dns.Msg) (n int) {
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == dns.TypeCNAME {
			n++
		}
	}
	return n
}

func carriesHints(m *dns.Msg) bool {
	return slices.ContainsFunc(m.Answer, func(rr dns.RR) bool {
		https, ok := rr.(*dns.HTTPS)
		return ok && slices.ContainsFunc(https.Value, func(v dns.SVCBKeyValue) bool {
			return v.Key() == dns.SVCB_IPV4HINT || v.Key() == dns.SVCB_IPV6HINT
		})
	})
}
