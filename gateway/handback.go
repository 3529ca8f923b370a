package gateway

import (
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// HandBack gives UDP flows that leave directly to the kernel, which carries
// them from their next datagram on.
type HandBack interface {
	// HandBack has the kernel carry the flow, and makes it forget that we did:
	// once for each time that the flow is diverted. A second time would destroy
	// what the kernel has begun.
	HandBack(client, dialled netip.AddrPort) error
	// Resend sends datagrams of the client as if it had sent them just now.
	Resend(client, dialled netip.AddrPort, datagrams [][]byte) error
	// Unmask gives the client itself of a flow that began when nobody diverted
	// it: it was masqueraded then, and seems to come from this machine. The
	// kernel forgets such a flow, which begins anew. Any other client is given
	// as it is.
	Unmask(client, dialled netip.AddrPort) netip.AddrPort
}

const (
	// handedAgain is how long datagrams that still come to us are stragglers of
	// a flow that was handed back. Later, the kernel has forgotten the flow
	// after a pause, and it is handed back once more. It is the time for which
	// the kernel remembers (set handback4).
	handedAgain = 10 * time.Minute
	// handedIdle is how long we remember the verdict of a flow that was handed
	// back: longer than the kernel, because in the middle of a QUIC connection
	// there is no name to be read any more.
	handedIdle = 30 * time.Minute
)

// handBack gives the flow to the kernel, if it can take flows back. The flow is
// logged now: of its end nobody tells us.
func (f *udpFlow) handBack() bool {
	back := f.s.g.cfg.HandBack
	if back == nil {
		return false
	}
	if err := back.HandBack(f.key.client, f.key.dialled); err != nil {
		f.s.g.log.Debug("handing a flow back", "err", err)
		return false
	}
	f.mu.Lock()
	f.handed, f.handedAt = true, f.s.now()
	fl, v := f.flow, f.verdict
	f.mu.Unlock()
	f.s.g.handedBack.Add(1)
	f.s.g.logHandedBack(&fl, v)
	return true
}

// straggle takes datagrams that come although the flow was handed back: they
// were under way, or the flow comes back after a pause longer than the kernel's
// memory.
func (f *udpFlow) straggle(payloads [][]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.s.now(); now-f.handedAt > int64(handedAgain) {
		if err := f.s.g.cfg.HandBack.HandBack(f.key.client, f.key.dialled); err != nil {
			f.s.g.log.Debug("handing a flow back again", "err", err)
		}
		f.handedAt = now
	}
	f.resend(payloads)
}

func (f *udpFlow) resend(datagrams [][]byte) {
	f.counts.Up.Add(size(datagrams))
	if err := f.s.g.cfg.HandBack.Resend(f.key.client, f.key.dialled, datagrams); err != nil {
		f.s.g.log.Debug("sending datagrams again", "err", err)
	}
}

// isHanded says whether the kernel carries the flow.
func (f *udpFlow) isHanded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state == udpHanded
}

// idleTime is how long the flow may be idle before it is forgotten.
func (f *udpFlow) idleTime() time.Duration {
	if f.isHanded() {
		return handedIdle
	}
	return f.s.g.cfg.Limits.UDPIdle
}

// handsBack says whether a verdict on a flow to a real address leaves it to the
// kernel.
func handsBack(fl *flow, v policy.Verdict) bool { return fl.fake == "" && v.Kind == policy.Direct }
