package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// reply is what a resolver did with a question.
type reply struct {
	raw []byte // nil: silence
	msg *dns.Msg
	err error // why raw cannot be read
}

func newReply(raw []byte) reply {
	r := reply{raw: raw, msg: new(dns.Msg)}
	if raw != nil {
		r.err = r.msg.Unpack(raw)
	}
	return r
}

// difference is in one aspect of an answer.
type difference struct{ aspect, ours, theirs string }

// differences compares what two resolvers did with a question, as far as it
// matters to who asks: TTLs may differ by as much as the answers' age may.
func differences(ours, theirs reply, age time.Duration) []difference {
	if ours.raw == nil || theirs.raw == nil {
		return same("reply", saysAnything(ours), saysAnything(theirs))
	}
	if ours.err != nil || theirs.err != nil {
		return same("form", fmt.Sprint(ours.err), fmt.Sprint(theirs.err))
	}
	a, b := ours.msg, theirs.msg
	all := [][]difference{
		same("rcode", dns.RcodeToString[a.Rcode], dns.RcodeToString[b.Rcode]),
		same("opcode", fmt.Sprint(a.Opcode), fmt.Sprint(b.Opcode)),
		same("question", asked(ours), asked(theirs)),
		same("aa", fmt.Sprint(a.Authoritative), fmt.Sprint(b.Authoritative)),
		same("tc", fmt.Sprint(a.Truncated), fmt.Sprint(b.Truncated)),
		same("rd", fmt.Sprint(a.RecursionDesired), fmt.Sprint(b.RecursionDesired)),
		same("ra", fmt.Sprint(a.RecursionAvailable), fmt.Sprint(b.RecursionAvailable)),
		same("z", fmt.Sprint(a.Zero), fmt.Sprint(b.Zero)),
		same("ad", fmt.Sprint(a.AuthenticatedData), fmt.Sprint(b.AuthenticatedData)),
		same("cd", fmt.Sprint(a.CheckingDisabled), fmt.Sprint(b.CheckingDisabled)),
		same("answer", records(a.Answer), records(b.Answer)),
		same("authority", records(a.Ns), records(b.Ns)),
		same("additional", records(extra(a)), records(extra(b))),
		same("edns", optOf(a), optOf(b)),
		same("options", optionsOf(a), optionsOf(b)),
	}
	for _, r := range a.Answer {
		all = append(all, ttl(r, b.Answer, age))
	}
	for _, r := range a.Ns {
		all = append(all, ttl(r, b.Ns, age))
	}
	return slices.Concat(all...)
}

func same(aspect, ours, theirs string) []difference {
	if ours == theirs {
		return nil
	}
	return []difference{{aspect, ours, theirs}}
}

func saysAnything(r reply) string {
	switch {
	case r.raw == nil:
		return "silence"
	case r.err != nil:
		return "something unreadable"
	}
	return "an answer with " + dns.RcodeToString[r.msg.Rcode]
}

// asked is the question section as it was sent, with its letter case.
func asked(r reply) string {
	var texts []string
	for _, q := range r.msg.Question {
		texts = append(texts, strings.ReplaceAll(q.String(), "\t", " "))
	}
	return strings.Join(texts, ", ")
}

// records are those of a section in an order of their own, without TTLs.
func records(section []dns.RR) string {
	texts := make([]string, 0, len(section))
	for _, rr := range section {
		texts = append(texts, text(rr))
	}
	slices.Sort(texts)
	return strings.Join(texts, "\n")
}

// text is a record without its TTL, its name in lower case.
func text(rr dns.RR) string {
	rr = dns.Copy(rr)
	rr.Header().Ttl = 0
	rr.Header().Name = strings.ToLower(rr.Header().Name)
	if sig, ok := rr.(*dns.RRSIG); ok {
		sig.Signature, sig.Inception, sig.Expiration = "", 0, 0 // made anew for each answer
	}
	switch rr := rr.(type) { // names are compared without case (RFC 4343)
	case *dns.CNAME:
		rr.Target = strings.ToLower(rr.Target)
	case *dns.SOA:
		rr.Ns, rr.Mbox = strings.ToLower(rr.Ns), strings.ToLower(rr.Mbox)
	}
	return strings.Join(strings.Fields(rr.String()), " ")
}

