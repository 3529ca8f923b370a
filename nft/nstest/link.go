package nstest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// End is one end of a link: a device to be made in a namespace. A nil MAC is
// chosen by the kernel.
type End struct {
	NS  *NS
	Dev string
	MAC net.HardwareAddr
}

// Veth links two namespaces by a pair of devices, both up and ready to send.
func Veth(a, b End) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = a.Dev, a.MAC
	pair := netlink.NewVeth(attrs)
	pair.PeerName, pair.PeerHardwareAddr = b.Dev, b.MAC
	pair.PeerNamespace = netlink.NsFd(b.NS.Fd())
	if err := a.NS.handle.LinkAdd(pair); err != nil {
		return fmt.Errorf("linking %s in %s and %s in %s: %w", a.Dev, a.NS.name, b.Dev, b.NS.name, err)
	}
	for _, end := range []End{a, b} {
		if err := end.NS.Up(end.Dev); err != nil {
			return err
		}
	}
	for _, end := range []End{a, b} {
		if err := end.NS.settle(end.Dev); err != nil {
			return err
		}
	}
	return nil
}

// Bridge makes a bridge of a namespace's devices, up and without spanning tree.
func Bridge(at End, ports ...string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = at.Dev, at.MAC
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := at.NS.handle.LinkAdd(bridge); err != nil {
		return fmt.Errorf("making bridge %s in %s: %w", at.Dev, at.NS.name, err)
	}
	for _, port := range ports {
		if err := at.NS.Enslave(port, at.Dev); err != nil {
			return err
		}
	}
	if err := at.NS.Up(at.Dev); err != nil || len(ports) == 0 {
		return err
	}
	return at.NS.settle(at.Dev)
}

// Enslave makes a device, linked and up, a port of a bridge.
func (n *NS) Enslave(port, bridge string) error {
	link, err := n.link(port)
	if err != nil {
		return err
	}
	master, err := n.link(bridge)
	if err != nil {
		return err
	}
	if err := n.handle.LinkSetMaster(link, master); err != nil {
		return fmt.Errorf("making %s in %s a port of %s: %w", port, n.name, bridge, err)
	}
	if master.Attrs().Flags&net.FlagUp == 0 {
		return nil
	}
	return n.settle(bridge)
}

// settle waits until a device that has just got its carrier sends. The kernel
// attaches the queue some time after the carrier is reported, and drops what is
// sent until then (net/core/link_watch.c); a lost first packet costs a second.
func (n *NS) settle(dev string) error {
	return until("waiting for "+dev+" in "+n.name+" to send", func() (bool, error) {
		link, err := n.link(dev)
		return err == nil && link.Attrs().OperState == netlink.OperUp, err
	})
}

// until asks again and again, because what is waited for tells nobody.
func until(what string, done func() (bool, error)) error {
	const interval, patience = 200 * time.Microsecond, 5 * time.Second
	for deadline := time.Now().Add(patience); ; {
		ok, err := done()
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", what, err)
		case ok:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%s: not within %v", what, patience)
		}
		time.Sleep(interval)
	}
}

// Up sets a device up.
func (n *NS) Up(dev string) error {
	return n.set(dev, "up", n.handle.LinkSetUp)
}

// Down sets a device down; its IPv6 addresses are lost.
func (n *NS) Down(dev string) error {
	return n.set(dev, "down", n.handle.LinkSetDown)
}

// Delete removes a device, and the other end of a pair with it.
func (n *NS) Delete(dev string) error {
	return n.set(dev, "gone", n.handle.LinkDel)
}

func (n *NS) set(dev, state string, do func(netlink.Link) error) error {
	link, err := n.link(dev)
	if err != nil {
		return err
	}
	if err := do(link); err != nil {
		return fmt.Errorf("setting %s in %s %s: %w", dev, n.name, state, err)
	}
	return nil
}

// Addr gives a device an address with its prefix, usable at once.
func (n *NS) Addr(dev string, p netip.Prefix) error {
	link, err := n.link(dev)
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := n.handle.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("giving %s in %s the address %s: %w", dev, n.name, p, err)
	}
	if p.Addr().Is4() || link.Attrs().Flags&net.FlagUp == 0 {
		return nil
	}
	// Even without duplicate address detection, the kernel takes packets for an
	// IPv6 address only once a work queue has run (net/ipv6/addrconf.c).
	return until(fmt.Sprintf("waiting for %s to be an address of %s", p.Addr(), n.name), func() (bool, error) {
		routes, err := n.handle.RouteGet(p.Addr().AsSlice())
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
			return false, nil
		}
		return err == nil && len(routes) > 0 && routes[0].Type == unix.RTN_LOCAL, err
	})
}

// Route sends a prefix through a gateway that is on a link already.
func (n *NS) Route(dst netip.Prefix, gateway netip.Addr) error {
	route := &netlink.Route{Dst: ipNet(dst.Masked()), Gw: gateway.AsSlice()}
	if err := n.handle.RouteAdd(route); err != nil {
		return fmt.Errorf("routing %s in %s through %s: %w", dst, n.name, gateway, err)
	}
	return nil
}

func (n *NS) link(dev string) (netlink.Link, error) {
	link, err := n.handle.LinkByName(dev)
	if err != nil {
		return nil, fmt.Errorf("finding %s in %s: %w", dev, n.name, err)
	}
	return link, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
