package gateway

import (
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/fairlead/fairlead/gateway/policy"
)

// strictPlan is a plan of rules that ends what goes another way by them.
func (w *world) strictPlan(rules ...policy.Rule) *Plan {
	p := w.planOf(rules...)
	p.Strict = true
	return p
}

func TestStrictReloadResetsConnectionsThatItSendsElsewhere(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node"), nameRule("other.example", "node")))
	moved, stays := w.connect(fakeAddr), w.connect(otherFake)
	first := w.dialled("node", w.node)
	second := w.dialled("node", w.node)
	if first.host != "www.example.com" {
		first, second = second, first
	}
	says(t, moved, first.tcp, "question")
	says(t, stays, second.tcp, "question")

	w.SetPlan(w.planOf(nameRule("other.example", "node")))
	says(t, first.tcp, moved, "a reload that keeps")
	w.SetPlan(w.strictPlan(nameRule("other.example", "node")))
	ends(t, "the client of the flow that goes elsewhere", moved, syscall.ECONNRESET)
	ends(t, "its server", first.tcp, syscall.ECONNRESET)
	says(t, stays, second.tcp, "a strict one")
	says(t, second.tcp, stays, "answer")
	until(t, "the end of one connection", func() bool { return w.Status().TCP == 1 })
}

// The dial is under way while the plan changes: nobody finds the flow then.
func TestStrictReloadResetsAConnectionThatIsBeingDialled(t *testing.T) {
	w := serveTCP(t, newWorld(Limits{}, nameRule("www.example.com", "node")))
	open := w.node.shut()
	defer open()
	client := w.connect(fakeAddr)
	server := w.dialled("node", w.node)
	w.SetPlan(w.strictPlan())
	open()
	ends(t, "the client", client, syscall.ECONNRESET)
	ends(t, "the server", server.tcp, syscall.ECONNRESET)
}

func TestStrictReloadDecidesUDPFlowsAnewThatItSendsElsewhere(t *testing.T) {
	rules := []policy.Rule{nameRule("www.example.com", "node"), nameRule("other.example", "node")}
	inBubble(t, Limits{}, rules, func(t *testing.T, w *udpWorld) {
		stays := netip.AddrPortFrom(otherFake, 443)
		w.send(clientA, faked, "a")
		w.send(clientA, stays, "b")
		before := taken(w.node.dials)
		w.SetPlan(w.planOf(nameRule("other.example", "node")))
		w.send(clientA, faked, "kept")
		same(t, "dials after a reload that keeps", len(taken(w.direct.dials)), 0)
		w.SetPlan(w.strictPlan(nameRule("other.example", "node")))
		w.send(clientA, faked, "moved")
		w.send(clientA, stays, "as before")
		after := taken(w.direct.dials)
		if len(before) != 2 || len(after) != 1 {
			t.Fatalf("got %d dials through the node and then %d direct, want 2 and 1", len(before), len(after))
		}
		same(t, "sent to the node", payloads(taken(before[0].udp.sent)), []string{"a", "kept"})
		same(t, "sent directly", payloads(taken(after[0].udp.sent)), []string{"moved"})
		same(t, "sent to the node on the other flow", payloads(taken(before[1].udp.sent)), []string{"b", "as before"})
		same(t, "the flow's socket is closed", before[0].udp.isClosed(), true)
	})
}

func TestStrictReloadDecidesAUDPFlowAnewThatIsBeingDialled(t *testing.T) {
	inBubble(t, Limits{}, []policy.Rule{nameRule("www.example.com", "node")}, func(t *testing.T, w *udpWorld) {
		open := w.node.shut()
		w.send(clientA, faked, "first")
		w.SetPlan(w.strictPlan())
		open()
		synctest.Wait()
		w.send(clientA, faked, "second")
		after := taken(w.direct.dials)
		if len(after) != 1 {
			t.Fatalf("got %d direct dials, want 1", len(after))
		}
		same(t, "sent directly", payloads(taken(after[0].udp.sent)), []string{"second"})
	})
}
