package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/miekg/dns"
)

// question is one that both resolvers are asked.
type question struct {
	about   string // what is special about it, for people
	network string // udp or tcp
	msg     []byte
	silence bool // no answer is what is wanted

	// Good once read by newQuestion; zero of messages that cannot be read.
	name   string
	qtype  uint16
	edns   bool
	do     bool
	size   int // octets that an answer may have
	parsed *dns.Msg
}

func newQuestion(about, network string, msg []byte) question {
	q := question{about: about, network: network, msg: msg, size: dns.MinMsgSize}
	m := new(dns.Msg)
	if m.Unpack(msg) == nil && len(m.Question) == 1 {
		q.parsed, q.name, q.qtype = m, strings.ToLower(m.Question[0].Name), m.Question[0].Qtype
		if opt := m.IsEdns0(); opt != nil {
			q.edns, q.do = true, opt.Do()
			q.size = int(max(opt.UDPSize(), dns.MinMsgSize))
		}
	}
	if network == "tcp" {
		q.size = dns.MaxMsgSize
	}
	return q
}

// String is the question as one can type it.
func (q question) String() string {
	if q.parsed == nil {
		return fmt.Sprintf("%s (%s) %x", q.about, q.network, q.msg[:min(len(q.msg), 80)])
	}
	p := q.parsed
	text := fmt.Sprintf("%s %s %s +%s", p.Question[0].Name, dns.Class(p.Question[0].Qclass), dns.Type(q.qtype), q.network)
	for _, flag := range []struct {
		set  bool
		name string
	}{{!p.RecursionDesired, "norec"}, {p.AuthenticatedData, "ad"}, {p.CheckingDisabled, "cd"}, {q.do, "do"}} {
		if flag.set {
			text += " +" + flag.name
		}
	}
	if q.edns {
		text += fmt.Sprintf(" +bufsize=%d", p.IsEdns0().UDPSize())
	}
	return text + " (" + q.about + ")"
}

// generator makes questions. The same seed makes the same ones.
type generator struct {
	random *rand.Rand
	all    []question
}

func questions(z zone, seed uint64) []question {
	g := &generator{random: rand.New(rand.NewPCG(seed, 0))}
	g.everyRecord(z)
	g.absences()
	g.otherTypes()
	g.sizes()
	g.flags()
	g.special()
	g.options()
	g.odd()
	return g.all
}

// add asks for a name with the usual flags.
func (g *generator) add(about, name string, qtype uint16, change ...func(*dns.Msg)) {
	g.over("udp", about, name, qtype, change...)
}

func (g *generator) over(network, about, name string, qtype uint16, change ...func(*dns.Msg)) {
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	m.Id = uint16(g.random.Uint32())
	m.SetEdns0(1232, false)
	for _, c := range change {
		c(m)
	}
	msg, err := m.Pack()
	if err != nil {
		panic(fmt.Sprintf("%s: packing %v: %v", about, m, err)) // of our own names
	}
	g.all = append(g.all, newQuestion(about, network, msg))
}

// everyRecord asks for each record of the zone, with letters in random case.
func (g *generator) everyRecord(z zone) {
	for _, name := range z.namesInOrder() {
		if strings.HasPrefix(name, "big") {
			continue // asked for by size
		}
		for _, rr := range z.all(name) {
			if labels := dns.CountLabel(name); labels == 1 && name != "." {
				continue // asked for as special
			}
			g.over(g.network(), "in the zone", g.mixed(name), rr.Header().Rrtype, g.someFlags())
		}
		if dns.CountLabel(name) > 1 {
			g.add("address", g.mixed(name), g.either(dns.TypeA, dns.TypeAAAA))
		}
	}
}

