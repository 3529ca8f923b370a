package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// HandBack has the kernel carry the UDP flow from client to dialled, directly,
// when it next begins: while it is relayed, its conntrack entry must go first.
// The flow may then pause for ten minutes, counted anew by each call, before it
// is diverted again.
func (t *Table) HandBack(client, dialled netip.AddrPort) error {
	const doing = "handing a flow back"
	f, err := familyOf(client.Addr().WithZone(""))
	if err == nil && !f.has(dialled.Addr()) {
		err = fmt.Errorf("%s and %s are of different families", client, dialled)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return t.change(doing, func(b *batch, _ *Ruleset) error {
		renew(b, set{name: handbackSet + f.suffix()}, []element{{key: tupleValue(client, dialled)}})
		return nil
	})
}

// tupleValue is a key of the sets of tuples: each part fills whole registers.
func tupleValue(client, dialled netip.AddrPort) value {
	v := value{text: fmt.Sprintf("%s . %d . %s . %d", client.Addr().WithZone(""), client.Port(), dialled.Addr(), dialled.Port())}
	for _, a := range []netip.AddrPort{client, dialled} {
		port := binary.BigEndian.AppendUint16(nil, a.Port())
		v.data = slices.Concat(v.data, a.Addr().AsSlice(), port, []byte{0, 0})
	}
	return v
}
