// Package dnsmasq takes the DNS of OpenWrt's dnsmasq over, whose DHCP goes on,
// and gives it back. It writes one file into each directory that dnsmasq reads
// further configuration from, in memory, and nothing else.
package dnsmasq

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// Service is the dnsmasq of this machine, all instances together.
type Service interface {
	// Restart has it read its configuration anew, and returns when that is done.
	Restart(ctx context.Context) error
}

// InitScript is the path of a script that takes the argument `restart`. What it
// prints goes to standard error.
type InitScript string

// Restart runs the script. One that takes longer than ctx allows is not cut off:
// half of a restart is none.
func (s InitScript) Restart(ctx context.Context) error {
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return fmt.Errorf("restarting dnsmasq: %w", err)
	}
	defer nothing.Close()
	p, err := os.StartProcess(string(s), []string{string(s), "restart"}, &os.ProcAttr{Files: []*os.File{nothing, os.Stderr, os.Stderr}})
	if err != nil {
		return fmt.Errorf("restarting dnsmasq: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		state, err := p.Wait()
		if err == nil && !state.Success() {
			err = errors.New(state.String())
		}
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = fmt.Errorf("it takes long: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("restarting dnsmasq by %s: %w", s, err)
	}
	return nil
}

// System is where dnsmasq is found.
type System struct {
	Configs  string // the generated configurations: this path, a dot, and the name of the instance
	Service  Service
	InMemory func(dir string) bool // whether what is in a directory goes with the power
}

// OpenWrt is the System of OpenWrt's dnsmasq.init.
func OpenWrt() System {
	return System{Configs: "/var/etc/dnsmasq.conf", Service: InitScript("/etc/init.d/dnsmasq"), InMemory: inMemory}
}

// inMemory asks for the type of a file system (statfs(2)): tmpfs or ramfs.
func inMemory(dir string) bool {
	const tmpfs, ramfs = 0x01021994, 0x858458f6
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return false
	}
	return uint32(s.Type) == tmpfs || uint32(s.Type) == ramfs
}

// fileName is that of our file in dnsmasq's directory.
const fileName = "fairlead.conf"

// Generated is all that the init script wrote.
func (s System) Generated() string {
	var all strings.Builder
	for _, path := range s.generated() {
		text, _ := uci.Read(path)
		all.WriteString(path + "\n" + text + "\n")
	}
	return all.String()
}

// generated are the configurations of all instances. The init script writes
// each under a name with the number of its process first.
func (s System) generated() []string {
	paths, _ := filepath.Glob(s.Configs + ".*") // the pattern is ours
	return slices.DeleteFunc(paths, func(path string) bool {
		return strings.Contains(strings.TrimPrefix(path, s.Configs+"."), ".")
	})
}

// Take switches the DNS of every instance off. What is changed stands in the
// file record before it is done, so that GiveBack undoes it whatever happens in
// between. It says whether dnsmasq had to be restarted. Where an instance cannot
// be taken, none is.
func (s System) Take(ctx context.Context, record string) (restarted bool, err error) {
	files, err := s.plan()
	if err != nil {
		return false, fmt.Errorf("taking over dnsmasq's DNS: %w", err)
	}
	old, err := readRecord(record)
	if err != nil {
		return false, err
	}
	if changed, err := change(record, old, files); err != nil || !changed {
		return false, err
	}
	return true, s.Service.Restart(ctx)
}

// change makes our files those that are wanted.
func change(record string, old []string, files map[string]string) (changed bool, err error) {
	paths := slices.Clone(old)
	for path, text := range files {
		if had, err := os.ReadFile(path); err != nil || string(had) != text {
			changed = true
		}
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	if stale := slices.ContainsFunc(old, func(path string) bool { return files[path] == "" }); !changed && !stale {
		return false, nil
	}
	if err := writeRecord(record, paths); err != nil {
		return false, err
	}
	for _, path := range paths {
		if text := files[path]; text == "" {
			err = remove(path)
		} else {
			err = replace(path, text)
		}
		if err != nil {
			return false, fmt.Errorf("changing dnsmasq's configuration: %w", err)
		}
	}
	return true, nil
}

// GiveBack removes what Take wrote and has dnsmasq answer again. The record
// goes last: whoever is interrupted can do it once more. Without a record there
// is nothing to do.
func (s System) GiveBack(ctx context.Context, record string) error {
	paths, err := readRecord(record)
	if err != nil || paths == nil {
		return err
	}
	for _, path := range paths {
		if err := remove(path); err != nil {
			return fmt.Errorf("giving dnsmasq its DNS back: %w", err)
		}
	}
	// A dnsmasq that is not installed any more has nothing to be given.
	if err := s.Service.Restart(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("giving dnsmasq its DNS back: %w", err)
	}
	return remove(record)
}

// readRecord gives the paths of our files; nil if there is no record. Nothing
// but a file of our name is ever removed by it.
func readRecord(record string) ([]string, error) {
	text, err := uci.Read(record)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was changed of dnsmasq: %w", err)
	}
	paths := []string{}
	for line := range strings.Lines(text) {
		if path := strings.TrimSuffix(line, "\n"); filepath.IsAbs(path) && filepath.Base(path) == fileName {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

func writeRecord(record string, paths []string) error {
	slices.Sort(paths)
	if err := replace(record, strings.Join(paths, "\n")+"\n"); err != nil {
		return fmt.Errorf("recording what is changed of dnsmasq: %w", err)
	}
	return nil
}

// replace writes a file so that nobody sees a part of it. Dnsmasq, which does
// not run as root, must be able to read it, and leaves out the files of its
// directory that begin with a dot.
func replace(path, text string) error {
	half := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	if err := os.WriteFile(half, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(half, path)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