func (g *generator) absences() {
	for _, name := range []string{
		"nowhere", "a.nowhere", "www.www", "deep", "c.deep", "b.c.deep", "x.a.b.c.deep", "wild", "x.wild", "x.y.wild", "kept.wild", "below.kept.wild",
		"*.wild", "x.wildalias", "www.dname", "nowhere.dname", "x.y.dname", "alias.dname", "delegated", "sub.delegated", "xn--nxasmq6b", "_tcp",
	} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeHTTPS} {
			g.add("below, above or beside what there is", name+"."+domain, qtype, g.someFlags())
		}
	}
	for _, name := range []string{"nowhere", "a.nowhere", "x.wild", "empty", "www", "alias", "aliasnowhere", "x.y.wild", "wild"} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeMX} {
			for _, do := range []bool{false, true} {
				g.add("signed", name+"."+signedDomain, qtype, size(1232, do))
			}
		}
	}
	for _, qtype := range []uint16{dns.TypeDNSKEY, dns.TypeSOA, dns.TypeNS} {
		g.add("of the signed zone", signedDomain, qtype, size(1232, true))
	}
	g.add("bogus", "bogus."+signedDomain, dns.TypeA)
	g.add("bogus, unchecked", "bogus."+signedDomain, dns.TypeA, cd)
	for _, label := range []string{"servfail", "refused", "notimp", "nosoa", "noopt", "extra", "twice", "disorder"} {
		g.add("a server in trouble", label+"."+domain, dns.TypeA)
	}
}

// otherTypes asks for all sorts of types of names that have none of them.
func (g *generator) otherTypes() {
	for _, qtype := range []uint16{
		dns.TypeNS, dns.TypeMD, dns.TypeSOA, dns.TypeMB, dns.TypeNULL, dns.TypeHINFO, dns.TypeMINFO, dns.TypeMX, dns.TypeRP, dns.TypeAFSDB, dns.TypeX25, dns.TypeSIG,
		dns.TypeKEY, dns.TypePX, dns.TypeLOC, dns.TypeNXT, dns.TypeSRV, dns.TypeNAPTR, dns.TypeKX, dns.TypeCERT, 38 /* A6 */, dns.TypeDNAME, dns.TypeAPL, dns.TypeDS, dns.TypeSSHFP,
		dns.TypeIPSECKEY, dns.TypeRRSIG, dns.TypeNSEC, dns.TypeDNSKEY, dns.TypeDHCID, dns.TypeNSEC3, dns.TypeNSEC3PARAM, dns.TypeTLSA, dns.TypeSMIMEA, dns.TypeHIP,
		dns.TypeCDS, dns.TypeCDNSKEY, dns.TypeOPENPGPKEY, dns.TypeCSYNC, dns.TypeZONEMD, dns.TypeSVCB, dns.TypeHTTPS, dns.TypeSPF, dns.TypeEUI48, dns.TypeEUI64,
		dns.TypeURI, dns.TypeCAA, dns.TypeAVC, 262, 32768, 32769, 65279, 65280, 65400, 65534,
	} {
		g.add("no such type", "four."+domain, qtype)
		if g.random.IntN(3) == 0 {
			g.add("no such name", "nowhere."+domain, qtype)
		}
	}
	for _, qtype := range []uint16{0, dns.TypeOPT, 128, 200, dns.TypeTKEY, dns.TypeTSIG, dns.TypeIXFR, dns.TypeMAILB, dns.TypeMAILA, dns.TypeANY, dns.TypeReserved} {
		g.add("meta type", "www."+domain, qtype)
		g.over("tcp", "meta type", "www."+domain, qtype)
	}
	g.over("tcp", "transfer", domain, dns.TypeAXFR)
	g.add("transfer over UDP", domain, dns.TypeAXFR)
	for _, class := range []uint16{0, 2, dns.ClassCHAOS, dns.ClassHESIOD, dns.ClassNONE, dns.ClassANY, 65280} {
		g.add("another class", "www."+domain, dns.TypeA, func(m *dns.Msg) { m.Question[0].Qclass = class })
	}
	for _, name := range []string{"version.bind.", "hostname.bind.", "id.server.", "version.server.", "authors.bind."} {
		g.add("about the server", name, dns.TypeTXT, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS })
	}
}

