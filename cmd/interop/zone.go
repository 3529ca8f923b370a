package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// domain is where the names of the comparison live. They leave directly, so
// fairlead asks for them as a resolver without a policy does.
const domain = "interop.example."

// signedDomain is signed, and unbound knows its key.
const signedDomain = "signed.example."

// zoneText are the records that are asked for. Private addresses are among them,
// and what only few servers have.
const zoneText = `
$TTL 3600
.                       SOA ns.interop.example. hostmaster.interop.example. 1 1800 900 604800 600
.                       NS ns.interop.example.
example.                SOA ns.interop.example. hostmaster.interop.example. 1 1800 900 604800 600
example.                NS ns.interop.example.
$ORIGIN interop.example.
@                       SOA ns hostmaster 7 1800 900 604800 300
@                       NS ns
@                       MX 10 mail
@                       A 198.51.100.1
@                       CAA 0 issue "ca.example"
ns                      A 198.51.100.10
ns                      AAAA 2001:db8:51::10
mail                    A 198.51.100.25
www                     A 198.51.100.2
www                     AAAA 2001:db8:51::2
www                     TXT "v=spf1 -all" "second \"string\""
www                     HTTPS 1 . alpn="h2,h3" ipv4hint=198.51.100.2 ipv6hint=2001:db8:51::2
www                     LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m
www                     SSHFP 4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789
www                     TYPE65400 \# 6 c00c0102ff00
www                     TYPE731 \# 0
four                    A 198.51.100.4
web                     A 198.51.100.10
six                     AAAA 2001:db8:51::6
mapped                  AAAA ::ffff:198.51.100.4
many                    A 198.51.100.31
many                    A 198.51.100.32
many                    A 198.51.100.33
many                    A 198.51.100.34
plainsvc                HTTPS 1 svc alpn=h2 port=8443
aliassvc                HTTPS 0 svc
svc                     A 198.51.100.8
_dns.svc                SVCB 1 svc alpn=dot port=853 key65333=x
hints                   HTTPS 1 . mandatory=ipv4hint alpn=h2 ipv4hint=198.51.100.8
ech                     HTTPS 1 . alpn=h2 ech=AEX+DQBB2gAgACD1W1B+GxY3nZ53Rigpsp0xlL6+80qcvZtgwjsIs4YoOwAEAAEAAQASY2xvdWRmbGFyZS1lY2guY29tAAA=
_sip._udp               SRV 1 2 5060 sip
sip                     A 198.51.100.5
naptr                   NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:a@b!" .
alias                   CNAME www
alias2                  CNAME alias
aliascrowd              CNAME crowd
aliasnowhere            CNAME nowhere
aliasnodata             CNAME four
aliaswild               CNAME x.wild
aliassigned             CNAME www.signed.example.
aliasprivate            CNAME private
aliaslocal              CNAME printer.lan.
loop1                   CNAME loop2
loop2                   CNAME loop1
selfloop                CNAME selfloop
c1                      CNAME c2
c2                      CNAME c3
c3                      CNAME c4
c4                      CNAME c5
c5                      CNAME c6
c6                      CNAME c7
c7                      CNAME c8
c8                      CNAME c9
c9                      CNAME four
c0                      CNAME c1
d01                     CNAME d02
d02                     CNAME d03
d03                     CNAME d04
d04                     CNAME d05
d05                     CNAME d06
d06                     CNAME d07
d07                     CNAME d08
d08                     CNAME d09
d09                     CNAME d10
d10                     CNAME d11
d11                     CNAME d12
d12                     CNAME d13
d13                     CNAME d14
d14                     CNAME four
*.wild                  A 198.51.100.6
*.wild                  TXT "wild"
kept.wild               TXT "not wild"
*.wildalias             CNAME www
a.b.c.deep              A 198.51.100.7
dname                   DNAME interop.example.
dname                   TXT "at the owner"
private                 A 192.168.1.1
privatesix              AAAA fd00::1
privatemapped           AAAA ::ffff:10.0.0.1
loopback                A 127.0.0.1
linklocal               AAAA fe80::1
half                    A 10.0.0.1
half                    A 198.51.100.9
fake                    A 198.18.0.7
unspecified             A 0.0.0.0
short             5     A 198.51.100.11
zero              0     A 198.51.100.12
long         604800     A 198.51.100.13
huge     2147483648     A 198.51.100.14
Mixed.CASE              TXT "MiXeD"
spf                     SPF "v=spf1 -all"
sub.delegated           A 198.51.100.15
under_score             A 198.51.100.16
sp\032ace               TXT "a space"
do\.t                   TXT "a dot within a label"
b\000in\255             TXT "not text"
lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll A 198.51.100.17
target            300   A 198.51.100.44
victim                  A 198.51.100.45
$ORIGIN signed.example.
@                       SOA ns.interop.example. hostmaster 1 1800 900 604800 300
@                       NS ns.interop.example.
www                     A 198.51.100.21
www                     TXT "signed"
alias                   CNAME www
aliasnowhere            CNAME nowhere
aliasout                CNAME www.interop.example.
*.wild                  A 198.51.100.22
a.empty                 A 198.51.100.23
bogus                   A 198.51.100.24
$ORIGIN in-addr.arpa.
@                       SOA ns.interop.example. hostmaster.interop.example. 1 1800 900 604800 300
8.8.8.8                 PTR www.interop.example.
`

