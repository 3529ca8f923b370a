package nstest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
)

// entered marks the environment of a process that Enter has started, so that
// one that is refused there too does not start another.
const entered = "FAIRLEAD_IN_USER_NAMESPACE"

// Enter makes sure that this process may create network namespaces. Where it
// may, ran is false and the caller goes on. Where it may not, Enter runs this
// program once more, with the same arguments, as root of a user, network and
// mount namespace of its own; ran is then true, the caller's work is done, and
// code is what it should exit with. Where that is refused as well, the error
// says what is missing and how to allow it.
func Enter() (code int, ran bool, err error) {
	refused := probe()
	switch {
	case refused == nil && os.Getenv(entered) != "":
		return 0, false, raiseLoopback()
	case refused == nil:
		return 0, false, nil
	}
	if os.Getenv(entered) != "" {
		return 0, false, explain(refused, readSysctl)
	}
	code, err = again()
	if err != nil {
		return 0, false, explain(errors.Join(refused, err), readSysctl)
	}
	return code, true, nil
}

// Main is Enter for TestMain: it runs the tests of m here or in a user
// namespace, and returns the exit code. Tests that may not make namespaces
// fail; they are not skipped.
func Main(m interface{ Run() int }) int {
	code, ran, err := Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if ran {
		return code
	}
	return m.Run()
}

// probe does what all else here needs, because capabilities alone do not tell:
// AppArmor and seccomp refuse processes that hold them.
func probe() error {
	n, err := New("probe")
	if err != nil {
		return err
	}
	return n.Close()
}

// raiseLoopback lets the program reach itself: a new network namespace begins
// with its loopback down.
func raiseLoopback() error {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("setting the loopback of the user namespace up: %w", err)
	}
	return nil
}

// again runs this program in namespaces of its own and passes signals on to it.
func again() (int, error) {
	// The parent death signal is sent when the thread that forked ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), entered+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)

	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting %s in a user namespace: %w", os.Args[0], err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			cmd.Process.Signal(s) // it may have ended; then done says so
		case err := <-done:
			return exitCode(cmd, err)
		}
	}
}

// exitCode is the child's as a shell would give it.
func exitCode(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("waiting for %s in a user namespace: %w", os.Args[0], err)
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// explain adds to a refusal what this system forbids and who can allow it.
func explain(refused error, sysctl func(key string) string) error {
	var hints []string
	for _, s := range []struct{ key, forbids, allow string }{
		{"kernel.unprivileged_userns_clone", "0", "1"},
		{"kernel.apparmor_restrict_unprivileged_userns", "1", "0"},
		{"user.max_user_namespaces", "0", "15000"},
		{"user.max_net_namespaces", "0", "15000"},
	} {
		if sysctl(s.key) == s.forbids {
			hints = append(hints, fmt.Sprintf("%s is %s (allow it as root: sysctl -w %s=%s)", s.key, s.forbids, s.key, s.allow))
		}
	}
	if hints == nil {
		hints = []string{"neither CAP_SYS_ADMIN and CAP_NET_ADMIN nor user namespaces are allowed here (run it as root; in a container, with --privileged)"}
	}
	return fmt.Errorf("creating network namespaces: %w; %s", refused, strings.Join(hints, "; "))
}