// sizes asks for texts that fit, that nearly fit and that do not.
func (g *generator) sizes() {
	for name := range bigTextsInOrder() {
		for _, offered := range []uint16{0, 512, 513, 1220, 1232, 1400, 4096, 65535} {
			g.add("text", name+"."+domain, dns.TypeTXT, g.offer(offered))
		}
		g.over("tcp", "text", name+"."+domain, dns.TypeTXT)
		g.over("tcp", "text", name+"."+domain, dns.TypeTXT, g.offer(0))
	}
	for _, offered := range []uint16{0, 512, 1000, 1232} {
		g.add("many addresses", "crowd."+domain, dns.TypeA, g.offer(offered))
		g.add("many addresses", "aliascrowd."+domain, dns.TypeA, g.offer(offered))
	}
	for _, offered := range []uint16{0, 1, 511, 512, 1232, 65535} {
		g.add("offered size", "many."+domain, dns.TypeA, g.offer(offered))
	}
}

// offer says how much the asker can take; 0: it does not say so.
func (g *generator) offer(octets uint16) func(*dns.Msg) {
	if octets == 0 {
		return func(m *dns.Msg) { m.Extra = nil }
	}
	return size(octets, false)
}

func (g *generator) flags() {
	for _, name := range []string{"www." + domain, "nowhere." + domain, "alias." + domain, "www." + signedDomain, "nowhere." + signedDomain, "localhost."} {
		for bits := range 8 {
			g.add("flags", name, dns.TypeA, func(m *dns.Msg) {
				m.AuthenticatedData, m.CheckingDisabled = bits&1 != 0, bits&2 != 0
				m.IsEdns0().SetDo(bits&4 != 0)
			})
		}
		g.add("no recursion wanted", name, dns.TypeA, func(m *dns.Msg) { m.RecursionDesired = false })
		g.add("the last flag", name, dns.TypeA, func(m *dns.Msg) { m.Zero = true })
		g.add("flags of an answer", name, dns.TypeA, func(m *dns.Msg) { m.Authoritative, m.RecursionAvailable = true, true })
	}
	for opcode := 1; opcode < 16; opcode++ {
		g.add("opcode", "www."+domain, dns.TypeA, func(m *dns.Msg) { m.Opcode = opcode })
	}
}

// special are the names that no resolver may ask others for.
func (g *generator) special() {
	for _, name := range []string{
		"localhost.", "a.localhost.", "a.invalid.", "a.test.", "a.onion.", "a.local.", "a.internal.", "a.alt.", "home.arpa.", "a.home.arpa.",
		"1.1.168.192.in-addr.arpa.", "1.0.0.10.in-addr.arpa.", "168.192.in-addr.arpa.", "1.0.0.127.in-addr.arpa.", "1.1.64.100.in-addr.arpa.",
		"1.254.169.in-addr.arpa.", "2.0.192.in-addr.arpa.", "7.0.18.198.in-addr.arpa.", "2.100.51.198.in-addr.arpa.", "1.2.3.4.in-addr.arpa.",
		strings.Repeat("0.", 31) + "ip6.arpa.", "1." + strings.Repeat("0.", 31) + "ip6.arpa.", strings.Repeat("0.", 30) + "d.f.ip6.arpa.", "1.0.8.e.f.ip6.arpa.",
		"ipv4only.arpa.", "resolver.arpa.", "_dns.resolver.arpa.", "use-application-dns.net.", "mask.icloud.com.",
		"printer.", "example.", "com.", "printer.lan.", "ip6.arpa.", "in-addr.arpa.", "arpa.",
	} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypePTR, dns.TypeSOA, dns.TypeDS} {
			g.add("special", name, qtype)
		}
	}
	for _, qtype := range []uint16{dns.TypeA, dns.TypeNS, dns.TypeSOA, dns.TypeDS, dns.TypeDNSKEY, dns.TypeTXT} {
		g.add("the root", ".", qtype, g.someFlags())
	}
}

