// Command init is the first process of a virtual machine: it readies the kernel,
// runs the programs that cmd/vm packed beside it, says how they ended, and
// switches the machine off.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Where cmd/vm leaves what is to be done: one command in a line, its words
// between spaces, those with = before the program being its environment.
const (
	commands = "/commands"
	modules  = "/mods/*.ko"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is for virtual machines: it switches off what it runs on")
		os.Exit(1)
	}
	if err := boot(); err != nil {
		fmt.Println("vm: FAILED:", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("vm: switching off:", err)
	}
}

// boot prints "vm: BEGAN", and at the end "vm: PASSED" if every command exited
// with 0, and nothing of the kind otherwise: cmd/vm looks for them.
func boot() error {
	fmt.Println("vm: BEGAN")
	if err := errors.Join(mount(), loadModules(), raiseLoopback(), allowFiles()); err != nil {
		return err
	}
	list, err := os.Open(commands)
	if err != nil {
		return err
	}
	defer list.Close()
	var failed, count int
	for lines := bufio.NewScanner(list); lines.Scan(); count++ {
		if err := run(strings.Fields(lines.Text())); err != nil {
			fmt.Printf("vm: %s: %v\n", lines.Text(), err)
			failed++
		}
	}
	if failed > 0 || count == 0 {
		return fmt.Errorf("%d of %d commands", failed, count)
	}
	fmt.Printf("vm: PASSED: %d commands\n", count)
	return nil
}

// mount gives the file systems that a router has.
func mount() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mounting %s: %w", m.at, err)
		}
	}
	return nil
}

// loadModules loads the modules in the order of their names. Some that this
// processor cannot use refuse with ENODEV; who needs them notices.
func loadModules() error {
	files, err := filepath.Glob(modules)
	if err != nil {
		return err
	}
	for _, name := range files {
		if err := load(name); err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("loading %s: %w", name, err)
		}
	}
	return nil
}

func load(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0)
}

// raiseLoopback sets lo up (netdevice(7)).
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(uint16(unix.IFF_UP))
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}

// allowFiles raises the number of open files to what procd allows services.
func allowFiles() error {
	const files = 1 << 16
	return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: files})
}

// run runs a command to its end. Processes that it leaves behind become ours;
// they end with the machine.
func run(words []string) error {
	var env []string
	for len(words) > 0 && strings.Contains(words[0], "=") {
		env, words = append(env, words[0]), words[1:]
	}
	if len(words) == 0 {
		return errors.New("it has no program")
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "CI=vm"}, env...)
	cmd.Dir = filepath.Dir(words[0])
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	began := time.Now()
	err := cmd.Run()
	fmt.Printf("vm: %s took %.1f s\n", filepath.Base(words[0]), time.Since(began).Seconds())
	return err
}
