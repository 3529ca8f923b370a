package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// fw4 makes the chain input of table inet fw4 what OpenWrt's firewall makes of
// a zone that has the device br-lan and `input REJECT`, but for DNS and DHCP, and
// of the rules that services bring along.
func fw4(args []string) error {
	if len(args) != 1 || args[0] != "start" && args[0] != "reload" {
		return fmt.Errorf("this stand-in knows no fw4 %q", args)
	}
	a, err := call(busPath, request{Method: "get_data", Data: json.RawMessage(`{"type":"firewall"}`)})
	if err != nil {
		return err
	}
	var services map[string]struct{ Firewall []map[string]string }
	if err := json.Unmarshal(a.Data, &services); err != nil {
		return fmt.Errorf("reading what services want: %w", err)
	}
	chain := inputChain{table: &nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"}}
	chain.accept(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, equal(name("lo")))
	chain.accept(&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, mask(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), unequal(number(0)))
	for service, s := range services {
		for _, rule := range s.Firewall {
			if err := chain.service(rule); err != nil {
				return fmt.Errorf("ubus rule of %s: %w", service, err)
			}
		}
	}
	for _, port := range []uint16{53, 67} {
		chain.accept(append(chain.fromLAN(), &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			equal(binaryutil.BigEndian.PutUint16(port)))...)
	}
	// handle_reject of fw4: a reset is not limited in number, as what ICMP says is.
	for proto, refusal := range map[byte]*expr.Reject{
		unix.IPPROTO_TCP: {Type: unix.NFT_REJECT_TCP_RST},
		unix.IPPROTO_UDP: {Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH},
	} {
		chain.add(append(chain.fromLAN(), &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{proto}), refusal)...)
	}
	return chain.replace()
}

// inputChain is the chain as it shall be.
type inputChain struct {
	table *nftables.Table
	rules [][]expr.Any
}

func (c *inputChain) add(steps ...expr.Any) { c.rules = append(c.rules, steps) }

func (c *inputChain) accept(steps ...expr.Any) {
	c.add(append(steps, &expr.Verdict{Kind: expr.VerdictAccept})...)
}

func (c *inputChain) fromLAN() []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, equal(name("br-lan"))}
}

// service adds a rule that a service brings along. fw4 leaves out a rule with
// a value that it cannot read; here that is a mistake, as is what this stand-in
// cannot carry out.
func (c *inputChain) service(rule map[string]string) error {
	if rule["type"] != "rule" || rule["src"] != "*" || rule["dest"] != "" || rule["target"] != "ACCEPT" || rule["proto"] != "tcp udp" {
		return fmt.Errorf("%v: want type rule, src *, no dest, proto 'tcp udp', target ACCEPT", rule)
	}
	for option := range rule {
		if !slices.Contains([]string{"type", "src", "proto", "target", "mark"}, option) {
			return fmt.Errorf("unknown option %s", option)
		}
	}
	// parse_mark of fw4.uc
	m := regexp.MustCompile(`^(0?x?[0-9a-f]+)(?:/(0?x?[0-9a-f]+))?$`).FindStringSubmatch(rule["mark"])
	if m == nil {
		return fmt.Errorf("option mark: invalid value %q", rule["mark"])
	}
	value, err1 := strconv.ParseUint(m[1], 0, 32)
	bits, err2 := strconv.ParseUint(m[2], 0, 32)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("option mark: %w", err)
	}
	for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		c.accept(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal([]byte{proto}),
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, mask(uint32(bits)), equal(number(uint32(value))))
	}
	return nil
}

// replace writes the chain in one transaction.
func (c *inputChain) replace() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	conn.AddTable(c.table)
	accept := nftables.ChainPolicyAccept
	chain := conn.AddChain(&nftables.Chain{Name: "input", Table: c.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &accept})
	conn.FlushChain(chain)
	for _, steps := range c.rules {
		conn.AddRule(&nftables.Rule{Table: c.table, Chain: chain, Exprs: steps})
	}
	return conn.Flush()
}

func equal(data []byte) *expr.Cmp   { return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data} }
func unequal(data []byte) *expr.Cmp { return &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: data} }

func number(n uint32) []byte { return binaryutil.NativeEndian.PutUint32(n) }

func mask(bits uint32) *expr.Bitwise {
	return &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: number(bits), Xor: number(0)}
}

func name(device string) []byte {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, device)
	return padded
}
