package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/openwrt/ubus/ubustest"
)

// manager is procd: services with their instances, triggers and data.
type manager struct {
	second time.Duration // how long a second of `respawn` takes
	log    *os.File
	ubus   *ubustest.Server

	mu          sync.Mutex // guards the fields below
	services    map[string]*service
	subscribers map[chan string]bool
	late        map[string]bool // programs that a trigger will run
}

// procd is the router's first process: it makes the root that it is given its
// own, and serves until its standard input ends, which is when the test does.
// All that runs in the router ends with it.
func procd(args []string) error {
	fs := flag.NewFlagSet("procd", flag.ContinueOnError)
	second := fs.Duration("second", time.Second, "how long a second of respawn takes")
	if err := fs.Parse(args); err != nil || fs.NArg() != 1 {
		return errors.New("procd [-second DURATION] ROOT")
	}
	if err := enterRoot(fs.Arg(0)); err != nil {
		return fmt.Errorf("entering the root: %w", err)
	}
	log, err := os.OpenFile("/tmp/log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	m := &manager{second: *second, log: log, services: map[string]*service{}, subscribers: map[chan string]bool{}, late: map[string]bool{}}
	if err := m.serveLog(); err != nil {
		return err
	}
	if err := m.serveUbus(); err != nil {
		return err
	}
	l, err := net.Listen("unix", busPath)
	if err != nil {
		return err
	}
	go m.serve(l)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// serveLog collects what programs send to syslog.
func (m *manager) serveLog() error {
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
	if err != nil {
		return err
	}
	go func() {
		for buf := make([]byte, 8<<10); ; {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			fmt.Fprintf(m.log, "%s\n", buf[:n])
		}
	}()
	return nil
}

func (m *manager) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go m.converse(c)
	}
}

func (m *manager) converse(c net.Conn) {
	defer c.Close()
	var r request
	if err := json.NewDecoder(bufio.NewReaderSize(io.LimitReader(c, maxMessage), 4<<10)).Decode(&r); err != nil {
		return
	}
	var a reply
	switch {
	case r.Exec != nil:
		a = execute(r)
	case r.Method == "subscribe":
		m.notifyTo(c)
		return
	case r.Method == "network.reload":
		m.reloadNetwork()
	default:
		data, err := m.handle(r.Method, r.Data)
		if a.Data = data; err != nil {
			a.Error = err.Error()
		}
	}
	json.NewEncoder(c).Encode(a)
}

// execute runs a program as a user at the console does.
func execute(r request) reply {
	cmd := exec.Command(r.Exec[0], r.Exec[1:]...)
	cmd.Env = append(environment(), r.Env...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		return reply{Error: err.Error()}
	}
	return reply{Output: string(out), Code: cmd.ProcessState.ExitCode()}
}

func environment() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb"}
}

// notifyTo sends notifications until the subscriber goes.
func (m *manager) notifyTo(c net.Conn) {
	ch := make(chan string, 64)
	m.mu.Lock()
	m.subscribers[ch] = true
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.subscribers, ch)
		m.mu.Unlock()
	}()
	for line := range ch {
		if _, err := io.WriteString(c, line); err != nil {
			return
		}
	}
}

// notify tells subscribers what happened to an instance, in the form of
// blobmsg_format_json. The caller holds the lock.
func (m *manager) notify(event string, in *instance) {
	line := fmt.Sprintf("{ %q: {\"service\":%q,\"instance\":%q} }\n", event, in.service.name, in.name)
	fmt.Fprintf(m.log, "procd: %s", line)
	for ch := range m.subscribers {
		select {
		case ch <- line:
		default: // as ubusd drops the messages of a client that does not read
		}
	}
}

// event has the triggers of services run their programs, late by a second
// (PROCD_RELOAD_DELAY), and once however often they are pulled until then.
func (m *manager) event(kind, pkg string) {
	for _, s := range m.services {
		for _, t := range s.Triggers {
			if t.Event != kind || t.Package != pkg || m.late[s.name] {
				continue
			}
			m.late[s.name] = true
			time.AfterFunc(time.Second, func() {
				m.mu.Lock()
				delete(m.late, s.name)
				m.mu.Unlock()
				a := execute(request{Exec: t.Run})
				fmt.Fprintf(m.log, "procd: %q exits %d: %s\n", t.Run, a.Code, a.Output+a.Error)
			})
		}
	}
}

// enterRoot makes a directory the root of this process, which has a mount and a
// process namespace of its own.
func enterRoot(root string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil { // pivot_root wants a mount
		return err
	}
	if err := unix.Mount("proc", root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.Mount("/sys", root+"/sys", "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting /sys: %w", err)
	}
	for _, dev := range devices() {
		if err := bindFile(dev, root+dev, 0); err != nil {
			return err
		}
	}
	// All of /tmp is in memory on a router; here it is what dnsmasq reads.
	confdir := root + "/tmp/dnsmasq.cfg01411c.d"
	if err := os.MkdirAll(confdir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", confdir, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mounting %s: %w", confdir, err)
	}
	if err := unix.Chroot(root); err != nil {
		return err
	}
	return os.Chdir("/")
}

func devices() []string {
	return []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
}

// bindFile shows a file at another place. A device cannot be made in a user
// namespace.
func bindFile(from, to string, flags uintptr) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("showing %s at %s: %w", from, to, err)
	}
	if flags == 0 {
		return nil
	}
	return unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|flags, "")
}
