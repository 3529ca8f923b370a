package nft

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Ruleset is the whole table as a value. It is never changed after Build.
type Ruleset struct {
	sets       []set
	chains     []chain
	ways       []bool // of each group: whether it has sets of learned addresses
	interfaces []Interface
	people     int // number of member lists
}

// chain is a list of rules; a base chain also has a hook.
type chain struct {
	name  string
	hook  *hook
	rules []rule
}

// hook is where the kernel enters a base chain.
type hook struct {
	kind     string // of chain: filter, nat, route
	name     string
	number   uint32
	level    string // priority as nft writes it
	priority int32
}

func (h hook) text() string {
	return fmt.Sprintf("type %s hook %s priority %s; policy accept;", h.kind, h.name, h.level)
}

// String is the ruleset as nft reads it, the same for the same Config. The
// comment on the first rule of chain divert is Fingerprint.
func (r *Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", TableName)
	for _, s := range r.sets {
		b.WriteString(s.text() + "\n")
	}
	for i, c := range r.chains {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(c.text())
	}
	b.WriteString("}\n")
	return b.String()
}

func (c chain) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n", c.name)
	if c.hook != nil {
		fmt.Fprintf(&b, "\t\t%s\n", c.hook.text())
	}
	for _, r := range c.rules {
		fmt.Fprintf(&b, "\t\t%s\n", r.text())
	}
	b.WriteString("\t}\n")
	return b.String()
}

// Fingerprint tells whether a table in the kernel is this one. It is a hash of
// the text, because rules read back from the kernel cannot be compared: nft
// rewrites masks, and what it does not know it leaves out.
func (r *Ruleset) Fingerprint() string { return r.chain(divertChain).rules[0].comment }

// stamp puts the hash of the text, without the stamp itself, on the rule that
// every packet meets first.
func (r *Ruleset) stamp() {
	first := &r.chain(divertChain).rules[0]
	first.comment = ""
	sum := sha256.Sum256([]byte(r.withoutAddrs().String()))
	first.comment = TableName + " " + hex.EncodeToString(sum[:8])
}

// withoutAddrs is the ruleset with nothing in its address maps, whose names tell
// what is: the text of large ones would take more memory than all else.
func (r *Ruleset) withoutAddrs() *Ruleset {
	bare := *r
	bare.sets = slices.Clone(r.sets)
	for i := range bare.sets {
		bare.sets[i].addrs = nil
	}
	return &bare
}

func (r *Ruleset) chain(name string) *chain {
	for i := range r.chains {
		if r.chains[i].name == name {
			return &r.chains[i]
		}
	}
	return nil
}

func (r *Ruleset) set(name string) (set, bool) {
	for _, s := range r.sets {
		if s.name == name {
			return s, true
		}
	}
	return set{}, false
}

// rules counts the rules of all chains.
func (r *Ruleset) rules() int {
	n := 0
	for _, c := range r.chains {
		n += len(c.rules)
	}
	return n
}

// create adds everything to a table that is empty.
func (r *Ruleset) create(b *batch) {
	for _, c := range r.chains {
		b.addChain(c)
	}
	for _, s := range r.sets {
		b.addSet(s)
	}
	r.fill(b)
}

// replace turns the table of old, in which the address maps of r are staged,
// into that of r. The chains are emptied first: nothing but them holds on to the
// sets, and nothing but rules and sets to the chains.
func (r *Ruleset) replace(b *batch, old *Ruleset) {
	b.flushChains()
	for _, s := range old.sets {
		if !r.keeps(s) {
			b.deleteSet(s.name)
		}
	}
	for _, c := range old.chains {
		if r.chain(c.name) == nil {
			b.deleteChain(c.name)
		}
	}
	for _, c := range r.chains {
		if old.chain(c.name) == nil {
			b.addChain(c)
		}
	}
	for _, s := range r.sets {
		if before, existed := old.set(s.name); s.content != fromAddrs && (!existed || !r.keeps(before)) {
			b.addSet(s)
		}
	}
	r.fill(b)
}

// keeps tells whether a set outlives a reload with its elements. Those of an
// interface would mean another one if only its number were kept.
func (r *Ruleset) keeps(s set) bool {
	same, wanted := r.set(s.name)
	wanted = wanted && same.device == s.device
	switch s.content {
	case fromTraffic, fromFakes, fromAddrs:
		return wanted
	}
	return false
}

func (r *Ruleset) fill(b *batch) {
	for _, c := range r.chains {
		for _, u := range c.rules {
			b.addRule(c.name, u)
		}
	}
}
