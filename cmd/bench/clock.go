package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// meter reads how much CPU time the daemon, all processes of the benchmark and
// the whole machine have used.
type meter struct {
	daemon  int   // process id; 0: there is none
	others  []int // our other processes
	kernels []int // kernel threads: they work for us, too
}

// reading is the state of the clocks at one moment.
type reading struct {
	at                 time.Time
	daemon, ours, busy time.Duration
}

// used is what passed between two readings.
type used struct {
	elapsed time.Duration
	daemon  time.Duration
	chain   time.Duration // from the sender to the receiver, the kernel included
	foreign float64       // share of the machine that others took
}

func newMeter(daemon int, others ...int) meter {
	return meter{daemon: daemon, others: append(others, os.Getpid()), kernels: kernelThreads()}
}

func (m meter) read() (reading, error) {
	r := reading{at: time.Now()}
	var err error
	if m.daemon != 0 {
		if r.daemon, err = cpuTime(m.daemon); err != nil {
			return r, fmt.Errorf("reading the daemon's CPU time: %w", err)
		}
	}
	r.ours = r.daemon
	for _, pid := range m.others {
		t, err := cpuTime(pid)
		if err != nil {
			return r, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
		}
		r.ours += t
	}
	for _, pid := range m.kernels {
		if t, err := cpuTime(pid); err == nil { // an idle worker may have ended
			r.ours += t
		}
	}
	r.busy, err = busyTime()
	return r, err
}

// since is what passed from r until now.
func (m meter) since(r reading) (used, error) {
	now, err := m.read()
	if err != nil {
		return used{}, err
	}
	u := used{elapsed: now.at.Sub(r.at), daemon: now.daemon - r.daemon, chain: now.ours - r.ours}
	all := u.elapsed.Seconds() * float64(runtime.NumCPU())
	u.foreign = max(0, (now.busy-r.busy-u.chain).Seconds()/all)
	return u, nil
}

// cpuTime is what all threads of a process have used, in user and kernel mode:
// the sum of utime and stime of proc(5), but in nanoseconds instead of ticks of
// ten milliseconds. The clock of a process is named as by
// clock_getcpuclockid(3).
func cpuTime(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	err := unix.ClockGettime(int32(^pid)<<3|scheduled, &t)
	return time.Duration(t.Nano()), err
}

// tick is the unit of /proc/stat (USER_HZ).
const tick = 10 * time.Millisecond

// busyTime is what the machine's processors did not spend idle (proc(5),
// /proc/stat).
func busyTime() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var busy time.Duration
	for i, field := range strings.Fields(line)[1:] {
		const idle, iowait, guest = 3, 4, 8
		if i == idle || i == iowait || i >= guest { // guest time is in user time already
			continue
		}
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading /proc/stat: %w", err)
		}
		busy += time.Duration(ticks) * tick
	}
	return busy, nil
}

// kernelThreads are the children of kthreadd, among them those that forward
// packets under load. There are none in the view of a container.
func kernelThreads() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		_, after, _ := bytes.Cut(b, []byte(") ")) // behind the name, which may hold spaces
		if fields := strings.Fields(string(after)); len(fields) > 1 && fields[1] == "2" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// resident is the memory of a process that is in RAM, in bytes.
func resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kb int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kb); err == nil {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}
