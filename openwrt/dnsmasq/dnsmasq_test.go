package dnsmasq

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// router is a directory in which dnsmasq is configured as by its init script.
type router struct {
	System
	t        *testing.T
	dir      string
	record   string
	restarts int
	fails    error
}

func (r *router) Restart(context.Context) error { r.restarts++; return r.fails }

// newRouter has an instance for each text, which reads the directory confdir,
// or confdir2 for the second.
func newRouter(t *testing.T, instances ...string) *router {
	t.Helper()
	r := &router{t: t, dir: t.TempDir()}
	r.record = filepath.Join(r.dir, "record")
	r.System = System{Configs: filepath.Join(r.dir, "dnsmasq.conf"), Service: r, InMemory: func(string) bool { return true }}
	for i, name := range []string{"confdir", "confdir2"} {
		if err := os.Mkdir(filepath.Join(r.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if i < len(instances) {
			r.write("dnsmasq.conf.cfg0"+string(rune('1'+i)), instances[i])
		}
	}
	return r
}

func (r *router) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(strings.ReplaceAll(text, "DIR", r.dir)), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// dropIn is our file without the comment; "-" if there is none.
func (r *router) dropIn(dir string) string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, dir, fileName))
	if errors.Is(err, os.ErrNotExist) {
		return "-"
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, " ")
}

func (r *router) files() string {
	r.t.Helper()
	var all strings.Builder
	filepath.Walk(r.dir, func(path string, _ os.FileInfo, _ error) error {
		text, _ := os.ReadFile(path)
		all.WriteString(path + "\n" + string(text) + "\n")
		return nil
	})
	return all.String()
}

const usual = "# auto-generated\ndomain-needed\nconf-dir=DIR/confdir\ndhcp-range=set:lan,192.168.1.100,192.168.1.249,255.255.255.0,12h\n"

func TestOnlyWhatIsNotSetIsSet(t *testing.T) {
	for _, tt := range []struct{ sentence, text, want string }{
		{"nothing is set", "", "port=0 dhcp-option=6,0.0.0.0"},
		{"a server for everybody", "dhcp-option=6,192.168.1.2\n", "port=0"},
		{"by its name", "dhcp-option=option:dns-server,192.168.1.2\n", "port=0"},
		{"a server for one network", "dhcp-option=lan,6,192.168.1.2\ndhcp-option=tag:guest,6,1.1.1.1\n", "port=0 dhcp-option=6,0.0.0.0"},
		{"another option", "dhcp-option=66,192.168.1.2\n", "port=0 dhcp-option=6,0.0.0.0"},
		{"no DNS", "port=0\n", "dhcp-option=6,0.0.0.0"},
		{"another port", "port=5353 # of ours\n", "dhcp-option=6,0.0.0.0"},
		{"another port and a server", "port = 54\ndhcp-option-force=6,192.168.1.1\n", "-"},
		{"a comment", "# port=54\n", "port=0 dhcp-option=6,0.0.0.0"},
		{"a port in another file", "conf-file=DIR/more\n", "dhcp-option=6,0.0.0.0"},
		{"a file that is not there", "conf-file=DIR/none\n", "port=0 dhcp-option=6,0.0.0.0"},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			r := newRouter(t, usual+tt.text)
			r.write("more", "port=54\n")
			restarted, err := r.Take(t.Context(), r.record)
			if err != nil || r.dropIn("confdir") != tt.want || restarted != (tt.want != "-") {
				t.Errorf("Take = %t, %v and the file says %q, want %q", restarted, err, r.dropIn("confdir"), tt.want)
			}
		})
	}
}

func TestWhatCannotBeTakenIsLeftAlone(t *testing.T) {
	for _, tt := range []struct {
		sentence  string
		instances []string
		want      string
	}{
		{"port 53 said aloud", []string{usual + "port=53\n"}, "remove `option port` from /etc/config/dhcp"},
		{"in a file of its directory", []string{usual}, "DIR/confdir/other.conf sets dnsmasq's port to 53"},
		{"no directory", []string{"domain-needed\n"}, "has no conf-dir"},
		{"a directory that would not read our file", []string{"conf-dir=DIR/confdir,.conf\n"}, "would not read fairlead.conf"},
		{"nor this one", []string{"conf-dir=DIR/confdir,*.cfg\n"}, "would not read fairlead.conf"},
		{"one of two instances", []string{usual, "conf-dir=DIR/confdir2\nport=53\n"}, "option port"},
		{"one directory for two that differ", []string{usual, "conf-dir=DIR/confdir\nport=54\n"}, "only one of them has a port"},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			r := newRouter(t, tt.instances...)
			if strings.Contains(tt.want, "other.conf") {
				r.write("confdir/other.conf", "port=53\n")
			}
			before := r.files()
			_, err := r.Take(t.Context(), r.record)
			if want := strings.ReplaceAll(tt.want, "DIR", r.dir); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Take = %v, want %q", err, want)
			}
			if r.files() != before || r.restarts > 0 {
				t.Errorf("files were changed, or dnsmasq restarted %d times; want neither", r.restarts)
			}
		})
	}
}

