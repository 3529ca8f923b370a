package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// What init prints: first of all, and at the end if all went well.
const (
	began  = "vm: BEGAN"
	passed = "vm: PASSED"
)

// bootTime is how long a kernel may take to start init. It takes ten seconds.
const bootTime = 5 * time.Minute

// errNotBooted says that nothing of what was to be run has begun.
var errNotBooted = errors.New("its kernel did not come to the first process")

// bootAgain is boot, but for a machine that did not come to its first process:
// that is its emulator's fault, and it is started once more.
func (m machine) bootAgain(ctx context.Context, kernel, initrd string, limit time.Duration) error {
	err := m.boot(ctx, kernel, initrd, limit)
	if errors.Is(err, errNotBooted) {
		fmt.Printf("%s: %v: starting it once more\n", m.name, err)
		err = m.boot(ctx, kernel, initrd, limit)
	}
	return err
}

// boot runs the machine until it switches itself off, and prints its console.
// One that takes too long is killed.
func (m machine) boot(ctx context.Context, kernel, initrd string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	booting := time.AfterFunc(bootTime, cancel)
	defer booting.Stop()
	args := append(m.qemu[1:len(m.qemu):len(m.qemu)], "-m", memory, "-kernel", kernel, "-initrd", initrd,
		"-append", "console="+m.console+" rdinit=/init panic=-1 quiet loglevel=3", "-nographic", "-no-reboot", "-net", "none")
	cmd := exec.CommandContext(ctx, m.qemu[0], args...)
	cmd.WaitDelay = time.Second
	console, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the machine (Debian's qemu-system packages have %s): %w", m.qemu[0], err)
	}
	booted, good, reading := m.watch(console, func() { booting.Stop() })
	err = errors.Join(reading, cmd.Wait())
	switch {
	case !booted && !errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w (%v)", errNotBooted, err)
	case ctx.Err() != nil:
		return fmt.Errorf("it was killed, because it ran for longer than %s", limit)
	case err != nil:
		return fmt.Errorf("running the machine: %w", err)
	case !good:
		return fmt.Errorf("not all passed: the lines above say what")
	}
	return nil
}

// watch prints each line of the console with the machine's name before it, says
// when init begins, and tells whether it did and whether all passed.
func (m machine) watch(console io.Reader, begins func()) (booted, good bool, err error) {
	lines := bufio.NewReader(console)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			fmt.Printf("%s: %s\n", m.name, line)
			good = good || strings.HasPrefix(line, passed)
			if !booted && strings.Contains(line, began) { // behind what the kernel prints, perhaps
				booted = true
				begins()
			}
		}
		if errors.Is(err, io.EOF) {
			return booted, good, nil
		}
		if err != nil {
			return booted, good, err
		}
	}
}
