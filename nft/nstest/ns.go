// Package nstest makes network namespaces, links them and watches what passes
// between them, over netlink and without any other program.
package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrClosed is what using a namespace after Close gives.
var ErrClosed = errors.New("namespace is closed")

// errEnded is the result of a function that never returned (runtime.Goexit,
// which testing's FailNow calls).
var errEnded = errors.New("the function ended its goroutine")

// NS is a network namespace without a name in the file system: it goes when it
// is closed and no socket or process is left in it.
type NS struct {
	name   string
	handle *netlink.Handle

	mu   sync.RWMutex // guards the fields below
	file *os.File     // nil once closed
}

// New creates a namespace with its loopback up. The name is for errors only.
// IPv6 addresses in it are usable at once: duplicate address detection is off.
func New(name string) (*NS, error) {
	n := &NS{name: name}
	if err := apart(n.unshare); err != nil {
		return nil, fmt.Errorf("creating namespace %s: %w", name, err)
	}
	if err := n.prepare(); err != nil {
		n.Close()
		return nil, fmt.Errorf("preparing namespace %s: %w", name, err)
	}
	return n, nil
}

// unshare moves the thread to a new namespace and keeps a reference to that.
func (n *NS) unshare() error {
	return returning(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unsharing the network: %w", err)
		}
		file, err := os.Open(threadNS)
		if err != nil {
			return err
		}
		n.file = file
		return nil
	})
}

func (n *NS) prepare() error {
	err := n.Do(func() (err error) {
		// Other families than these two are not in every kernel.
		n.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return fmt.Errorf("opening netlink: %w", err)
	}
	for _, conf := range []string{"all", "default"} {
		if err := n.SetSysctl("net.ipv6.conf."+conf+".accept_dad", "0"); err != nil {
			return err
		}
	}
	return n.Up("lo")
}

// Name is the name given to New.
func (n *NS) Name() string { return n.name }

// Handle is the namespace's netlink (route and netfilter families), good until Close.
func (n *NS) Handle() *netlink.Handle { return n.handle }

// Fd is the namespace's file descriptor, good until Close, for libraries that
// enter namespaces themselves.
func (n *NS) Fd() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.file == nil {
		return -1
	}
	return int(n.file.Fd())
}

// Do runs fn in the namespace, on a thread and a goroutine of its own, and
// waits for it. Sockets made by fn itself stay in the namespace afterwards;
// goroutines that fn starts run outside it.
func (n *NS) Do(fn func() error) error {
	return apart(func() error {
		return returning(func() error {
			if err := n.enter(); err != nil {
				return fmt.Errorf("entering namespace %s: %w", n.name, err)
			}
			return fn()
		})
	})
}

func (n *NS) enter() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.file == nil {
		return ErrClosed
	}
	return unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET)
}

// Start starts cmd in the namespace. Waiting for it is the caller's.
func (n *NS) Start(cmd *exec.Cmd) error {
	return n.Do(cmd.Start)
}

// Sysctl reads a setting of the namespace, such as net.ipv4.ip_forward. A key
// with slashes is taken as a path, for devices with dots in their names.
func (n *NS) Sysctl(key string) (value string, err error) {
	err = n.Do(func() error {
		b, err := os.ReadFile(sysctlPath(key))
		value = strings.TrimSpace(string(b))
		return err
	})
	return value, err
}

// SetSysctl writes a setting of the namespace.
func (n *NS) SetSysctl(key, value string) error {
	return n.Do(func() error {
		return os.WriteFile(sysctlPath(key), []byte(value), 0o644)
	})
}

// Close gives the namespace up; calling it again does nothing.
func (n *NS) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file == nil {
		return nil
	}
	if n.handle != nil {
		n.handle.Close()
	}
	err := n.file.Close()
	n.file = nil
	return err
}

// threadNS is the network namespace of the thread that opens it (proc(5)).
const threadNS = "/proc/thread-self/ns/net"

// apart runs fn on a goroutine of its own, so that one that stays locked to a
// thread in the wrong namespace ends, and the thread with it.
func apart(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errEnded
		defer func() { done <- err }()
		err = fn()
	}()
	return <-done
}

// returning runs fn, which changes the thread's namespace, and brings the
// thread back. A thread that does not come back stays locked.
func returning(fn func() error) error {
	runtime.LockOSThread()
	home, err := os.Open(threadNS)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer home.Close()
	defer func() {
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return fn()
}

func sysctlPath(key string) string {
	if !strings.Contains(key, "/") {
		key = strings.ReplaceAll(key, ".", "/")
	}
	return "/proc/sys/" + key
}

// readSysctl reads a setting of this process's namespaces, "" where there is none.
func readSysctl(key string) string {
	b, err := os.ReadFile(sysctlPath(key))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
