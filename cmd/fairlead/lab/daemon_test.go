package lab_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/fairlead/fairlead/cmd/fairlead/lab"
)

// daemon is this test program as a daemon: it opens the control socket of its
// configuration and exits with 3 at SIGTERM.
func daemon(args []string) int {
	text, err := os.ReadFile(args[2])
	if err != nil || args[0] != "run" || args[1] != "-c" {
		fmt.Println("bad arguments", args, err)
		return 1
	}
	_, path, _ := strings.Cut(string(text), "option control '")
	path, _, _ = strings.Cut(path, "'")
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	here, err := os.Readlink("/proc/self/ns/net")
	fmt.Println("serving in", here, err, os.Getenv("LAB_TEST_MORE"))
	l, err := net.Listen("unix", path)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer l.Close()
	<-term
	fmt.Fprintln(os.Stderr, "terminated")
	return 3
}

func start(t *testing.T, w *lab.World) *lab.Daemon {
	t.Helper()
	path, err := w.WriteConfig(w.ConfigText(lab.Config{}))
	ok(t, err)
	d, err := w.StartRouter("/proc/self/exe", path, "LAB_TEST_DAEMON=1", "LAB_TEST_MORE=more")
	ok(t, err)
	ok(t, d.Ready(soon(t)))
	return d
}

func TestTheDaemonRunsInTheRouter(t *testing.T) {
	w := world(t, lab.Options{})
	d := start(t, w)
	var router string
	ok(t, w.Router.Do(func() (err error) {
		router, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}))
	if want := "serving in " + router + " <nil> more\n"; d.Log() != want {
		t.Errorf("log %q, want %q", d.Log(), want)
	}
	ok(t, d.Signal(syscall.SIGTERM))
	ok(t, d.WaitLog(soon(t), "terminated"))
	code, err := d.Wait(soon(t))
	ok(t, err)
	if code != 3 {
		t.Errorf("exit code = %d, want 3", code)
	}
	ok(t, d.Kill())
}

func TestAKilledDaemonIsGone(t *testing.T) {
	w := world(t, lab.Options{})
	d := start(t, w)
	ok(t, d.Kill())
	code, err := d.Wait(soon(t))
	ok(t, err)
	if want := 128 + int(syscall.SIGKILL); code != want {
		t.Errorf("exit code = %d, want %d", code, want)
	}
	if err := syscall.Kill(d.Pid(), 0); err != syscall.ESRCH {
		t.Errorf("signalling it: %v, want %v", err, syscall.ESRCH)
	}
}

func TestClosingAWorldEndsItsDaemons(t *testing.T) {
	w := world(t, lab.Options{})
	d := start(t, w)
	ok(t, w.Close())
	if err := syscall.Kill(d.Pid(), 0); err != syscall.ESRCH {
		t.Errorf("signalling it: %v, want %v", err, syscall.ESRCH)
	}
}

func TestADaemonThatExitsEarlyIsNotReady(t *testing.T) {
	w := world(t, lab.Options{})
	d, err := w.Run(exec.Command("/bin/sh", "-c", "echo no such luck; exit 4"))
	ok(t, err)
	err = d.Ready(soon(t))
	if err == nil || !strings.Contains(err.Error(), "exited with 4") || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("Ready = %v, want the exit code and the log", err)
	}
}

func TestAMissingProgramIsAnError(t *testing.T) {
	w := world(t, lab.Options{})
	if _, err := w.StartRouter("/no/such/fairlead", "x"); err == nil {
		t.Error("StartRouter = nil, want an error")
	}
}