func extra(m *dns.Msg) []dns.RR {
	return slices.DeleteFunc(slices.Clone(m.Extra), func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
}

// optOf is the OPT record without its options.
func optOf(m *dns.Msg) string {
	opt := m.IsEdns0()
	if opt == nil {
		return "none"
	}
	return fmt.Sprintf("version %d, size %d, DO %v, flags %#x", opt.Version(), opt.UDPSize(), opt.Do(), opt.Hdr.Ttl&0x7fff)
}

func optionsOf(m *dns.Msg) string {
	opt := m.IsEdns0()
	if opt == nil {
		return ""
	}
	var texts []string
	for _, o := range opt.Option {
		if o.Option() == dns.EDNS0EDE {
			continue // says why, in words that are everybody's own (RFC 8914)
		}
		texts = append(texts, fmt.Sprintf("%d %s", o.Option(), o))
	}
	return strings.Join(texts, ", ")
}

// ttl compares a record's with that of the same record of the others.
func ttl(rr dns.RR, others []dns.RR, age time.Duration) []difference {
	for _, other := range others {
		if text(rr) != text(other) {
			continue
		}
		ours, theirs := int64(rr.Header().Ttl), int64(other.Header().Ttl)
		if max(ours-theirs, theirs-ours) > int64(age.Seconds())+1 {
			return []difference{{"ttl", fmt.Sprintf("%s: %d s", text(rr), ours), fmt.Sprintf("%d s", theirs)}}
		}
		return nil
	}
	return nil
}

// faults are what is wrong with an answer whatever others say.
func faults(q question, r reply) (wrong []string) {
	if r.raw == nil {
		return nil
	}
	complain := func(is bool, format string, args ...any) {
		if is {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	if r.err != nil {
		return []string{"it cannot be read: " + r.err.Error()}
	}
	m := r.msg
	complain(!bytes.Equal(r.raw[:2], q.msg[:2]), "its id is not that of the question")
	complain(!m.Response, "it is no answer")
	complain(len(r.raw) > q.size, "it has %d octets, and who asks takes %d", len(r.raw), q.size)
	complain(q.network == "tcp" && m.Truncated, "it is truncated over TCP")
	if q.parsed == nil || m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented {
		return wrong
	}
	complain(len(m.Question) != 1 || m.Question[0] != q.parsed.Question[0], "its question is %v", m.Question)
	complain((m.IsEdns0() != nil) != q.edns, "EDNS in it is %v, in the question %v", m.IsEdns0() != nil, q.edns)
	complain(!inOrder(m), "an alias comes behind what it stands for")
	for i, rr := range m.Answer {
		for _, other := range m.Answer[:i] {
			complain(text(rr) == text(other) && !strings.HasPrefix(q.name, "twice."), "it has %s twice", text(rr))
			complain(sameSet(rr, other) && rr.Header().Ttl != other.Header().Ttl, "records of %s differ in TTL", rr.Header().Name)
		}
	}
	return wrong
}

// inOrder tells whether each record of the answer is for the name asked for, or
// for the target of an alias before it: stub resolvers read only once.
func inOrder(m *dns.Msg) bool {
	name := m.Question[0].Name
	for _, rr := range m.Answer {
		switch rr.Header().Rrtype {
		case dns.TypeDNAME, dns.TypeRRSIG:
			continue
		}
		if !strings.EqualFold(rr.Header().Name, name) {
			return false
		}
		if alias, ok := rr.(*dns.CNAME); ok && m.Question[0].Qtype != dns.TypeCNAME {
			name = alias.Target
		}
	}
	return true
}
