package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// Ports of dnsmasq, which keep out of the way of the lab's resolver in the router.
const (
	dnsmasqPort = 5353
	nftsetPort  = 5354 // of the one that tells the kernel of addresses
)

// dnsmasqCache is how many names dnsmasq keeps: as many as OpenWrt has it do. One
// that may keep all names of the benchmark looks through them at each miss.
const dnsmasqCache = 1000

// startDnsmasq runs dnsmasq in the router, with a receive buffer as large as
// fairlead's. It gives nil where dnsmasq is not installed.
func (h *house) startDnsmasq(port uint16, more ...string) (*lab.Daemon, error) {
	path, err := exec.LookPath("dnsmasq")
	if err != nil {
		return nil, nil
	}
	r := h.resolver()
	d, err := h.Run(exec.Command(path, append(more, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
		"--user=root", "--pid-file=", "--bind-interfaces", "--listen-address="+h.At.RouterLAN.V4.String(),
		"--port="+strconv.Itoa(int(port)), fmt.Sprintf("--server=%s#%d", r.Addr(), r.Port()),
		"--cache-size="+strconv.Itoa(dnsmasqCache), "--dns-forward-max=1000")...))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := h.awaitDNS(ctx, h.dnsmasq(port)); err != nil {
		return nil, fmt.Errorf("%w:\n%s", err, d.Log())
	}
	return d, widen(d.Pid())
}

// startNftset runs a dnsmasq that puts every address into a set of nftables before
// it answers, as fairlead does. It gives nil where dnsmasq or nft cannot.
func (h *house) startNftset() (*lab.Daemon, error) {
	features, _ := exec.Command("dnsmasq", "--version").Output()
	if !slices.Contains(strings.Fields(string(features)), "nftset") {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	nft, err := h.Run(exec.Command("nft", "add table inet bench; add set inet bench known { type ipv4_addr; }"))
	if err != nil {
		return nil, nil
	}
	if code, err := nft.Wait(ctx); code != 0 || err != nil {
		return nil, nil
	}
	return h.startDnsmasq(nftsetPort, "--nftset=/domestic.example/4#inet#bench#known")
}

func (h *house) dnsmasq(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(h.At.RouterLAN.V4, port)
}

// awaitDNS asks a server until it answers.
func (h *house) awaitDNS(ctx context.Context, server netip.AddrPort) error {
	for {
		trying, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		_, err := h.Clients["laptop"].Exchange(trying, server, query("www.domestic.example"), "udp")
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for an answer of %s: %w", server, err)
		case <-time.After(20 * time.Millisecond): // one that refuses does so at once
		}
	}
}

// widen gives a process's UDP sockets the receive buffer that ours have.
func widen(pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("opening process %d: %w", pid, err)
	}
	defer unix.Close(process)
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		target, _ := os.Readlink(dir + "/" + e.Name())
		number, err := strconv.Atoi(e.Name())
		if err != nil || !strings.HasPrefix(target, "socket:") {
			continue
		}
		if err := widenSocket(process, number); err != nil {
			return fmt.Errorf("setting the receive buffer of process %d: %w", pid, err)
		}
	}
	return nil
}

func widenSocket(process, number int) error {
	fd, err := unix.PidfdGetfd(process, number, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || family != unix.AF_INET && family != unix.AF_INET6 {
		return err
	}
	return setReceiveBuffer(fd, udpBuffer)
}
