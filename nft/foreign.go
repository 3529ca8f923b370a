package nft

import (
	"bytes"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Rival is a table of somebody else that does what we do, too.
type Rival struct {
	Table  string // family and name
	DNS    bool   // it redirects port 53
	TProxy bool   // it diverts to transparent listeners
}

// Rivals lists the tables of others that redirect DNS or divert traffic in
// prerouting: two gateways in one router take each other's packets.
func Rivals() ([]Rival, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, fmt.Errorf("listing chains: %w", err)
	}
	found := map[string]*Rival{}
	var order []string
	for _, chain := range chains {
		if chain.Table.Family == nftables.TableFamilyINet && chain.Table.Name == TableName {
			continue
		}
		rules, err := c.GetRules(chain.Table, chain)
		if err != nil {
			continue // it went away meanwhile
		}
		name := familyName(chain.Table.Family) + " " + chain.Table.Name
		for _, r := range rules {
			dns, tproxy := rivalry(r.Exprs)
			if !dns && !tproxy {
				continue
			}
			if found[name] == nil {
				found[name] = &Rival{Table: name}
				order = append(order, name)
			}
			found[name].DNS = found[name].DNS || dns
			found[name].TProxy = found[name].TProxy || tproxy
		}
	}
	rivals := make([]Rival, 0, len(order))
	for _, name := range order {
		rivals = append(rivals, *found[name])
	}
	return rivals, nil
}

// rivalry tells what a rule does to packets that we want. A port is compared as
// two bytes in network order; a set of ports is not looked into.
func rivalry(exprs []expr.Any) (dns, tproxy bool) {
	port53 := false
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Cmp:
			port53 = port53 || e.Op == expr.CmpOpEq && bytes.Equal(e.Data, []byte{0, 53})
		case *expr.Redir:
			dns = dns || port53
		case *expr.NAT:
			dns = dns || port53 && e.Type == expr.NATTypeDestNAT
		case *expr.TProxy:
			tproxy = true
		}
	}
	return dns, tproxy
}

func familyName(f nftables.TableFamily) string {
	switch f {
	case nftables.TableFamilyINet:
		return "inet"
	case nftables.TableFamilyIPv4:
		return "ip"
	case nftables.TableFamilyIPv6:
		return "ip6"
	}
	return fmt.Sprint(f)
}

// hardwareOffload is NFT_FLOWTABLE_HW_OFFLOAD of linux/netfilter/nf_tables.h.
const hardwareOffload = 0x1

// HardwareOffload lists the flowtables, as family, table and name, that move
// flows to the network card, where nothing of ours sees them. Flowtables in
// software are fine.
func HardwareOffload() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("listing flowtables: %w", err)
	}
	tables, err := c.ListTables()
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	var offloaded []string
	for _, t := range tables {
		flowtables, err := c.ListFlowtables(t)
		if err != nil {
			continue // a kernel without flowtables
		}
		for _, f := range flowtables {
			if f.Flags&hardwareOffload != 0 {
				offloaded = append(offloaded, familyName(t.Family)+" "+t.Name+" "+f.Name)
			}
		}
	}
	return offloaded, nil
}
