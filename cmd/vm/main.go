// Command vm runs tests, and fairlead itself in the lab, on other processors:
// each in a virtual machine of qemu, under Debian's kernel for it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

func main() {
	var j job
	names := flag.String("machines", "", "`LIST` of machines, of mipsel,arm64,s390x; all if empty")
	flag.StringVar(&j.run, "run", "", "run only tests that match `REGEXP`, instead of those chosen for each room")
	flag.StringVar(&j.daemon, "daemon", "", "run `FILE` as the lab's router, with % for the machine, instead of the test's own")
	flag.BoolVar(&j.verbose, "v", false, "print what passes, too")
	flag.DurationVar(&j.limit, "limit", 20*time.Minute, "how long a machine may run")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: vm [options] [ROOM...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	for _, room := range flag.Args() {
		j.rooms = append(j.rooms, path.Clean(room))
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := j.onMachines(ctx, *names); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

// job is what is to be run, the same on each machine.
type job struct {
	rooms       []string // empty: those of suites
	run, daemon string
	verbose     bool
	limit       time.Duration
}

// onMachines runs the job on all machines at once. One that fails does not keep
// the others from running.
func (j job) onMachines(ctx context.Context, names string) error {
	machines, err := chosen(names)
	if err != nil {
		return err
	}
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	errs := make([]error, len(machines))
	var all sync.WaitGroup
	for i, m := range machines {
		all.Go(func() {
			if err := j.on(ctx, m, cache); err != nil {
				errs[i] = fmt.Errorf("%s: %w", m.name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// on runs the job on one machine.
func (j job) on(ctx context.Context, m machine, cache string) error {
	began := time.Now()
	root, err := fetched(ctx, cache, m)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fairlead-vm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	initrd := filepath.Join(dir, "initrd")
	if err := j.pack(ctx, m, root, dir, initrd); err != nil {
		return err
	}
	kernel, err := kernelOf(root)
	if err != nil {
		return err
	}
	packed := time.Since(began)
	err = m.bootAgain(ctx, kernel, initrd, j.limit)
	fmt.Printf("%s: packed in %.1f s, ran for %.1f s\n", m.name, packed.Seconds(), (time.Since(began) - packed).Seconds())
	return err
}

// cacheDir is where kernels are kept: $VM_CACHE, or a directory among the
// user's caches.
func cacheDir() (string, error) {
	if dir := os.Getenv("VM_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a place for kernels (set VM_CACHE): %w", err)
	}
	return filepath.Join(dir, "fairlead-vm"), nil
}

func kernelOf(root string) (string, error) {
	found, err := filepath.Glob(filepath.Join(root, "boot", "vmlinu*"))
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%d kernels in %s, want 1: delete that directory, and it is downloaded again", len(found), filepath.Dir(root))
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}
