package route

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// bridgeSettings make the kernel show bridged frames to nf_tables as if they
// were routed, where they lose the socket that tproxy gave them
// (Documentation/networking/ip-sysctl.rst, bridge-nf-call-iptables).
func bridgeSettings() []string {
	return []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"}
}

// PassBridged switches bridge netfilter off and gives back the names of the
// sysctls that were on. What they were is written to the state file first,
// which is kept by a call that finds it: a crash loses nothing. A kernel
// without bridge netfilter is fine.
func PassBridged(state string) (changed []string, err error) {
	before, err := readState(state)
	if err != nil {
		return nil, fmt.Errorf("switching bridge netfilter off: %w", err)
	}
	for _, name := range bridgeSettings() {
		value, err := readSysctl(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("switching bridge netfilter off: %w", err)
		}
		if value != "0" {
			before[name] = value
			changed = append(changed, name)
		}
	}
	if len(changed) == 0 {
		return nil, nil
	}
	if err := writeState(state, before); err != nil {
		return nil, fmt.Errorf("switching bridge netfilter off: %w", err)
	}
	for _, name := range changed {
		if err := writeSysctl(name, "0"); err != nil {
			return nil, fmt.Errorf("switching bridge netfilter off: %w", err)
		}
	}
	return changed, nil
}

// Restore gives the sysctls of the state file their values back and deletes it.
// No file means that nothing was changed.
func Restore(state string) error {
	before, err := readState(state)
	if err != nil {
		return fmt.Errorf("restoring sysctls: %w", err)
	}
	var errs []error
	for _, name := range bridgeSettings() {
		value, ok := before[name]
		if !ok {
			continue
		}
		if err := writeSysctl(name, value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("restoring sysctls: %w", err)
	}
	if err := os.Remove(state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restoring sysctls: %w", err)
	}
	return nil
}

func sysctlPath(name string) string { return filepath.Join("/proc/sys", name) }

func readSysctl(name string) (string, error) {
	data, err := os.ReadFile(sysctlPath(name))
	return strings.TrimSpace(string(data)), err
}

func writeSysctl(name, value string) error {
	return os.WriteFile(sysctlPath(name), []byte(value+"\n"), 0o644)
}

// readState reads lines of a name and a value. Lines that are neither, or not
// about sysctls of ours, are passed over: a file that was cut short still
// restores what it has.
func readState(path string) (map[string]string, error) {
	before := map[string]string{}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return before, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && slices.Contains(bridgeSettings(), name) {
			before[name] = value
		}
	}
	return before, nil
}

// writeState replaces the file at once, so that a crash leaves the old or the new one.
func writeState(path string, before map[string]string) error {
	var b strings.Builder
	for _, name := range bridgeSettings() {
		if value, ok := before[name]; ok {
			fmt.Fprintf(&b, "%s %s\n", name, value)
		}
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
