package nft

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/fairlead/fairlead/gateway/policy"
	"github.com/fairlead/fairlead/nft/mark"
	"golang.org/x/sys/unix"
)

// probeTable is added and deleted in one transaction, so that nobody sees it.
const probeTable = TableName + "_probe"

// feature is something of nf_tables that is a module of its own, and the
// package of OpenWrt that brings it.
type feature struct {
	name string
	pack string
	try  func(b *batch)
}

// Probe tells whether the kernel has all that the table needs. Each feature is
// tried alone, because the kernel answers ENOENT for a missing module just as
// for a missing set. It leaves nothing behind. The error joins what is missing,
// with the packages of OpenWrt that bring it.
func (t *Table) Probe() error {
	t.mu.Lock()
	defer t.mu.Unlock()

	if err := t.probe(feature{try: everything}); err == nil {
		return nil
	}
	if err := missing(features(), t.probe); err != nil {
		return fmt.Errorf("probing nf_tables: %w", err)
	}
	return nil
}

// ProbeInterfaces tells in the same way whether the kernel has what interfaces
// need beyond that.
func (t *Table) ProbeInterfaces() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := missing(interfaceFeatures(), t.probe); err != nil {
		return fmt.Errorf("probing nf_tables for interfaces: %w", err)
	}
	return nil
}

// missing tries each feature and joins those that fail. Without the first none
// of the others can be there.
func missing(features []feature, probe func(feature) error) error {
	var errs []error
	for i, f := range features {
		err := probe(f)
		if err == nil {
			continue
		}
		if errors.Is(err, unix.EPERM) {
			return fmt.Errorf("changing tables needs CAP_NET_ADMIN (run as root): %w", err)
		}
		errs = append(errs, lacks(f, err))
		if i == 0 {
			break
		}
	}
	return errors.Join(errs...)
}

func lacks(f feature, err error) error {
	return fmt.Errorf("the kernel lacks %s (OpenWrt package %s): %w", f.name, f.pack, err)
}

// probe commits what the feature is tried by, in a table that ceases to exist
// with the end of the same transaction.
func (t *Table) probe(f feature) error {
	b := newBatch(probeTable)
	b.addTable()
	f.try(b)
	b.deleteTable()
	return t.wire.commit(b)
}

// everything tries a whole ruleset at once: the usual case of a kernel that has it all.
func everything(b *batch) {
	r, err := Build(Config{
		Fake4:   netip.MustParsePrefix("198.18.0.0/15"),
		Fake6:   netip.MustParsePrefix("2001:2::/64"),
		Groups:  []Group{{Mode: policy.RealIP, Rest: RestRelay}},
		Members: []Members{{}},
	})
	if err != nil {
		b.err = err
		return
	}
	r.create(b)
}

func features() []feature {
	const core = "kmod-nft-core"
	keys := []datatype{ipv4Addr(), inetService(), ipv4Addr(), inetService()}
	return []feature{
		{"nf_tables with the family inet", core, nothingMore},
		{"base chains at prerouting and output", core, func(b *batch) {
			b.addChain(chain{name: "prerouting", hook: atPrerouting()})
			b.addChain(chain{name: "output", hook: atOutput()})
		}},
		{"transparent proxying", "kmod-nft-tproxy", func(b *batch) {
			for _, f := range families() {
				try(b, transports(), toListener(f, GatewayPort), accept())
			}
		}},
		{"matching the socket of a packet", "kmod-nft-socket", func(b *batch) {
			try(b, is{transparent(), byteValue("1", 1)}, accept())
		}},
		{"asking the routing table", "kmod-nft-fib", func(b *batch) { try(b, is{fibTarget(), local()}, accept()) }},
		{"connection tracking with marks", core, func(b *batch) {
			try(b, has{ctStatus(), dnat()}, within{originalTarget(v4()), netip.MustParsePrefix("198.18.0.0/15")}, accept())
			try(b, remember{mark.Own}, accept())
		}},
		{"refusing packets", core, func(b *batch) {
			try(b, is{l4proto(), tcp()}, reset{})
			try(b, unreachable{})
		}},
		{"concatenated sets with timeouts", core, func(b *batch) {
			b.addSet(set{name: "tuples", key: keys, timeout: true, lifetime: life})
		}},
		{"interval sets", core, func(b *batch) {
			b.addSet(set{name: "prefixes", key: []datatype{ipv6Addr()}, interval: true,
				elements: prefixElements(v6(), []netip.Prefix{netip.MustParsePrefix("2001:2::/64")})})
		}},
		{"sets with timeouts", core, func(b *batch) {
			b.addSet(set{name: "ways", key: []datatype{ipv4Addr()}, timeout: true})
		}},
		{"interval maps of verdicts", core, func(b *batch) {
			b.addSet(set{name: "addresses", key: []datatype{ipv4Addr()}, verdicts: true, interval: true})
		}},
	}
}

func interfaceFeatures() []feature {
	return []feature{{"address translation by maps", "kmod-nft-nat", func(b *batch) {
		for _, f := range families() {
			b.addSet(set{name: fakeRealSet + f.suffix(), key: []datatype{f.datatype()}, values: new(f.datatype())})
			b.addChain(chain{name: "fakenat", hook: beforeDNAT()})
			b.addRule("fakenat", line(redirect{f, fakeRealSet + f.suffix()}))
		}
		b.addChain(chain{name: "post", hook: beforeSNAT()})
		b.addRule("post", line(masquerade{}))
	}}}
}

func nothingMore(*batch) {}

// try adds a rule to a base chain: some expressions are refused elsewhere.
func try(b *batch, steps ...statement) {
	b.addChain(chain{name: "prerouting", hook: atPrerouting()})
	b.addRule("prerouting", line(steps...))
}
