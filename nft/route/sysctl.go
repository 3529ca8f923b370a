package route

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
// without bridge netfilter is fine. Where nothing can be written they are
// switched off all the same, and the error is ErrUnrecorded: DNS that goes past
// us is worse than a sysctl that stays as we want it.
func PassBridged(state string) (changed []string, err error) {
	for _, name := range bridgeSettings() {
		value, err := readSysctl(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("switching bridge netfilter off: %w", err)
		}
		if value != "0" {
			changed = append(changed, name)
		}
	}
	if err := override(state, changed, "0"); err != nil {
		return changed, fmt.Errorf("switching bridge netfilter off: %w", err)
	}
	return changed, nil
}

// AcceptAnswers has the kernel take answers that come in through one of the
// devices although the main table would not send there, and gives back the names
// of the sysctls that were in the way: strict rp_filter. They are recorded as by
// PassBridged. Devices that are not there are passed over; a device that comes
// back needs another call.
func AcceptAnswers(state string, devices []string) (changed []string, err error) {
	const strict, loose = "1", "2"
	all, err := readSysctl(reversePath("all"))
	if err != nil {
		return nil, fmt.Errorf("loosening rp_filter: %w", err)
	}
	for _, d := range devices {
		value, err := readSysctl(reversePath(d))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("loosening rp_filter: %w", err)
		}
		if max(all, value) == strict { // the larger holds (ip-sysctl.rst)
			changed = append(changed, reversePath(d))
		}
	}
	if err := override(state, changed, loose); err != nil {
		return changed, fmt.Errorf("loosening rp_filter: %w", err)
	}
	return changed, nil
}

func reversePath(device string) string { return "net/ipv4/conf/" + device + "/rp_filter" }

// isOurs tells the sysctls that we change.
func isOurs(name string) bool {
	device, ok := strings.CutPrefix(name, "net/ipv4/conf/")
	device, filter := strings.CutSuffix(device, "/rp_filter")
	return slices.Contains(bridgeSettings(), name) || ok && filter && !strings.Contains(device, "/") && device != ".."
}

// ErrUnrecorded says that sysctls were changed whose old values could not be
// written down, so that they stay changed after a stop.
var ErrUnrecorded = errors.New("the old values could not be recorded and stay changed after a stop")

// override gives sysctls another value, and records theirs unless it was before.
func override(state string, names []string, value string) error {
	if len(names) == 0 {
		return nil
	}
	before, unread := readState(state)
	if before == nil {
		before = make(map[string]string)
	}
	var err error
	for _, name := range names {
		if _, known := before[name]; known {
			continue
		}
		if before[name], err = readSysctl(name); err != nil {
			return err
		}
	}
	unrecorded := errors.Join(unread, writeState(state, before))
	for _, name := range names {
		if err := writeSysctl(name, value); err != nil {
			return err
		}
	}
	if unrecorded != nil {
		return fmt.Errorf("%w: %w", ErrUnrecorded, unrecorded)
	}
	return nil
}

// Restore gives the sysctls of the state file their values back and deletes it.
// No file means that nothing was changed.
func Restore(state string) error {
	before, err := readState(state)
	if err != nil {
		return fmt.Errorf("restoring sysctls: %w", err)
	}
	var errs []error
	for name, value := range before {
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
		if ok && isOurs(name) {
			before[name] = value
		}
	}
	return before, nil
}

// writeState replaces the file at once, so that a crash leaves the old or the new one.
func writeState(path string, before map[string]string) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(before)) {
		fmt.Fprintf(&b, "%s %s\n", name, before[name])
	}
	temporary := path + ".new"
	if err := os.WriteFile(temporary, []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
