package main

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// settings are the parameters of an instance.
type settings struct {
	Command      []string          `json:"command"`
	Env          map[string]string `json:"env"`
	File         []string          `json:"file"`
	Respawn      []string          `json:"respawn"`
	Limits       map[string]string `json:"limits"`
	TermTimeout  int               `json:"term_timeout"`
	ReloadSignal int               `json:"reload_signal"`
	Stderr       string            `json:"stderr"`
	User         string            `json:"user"`
	Group        string            `json:"group"`
	Capabilities string            `json:"capabilities"`
	NoNewPrivs   string            `json:"no_new_privs"`
	Jail         *jail             `json:"jail"`

	sums [][md5.Size]byte // of File
}

// jail is what `procd_add_jail` says.
type jail struct {
	Name  string            `json:"name"`
	Flags []string          `json:"flags"` // procfs, sysfs, ubus, log
	Mount map[string]string `json:"mount"` // path: 0 to be read, 1 to be written, too
}

// instance is a process that procd keeps running.
type instance struct {
	settings
	name    string
	service *service

	process       *os.Process // nil: none
	halt, restart bool
	noRespawn     bool // it was told to end
	crashes       int
	began         time.Time
	timer         *time.Timer
}

// read reads what is compared by its content.
func (s settings) read() settings {
	for _, file := range s.File {
		text, _ := os.ReadFile(file)
		s.sums = append(s.sums, md5.Sum(text))
	}
	return s
}

// differs compares what procd compares: not `data`, not capabilities, and of a
// jail only its mounts.
func (s settings) differs(t settings) bool {
	mounts := func(s settings) map[string]string {
		if s.Jail == nil {
			return nil
		}
		return s.Jail.Mount
	}
	return !slices.Equal(s.Command, t.Command) || !maps.Equal(s.Env, t.Env) || !slices.Equal(s.sums, t.sums) ||
		!slices.Equal(s.Respawn, t.Respawn) || !maps.Equal(s.Limits, t.Limits) || s.User != t.User || s.Group != t.Group ||
		!maps.Equal(mounts(s), mounts(t))
}

// update gives an instance new parameters; one that runs and is not changed by
// them is neither restarted nor signalled.
func (m *manager) update(in *instance, next settings) {
	changed := in.differs(next)
	if in.process == nil || in.halt {
		in.settings = next
		m.start(in)
		return
	}
	if changed && next.ReloadSignal != 0 {
		in.process.Signal(syscall.Signal(next.ReloadSignal))
	} else if changed {
		in.halt, in.restart = true, true
		m.terminate(in)
	}
	in.settings = next
}

func (m *manager) stop(in *instance) {
	if in.process == nil {
		m.forget(in)
		return
	}
	in.halt, in.restart, in.noRespawn = true, false, true
	m.terminate(in)
}

// terminate asks the process to end, and makes it after the time that it has.
func (m *manager) terminate(in *instance) {
	timeout := 5
	if in.TermTimeout > 0 {
		timeout = in.TermTimeout
	}
	process := in.process
	process.Signal(syscall.SIGTERM)
	in.timer = time.AfterFunc(time.Duration(timeout)*time.Second, func() {
		fmt.Fprintf(m.log, "procd: %s did not end by SIGTERM\n", in.name)
		process.Kill()
	})
}

func (m *manager) forget(in *instance) {
	if in.timer != nil {
		in.timer.Stop()
	}
	delete(in.service.running, in.name)
	if len(in.service.running) == 0 && in.service.Triggers == nil {
		delete(m.services, in.service.name)
	}
}

// start runs the instance; one that is ending is run again when it has ended.
func (m *manager) start(in *instance) {
	if in.process != nil {
		in.restart = in.restart || in.halt
		return
	}
	if in.timer != nil {
		in.timer.Stop()
	}
	in.restart, in.halt, in.noRespawn = false, false, false
	command := in.Command
	if _, err := os.Stat("/sbin/ujail"); err == nil && in.Jail != nil {
		command = append(in.jailArgs(), command...)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = environment()
	for k, v := range in.Env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, in2, err := os.Pipe()
	if err != nil {
		fmt.Fprintf(m.log, "procd: %v\n", err)
		return
	}
	if in.Stderr == "1" {
		cmd.Stderr = in2
	}
	if err = cmd.Start(); err == nil {
		limit(cmd.Process.Pid, in.Limits)
	}
	in2.Close()
	if err != nil {
		fmt.Fprintf(m.log, "procd: starting %s: %v\n", in.name, err)
		return
	}
	go m.copyLog(filepath.Base(in.Command[0]), cmd.Process.Pid, out) // as procd calls it
	in.process, in.began = cmd.Process, time.Now()
	m.notify("instance.start", in)
	go func() {
		cmd.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.ended(in)
	}()
}

func (m *manager) copyLog(name string, pid int, from *os.File) {
	defer from.Close()
	for lines := bufio.NewScanner(from); lines.Scan(); {
		fmt.Fprintf(m.log, "%s[%d]: %s\n", name, pid, lines.Text())
	}
}

// ended is instance_exit of procd.
func (m *manager) ended(in *instance) {
	in.process = nil
	if in.timer != nil {
		in.timer.Stop()
	}
	m.notify("instance.stop", in)
	switch {
	case in.restart:
		m.start(in)
	case in.halt:
		m.forget(in)
	case len(in.Respawn) > 0:
		m.respawn(in)
	}
}

func (m *manager) respawn(in *instance) {
	values := []int{3600, 5, 5}
	for i, v := range in.Respawn {
		values[i], _ = strconv.Atoi(v)
	}
	in.crashes++
	if time.Since(in.began) >= time.Duration(values[0])*time.Second {
		in.crashes = 0
	}
	if in.crashes > values[2] && values[2] > 0 {
		in.halt = true
		m.notify("instance.fail", in)
		return
	}
	m.notify("instance.respawn", in)
	in.timer = time.AfterFunc(time.Duration(values[1])*m.second, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if in.process == nil && !in.noRespawn && in.service.running[in.name] == in {
			m.start(in)
		}
	})
}

// limit sets the resource limits of a process; an ordinary user may lower them only.
func limit(pid int, limits map[string]string) {
	for name, value := range limits {
		soft, hard, _ := strings.Cut(value, " ")
		cur, err1 := strconv.ParseUint(soft, 10, 64)
		max, err2 := strconv.ParseUint(hard, 10, 64)
		if name == "nofile" && err1 == nil && err2 == nil {
			unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: cur, Max: max}, nil)
		}
	}
}

// strict decodes and refuses what it does not know: a parameter that this
// stand-in does not carry out must not look as if it did.
func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(v)
}
