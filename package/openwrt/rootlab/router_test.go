package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// router is a lab whose router is a fake OpenWrt: a root of its own with
// BusyBox, the stand-ins and our package, and Debian's dnsmasq beside it.
type router struct {
	*lab.World
	programs
	t    *testing.T
	root string
}

// boot starts a router without fairlead. What procd takes for a second before it
// starts again what crashed is shorter.
func boot(t *testing.T) *router {
	t.Helper()
	return bootWith(t, 50*time.Millisecond)
}

func bootWith(t *testing.T, second time.Duration) *router {
	t.Helper()
	t.Parallel() // each has a world of its own
	p := tools(t)
	w, err := lab.New(lab.Options{NoResolver: true})
	ok(t, err)
	r := &router{World: w, programs: p, t: t, root: filepath.Join(w.Dir, "root")}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the router's log:\n%s", r.read("/tmp/log"))
		}
		ok(t, w.Close())
	})
	ok(t, r.makeRoot())
	r.startProcd(second)
	r.sh("for name in rpcd dnsmasq firewall network; do service $name enable; service $name start; done; reload_config")
	until(t, "dnsmasq serves", func() bool { return strings.Contains(r.read("/tmp/log"), "started, version") })
	return r
}

// makeRoot lays the file system out.
func (r *router) makeRoot() error {
	for _, dir := range []string{"proc", "sys", "dev", "bin", "sbin", "usr/bin", "usr/sbin", "usr/lib/opkg/info", "etc/rc.d", "root",
		"tmp/run", "tmp/lock", "tmp/resolv.conf.d", "tmp/hosts"} {
		if err := os.MkdirAll(filepath.Join(r.root, dir), 0o755); err != nil {
			return err
		}
	}
	if err := os.CopyFS(r.root, os.DirFS("root")); err != nil {
		return err
	}
	for _, script := range []string{"etc/rc.common", "etc/init.d/firewall", "etc/init.d/dnsmasq", "etc/init.d/network", "etc/init.d/rpcd", "sbin/reload_config", "sbin/service", "sbin/logread"} {
		if err := os.Chmod(filepath.Join(r.root, script), 0o755); err != nil {
			return err
		}
	}
	for file, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/ash\n", "etc/group": "root:x:0:\n", "etc/shadow": "root:x:0:0:99999:7:::\n",
		"etc/hosts":                          "127.0.0.1 localhost\n",
		"usr/bin/other":                      "of another package\n",
		"tmp/resolv.conf.d/resolv.conf.auto": "nameserver " + r.At.ISP.V4.String() + "\n",
	} {
		if err := os.WriteFile(filepath.Join(r.root, file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Symlink("tmp", filepath.Join(r.root, "var")); err != nil {
		return err
	}
	return r.addPrograms()
}

// addPrograms puts BusyBox and the stand-ins under their names.
func (r *router) addPrograms() error {
	if err := link(r.busybox, filepath.Join(r.root, "bin/busybox")); err != nil {
		return err
	}
	applets, err := exec.Command(r.busybox, "--list").Output()
	if err != nil {
		return err
	}
	for _, name := range append(strings.Fields(string(applets)), "ash") {
		os.Symlink("busybox", filepath.Join(r.root, "bin", name)) // ash may be there twice
	}
	for _, name := range []string{"procd", "ubus", "uci", "ujail", "opkg", "apk", "fw4", "flock"} {
		if err := link(filepath.Join(r.dir, "bin/rootlab"), filepath.Join(r.root, "sbin", name)); err != nil {
			return err
		}
	}
	for _, file := range r.libraries {
		if err := os.MkdirAll(filepath.Join(r.root, filepath.Dir(file)), 0o755); err != nil {
			return err
		}
		if err := link(file, filepath.Join(r.root, file)); err != nil {
			return err
		}
	}
	return link(r.dnsmasq, filepath.Join(r.root, "usr/sbin/dnsmasq"))
}

// link shares a file with the root, or copies it there from another file system.
func link(from, to string) error {
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o755)
}

// startProcd starts the router's first process.
func (r *router) startProcd(second time.Duration) {
	r.t.Helper()
	cmd := exec.Command(filepath.Join(r.root, "sbin/procd"), "-second", second.String(), r.root)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	life, err := cmd.StdinPipe()
	ok(r.t, err)
	ok(r.t, r.Router.Start(cmd))
	r.t.Cleanup(func() { // before the world is closed, which was left to do earlier
		life.Close()
		cmd.Wait()
	})
	until(r.t, "procd answers", func() bool {
		_, err := call(r.bus(), request{Method: "list"})
		return err == nil
	})
}

func (r *router) bus() string { return filepath.Join(r.root, "tmp/run/rootlab.sock") }

func (r *router) ctx() context.Context {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

// sh runs a script in the router, which must end well, and gives what it prints.
func (r *router) sh(script string, env ...string) string {
	r.t.Helper()
	out, code := r.try(script, env...)
	if code != 0 {
		r.t.Fatalf("in the router, %s exits %d:\n%s", script, code, out)
	}
	return out
}

func (r *router) try(script string, env ...string) (output string, code int) {
	r.t.Helper()
	a, err := call(r.bus(), request{Exec: []string{"/bin/sh", "-c", script}, Env: env})
	ok(r.t, err)
	if a.Error != "" {
		r.t.Fatal(a.Error)
	}
	return a.Output, a.Code
}

// install installs our package as a user does.
func (r *router) install() { r.t.Helper(); r.opkg(r.now) }

func (r *router) opkg(of release) {
	r.t.Helper()
	text, err := os.ReadFile(of.ipk)
	ok(r.t, err)
	ok(r.t, os.WriteFile(filepath.Join(r.root, "tmp/fairlead.ipk"), text, 0o644))
	r.sh("opkg install /tmp/fairlead.ipk && rm /tmp/fairlead.ipk")
}

// apk does the same with the other package manager.
func (r *router) apk(of release) {
	r.t.Helper()
	ok(r.t, os.CopyFS(filepath.Join(r.root, "tmp/apk/fairlead"), os.DirFS(of.tree)))
	r.sh("apk add /tmp/apk/fairlead && rm -r /tmp/apk")
}

// configure writes the lab's usual configuration, in OpenWrt's places.
func (r *router) configure(c lab.Config) {
	r.t.Helper()
	text := r.ConfigText(c)
	text = strings.Replace(text, "list device '"+lab.LAN+"'", "list network 'lan'", 1)
	text = strings.ReplaceAll(text, r.StateDir(), "/var/run/fairlead")
	text = strings.ReplaceAll(text, r.ControlPath(), "/var/run/fairlead/control.sock")
	ok(r.t, os.WriteFile(filepath.Join(r.root, "etc/config/fairlead"), []byte(text), 0o600))
}

// read gives a file of the router's, empty if there is none.
func (r *router) read(file string) string {
	text, _ := os.ReadFile(filepath.Join(r.root, file))
	return string(text)
}

// shown is what procd tells of an instance.
type shown struct {
	Running bool
	Pid     int
	User    string
}

func (r *router) instances() map[string]shown {
	r.t.Helper()
	a, err := call(r.bus(), request{Method: "list", Data: json.RawMessage(`{"name":"fairlead"}`)})
	ok(r.t, err)
	var all map[string]struct{ Instances map[string]shown }
	ok(r.t, json.Unmarshal(a.Data, &all))
	return all["fairlead"].Instances
}

// control is where the daemon answers the other commands.
const control = "tmp/run/fairlead/control.sock"

// daemon waits until the gateway serves, and gives what procd says of it.
func (r *router) daemon() shown {
	r.t.Helper()
	until(r.t, "fairlead serves", func() bool {
		c, err := net.Dial("unix", filepath.Join(r.root, control))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return r.instances()["main"]
}

// kill ends the gateway as a crash does: whoever listens at its control socket.
// pidof would find each other command of the program as well, which may be over
// before the kill, and procd knows only the jail.
func (r *router) kill() {
	r.t.Helper()
	r.daemon()
	c, err := net.Dial("unix", filepath.Join(r.root, control))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	ok(r.t, err)
	ok(r.t, raw.Control(func(fd uintptr) {
		var listener *unix.Ucred
		if listener, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			err = unix.Kill(int(listener.Pid), unix.SIGKILL)
		}
	}))
	ok(r.t, err)
}

// seen is whom the web saw when a client asked for a name of the node's.
func (r *router) seen(client string) (string, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Second)
	defer cancel()
	seen, err := r.Clients[client].GetHTTP(ctx, "http://www.foreign.example/")
	if err != nil {
		return "", err
	}
	return seen.Client.Addr().String(), nil
}

// wantNode checks that a client gets to the web through the node.
func (r *router) wantNode(client string) {
	r.t.Helper()
	if seen, err := r.seen(client); err != nil || seen != r.At.Node.V4.String() {
		r.t.Errorf("the web sees %s (%v), want the node", seen, err)
	}
}

// files are all of the router's files with their modes and sums, but for what is
// in memory.
func (r *router) files() []string {
	r.t.Helper()
	var all []string
	ok(r.t, filepath.WalkDir(r.root, func(path string, entry fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(r.root, path)
		if err == nil && slices.Contains([]string{"proc", "sys", "dev", "tmp"}, rel) {
			return filepath.SkipDir
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprintf("%s %s", rel, info.Mode())
		switch {
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x", sha256.Sum256(text))
		case info.Mode()&fs.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			line += " " + target
		}
		all = append(all, line)
		return nil
	}))
	return all
}

// kernel is the state of the router's kernel, fw4's chain input without what
// changes whenever it is written anew: handles and counts.
func (r *router) kernel() []string {
	r.t.Helper()
	text, err := r.RouterState()
	ok(r.t, err)
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool {
		return strings.Contains(line, inHex("fw4")) && strings.Contains(line, inHex("input"))
	})
	return append(lines, r.input()...)
}

// inHex is a name as lab.RouterState has it in what nftables says.
func inHex(name string) string { return fmt.Sprintf("%x", name+"\x00") }

// tabled tells whether the table of fairlead is there.
func (r *router) tabled() bool {
	r.t.Helper()
	text, err := r.RouterState()
	ok(r.t, err)
	return strings.Contains(text, inHex("fairlead"))
}

// wantSame compares two lists line by line, and tells of the first differences.
func wantSame(t *testing.T, what string, got, want []string) {
	t.Helper()
	var differences []string
	for _, line := range got {
		if !slices.Contains(want, line) {
			differences = append(differences, "there is now "+line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			differences = append(differences, "there is no more "+line)
		}
	}
	if n := len(differences); n > 0 {
		t.Errorf("%s: %d differences, want none:\n%s", what, n, strings.Join(differences[:min(n, 8)], "\n"))
	}
}
