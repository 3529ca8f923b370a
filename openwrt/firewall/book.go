package firewall

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// Book reads the configuration again when it has changed. Its zero value with a
// Dir is ready to use; its method must not be called by several goroutines at a time.
type Book struct {
	Dir string // of firewall and system, /etc/config on a router

	stamp string // of what was read last
	last  *Firewall
}

// Look gives the firewall as it is configured now: nil where there is none,
// which is every machine but a router with OpenWrt. It costs a stat(2) of each
// file while they do not change. After an error, which is said once, the last one
// stays in use.
func (b *Book) Look() (*Firewall, error) {
	stamp := uci.Stamp(b.path("firewall")) + ";" + uci.Stamp(b.path("system"))
	if stamp == b.stamp {
		return b.last, nil
	}
	b.stamp = stamp
	text, err := uci.Read(b.path("firewall"))
	if errors.Is(err, fs.ErrNotExist) {
		b.last = nil
		return nil, nil
	}
	if err != nil {
		return b.last, fmt.Errorf("reading the firewall's configuration: %w", err)
	}
	system, err := uci.Read(b.path("system"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return b.last, fmt.Errorf("reading the time zone: %w", err)
	}
	b.last = Parse(text, system)
	return b.last, nil
}

func (b *Book) path(name string) string { return filepath.Join(b.Dir, name) }
