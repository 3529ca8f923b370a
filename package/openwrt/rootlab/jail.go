package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/openwrt/ubus"
)

// jailArgs is the command line that procd gives ujail.
func (in *instance) jailArgs() []string {
	args := []string{"/sbin/ujail", "-n", in.Jail.Name}
	flag := func(letter, value string) {
		if value != "" {
			args = append(args, letter, value)
		}
	}
	flag("-U", in.User)
	flag("-G", in.Group)
	flag("-C", in.Capabilities)
	if in.NoNewPrivs == "1" {
		args = append(args, "-c")
	}
	for _, f := range in.Jail.Flags {
		args = append(args, map[string]string{"procfs": "-p", "sysfs": "-s", "ubus": "-u"}[f])
	}
	for _, path := range slices.Sorted(maps.Keys(in.Jail.Mount)) {
		flag(map[string]string{"0": "-r", "1": "-w"}[in.Jail.Mount[path]], path)
	}
	return append(args, "--")
}

// cell is what ujail was told.
type cell struct {
	User, Group, Capabilities string
	NoNewPrivs, Proc, Sys     bool
	Mounts                    map[string]bool // path: writable
	Command                   []string
}

func parseCell(args []string) (cell, error) {
	c := cell{Mounts: map[string]bool{"/etc/passwd": false, "/etc/group": false, "/etc/resolv.conf": false}}
	for len(args) > 0 {
		letter := args[0]
		args = args[1:]
		switch letter {
		case "-c":
			c.NoNewPrivs = true
		case "-p":
			c.Proc = true
		case "-s":
			c.Sys = true
		case "-u":
			c.Mounts[filepath.Dir(ubus.Socket)] = false
		case "--":
			c.Command = args
			c.Mounts[args[0]] = false
			return c, nil
		default:
			if len(args) == 0 {
				return cell{}, errors.New("a command has to follow --")
			}
			switch value := args[0]; letter {
			case "-n":
			case "-U":
				c.User = value
			case "-G":
				c.Group = value
			case "-C":
				c.Capabilities = value
			case "-r", "-w":
				c.Mounts[value] = letter == "-w"
			default:
				return cell{}, fmt.Errorf("this stand-in knows no option %s", letter)
			}
			args = args[1:]
		}
	}
	return cell{}, errors.New("a command has to follow --")
}

const jailed = "rootlab-jailed"

// ujail runs a command in mount, process and IPC namespaces of its own, passes
// signals on to it and ends as it ended.
func ujail(args []string) error {
	c, err := parseCell(args)
	if err != nil {
		return err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", string(text))
	cmd.Args[0] = jailed
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the parent death signal is sent when the thread that forked ends
	if err := cmd.Start(); err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	cmd.Wait()
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return exitCode(status.Signal())
	}
	return exitCode(cmd.ProcessState.ExitCode())
}

// jailedCommand is the process in the jail until it becomes the command.
func jailedCommand(args []string) error {
	runtime.LockOSThread() // credentials are of a thread, and exec keeps those of the one that calls it
	var c cell
	if err := json.Unmarshal([]byte(args[0]), &c); err != nil {
		return err
	}
	wanted, err := readCapabilities(c.Capabilities)
	if err != nil {
		return err
	}
	uid, err := lookUp("/etc/passwd", c.User)
	if err != nil {
		return err
	}
	gid, err := lookUp("/etc/group", c.Group)
	if err != nil {
		return err
	}
	if err := c.build(); err != nil {
		return fmt.Errorf("building the jail: %w", err)
	}
	if err := become(uid, gid, wanted); err != nil {
		return fmt.Errorf("leaving privilege behind: %w", err)
	}
	if c.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return err
		}
	}
	return syscall.Exec(c.Command[0], c.Command, []string{"container=ujail"})
}

// build makes a root of tmpfs with the mounts in it, in the order of their
// names, and changes to it. /proc/sys can only be read, but where it is mounted
// again.
func (c cell) build() error {
	const root = "/tmp/ujail"
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	mounts := []string{"/dev"}
	if c.Proc {
		mounts = append(mounts, "/proc", "/proc/sys")
	}
	if c.Sys {
		mounts = append(mounts, "/sys")
	}
	for _, path := range slices.Sorted(slices.Values(append(mounts, slices.Collect(maps.Keys(c.Mounts))...))) {
		if err := c.mount(root, path); err != nil {
			return fmt.Errorf("mounting %s: %w", path, err)
		}
	}
	if err := unix.Chroot(root); err != nil {
		return err
	}
	return os.Chdir("/")
}

