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

// passed is what init prints at the end if all went well.
const passed = "vm: PASSED"

// boot runs the machine until it switches itself off, and prints its console.
// One that takes too long is killed.
func (m machine) boot(ctx context.Context, kernel, initrd string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
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
	good, reading := m.watch(console)
	err = errors.Join(reading, cmd.Wait())
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it was killed, because it ran for longer than %s", limit)
	case err != nil:
		return fmt.Errorf("running the machine: %w", err)
	case !good:
		return fmt.Errorf("not all passed: the lines above say what")
	}
	return nil
}

// watch prints each line of the console with the machine's name before it, and
// tells whether all passed.
func (m machine) watch(console io.Reader) (good bool, err error) {
	lines := bufio.NewReader(console)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			fmt.Printf("%s: %s\n", m.name, line)
			good = good || strings.HasPrefix(line, passed)
		}
		if errors.Is(err, io.EOF) {
			return good, nil
		}
		if err != nil {
			return good, err
		}
	}
}
