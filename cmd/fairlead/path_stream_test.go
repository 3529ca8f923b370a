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
	asked := 0
	until(t, patience, "a block known ahead", func() bool {
		h.askForMany(t, laptop, asked)
		asked += 100
		return len(v.blocks()) > 0
	})
	last := h.address(t, laptop, "last.foreign.example", families[0]) // the questions before are dealt with, too
	next := last.Next()
	h.wantRefused(t, laptop, next)
	for _, f := range families {
		h.wantPath(t, laptop, h.address(t, laptop, "last.foreign.example", f), byNode)
	}

	block := netip.PrefixFrom(next, 24).Masked().Addr()
	until(t, patience, "the end of the stream", func() bool { return !slices.Contains(v.blocks(), block) })
	h.wantRefused(t, laptop, next)
	if got := h.address(t, laptop, "afterwards.foreign.example", families[0]); got != next {
		t.Errorf("the next name has %s, want %s", got, next)
	}
	for _, f := range families {
		for _, name := range []string{"last.foreign.example", "afterwards.foreign.example"} {
			h.wantPath(t, laptop, h.address(t, laptop, name, f), byNode)
		}
	}
}
