package dnsmasq

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// maxFiles bounds what is read of an instance's configuration.
const maxFiles = 256

// instance is what the configuration of one dnsmasq says of what we change.
type instance struct {
	dir     string   // where it reads further files from; empty: nowhere
	only    []string // their suffixes, if not all count
	without []string // suffixes that do not
	port    string   // as it is set; empty: it is not
	portIn  string   // the file that sets it
	dns     bool     // all clients are told of a DNS server
	gone    bool     // its directory is not there: it does not run any more

	files int // read so far
}

// plan gives the files to be written, by path.
func (s System) plan() (map[string]string, error) {
	byDir := make(map[string]wish)
	for _, path := range s.generated() {
		var i instance
		if err := i.read(path); err != nil {
			return nil, err
		}
		if i.gone {
			continue
		}
		if err := i.check(path, s.InMemory); err != nil {
			return nil, err
		}
		w := i.wish()
		if had, shared := byDir[i.dir]; shared {
			if had.port != w.port {
				return nil, fmt.Errorf("two instances of dnsmasq read %s, and only one of them has a port of its own: give each its own `option confdir`, "+
					"or say `option dnsmasq 'keep'`", i.dir)
			}
			w.server = w.server && had.server
		}
		byDir[i.dir] = w
	}
	files := make(map[string]string)
	for dir, w := range byDir {
		if text := w.text(); text != "" {
			files[filepath.Join(dir, fileName)] = text
		}
	}
	return files, nil
}

// wish is what an instance has to be told. Server is that clients have to be
// told of us: dnsmasq names itself as their DNS server only if it is one.
type wish struct{ port, server bool }

func (i *instance) wish() wish { return wish{port: i.port == "", server: !i.dns} }

func (w wish) text() string {
	if w == (wish{}) {
		return ""
	}
	text := "# Written by fairlead, which answers DNS in dnsmasq's place (option dnsmasq 'replace')\n# and removes this file when it stops.\n"
	if w.port {
		text += "port=0\n"
	}
	if w.server {
		text += "dhcp-option=6,0.0.0.0\n" // "this machine" (dnsmasq(8))
	}
	return text
}

// check says why an instance cannot be taken over.
func (i *instance) check(path string, inMemory func(string) bool) error {
	const keep = "or say `option dnsmasq 'keep'`"
	skipped := slices.ContainsFunc(i.without, func(suffix string) bool { return strings.HasSuffix(fileName, suffix) })
	taken := len(i.only) == 0 || slices.ContainsFunc(i.only, func(suffix string) bool { return strings.HasSuffix(fileName, suffix) })
	switch {
	case i.port == "53":
		return fmt.Errorf("%s sets dnsmasq's port to 53, which cannot be set twice: remove `option port` from /etc/config/dhcp, %s", i.portIn, keep)
	case i.dir == "":
		return fmt.Errorf("%s has no conf-dir: give `option confdir` in /etc/config/dhcp an absolute path, %s", path, keep)
	case skipped || !taken:
		return fmt.Errorf("dnsmasq would not read %s in its conf-dir %s: change `option confdir` in /etc/config/dhcp, %s", fileName, i.dir, keep)
	case !inMemory(i.dir):
		return fmt.Errorf("dnsmasq's conf-dir %s is not in memory, and a power cut would leave the router without DNS: "+
			"let `option confdir` in /etc/config/dhcp lead to /tmp, %s", i.dir, keep)
	}
	return nil
}

// read takes in a file and those that it includes.
func (i *instance) read(path string) error {
	if i.files++; i.files > maxFiles {
		return fmt.Errorf("dnsmasq reads more than %d files", maxFiles)
	}
	text, err := uci.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // dnsmasq refuses to start, or the file comes and goes
	}
	if err != nil {
		return fmt.Errorf("reading dnsmasq's configuration: %w", err)
	}
	for line := range strings.Lines(text) {
		if err := i.line(path, line); err != nil {
			return err
		}
	}
	return nil
}

func (i *instance) line(path, line string) error {
	if at := strings.IndexByte(line, '#'); at == 0 || at > 0 && strings.IndexByte(" \t", line[at-1]) >= 0 {
		line = line[:at]
	}
	key, value, _ := strings.Cut(line, "=")
	value = strings.Trim(strings.TrimSpace(value), `"`)
	switch strings.TrimSpace(key) {
	case "port":
		i.port, i.portIn = value, path
	case "dhcp-option", "dhcp-option-force":
		i.dns = i.dns || isServerForAll(value)
	case "conf-file":
		return i.read(value)
	case "conf-dir":
		return i.readDir(value)
	}
	return nil
}

// readDir takes in the files of a directory, and remembers the first as the one
// for ours.
func (i *instance) readDir(value string) error {
	parts := strings.Split(value, ",")
	if i.dir == "" {
		i.dir = filepath.Clean(parts[0])
		for _, suffix := range parts[1:] {
			if rest, ok := strings.CutPrefix(suffix, "*"); ok {
				i.only = append(i.only, rest)
			} else if suffix != "" {
				i.without = append(i.without, suffix)
			}
		}
	}
	list, err := os.ReadDir(parts[0])
	if errors.Is(err, fs.ErrNotExist) {
		i.gone = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading dnsmasq's conf-dir: %w", err)
	}
	for _, entry := range list {
		if name := entry.Name(); name != fileName && name[0] != '.' && name[0] != '#' && !strings.HasSuffix(name, "~") {
			if err := i.read(filepath.Join(parts[0], name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// isServerForAll tells a dhcp-option that names a DNS server (option 6 of RFC
// 2132) to clients of all networks: one without a tag. The init script writes
// tags as `tag:lan,6,…` and as `lan,6,…`.
func isServerForAll(value string) bool {
	option, _, _ := strings.Cut(value, ",")
	return option == "6" || option == "option:dns-server"
}