func (c cell) mount(root, path string) error {
	writable, ours := c.Mounts[path]
	switch {
	case path == "/proc":
		if err := os.MkdirAll(root+path, 0o755); err != nil {
			return err
		}
		return unix.Mount("proc", root+path, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	case path == "/proc/sys":
		return bindDirectory(root+path, root+path, false)
	case path == "/sys":
		return bindDirectory(path, root+path, false)
	case path == "/dev":
		if err := os.MkdirAll(root+path, 0o755); err != nil {
			return err
		}
		for _, dev := range devices() {
			if err := bindFile(dev, root+dev, 0); err != nil {
				return err
			}
		}
		return nil
	case !ours:
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil // as ujail passes over what is not there
	}
	if info.IsDir() {
		return bindDirectory(path, root+path, writable)
	}
	if err := os.MkdirAll(filepath.Dir(root+path), 0o755); err != nil {
		return err
	}
	flags := uintptr(0)
	if !writable {
		flags = unix.MS_RDONLY
	}
	return bindFile(path, root+path, flags)
}

func bindDirectory(from, to string, writable bool) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	// In a user namespace, what is mounted below cannot be left behind.
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if writable {
		return nil
	}
	// What the outer mount forbids cannot be allowed in a user namespace.
	var s unix.Statfs_t
	if err := unix.Statfs(to, &s); err != nil {
		return err
	}
	kept := uintptr(s.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	return unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|kept, "")
}

// readCapabilities reads one of the five sets of the file; a package writes
// them alike.
func readCapabilities(file string) (uint64, error) {
	var sets map[string][]string
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &sets)
	}
	if err != nil {
		return 0, err
	}
	numbers := map[string]int{
		"CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_DAC_READ_SEARCH": unix.CAP_DAC_READ_SEARCH, "CAP_NET_ADMIN": unix.CAP_NET_ADMIN,
		"CAP_NET_RAW": unix.CAP_NET_RAW, "CAP_NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE,
	}
	var mask uint64
	for _, name := range []string{"bounding", "effective", "ambient", "permitted", "inheritable"} {
		if !slices.Equal(sets[name], sets["bounding"]) {
			return 0, fmt.Errorf("%s: the set %q is %v, and the first %v", file, name, sets[name], sets["bounding"])
		}
	}
	for _, name := range sets["bounding"] {
		n, ok := numbers[name]
		if !ok {
			return 0, fmt.Errorf("%s: this stand-in knows no %s", file, name)
		}
		mask |= 1 << n
	}
	return mask, nil
}

// lookUp finds a number in /etc/passwd or /etc/group; 0 for nobody.
func lookUp(file, name string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil || name == "" {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(line, ":"); fields[0] == name {
			return strconv.Atoi(fields[2])
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, name)
}

// become takes another user's number and only the capabilities of the mask. In a
// user namespace that has only root, it stays root.
func become(uid, gid int, mask uint64) error {
	const noFixup = 1 << 2 // SECBIT_NO_SETUID_FIXUP, capabilities(7)
	if err := unix.Prctl(unix.PR_SET_SECUREBITS, noFixup, 0, 0, 0); err != nil {
		return err
	}
	for n := range 64 {
		if mask&(1<<n) == 0 && unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(n), 0, 0, 0) == unix.EINVAL {
			break // the last one was before
		}
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); e != 0 && e != unix.EINVAL {
		return e
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 && e != unix.EINVAL {
		return e
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	low, high := uint32(mask), uint32(mask>>32)
	sets := [2]unix.CapUserData{{Effective: low, Permitted: low, Inheritable: low}, {Effective: high, Permitted: high, Inheritable: high}}
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return err
	}
	for n := range 64 {
		if mask&(1<<n) != 0 {
			if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(n), 0, 0); err != nil {
				return err
			}
		}
	}
	return nil
}
