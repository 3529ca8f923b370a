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
	// maxAddrs bounds the addresses that are remembered. Beyond it new ones are
	// not learned, so their flows are sniffed.
	maxAddrs = 16384
	// maxNames bounds the live names that are remembered of one address. CDNs
	// put hundreds of names behind one.
	maxNames = 8
)

// learned knows which addresses lead to which names, and keeps in the kernel's
// way maps exactly such addresses all of whose live names leave the same way, by
// the kernel alone.
//
// The invariant, for each group g and address a: while a is in the map of g,
// no live name that was answered with a, to whomever, could leave another way
// than the map says for a client of g.
type learned struct {
	sink WaySink

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
	more     time.Time
	elements []element
}

// liveName is a name that was answered with the address.
type liveName struct {
	name  string
	with  []netip.Addr // all addresses of that answer, for rules with resolve; nil: there is one
	until time.Time
}

// element is the address's place in the way map of a group.
type element struct {
	group policy.Client
	way   Way
	until time.Time
}

func newLearned(sink WaySink, plan *Plan) *learned {
	return &learned{sink: sink, plan: plan, addrs: make(map[netip.Addr]*known)}
}

// answer takes note that a client of group is about to be given addrs for
// name, which has others beside them in the other family, if that was asked. On
// error the answer must not leave: an address could not be taken out of a map
// where it no longer belongs.
func (l *learned) answer(group policy.Client, name string, addrs []netip.Addr, ttl time.Duration, now time.Time, others ...netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	live := liveName{name: strings.Clone(name), until: now.Add(ttl + grace)}
	if len(addrs)+len(others) > 1 {
		live.with = slices.Concat(addrs, others)
	}
	for _, addr := range addrs {
		if err := l.removeOthers(addr, live); err != nil {
			return err
		}
	}
	var ways []AddrWay
	for _, addr := range addrs {
		ways = l.learn(ways, group, addr, live, now)
	}
	l.put(ways, now)
	return nil
}

// learn remembers the name and appends the address with its way in the group, if
// all its names agree and the kernel has yet to be told of it. Where they do not,
// it is in no map any more.
func (l *learned) learn(ways []AddrWay, group policy.Client, addr netip.Addr, live liveName, now time.Time) []AddrWay {
	k := l.addrs[addr]
	first := k == nil
	if first {
		if len(l.addrs) >= maxAddrs {
			l.deaf = later(l.deaf, live.until)
			return ways
		}
		k = &known{blocked: l.deaf}
		l.addrs[addr] = k
	}
	k.remember(l.plan, addr, live, now)
	if !l.plan.learns(group) || k.stays(group, live.until) {
		return ways
	}
	if way := k.agreed(l.plan, group, addr, now); way != Relayed {
		ways = append(ways, AddrWay{int(group), addr, way, live.until.Sub(now), first})
	}
	return ways
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
		if live.way(plan, policy.Client(g), addr) != Direct {
			k.blocked = later(k.blocked, live.until)
		}
	}
}

// removeOthers takes the address out of the maps of groups for which the new
// name leaves another way.
func (l *learned) removeOthers(addr netip.Addr, live liveName) error {
	k := l.addrs[addr]
	if k == nil {
		return nil
	}
	return l.removeWhere(addr, k, func(e element) bool { return live.way(l.plan, e.group, addr) != e.way })
}

func (l *learned) removeWhere(addr netip.Addr, k *known, gone func(element) bool) error {
	kept := k.elements[:0]
	var failed error
	for _, e := range k.elements {
		if gone(e) {
			if err := l.sink.DelWay(int(e.group), addr); err != nil {
				failed = fmt.Errorf("removing %s from the learned addresses: %w", addr, err)
				kept = append(kept, e)
			}
			continue
		}
		kept = append(kept, e)
	}
	k.elements = kept
	return failed
}

// way is the kernel's way of every flow of a client of group to this name at
// this address, by all that is known when an answer is given.
func (n *liveName) way(plan *Plan, group policy.Client, addr netip.Addr) Way {
	return plan.kernelWay(plan.Policy.Answered(group, n.name, addr, n.with...))
}

// agreed is the way of all live names of the address. Of names that there was
// no room for it is known that they leave directly, or else the address is blocked.
func (k *known) agreed(plan *Plan, group policy.Client, addr netip.Addr, now time.Time) Way {
	if !k.blocked.Before(now) {
		return Relayed
	}
	var way Way
	if !k.more.Before(now) {
		way = Direct
	}
	for i := range k.names {
		n := &k.names[i]
		if n.until.Before(now) {
			continue
		}
		w := n.way(plan, group, addr)
		if way != 0 && w != way {
			return Relayed
		}
		way = w
	}
	return max(way, Relayed)
}

// stays says whether the address is in the map of a group for long enough. Each
// lengthening costs a transaction, and a CDN's address is answered for hundreds
// of names.
func (k *known) stays(group policy.Client, until time.Time) bool {
	i := k.in(group)
	return i >= 0 && !k.elements[i].until.Before(until.Add(-grace/2))
}

// in is which element is the group's; -1: none.
func (k *known) in(group policy.Client) int {
	return slices.IndexFunc(k.elements, func(e element) bool { return e.group == group })
}

// put puts addresses into the maps of their groups, or lengthens their stay. That
// they could not be put there costs speed, not correctness, so the answer leaves.
func (l *learned) put(ways []AddrWay, now time.Time) {
	if len(ways) == 0 || l.sink.SetWays(ways) != nil {
		return
	}
	for _, w := range ways {
		k, e := l.addrs[w.Addr], element{policy.Client(w.Group), w.Way, now.Add(w.TTL)}
		if i := k.in(e.group); i >= 0 {
			k.elements[i] = e
		} else {
			k.elements = append(k.elements, e)
		}
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
		err := l.removeWhere(addr, k, func(e element) bool {
			return !plan.learns(e.group) || !k.more.Before(now) || k.agreed(plan, e.group, addr, now) != e.way
		})
		if err != nil {
			failed = err
		}
		k.blocked = later(k.blocked, k.more)
	}
	return failed
}

// restore fills the maps again: the table was made anew, and the answers that
// taught it may be asked of the cache for hours. What the kernel refuses is held
// to be there; to delete it later does no harm.
func (l *learned) restore() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var all []AddrWay
	for addr, k := range l.addrs {
		for _, e := range k.elements {
			if left := e.until.Sub(now); left > 0 {
				all = append(all, AddrWay{int(e.group), addr, e.way, left, true})
			}
		}
	}
	return l.sink.SetWays(all)
}

// sweep forgets addresses whose names and elements have all expired.
func (l *learned) sweep(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for addr, k := range l.addrs {
		k.names = slices.DeleteFunc(k.names, func(n liveName) bool { return n.until.Before(now) })
		k.elements = slices.DeleteFunc(k.elements, func(e element) bool { return e.until.Before(now) })
		if len(k.names) == 0 && len(k.elements) == 0 && k.blocked.Before(now) && k.more.Before(now) {
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
