package nft

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/fairlead/fairlead/nft/mark"
	"golang.org/x/sys/unix"
)

// native is n as this machine stores it: the tests say the same on a big-endian router.
func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func TestEachValueHasTheByteOrderOfItsRegister(t *testing.T) {
	for _, tt := range []struct {
		name string
		step statement
		want []byte
	}{
		{"a flow's mark is the host's", remember{mark.Carried}, native(mark.Carried)},
		{"the mask that keeps other marks is the host's", setMark{mark.Own}, native(^mark.Mask)},
		{"a mark that is compared is the host's", isNot{metaMark().and(ours()), markValue(mark.Own)}, native(mark.Own)},
		{"a state of conntrack is the host's", has{ctStatus(), dnat()}, native(1 << 5)},
		{"an address type is the host's", is{fibTarget(), local()}, native(unix.RTN_LOCAL)},
		{"a link type is the host's", in{field: sourceMAC(), set: "m0_mac"}, binary.NativeEndian.AppendUint16(nil, unix.ARPHRD_ETHER)},
		{"a port is the network's", toPort(dnsPort), []byte{0, 53}},
		{"an address is the network's", within{target(v4()), netip.MustParsePrefix("198.18.0.0/15")}, []byte{198, 18, 0, 0}},
		{"the mask of an address is the network's", within{target(v4()), netip.MustParsePrefix("198.18.0.0/15")}, []byte{255, 254, 0, 0}},
		{"a listener's port is the network's", toListener(v4(), GatewayPort), []byte{GatewayPort >> 8, GatewayPort & 0xff}},
		{"a verdict is the network's", goTo("relay"), []byte{0xff, 0xff, 0xff, 0xfc}}, // NFT_GOTO is -4
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := &encoder{batch: newBatch(TableName)}
			tt.step.encode(e)
			if e.err != nil {
				t.Fatal(e.err)
			}
			if got := bytes.Join(e.expressions, nil); !hasAttribute(got, tt.want) {
				t.Errorf("%s is encoded as % x, want an attribute of % x", tt.step.text(), got, tt.want)
			}
		})
	}
}

// hasAttribute looks for an attribute with exactly these data: they follow its
// length, which is in the host's order.
func hasAttribute(encoded, data []byte) bool {
	length := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	for i := 0; i+4+len(data) <= len(encoded); i += 4 {
		if bytes.Equal(encoded[i:i+2], length) && bytes.Equal(encoded[i+4:i+4+len(data)], data) {
			return true
		}
	}
	return false
}

func TestNoMessageHoldsMoreElementsThanAnAttributeCan(t *testing.T) {
	b := newBatch(TableName)
	var many []element
	for i := range 20000 {
		many = append(many, leads(addrValue(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})), goTo(relayChain)))
	}
	b.addElements(set{name: fakeWaySet + "4"}, 0, many)
	for i, m := range b.messages {
		if len(m.Data) > 0xffff {
			t.Errorf("message %d has %d bytes, want at most 65535", i, len(m.Data))
		}
	}
	if b.err != nil {
		t.Error(b.err)
	}
}
