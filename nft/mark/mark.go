// Package mark names the packet and conntrack marks that carry fairlead's
// verdicts.
//
// The same numbers are used for both kinds of mark. All of them live in Mask
// and are always compared and set under it, so that the marks of others (mwan3
// has 0x3f00, pbr and tailscale have 0x00ff0000) are left as they are.
package mark

// The marks.
const (
	Mask    uint32 = 0x0f000000 // the bits that are ours
	Carried uint32 = 0x01000000 // the daemon carries the flow
	Own     uint32 = 0x02000000 // the flow leaves directly; also SO_MARK of every socket that the daemon opens outwards
)

// Router marks packets of the router's own that are on their way to the daemon's
// listeners, through the loopback interface. It is the mark of the last
// interface outbound, which cannot be used while the router's own traffic is
// diverted.
const Router uint32 = 0x0f000000

// Interfaces is the number of interface outbounds that have a mark.
const Interfaces = 13

// FirstInterface is the number of the first interface outbound where they are
// counted by the nibble of their marks, and the last is 15.
const FirstInterface = 3

// Interface is the mark of the n-th interface outbound, counted from 0. There
// is none unless 0 <= n < Interfaces: then ok is false.
func Interface(n int) (m uint32, ok bool) {
	if n < 0 || n >= Interfaces {
		return 0, false
	}
	return Own + uint32(n+1)<<24, true
}