func TestADirectoryThatOutlivesAPowerCutIsNotWrittenTo(t *testing.T) {
	r := newRouter(t, usual)
	r.InMemory = func(string) bool { return false }
	if _, err := r.Take(t.Context(), r.record); err == nil || !strings.Contains(err.Error(), "not in memory") {
		t.Errorf("Take = %v, want a refusal: the directory is not in memory", err)
	}
}

func TestEveryInstanceIsTakenAndGivenBackToTheByte(t *testing.T) {
	r := newRouter(t, usual, "conf-dir=DIR/confdir2,*.conf\n")
	r.write("confdir/other.conf", "log-queries\n")
	r.write("dnsmasq.conf.cfg01.4711", "port=53\n")                            // half written
	r.write("dnsmasq.conf.cfg09", "conf-dir=DIR/gone\nport=53\n")              // of an instance that is no more
	r.write("dnsmasq.conf.guest_1", "conf-dir=DIR/confdir2\ndhcp-option=6,\n") // shares the directory
	before := r.files()
	for range 2 {
		if _, err := r.Take(t.Context(), r.record); err != nil {
			t.Fatal(err)
		}
	}
	for dir, want := range map[string]string{"confdir": "port=0 dhcp-option=6,0.0.0.0", "confdir2": "port=0"} {
		if got := r.dropIn(dir); got != want {
			t.Errorf("%s says %q, want %q", dir, got, want)
		}
	}
	if r.restarts != 1 {
		t.Errorf("dnsmasq was restarted %d times, want once", r.restarts)
	}
	for range 2 {
		if err := r.GiveBack(t.Context(), r.record); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.files(); got != before || r.restarts != 2 {
		t.Errorf("after GiveBack and %d restarts there is\n%s\nwant 2 restarts and\n%s", r.restarts, got, before)
	}
}

func TestWhatWasNotFinishedIsGivenBackAgain(t *testing.T) {
	r := newRouter(t, usual)
	if _, err := r.Take(t.Context(), r.record); err != nil {
		t.Fatal(err)
	}
	r.fails = errors.New("no")
	if err := r.GiveBack(t.Context(), r.record); err == nil {
		t.Error("GiveBack = nil, want the failure of the restart")
	}
	r.fails = nil
	if err := r.GiveBack(t.Context(), r.record); err != nil || r.restarts != 3 {
		t.Errorf("GiveBack = %v after %d restarts, want a second one", err, r.restarts)
	}
}

func TestAConfigurationThatChangesIsFollowed(t *testing.T) {
	r := newRouter(t, usual)
	if _, err := r.Take(t.Context(), r.record); err != nil {
		t.Fatal(err)
	}
	before := r.Generated()
	r.write("dnsmasq.conf.cfg01", usual)
	if r.Generated() != before {
		t.Error("the same text written anew makes a difference")
	}
	r.write("dnsmasq.conf.cfg01", usual+"dhcp-option=6,192.168.1.2\n")
	if r.Generated() == before {
		t.Error("another text makes none")
	}
	if restarted, err := r.Take(t.Context(), r.record); err != nil || !restarted || r.dropIn("confdir") != "port=0" {
		t.Errorf("Take = %t, %v and the file says %q, want port=0 only", restarted, err, r.dropIn("confdir"))
	}
}

func TestNothingButOurFileIsEverRemoved(t *testing.T) {
	r := newRouter(t, usual)
	r.write("confdir/other.conf", "log-queries\n")
	r.write("record", "DIR/confdir/other.conf\nDIR/dnsmasq.conf.cfg01\n\nconfdir/fairlead.conf\n/../x\n")
	if err := r.GiveBack(t.Context(), r.record); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(r.dir, "confdir/other.conf")); err != nil {
		t.Errorf("a file of somebody else is gone: %v", err)
	}
}

func TestTheScriptIsRunWithRestart(t *testing.T) {
	dir := t.TempDir()
	script := func(name, body string) InitScript {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
			t.Fatal(err)
		}
		return InitScript(path)
	}
	if err := script("good", `test "$1" = restart`).Restart(t.Context()); err != nil {
		t.Errorf("Restart = %v, want success", err)
	}
	if err := script("bad", "exit 3").Restart(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("Restart = %v, want how the script ended", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := script("slow", "sleep 1").Restart(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Restart = %v, want that it takes too long", err)
	}
	if err := InitScript(filepath.Join(dir, "none")).Restart(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Restart = %v, want that there is no script", err)
	}
}

func FuzzAnyConfigurationIsRead(f *testing.F) {
	f.Add(usual)
	f.Add("conf-file=DIR/more\nport=\nconf-dir=,,*\ndhcp-option=\n")
	f.Fuzz(func(t *testing.T, text string) {
		i := instance{files: maxFiles} // no other file is opened
		for line := range strings.Lines(text) {
			i.line("f", line)
		}
		err := i.check("f", func(string) bool { return true })
		if got := i.wish().text(); err == nil && i.port != "" && strings.Contains(got, "port=") {
			t.Errorf("the port is set to %q, and again by %q", i.port, got)
		}
	})
}