func (g *generator) options() {
	for _, o := range []struct {
		about  string
		option dns.EDNS0
	}{
		{"cookie", &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "0102030405060708"}},
		{"cookie of the server", &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: "01020304050607080102030405060708"}},
		{"cookie cut short", &dns.EDNS0_LOCAL{Code: dns.EDNS0COOKIE, Data: []byte{1, 2, 3}}},
		{"client subnet", &dns.EDNS0_SUBNET{Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: []byte{192, 0, 2, 0}}},
		{"server's name", &dns.EDNS0_NSID{Code: dns.EDNS0NSID}},
		{"padding", &dns.EDNS0_PADDING{Padding: make([]byte, 100)}},
		{"expiry", &dns.EDNS0_EXPIRE{Code: dns.EDNS0EXPIRE, Empty: true}},
		{"understood algorithms", &dns.EDNS0_DAU{Code: dns.EDNS0DAU, AlgCode: []uint8{8, 13}}},
		{"unknown", &dns.EDNS0_LOCAL{Code: 65001, Data: []byte("what is this")}},
	} {
		for _, network := range []string{"udp", "tcp"} {
			g.over(network, "option: "+o.about, "www."+domain, dns.TypeA, func(m *dns.Msg) { m.IsEdns0().Option = append(m.IsEdns0().Option, o.option) })
		}
	}
	for _, version := range []uint8{1, 255} {
		g.add("version of EDNS", "www."+domain, dns.TypeA, func(m *dns.Msg) { m.IsEdns0().SetVersion(version) })
	}
	g.add("unknown flags of EDNS", "www."+domain, dns.TypeA, func(m *dns.Msg) { m.IsEdns0().Hdr.Ttl |= 0x7fff })
	g.over("tcp", "keep the connection", "www."+domain, dns.TypeA, func(m *dns.Msg) {
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_LOCAL{Code: dns.EDNS0TCPKEEPALIVE})
	})
}

// odd are messages that no library makes, and names that nobody has.
func (g *generator) odd() {
	label := strings.Repeat("l", 63)
	for about, name := range oddNames(label) {
		g.add("odd name: "+about, name, g.either(dns.TypeA, dns.TypeTXT))
		g.add("odd name, again: "+about, name, dns.TypeA)
	}
	for _, m := range malformed() {
		for _, network := range []string{"udp", "tcp"} {
			q := newQuestion("malformed: "+m.about, network, m.msg)
			q.silence = m.silence
			g.all = append(g.all, q)
		}
	}
}

func (g *generator) network() string {
	if g.random.IntN(4) == 0 {
		return "tcp"
	}
	return "udp"
}

func (g *generator) either(a, b uint16) uint16 {
	if g.random.IntN(2) == 0 {
		return a
	}
	return b
}

// mixed is a name in random letter case.
func (g *generator) mixed(name string) string {
	b := []byte(name)
	for i, c := range b {
		if c >= 'a' && c <= 'z' && g.random.IntN(2) == 0 && !strings.HasPrefix(name[i:], "\\") {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// someFlags sets flags, and says what the asker can take, at random.
func (g *generator) someFlags() func(*dns.Msg) {
	bits, offered := g.random.IntN(16), []uint16{512, 1232, 4096}[g.random.IntN(3)]
	return func(m *dns.Msg) {
		m.AuthenticatedData, m.CheckingDisabled = bits&1 != 0, bits&2 != 0
		size(offered, bits&4 != 0)(m)
		if bits == 8 {
			m.Extra = nil
		}
	}
}

func cd(m *dns.Msg) { m.CheckingDisabled = true }

func size(octets uint16, do bool) func(*dns.Msg) {
	return func(m *dns.Msg) {
		m.Extra = nil
		m.SetEdns0(octets, do)
	}
}

// withCounts is a message with the counts of its four sections.
func withCounts(flags uint16, counts [4]uint16, body ...string) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0xab, 0xcd}, flags)
	for _, n := range counts {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return append(b, strings.Join(body, "")...)
}
