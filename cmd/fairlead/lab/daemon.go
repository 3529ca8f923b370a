package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Daemon is fairlead running in the router.
type Daemon struct {
	control string
	process *os.Process
	done    chan struct{} // closed when it has ended
	code    int           // good once done; 128 and the signal where one ended it

	mu      sync.Mutex // guards the fields below
	log     bytes.Buffer
	changed chan struct{} // closed and renewed with each write to log
}

// StartRouter starts `binary run -c config` in the router. The control socket
// must be the one of ConfigText. Env adds to this process's environment. Close
// kills it.
func (w *World) StartRouter(binary, config string, env ...string) (*Daemon, error) {
	return w.Run(exec.Command(binary, "run", "-c", config), env...)
}

// Run starts any long-running command in the router, its output kept as a log.
func (w *World) Run(cmd *exec.Cmd, env ...string) (*Daemon, error) {
	d := &Daemon{control: w.ControlPath(), done: make(chan struct{}), changed: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = d, d
	cmd.Env = append(cmd.Environ(), env...)
	// It must not outlive this process, however that ends. The signal is sent
	// when the thread that forked ends, so that thread waits for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second // a child of its own may hold the output open
	started := make(chan error, 1)
	go func() {
		defer close(d.done)
		err := w.Router.Do(func() error {
			if err := cmd.Start(); err != nil {
				return err
			}
			d.process = cmd.Process
			started <- nil
			cmd.Wait() // the state is looked at below
			return nil
		})
		if err != nil {
			started <- err
			return
		}
		d.code = exitCode(cmd.ProcessState)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s in the router: %w", cmd.Path, err)
	}
	w.later(d.Kill)
	return d, nil
}

// Ready waits until the daemon answers on its control socket.
func (d *Daemon) Ready(ctx context.Context) error {
	const interval = 2 * time.Millisecond // a socket that appears tells nobody
	poll := time.NewTicker(interval)
	defer poll.Stop()
	for {
		if c, err := net.Dial("unix", d.control); err == nil {
			return c.Close()
		}
		select {
		case <-poll.C:
		case <-d.done:
			return fmt.Errorf("waiting for the daemon: it exited with %d:\n%s", d.code, d.Log())
		case <-ctx.Done():
			return fmt.Errorf("waiting for the daemon: %w:\n%s", ctx.Err(), d.Log())
		}
	}
}

// WaitLog waits until the log contains text.
func (d *Daemon) WaitLog(ctx context.Context, text string) error {
	for {
		d.mu.Lock()
		found, changed := strings.Contains(d.log.String(), text), d.changed
		d.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-changed:
		case <-d.done:
			// All was written before done was closed.
			if strings.Contains(d.Log(), text) {
				return nil
			}
			return fmt.Errorf("waiting for the daemon to log %q: it exited with %d:\n%s", text, d.code, d.Log())
		case <-ctx.Done():
			return fmt.Errorf("waiting for the daemon to log %q: %w:\n%s", text, ctx.Err(), d.Log())
		}
	}
}

// Pid is the daemon's process id.
func (d *Daemon) Pid() int { return d.process.Pid }

// Signal sends a signal, such as SIGHUP, SIGTERM or SIGSTOP.
func (d *Daemon) Signal(s syscall.Signal) error { return d.process.Signal(s) }

// Kill ends the daemon with SIGKILL and waits until it is gone. One that has
// ended already is no error.
func (d *Daemon) Kill() error {
	err := d.Signal(syscall.SIGKILL)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-d.done
	return err
}

// Wait gives the exit code: what the daemon exited with, or 128 and the number
// of the signal that ended it.
func (d *Daemon) Wait(ctx context.Context) (int, error) {
	select {
	case <-d.done:
		return d.code, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for the daemon to end: %w:\n%s", ctx.Err(), d.Log())
	}
}

// Log is what the daemon has written to standard output and standard error.
func (d *Daemon) Log() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.log.String()
}

// Write adds to the log.
func (d *Daemon) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.changed)
	d.changed = make(chan struct{})
	return d.log.Write(b)
}

func exitCode(s *os.ProcessState) int {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return s.ExitCode()
}
