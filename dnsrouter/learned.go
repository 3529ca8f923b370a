package dnsrouter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fairlead/fairlead/gateway/policy"
)

const (
	// grace is how long an address outlives its answer. Browsers keep a resolved
	// address past its TTL; removing it at once would have the next connection
	// sniffed, which is slow, not wrong.
	grace = 10 * time.Minute
	// stretch is how much longer than needed an address stays, so that of many
	// answers with one address, each a moment after the other, not every one
	// is a transaction of the kernel's that all others wait for.
	stretch = time.Minute
	// maxAddrs bounds the addresses that are remembered. Beyond it new ones are
	// not learned, so their flows are sniffed.
	maxAddrs = 16384
	// maxNames bounds the live names that are remembered of one address. CDNs
	// put hundreds of names behind one.
	maxNames = 8
)

// learned knows which addresses lead to which names, and keeps in the kernel's
// way maps exactly such addresses all of whose live names leave directly.
//
// The invariant, for each group g and address a: while a is in the map of g,
// no live name that was answered with a, to whomever, could leave another way
// for a client of g.
type learned struct {
	sink AddrSink

	mu    sync.Mutex // guards the fields below
	plan  *Plan      // by which names are judged, whatever plan their question was read with
	addrs map[netip.Addr]*known
	// deaf is until when an address that is not in addrs may have live names
	// that were not remembered for lack of room.
	deaf time.Time
}

// known is what is remembered of one address.
type known struct {
	names []liveName
	// blocked is until when a name lives that there was no room for and that
	// does not leave directly for everybody.
	blocked time.Time
	// more is until when a name lives that there was no room for.
	more   time.Time
	direct []element
}

// liveName is a name that was answered with the address.
type liveName struct {
	name  string
	with  []netip.Addr // all addresses of that answer, for rules with resolve
	until time.Time
}

// element is the address's place in the way map of a group.
type element struct {
	group policy.Client
	until time.Time
}

func newLearned(sink AddrSink, plan *Plan) *learned {
	return &learned{sink: sink, plan: plan, addrs: make(map[netip.Addr]*known)}
}

// answer takes note that a client of group is about to be given addrs for
// name. On error the answer must not leave: an address could not be taken out
// of a map where it no longer belongs.
func (l *learned) answer(group policy.Client, name string, addrs []netip.Addr, ttl time.Duration, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	live := liveName{name: strings.Clone(name), with: addrs, until: now.Add(ttl + grace)}
	for _, addr := range addrs {
		if err := l.learn(group, addr, live, now); err != nil {
			return err
		}
	}
	return nil
}

func (l *learned) learn(group policy.Client, addr netip.Addr, live liveName, now time.Time) error {
	plan := l.plan
	k := l.addrs[addr]
	if k == nil {
		if len(l.addrs) >= maxAddrs {
			l.deaf = later(l.deaf, live.until)
			return nil
		}
		k = &known{blocked: l.deaf}
		l.addrs[addr] = k
	}
	k.remember(plan, addr, live, now)
	if err := l.removeOthers(plan, addr, k, live); err != nil {
		return err
	}
	if plan.learns(group) && k.allDirect(plan, group, addr, now) {
		l.add(addr, k, element{group, live.until}, now)
	}
	return nil
}

// learns says whether the kernel has a way map for a client. A reload may have
// taken the client's section away since its question was read.
func (p *Plan) learns(c policy.Client) bool { return int(c) < len(p.Learns) && p.Learns[c] }

// remember keeps the name, in place of an expired one if there is no room.
func (k *known) remember(plan *Plan, addr netip.Addr, live liveName, now time.Time) {
	for i := range k.names {
		if n := &k.names[i]; n.name == live.name {
			n.until, n.with = later(n.until, live.until), live.with
			return
		}
	}
	k.names = slices.DeleteFunc(k.names, func(n liveName) bool { return n.until.Before(now) })
	if len(k.names) < maxNames {
		k.names = append(k.names, live)
		return
	}
	k.more = later(k.more, live.until)
	for g := range plan.Policy.Clients() {
		if !live.direct(plan, policy.Client(g), addr) {
			k.blocked = later(k.blocked, live.until)
		}
	}
}

// removeOthers takes the address out of the maps of groups for which the new
// name does not leave directly.
func (l *learned) removeOthers(plan *Plan, addr netip.Addr, k *known, live liveName) error {
	return l.removeWhere(addr, k, func(g policy.Client) bool { return !live.direct(plan, g, addr) })
}

func (l *learned) removeWhere(addr netip.Addr, k *known, gone func(policy.Client) bool) error {
	kept := k.direct[:0]
	var failed error
	for _, e := range k.direct {
		if gone(e.group) {
			if err := l.sink.DelDirect(int(e.group), addr); err != nil {
				failed = fmt.Errorf("removing %s from the direct addresses: %w", addr, err)
				kept = append(kept, e)
			}
			continue
		}
		kept = append(kept, e)
	}
	k.direct = kept
	return failed
}

// direct says whether, with all that is known when an answer is given, every
// flow of a client of group to this name at this address leaves directly.
func (n *liveName) direct(plan *Plan, group policy.Client, addr netip.Addr) bool {
	return plan.Policy.Answered(group, n.name, addr, n.with...).AllDirect
}

func (k *known) allDirect(plan *Plan, group policy.Client, addr netip.Addr, now time.Time) bool {
	if now.Before(k.blocked) {
		return false
	}
	for i := range k.names {
		if n := &k.names[i]; !n.until.Before(now) && !n.direct(plan, group, addr) {
			return false
		}
	}
	return true
}

// add puts the address into the map of a group, or lengthens its stay. That it
// could not be put there costs speed, not correctness, so the answer leaves.
func (l *learned) add(addr netip.Addr, k *known, e element, now time.Time) {
	i := slices.IndexFunc(k.direct, func(d element) bool { return d.group == e.group })
	if i >= 0 && !k.direct[i].until.Before(e.until.Add(-grace/2)) {
		return // each lengthening costs a transaction, and a CDN's address is answered for hundreds of names
	}
	if err := l.sink.AddDirect(int(e.group), addr, e.until.Sub(now)); err != nil {
		return
	}
	if i < 0 {
		k.direct = append(k.direct, e)
	} else {
		k.direct[i] = e
	}
}

// judgeAgain takes out of the maps what a new policy no longer sends directly,
// and judges by it from now on.
func (l *learned) judgeAgain(plan *Plan) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plan = plan
	now := time.Now()
	var failed error
	for addr, k := range l.addrs {
		err := l.removeWhere(addr, k, func(g policy.Client) bool {
			return !plan.learns(g) || now.Before(k.more) || !k.allDirect(plan, g, addr, now)
		})
		if err != nil {
			failed = err
		}
		k.blocked = later(k.blocked, k.more)
	}
	return failed
}

// lost takes note that the maps are empty: the table was made anew.
func (l *learned) lost() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.addrs {
		k.direct = nil
	}
}

// sweep forgets addresses whose names and elements have all expired.
func (l *learned) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for addr, k := range l.addrs {
		k.names = slices.DeleteFunc(k.names, func(n liveName) bool { return n.until.Before(now) })
		k.direct = slices.DeleteFunc(k.direct, func(e element) bool { return e.until.Before(now) })
		if len(k.names) == 0 && len(k.direct) == 0 && k.blocked.Before(now) && k.more.Before(now) {
			delete(l.addrs, addr)
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