// crowd is how many addresses a name has that needs more than 512 octets.
const crowd = 60

// bigTexts are names with so many octets of text.
func bigTexts() map[string]int {
	return map[string]int{"big500": 500, "big1100": 1100, "big1300": 1300, "big4000": 4000, "big16000": 16000, "big60000": 60000}
}

// zone is records by name and type. Names are lower-case and end in a dot.
type zone map[string]map[uint16][]dns.RR

func newZone() (zone, error) {
	z := make(zone)
	parser := dns.NewZoneParser(strings.NewReader(zoneText), ".", "zone")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		z.add(rr)
	}
	if err := parser.Err(); err != nil {
		return nil, fmt.Errorf("reading the zone: %w", err)
	}
	for i := range crowd {
		z.add(&dns.A{Hdr: dns.RR_Header{Name: "crowd." + domain, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 3600}, A: []byte{203, 0, 113, byte(i)}})
	}
	for name, size := range bigTexts() {
		for n := 0; size > 0; n++ {
			text := fmt.Sprintf("%05d%s", n, strings.Repeat("x", min(size, 195)))
			z.add(&dns.TXT{Hdr: dns.RR_Header{Name: name + "." + domain, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 3600}, Txt: []string{text}})
			size -= 200
		}
	}
	return z, nil
}

func (z zone) add(rr dns.RR) {
	name := strings.ToLower(rr.Header().Name)
	if z[name] == nil {
		z[name] = make(map[uint16][]dns.RR)
	}
	z[name][rr.Header().Rrtype] = append(z[name][rr.Header().Rrtype], rr)
}

// maxAliases is where a circle of aliases ends.
const maxAliases = 20

// finding is what a zone says to a question.
type finding struct {
	answer, authority []dns.RR
	rcode             int
	wild              []string // names that a wildcard stood in for
}

// find answers a question with the whole chain of aliases, as a resolver does.
func (z zone) find(name string, qtype uint16) (f finding) {
	for range maxAliases {
		target := z.step(&f, strings.ToLower(name), name, qtype)
		if target == "" {
			break
		}
		name = target
	}
	return f
}

// step adds what there is of one name, and gives the name that it stands for.
func (z zone) step(f *finding, key, name string, qtype uint16) (target string) {
	if target, ok := z.dname(f, key, name); ok {
		return target
	}
	source := z.source(key)
	if source == "" {
		f.rcode = dns.RcodeNameError
		f.authority = z.soa(key)
		return ""
	}
	if source != key {
		f.wild = append(f.wild, key)
	}
	if alias := z[source][dns.TypeCNAME]; len(alias) > 0 && qtype != dns.TypeCNAME && qtype != dns.TypeANY {
		f.answer = append(f.answer, owned(alias, name)...)
		return alias[0].(*dns.CNAME).Target
	}
	records := z[source][qtype]
	if qtype == dns.TypeANY {
		records = z.all(source)
	}
	if len(records) == 0 {
		f.authority = z.soa(key)
	}
	f.answer = append(f.answer, owned(records, name)...)
	return ""
}

// dname applies the DNAME record above a name, if there is one (RFC 6672). The
// target is empty if it would be too long.
func (z zone) dname(f *finding, key, name string) (target string, ok bool) {
	for above := key; above != "."; {
		above = parent(above)
		records := z[above][dns.TypeDNAME]
		if len(records) == 0 {
			continue
		}
		d := records[0].(*dns.DNAME)
		f.answer = append(f.answer, d)
		target = name[:len(name)-len(above)] + d.Target
		if _, legal := dns.IsDomainName(target); !legal {
			f.rcode = dns.RcodeYXDomain
			return "", true
		}
		f.answer = append(f.answer, &dns.CNAME{
			Hdr:    dns.RR_Header{Name: name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: d.Hdr.Ttl},
			Target: target,
		})
		return target, true
	}
	return "", false
}

// source is where a name's records are: its own, or the wildcard's. It is empty
// where there is no such name.
func (z zone) source(name string) string {
	if z.exists(name) {
		return name
	}
	for above := parent(name); ; above = parent(above) {
		if wildcard := "*." + above; z[wildcard] != nil {
			return wildcard
		}
		if above == "." || z.exists(above) {
			return ""
		}
	}
}

// exists tells names with records, and those between such names and the root.
func (z zone) exists(name string) bool {
	if z[name] != nil {
		return true
	}
	for other := range z {
		if strings.HasSuffix(other, "."+name) {
			return true
		}
	}
	return false
}

// soa is the record of the closest zone.
func (z zone) soa(name string) []dns.RR {
	for ; ; name = parent(name) {
		if soa := z[name][dns.TypeSOA]; len(soa) > 0 {
			return soa
		}
	}
}

func (z zone) all(name string) (records []dns.RR) {
	types := make([]uint16, 0, len(z[name]))
	for t := range z[name] {
		types = append(types, t)
	}
	slices.Sort(types)
	for _, t := range types {
		records = append(records, z[name][t]...)
	}
	return records
}

// owned are copies of records, of another name.
func owned(records []dns.RR, name string) (copies []dns.RR) {
	for _, rr := range records {
		rr = dns.Copy(rr)
		rr.Header().Name = name
		copies = append(copies, rr)
	}
	return copies
}

func parent(name string) string {
	at, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[at:]
}
