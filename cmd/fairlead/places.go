package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// places are where a running fairlead is found. They are read without checking
// the rest of the configuration: whoever made a mistake in it must still be able
// to ask the daemon, or to clean up after it.
type places struct {
	stateDir, control string
	main              *uci.Section // as far as it can be read
}

// maxMistaken bounds what is read of a configuration that may be none, in bytes.
const maxMistaken = 4 << 20

func placesOf(file string) places {
	p := places{stateDir: "/var/run/fairlead", control: "/var/run/fairlead/control.sock", main: &uci.Section{}}
	f, err := os.Open(file)
	if err != nil {
		return p
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMistaken))
	if err != nil {
		return p
	}
	parsed, _ := uci.Parse(string(text))
	if i := slices.IndexFunc(parsed.Sections, func(s *uci.Section) bool { return s.Type == "fairlead" }); i >= 0 {
		p.main = parsed.Sections[i]
	}
	p.stateDir, p.control = or(p.option("state_dir"), p.stateDir), or(p.option("control"), p.control)
	return p
}

// option is what section main says, right or wrong.
func (p places) option(name string) string {
	if o := p.main.Option(name); o != nil {
		return o.Values[0].Text
	}
	return ""
}

// closes tells whether a failure closes the LAN: as the last daemon was told that
// did not end by a stop, or else as the configuration says.
func (p places) closes() bool {
	policy, recorded := recordedPolicy(p.stateDir)
	if !recorded {
		policy = p.option("on_failure")
	}
	switch p.option("enabled") {
	case "":
		return recorded && policy == policyClosed // the rest of the file may not be readable
	case "0", "no", "off", "false":
		return false
	}
	return policy == policyClosed
}

func (p places) restarts() bool { return restarts(p.stateDir) }

// restarts tells whether whoever stops the daemon is to start it again: as long as
// the init script's file `restart` is there.
func restarts(stateDir string) bool {
	_, err := os.Stat(filepath.Join(stateDir, "restart"))
	return err == nil
}

// policyClosed and policyOpen are the values of main.on_failure.
const policyClosed, policyOpen = "closed", "open"

// policyFile has on_failure as it was when a daemon took the configuration over.
func policyFile(stateDir string) string { return filepath.Join(stateDir, "on_failure") }

func recordPolicy(stateDir string, closes bool) error {
	policy := policyOpen
	if closes {
		policy = policyClosed
	}
	return os.WriteFile(policyFile(stateDir), []byte(policy+"\n"), 0o600)
}

// recordedPolicy reads it. An empty record is none: there was no room for it.
func recordedPolicy(stateDir string) (policy string, recorded bool) {
	text, _ := os.ReadFile(policyFile(stateDir))
	policy = strings.TrimSpace(string(text))
	return policy, policy != ""
}

func forgetPolicy(stateDir string) error {
	if err := os.Remove(policyFile(stateDir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
