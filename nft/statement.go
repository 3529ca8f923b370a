package nft

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/fairlead/fairlead/nft/mark"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// statement is one step of a rule. Its two forms are made from the same values,
// so they cannot say different things.
type statement interface {
	text() string      // as nft writes it
	encode(e *encoder) // as the kernel takes it
}

// rule is what a chain does with a packet, if it gets that far.
type rule struct {
	steps   []statement
	comment string
}

func (r rule) text() string {
	words := make([]string, 0, len(r.steps)+1)
	for _, s := range r.steps {
		words = append(words, s.text())
	}
	if r.comment != "" {
		words = append(words, fmt.Sprintf("comment %q", r.comment))
	}
	return strings.Join(words, " ")
}

// is holds if the field has the value.
type is struct {
	field field
	value value
}

func (s is) text() string {
	if s.field.masked { // else nft would take the value for part of the mask
		return s.field.name + " == " + s.value.text
	}
	return s.field.name + " " + s.value.text
}

func (s is) encode(e *encoder) { e.compare(s.field, expr.CmpOpEq, s.value.data) }

// isNot holds if the field has another value.
type isNot struct {
	field field
	value value
}

func (s isNot) text() string { return s.field.name + " != " + s.value.text }

func (s isNot) encode(e *encoder) { e.compare(s.field, expr.CmpOpNeq, s.value.data) }

// has holds if any of the value's bits is set in the field.
type has struct {
	field field
	bits  value
}

func (s has) text() string { return s.field.name + " " + s.bits.text }

func (s has) encode(e *encoder) {
	e.compare(s.field.and(s.bits), expr.CmpOpNeq, make([]byte, s.field.size))
}

// within holds if the field is an address of the prefix.
type within struct {
	field  field
	prefix netip.Prefix
}

func (s within) text() string { return s.field.name + " " + s.prefix.String() }

func (s within) encode(e *encoder) {
	mask := net.CIDRMask(s.prefix.Bits(), s.prefix.Addr().BitLen())
	e.compare(s.field.and(value{data: mask}), expr.CmpOpEq, s.prefix.Masked().Addr().AsSlice())
}

// in holds if the field is in the named set; not reverses it.
type in struct {
	field field
	not   bool
	set   string
}

func (s in) text() string {
	switch {
	case s.not:
		return s.field.name + " != @" + s.set
	case s.field.masked:
		return s.field.name + " == @" + s.set
	}
	return s.field.name + " @" + s.set
}

func (s in) encode(e *encoder) {
	e.load(s.field)
	e.add(&expr.Lookup{SourceRegister: firstRegister, SetName: s.set, Invert: s.not})
}

// isOneOf holds if the field has one of the values.
type isOneOf struct {
	field  field
	kind   datatype
	values []value
}

func (s isOneOf) text() string {
	return s.field.name + " { " + texts(elementsOf(s.values...)) + " }"
}

func (s isOneOf) encode(e *encoder) {
	name, id := e.anonymous(set{key: []datatype{s.kind}, elements: elementsOf(s.values...)})
	e.load(s.field)
	e.add(&expr.Lookup{SourceRegister: firstRegister, SetName: name, SetID: id})
}

// lookUp takes the verdict that the named map has for the field, if any.
type lookUp struct {
	field field
	set   string
}

func (s lookUp) text() string { return s.field.name + " vmap @" + s.set }

func (s lookUp) encode(e *encoder) {
	e.load(s.field)
	e.add(&expr.Lookup{SourceRegister: firstRegister, SetName: s.set, IsDestRegSet: true, DestRegister: unix.NFT_REG_VERDICT})
}

// branch takes the verdict that belongs to the field's value, if any.
type branch struct {
	field    field
	kind     datatype
	elements []element
}

func (s branch) text() string { return s.field.name + " vmap { " + texts(s.elements) + " }" }

func (s branch) encode(e *encoder) {
	name, id := e.anonymous(set{key: []datatype{s.kind}, verdicts: true, elements: s.elements})
	e.load(s.field)
	e.add(&expr.Lookup{SourceRegister: firstRegister, SetName: name, SetID: id, IsDestRegSet: true, DestRegister: unix.NFT_REG_VERDICT})
}

// setMark sets our bits of the packet's mark and leaves those of others.
type setMark struct{ mark uint32 }

