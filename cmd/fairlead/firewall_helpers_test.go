package main

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// zones are what OpenWrt has for the house with a guest network, without a way
// from the guests to the WAN.
const zones = `
config defaults
	option input 'REJECT'
	option forward 'REJECT'
config zone
	option name 'lan'
	list device 'br-lan'
	option input 'ACCEPT'
	option forward 'ACCEPT'
config zone
	option name 'guest'
	list device 'guest0'
	option input 'REJECT'
config zone
	option name 'wan'
	list device 'wan0'
	option masq '1'
config forwarding
	option src 'lan'
	option dest 'wan'
`

const (
	guestDNS = "config rule\n\toption src 'guest'\n\toption dest_port '53'\n\toption target 'ACCEPT'\n"
	guestWAN = "config forwarding\n\toption src 'guest'\n\toption dest 'wan'\n"
)

// refuseLaptop is a rule against the first client, with more options.
func refuseLaptop(h *home, options ...string) string {
	return "config rule\n\toption src 'lan'\n\toption dest 'wan'\n\toption src_mac '" + h.Clients["laptop"].MAC.String() + "'\n" +
		"\toption proto 'all'\n\toption target 'REJECT'\n\t" + strings.Join(options, "\n\t") + "\n"
}

// writeBeside writes a file of OpenWrt's beside the configuration, all at once.
func (h *home) writeBeside(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(h.Dir, name)
	ok(t, os.WriteFile(path+".new", []byte(text), 0o600))
	ok(t, os.Rename(path+".new", path))
}

// follow has the daemon take over another configuration of the firewall.
func (h *home) follow(t *testing.T, text string) {
	t.Helper()
	const line = "followed the firewall"
	before := strings.Count(h.daemon.Log(), line)
	h.writeBeside(t, "firewall", text)
	until(t, patience, "following the firewall", func() bool { return strings.Count(h.daemon.Log(), line) > before })
}

// fw4 is the chain forward of the router's firewall, as fw4 makes it:
//
//	chain forward {
//		type filter hook forward priority filter; policy drop;
//		ct state established,related accept
//		...
//		jump handle_reject
//	}
//	chain handle_reject {
//		meta l4proto tcp counter reject with tcp reset
//		counter reject
//	}
type fw4 struct {
	t               *testing.T
	conn            *nftables.Conn
	table           *nftables.Table
	forward, reject *nftables.Chain
}

// firewall gives the router a chain forward with some rules.
func (h *home) firewall(t *testing.T, rules ...[]expr.Any) *fw4 {
	t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(h.Router.Fd()))
	ok(t, err)
	f := &fw4{t: t, conn: conn, table: &nftables.Table{Family: nftables.TableFamilyINet, Name: "fw4"}}
	policy := nftables.ChainPolicyDrop
	f.reject = conn.AddChain(&nftables.Chain{Name: "handle_reject", Table: f.table})
	f.forward = conn.AddChain(&nftables.Chain{
		Name: "forward", Table: f.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &policy,
	})
	f.set(rules...)
	return f
}

// set replaces the rules.
func (f *fw4) set(rules ...[]expr.Any) {
	f.t.Helper()
	f.conn.FlushChain(f.forward)
	f.conn.FlushChain(f.reject)
	established := []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATE},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4),
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		passes(),
	}
	for _, r := range append(append([][]expr.Any{established}, rules...), []expr.Any{refuses()}) {
		f.conn.AddRule(&nftables.Rule{Table: f.table, Chain: f.forward, Exprs: r})
	}
	f.conn.AddRule(&nftables.Rule{Table: f.table, Chain: f.reject, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST},
	}})
	f.conn.AddRule(&nftables.Rule{Table: f.table, Chain: f.reject, Exprs: []expr.Any{
		&expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH},
	}})
	ok(f.t, f.conn.Flush())
}

// refused counts the packets that the firewall refused so far.
func (f *fw4) refused() (packets uint64) {
	f.t.Helper()
	rules, err := f.conn.GetRules(f.table, f.reject)
	ok(f.t, err)
	for _, r := range rules {
		for _, e := range r.Exprs {
			if c, ok := e.(*expr.Counter); ok {
				packets += c.Packets
			}
		}
	}
	return packets
}

func passes() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

func refuses() expr.Any { return &expr.Verdict{Kind: expr.VerdictJump, Chain: "handle_reject"} }

func from(device string) []expr.Any { return matching(expr.MetaKeyIIFNAME, device) }

func matching(key expr.MetaKey, device string) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, device)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}}
}

func ofMAC(mac net.HardwareAddr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: mac},
	}
}

// lanPasses is the forwarding from the LAN.
func lanPasses() []expr.Any { return append(from(lab.LAN), passes()) }

func guestPasses() []expr.Any { return append(from("guest0"), passes()) }

// hasChain tells whether fairlead's table has a chain of that name.
func (h *home) hasChain(t *testing.T, name string) bool {
	t.Helper()
	conn, err := nftables.New(nftables.WithNetNSFd(h.Router.Fd()))
	ok(t, err)
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	ok(t, err)
	return slices.ContainsFunc(chains, func(c *nftables.Chain) bool { return c.Table.Name == "fairlead" && c.Name == name })
}

// provoke sends something to a server that need not answer, and gives what it says.
func (h *home) provoke(t *testing.T, c *lab.Client, network string, to netip.AddrPort) string {
	t.Helper()
	const enough = 300 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	conn, err := c.NS.Dial(ctx, network, netip.AddrPort{}, to)
	if err != nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(enough))
	answer, _ := askOnce(conn, "hello\n")
	return answer
}

// askOnce writes, and reads once.
func askOnce(conn net.Conn, text string) (answer string, err error) {
	if _, err := conn.Write([]byte(text)); err != nil {
		return "", err
	}
	buf := make([]byte, 2048)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}
