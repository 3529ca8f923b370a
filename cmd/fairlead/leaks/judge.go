package leaks

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

// memory is how long what the daemon asked is remembered, at least: a question is
// sent again for five seconds.
const memory = 10 * time.Second

// maxAsking bounds the names that are remembered of the daemon's own questions, a
// hundred bytes or so each, for a flood of random ones. Of others only what the
// policy says of everybody is known.
const maxAsking = 16 << 10

// Rules are what a configuration says of questions.
type Rules struct {
	Policy    *policy.Policy
	Local     string                     // upstream for names that leave directly
	Remote    []string                   // upstreams for others
	Outbounds map[string]policy.Outbound // by upstream: how its questions travel
	Router    bool                       // the router's own programs are served, too
	Plain     []netip.AddrPort           // servers asked in the clear at other ports than 53
	Nodes     []netip.AddrPort           // nodes given by address
}

// Sender is who sent a packet that fairlead did not.
type Sender struct {
	policy.Device
	Router bool // a program of this router
}

// judge tells what may leave in the clear. It knows what the daemon has asked,
// and judges what others asked by the policy alone.
type judge struct {
	rules  *Rules
	alive  bool // the daemon's record can be read
	who    func(proto uint8, src, dst netip.AddrPort) Sender
	ours   map[ends]*sent
	asking map[question]time.Time // when these were about to be asked, as names that leave directly
	swept  time.Time
	unseen int64  // questions in the clear, directly, that were not captured
	sender Sender // of the last message judged, if it is not ours
	known  bool   // there is such a sender
}

// ends are those of a question of the daemon's. Its own address may be
// translated, its port hardly is.
type ends struct {
	proto  uint8
	port   uint16
	remote netip.AddrPort
}

type question struct{ upstream, name string }

// sent is what the daemon sent by some ends.
type sent struct {
	at        time.Time
	upstream  string
	bootstrap bool
	encrypted bool
	expected  bool // on the WAN, in a datagram
	seen      bool
}

// learn takes an entry of the record and gives what it is a finding of, if that
// cannot be captured: the names in what is encrypted or carried by a node.
func (j *judge) learn(a Asked, now time.Time) (f Finding, ok bool) {
	if a.Server == "" {
		q := question{a.Upstream, a.Name}
		if _, known := j.asking[q]; a.Direct && (known || len(j.asking) < maxAsking) {
			j.asking[q] = now
		}
		return Finding{}, false
	}
	s := &sent{at: now, upstream: a.Upstream, bootstrap: a.Bootstrap, encrypted: a.Scheme != "udp" && a.Scheme != "tcp"}
	out := j.rules.Outbounds[a.Upstream]
	if a.Bootstrap {
		out = policy.Outbound{Name: "direct"} // whatever carries the upstream's own questions
	}
	proto := uint8(TCP)
	if a.Network == "udp" {
		proto = UDP
	}
	s.expected = !s.encrypted && out.Kind == policy.Direct && proto == UDP
	if a.Local.IsValid() {
		j.ours[ends{proto, a.Local.Port(), a.Remote}] = s
	}
	f = Finding{Time: now, Proto: proto, Src: a.Local, Dst: a.Remote, Name: a.Name, Type: a.Type}
	switch {
	case out.Kind == policy.Node:
		f.Way, f.Reason = Node, fmt.Sprintf("inside the node's connection, by upstream %s through %s", a.Upstream, out.Name)
	case !s.encrypted:
		return Finding{}, false
	case a.Upstream == j.rules.Local && !slices.Contains(j.rules.Remote, a.Upstream) && !j.isDirect(a.Upstream, a.Name):
		f.Way, f.Reason = Leak, fmt.Sprintf("%s does not leave directly, and the local upstream %s was asked for it at %s", a.Name, a.Upstream, a.Server)
	default:
		f.Way, f.Reason = Encrypted, fmt.Sprintf("by upstream %s at %s", a.Upstream, a.Server)
	}
	return f, true
}

// isDirect says whether the daemon may ask an upstream for a name as one that
// leaves directly: for somebody who asked, or for anybody whom no section matches.
func (j *judge) isDirect(upstreamName, name string) bool {
	_, ok := j.asking[question{upstreamName, name}]
	return ok || j.rules.Policy.Name(0, name).AllDirect
}

// own finds what the daemon sent by a flow.
func (j *judge) own(f Flow) (*sent, bool) {
	s, ok := j.ours[ends{f.Proto, f.Src.Port(), f.Dst}]
	if ok {
		s.seen = true
	}
	return s, ok
}

// plain is the Judge of messages that were captured.
func (j *judge) plain(f Flow, m Message) (Way, string) {
	if s, ok := j.own(f); ok {
		return j.byUs(f, m, s)
	}
	j.sender, j.known = j.who(f.Proto, f.Src, f.Dst), true
	return j.byOthers(f, m, j.sender)
}

// byUs judges what the daemon asked in the clear.
func (j *judge) byUs(f Flow, m Message, s *sent) (Way, string) {
	out, server := j.rules.Outbounds[s.upstream], f.Dst.Addr()
	switch {
	case s.bootstrap:
		return Direct, fmt.Sprintf("%s is a server of ours, and was asked of its bootstrap %s", m.Name, server)
	case out.Kind == policy.Interface:
		return Node, fmt.Sprintf("by upstream %s, out by the interface outbound %s", s.upstream, out.Name)
	case j.isDirect(s.upstream, m.Name):
		return Direct, m.Name + " may be asked of " + server.String() + " in the clear"
	}
	return Leak, fmt.Sprintf("%s may not be asked in the clear, and upstream %s asked %s", m.Name, s.upstream, server)
}

// byOthers judges what went past the daemon, by the policy of who sent it.
func (j *judge) byOthers(f Flow, m Message, by Sender) (Way, string) {
	client := j.rules.Policy.Client(by.Device)
	if by.Router {
		client = 0
	}
	if j.rules.Policy.Name(client, m.Name).AllDirect {
		return Direct, fmt.Sprintf("%s leaves directly; %s asked %s, not fairlead", m.Name, by, f.Dst.Addr())
	}
	asked := fmt.Sprintf("%s may not be asked in the clear, and %s asked %s", m.Name, by, f.Dst.Addr())
	switch {
	case !j.alive:
		return Leak, asked + ": fairlead does not run"
	case by.Router && !j.rules.Router:
		return Router, fmt.Sprintf("%s asked %s: it is not served (option router '0')", by, f.Dst.Addr())
	case !by.Router && j.rules.Policy.Mode(client) == policy.Off:
		return Leak, asked + ": section " + j.rules.Policy.ClientName(client) + " has mode off"
	}
	return Leak, asked + ", past fairlead"
}

// String names the sender within a sentence.
func (s Sender) String() string {
	switch {
	case s.Router:
		return "a program of this router"
	case s.Hostname != "":
		return s.Hostname
	case s.Addr.IsValid():
		return s.Addr.String()
	}
	return "somebody"
}

// forget drops what is older than memory, and counts what should have been seen.
func (j *judge) forget(now time.Time) {
	if now.Sub(j.swept) < memory {
		return
	}
	j.swept = now
	for at, s := range j.ours {
		if now.Sub(s.at) < memory {
			continue
		}
		if s.expected && !s.seen {
			j.unseen++
		}
		delete(j.ours, at)
	}
	for q, at := range j.asking {
		if now.Sub(at) >= memory {
			delete(j.asking, q)
		}
	}
}
