package route

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/nft/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }

// enter moves the calling goroutine into a new network namespace with lo up,
// which ends with the test, and gives back its file descriptor.
func enter(t testing.TB) int {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("making a network namespace: %v", err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("opening the network namespace: %v", err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	ip(t, "link set lo up")
	return fd
}

// within runs do in another network namespace and waits for it.
func within(t *testing.T, netns int, do func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() { done <- err }() // also when do ends the goroutine by t.Fatal
		runtime.LockOSThread()         // for good: the thread ends with the goroutine
		if err = unix.Setns(netns, unix.CLONE_NEWNET); err == nil {
			do()
		}
	}()
	if err := <-done; err != nil {
		t.Fatalf("entering a network namespace: %v", err)
	}
}

// ip runs the ip program, as referee and for what the product never does.
func ip(t testing.TB, command string) string {
	t.Helper()
	path, err := exec.LookPath("ip")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/ip")
	}
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("CI has to have the program ip: %v", err)
	default:
		t.Skip("NOT TESTED: the program ip, which holds the kernel against our word, is not installed")
	}
	out, err := exec.Command(path, strings.Fields(command)...).CombinedOutput()
	if err != nil {
		t.Errorf("ip %s: %v\n%s", command, err, out)
	}
	return string(out)
}

func sysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := writeSysctl(name, value); err != nil {
		t.Fatalf("setting %s: %v", name, err)
	}
}

// cable connects the calling namespace with another one.
func cable(t *testing.T, here, there string, netns int) {
	t.Helper()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: here}, PeerName: there, PeerNamespace: netlink.NsFd(netns)}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatalf("connecting %s and %s: %v", here, there, err)
	}
}
