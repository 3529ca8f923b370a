package main

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/dnsrouter/wire"
)

// blocks are the first addresses of the blocks of fake ones that the kernel knows.
func (v vandal) blocks() (firsts []netip.Addr) {
	v.t.Helper()
	s := &nftables.Set{Table: v.table, Name: "fakeblock4", KeyType: nftables.TypeIPAddr}
	elements, err := v.conn.GetSetElements(s)
	ok(v.t, err)
	for _, e := range elements {
		first, _ := netip.AddrFromSlice(e.Key)
		firsts = append(firsts, first)
	}
	return firsts
}

// askForMany has a client ask for a hundred names, from that of a number on, and
// wait for no answer.
func (h *home) askForMany(t *testing.T, c *lab.Client, from int) {
	t.Helper()
	socket := h.dialUDP(t, c, at(h.At.RouterLAN.V4, 53))
	for i := from; i < from+100; i++ {
		query, err := wire.AppendQuery(nil, fmt.Sprintf("n%d.foreign.example", i), wire.Ask{ID: uint16(i), Type: wire.TypeA, Class: wire.ClassIN, Size: wire.MinUDP})
		ok(t, err)
		_, err = socket.Write(query)
		ok(t, err)
	}
}

func TestAStreamOfNewNamesLeavesNoUnusedAddressDiverted(t *testing.T) {
	h := newHome(t, lab.Options{}, lab.Config{})
	laptop, v := h.Clients["laptop"], h.vandal(t)
	h.address(t, laptop, "www.foreign.example", families[0])
	if got := v.blocks(); len(got) > 0 {
		t.Fatalf("before the stream the kernel knows the blocks %v, want none", got)
	}
	var told []netip.Addr
	asked := 0
	until(t, patience, "a block known ahead", func() bool {
		h.askForMany(t, laptop, asked)
		asked += 100
		told = v.blocks()
		return len(told) > 0
	})
	unused := slices.MaxFunc(told, netip.Addr.Compare).As4()
	unused[3] = 254
	h.wantRefused(t, laptop, netip.AddrFrom4(unused))
	for _, f := range families {
		h.wantPath(t, laptop, h.address(t, laptop, "n1.foreign.example", f), byNode)
	}

	until(t, patience, "the end of the stream", func() bool { return len(v.blocks()) == 0 })
	h.wantRefused(t, laptop, netip.AddrFrom4(unused))
	for _, f := range families {
		h.wantPath(t, laptop, h.address(t, laptop, "n1.foreign.example", f), byNode)
		h.wantPath(t, laptop, h.address(t, laptop, "afterwards.foreign.example", f), byNode)
	}
}