func (s setMark) text() string { return markText("meta mark", s.mark) }

func (s setMark) encode(e *encoder) {
	e.remark(metaMark(), s.mark, &expr.Meta{Key: expr.MetaKeyMARK, Register: firstRegister, SourceRegister: true})
}

// remember does the same to the flow's mark.
type remember struct{ mark uint32 }

func (s remember) text() string { return markText("ct mark", s.mark) }

func (s remember) encode(e *encoder) {
	e.remark(ctMark(), s.mark, &expr.Ct{Key: expr.CtKeyMARK, Register: firstRegister, SourceRegister: true})
}

func markText(field string, m uint32) string {
	return fmt.Sprintf("%s set %s and 0x%08x or 0x%08x", field, field, ^mark.Mask, m)
}

// tproxy gives the packet to a transparent socket: an established one of its
// flow, else the listener. It breaks the rule off if there is neither.
type tproxy struct {
	family family
	to     netip.AddrPort
}

func (s tproxy) text() string { return "tproxy " + s.family.name + " to " + s.to.String() }

func (s tproxy) encode(e *encoder) {
	const port = firstRegister + 4 // behind the longest address
	e.add(&expr.Immediate{Register: firstRegister, Data: s.to.Addr().AsSlice()})
	e.add(&expr.Immediate{Register: port, Data: binaryutil.BigEndian.PutUint16(s.to.Port())})
	e.add(&expr.TProxy{Family: s.family.proto.data[0], RegAddr: firstRegister, RegPort: port})
}

// reset answers a TCP segment with a reset.
type reset struct{}

func (reset) text() string { return "reject with tcp reset" }

func (reset) encode(e *encoder) { e.add(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}) }

// unreachable answers with ICMP port unreachable of the packet's family.
type unreachable struct{}

func (unreachable) text() string { return "reject with icmpx port-unreachable" }

func (unreachable) encode(e *encoder) {
	e.add(&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH})
}

// forget deletes the field from the named set.
type forget struct {
	field field
	set   string
}

func (s forget) text() string { return "delete @" + s.set + " { " + s.field.name + " }" }

func (s forget) encode(e *encoder) {
	const deletion = 2 // NFT_DYNSET_OP_DELETE of linux/netfilter/nf_tables.h
	e.load(s.field)
	e.add(&expr.Dynset{SrcRegKey: firstRegister, SetName: s.set, Operation: deletion})
}

// verdict ends a rule.
type verdict struct {
	kind  expr.VerdictKind
	chain string // that is gone or jumped to
}

func accept() verdict { return verdict{kind: expr.VerdictAccept} }

func goTo(chain string) verdict { return verdict{expr.VerdictGoto, chain} }

// jumpTo comes back to the next rule, goTo does not.
func jumpTo(chain string) verdict { return verdict{expr.VerdictJump, chain} }

func drop() verdict { return verdict{kind: expr.VerdictDrop} }

func goBack() verdict { return verdict{kind: expr.VerdictReturn} }

func (v verdict) text() string {
	switch v.kind {
	case expr.VerdictGoto:
		return "goto " + v.chain
	case expr.VerdictJump:
		return "jump " + v.chain
	case expr.VerdictReturn:
		return "return"
	case expr.VerdictDrop:
		return "drop"
	}
	return "accept"
}

func (v verdict) encode(e *encoder) { e.add(v.expr()) }

func (v verdict) expr() *expr.Verdict { return &expr.Verdict{Kind: v.kind, Chain: v.chain} }

// redirect gives the packet the destination that the named map has for its
// own, for as long as the flow lives. It breaks the rule off if there is none.
type redirect struct {
	family family
	set    string
}

func (s redirect) text() string {
	return fmt.Sprintf("dnat %s to %s map @%s", s.family.name, target(s.family).name, s.set)
}

func (s redirect) encode(e *encoder) {
	e.load(target(s.family))
	e.add(&expr.Lookup{SourceRegister: firstRegister, SetName: s.set, IsDestRegSet: true, DestRegister: firstRegister})
	e.add(&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(s.family.proto.data[0]), RegAddrMin: firstRegister})
}

// masquerade gives the flow the address of the interface that it leaves through.
type masquerade struct{}

func (masquerade) text() string { return "masquerade" }

func (masquerade) encode(e *encoder) { e.add(&expr.Masq{}) }
