package main

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
	"github.com/fairlead/fairlead/nft"
)

// healTime is how long the kernel may be wrong.
const healTime = time.Second

// vandal is another program that does things to the router's nftables.
type vandal struct {
	t     *testing.T
	conn  *nftables.Conn
	table *nftables.Table
}

func (h *home) vandal(t *testing.T) vandal {
	t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(h.Router.Fd()))
	ok(t, err)
	return vandal{t, conn, &nftables.Table{Family: nftables.TableFamilyINet, Name: nft.TableName}}
}

func (v vandal) flush() {
	v.t.Helper()
	ok(v.t, v.conn.Flush())
}

func (v vandal) flushRuleset() {
	v.t.Helper()
	v.conn.FlushRuleset()
	v.flush()
}

func (v vandal) deleteTable() {
	v.t.Helper()
	v.conn.DelTable(v.table)
	v.flush()
}

func (v vandal) deleteLastRule(chain string) {
	v.t.Helper()
	rules, err := v.conn.GetRules(v.table, &nftables.Chain{Name: chain, Table: v.table})
	ok(v.t, err)
	ok(v.t, v.conn.DelRule(rules[len(rules)-1]))
	v.flush()
}

func (v vandal) deleteElement(set string, key []byte) {
	v.t.Helper()
	s := &nftables.Set{Table: v.table, Name: set, KeyType: nftables.TypeInteger}
	ok(v.t, v.conn.SetDeleteElements(s, []nftables.SetElement{{Key: key}}))
	v.flush()
}

// deviceKey is the key of a set of interfaces.
func deviceKey(name string) []byte {
	key := make([]byte, unix.IFNAMSIZ)
	copy(key, name)
	return key
}

// isPath tells that a flow takes a way. It does not wait for a segment that was
// lost to be sent again: TCP takes a second for that.
func (h *home) isPath(c *lab.Client, addr netip.Addr, want path) bool {
	const blink = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(h.t.Context(), blink)
	defer cancel()
	conn, err := c.DialTCP(ctx, at(addr, lab.EchoPort))
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(blink))
	seen, err := hello(conn)
	return err == nil && h.pathOf(conn.LocalAddr(), seen) == want
}

// heals does something to the router and waits until all is right again.
func (h *home) heals(t *testing.T, what string, do func(), right func() bool) {
	t.Helper()
	did := time.Now()
	do()
	until(t, soon, "the repair after "+what, right)
	if took := time.Since(did); took > healTime {
		t.Errorf("after %s all was right again in %v, want %v", what, took, healTime)
	} else {
		t.Logf("after %s all was right again in %v", what, took.Round(time.Millisecond))
	}
}

// inRouter runs a program in the router to its end.
func (h *home) inRouter(t *testing.T, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Stderr = os.Stderr
	ok(t, h.Router.Start(cmd))
	ok(t, cmd.Wait())
}
