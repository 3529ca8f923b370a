package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// dnsmasqPort keeps out of the way of the lab's resolver in the router.
const dnsmasqPort = 5353

// startDnsmasq runs dnsmasq in the router, with room for all names of the
// benchmark and a receive buffer as large as fairlead's. It gives nil where
// dnsmasq is not installed.
func (h *house) startDnsmasq() (*lab.Daemon, error) {
	path, err := exec.LookPath("dnsmasq")
	if err != nil {
		return nil, nil
	}
	r := h.resolver()
	d, err := h.Run(exec.Command(path, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
		"--user=root", "--pid-file=", "--bind-interfaces", "--listen-address="+h.At.RouterLAN.V4.String(),
		"--port="+strconv.Itoa(dnsmasqPort), fmt.Sprintf("--server=%s#%d", r.Addr(), r.Port()),
		"--cache-size=20000", "--dns-forward-max=1000"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	if err := h.awaitDNS(ctx, h.dnsmasq()); err != nil {
		return nil, fmt.Errorf("%w:\n%s", err, d.Log())
	}
	return d, widen(d.Pid())
}

func (h *house) dnsmasq() netip.AddrPort { return netip.AddrPortFrom(h.At.RouterLAN.V4, dnsmasqPort) }

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
