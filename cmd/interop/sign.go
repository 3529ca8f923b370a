package main

import (
	"crypto"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// signer signs what is found in signedDomain (RFC 4035).
type signer struct {
	zone    zone
	key     *dns.DNSKEY
	private crypto.Signer
	names   []string // of the signed zone, in canonical order
}

func newSigner(z zone) (*signer, error) {
	key := &dns.DNSKEY{
		Hdr:   dns.RR_Header{Name: signedDomain, Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 3600},
		Flags: dns.ZONE | dns.SEP, Protocol: 3, Algorithm: dns.ECDSAP256SHA256,
	}
	private, err := key.Generate(256)
	if err != nil {
		return nil, fmt.Errorf("making the zone's key: %w", err)
	}
	z.add(key)
	s := &signer{zone: z, key: key, private: private.(crypto.Signer)}
	for name := range z {
		if dns.IsSubDomain(signedDomain, name) {
			s.names = append(s.names, name)
		}
	}
	slices.SortFunc(s.names, canonical)
	return s, nil
}

// prove adds to a finding what proves it.
func (s *signer) prove(f *finding, name string, corrupt bool) {
	name = strings.ToLower(name)
	for _, rr := range f.answer {
		if alias, ok := rr.(*dns.CNAME); ok {
			name = strings.ToLower(alias.Target)
		}
	}
	negative := len(f.authority) > 0
	switch {
	case negative && dns.IsSubDomain(signedDomain, name):
		f.authority = append(slices.Clone(f.authority), s.denials(f, name)...)
	default:
		for _, wild := range f.wild {
			if dns.IsSubDomain(signedDomain, wild) {
				f.authority = append(f.authority, s.covering(wild))
			}
		}
	}
	f.answer = s.signed(f.answer, corrupt)
	f.authority = s.signed(f.authority, false)
}

// denials are that there is neither the name nor a wildcard for it, or that the
// name has no such data.
func (s *signer) denials(f *finding, name string) []dns.RR {
	first := s.covering(name)
	if f.rcode != dns.RcodeNameError {
		if len(f.wild) > 0 {
			return unique(first, s.covering("*."+parent(name)))
		}
		return []dns.RR{first}
	}
	encloser := parent(name)
	for !s.zone.exists(encloser) {
		encloser = parent(encloser)
	}
	return unique(first, s.covering("*."+encloser))
}

func unique(a, b dns.RR) []dns.RR {
	if dns.IsDuplicate(a, b) {
		return []dns.RR{a}
	}
	return []dns.RR{a, b}
}

// covering is the NSEC record of a name, or of the one before it.
func (s *signer) covering(name string) dns.RR {
	at, found := slices.BinarySearchFunc(s.names, name, canonical)
	if !found {
		at--
	}
	owner := s.names[at]
	types := []uint16{dns.TypeRRSIG, dns.TypeNSEC}
	for t := range s.zone[owner] {
		types = append(types, t)
	}
	slices.Sort(types)
	return &dns.NSEC{
		Hdr:        dns.RR_Header{Name: owner, Rrtype: dns.TypeNSEC, Class: dns.ClassINET, Ttl: 300},
		NextDomain: s.names[(at+1)%len(s.names)], TypeBitMap: types,
	}
}

// signed puts the signature behind each set of records.
func (s *signer) signed(records []dns.RR, corrupt bool) (out []dns.RR) {
	for len(records) > 0 {
		n := 1
		for n < len(records) && sameSet(records[0], records[n]) {
			n++
		}
		out = append(out, records[:n]...)
		if dns.IsSubDomain(signedDomain, records[0].Header().Name) {
			out = append(out, s.signature(records[:n], corrupt))
		}
		records = records[n:]
	}
	return out
}

func sameSet(a, b dns.RR) bool {
	return a.Header().Rrtype == b.Header().Rrtype && strings.EqualFold(a.Header().Name, b.Header().Name)
}

// signature signs a set as it is in the zone: for the wildcard's name where that
// stood in.
func (s *signer) signature(set []dns.RR, corrupt bool) dns.RR {
	owner := set[0].Header().Name
	source := s.zone.source(strings.ToLower(owner))
	sig := &dns.RRSIG{
		Hdr: dns.RR_Header{Ttl: set[0].Header().Ttl}, Algorithm: s.key.Algorithm, KeyTag: s.key.KeyTag(), SignerName: signedDomain,
		Inception: uint32(time.Now().Add(-time.Hour).Unix()), Expiration: uint32(time.Now().Add(time.Hour).Unix()),
	}
	if err := sig.Sign(s.private, owned(set, source)); err != nil {
		panic(fmt.Sprintf("signing %v: %v", set, err)) // of our own records
	}
	sig.Hdr.Name = owner
	if corrupt {
		sig.Expiration -= 1
	}
	return sig
}

// canonical compares names label by label from the end (RFC 4034 section 6.1).
func canonical(a, b string) int {
	x, y := dns.SplitDomainName(a), dns.SplitDomainName(b)
	slices.Reverse(x)
	slices.Reverse(y)
	return slices.Compare(x, y)
}
