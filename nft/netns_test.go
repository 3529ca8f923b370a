package nft

import (
	"flag"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/nft/nstest"
)

// TestMain enters namespaces, unless only messages are to be written: emulators
// of other processors have none.
func TestMain(m *testing.M) {
	if flag.Parse(); *messages != "" {
		os.Exit(m.Run())
	}
	os.Exit(nstest.Main(m))
}

// enterNetNS moves the calling goroutine into a new network namespace, which
// ends with the test, and gives back its file descriptor. The thread is never
// given back to other goroutines.
func enterNetNS(t testing.TB) int {
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
	return fd
}

// run runs a program in the calling goroutine's network namespace.
func run(t testing.TB, stdin string, name string, args ...string) string {
	t.Helper()
	needs(t, name)
	out, err := tryRun(stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// needs skips a test whose referee is not installed: the kernel is then not read
// back by anybody but us. CI has to have it.
func needs(t testing.TB, name string) {
	t.Helper()
	_, err := program(name)
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatalf("CI has to have the program %s: %v", name, err)
	default:
		t.Skipf("NOT TESTED: the program %s, which holds the kernel against our word, is not installed", name)
	}
}

// program finds a program also where an ordinary user's PATH does not lead.
func program(name string) (path string, err error) {
	if path, err = exec.LookPath(name); err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	return path, err
}

func tryRun(stdin string, name string, args ...string) (string, error) {
	path, err := program(name)
	if err != nil {
		return "", err
	}
	c := exec.Command(path, args...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	return string(out), err
}
