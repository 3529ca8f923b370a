package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Config says how a configuration differs from the usual one. Its zero value
// is that.
type Config struct {
	Default   string   // main.default: direct (as if empty) or node
	OnFailure string   // main.on_failure: open (as if empty) or closed
	Mode      string   // dns.mode: fakeip (as if empty) or realip
	Main      []string // further lines of section main, such as "option ipv6 '0'"
	DNS       []string // further lines of section dns
	Clients   string   // whole sections instead of the client tv in mode realip
	Rules     string   // whole sections instead of domestic, foreign and blocked
	More      string   // whole sections beside all others

	ISP  netip.AddrPort // server of upstream isp; zero: the ISP's resolver
	Node netip.AddrPort // SOCKS5 server without a password; zero: the node's, with one
}

// ControlPath is where ConfigText puts the daemon's control socket.
func (w *World) ControlPath() string { return filepath.Join(w.Dir, "control.sock") }

// StateDir is where ConfigText puts the daemon's state.
func (w *World) StateDir() string { return filepath.Join(w.Dir, "state") }

// ConfigText is a working configuration for this world: domestic.example
// leaves directly and is asked of the ISP, foreign.example goes to the node and
// is asked of the honest resolver through it, blocked.example is rejected.
func (w *World) ConfigText(c Config) string {
	var b strings.Builder
	section(&b, "fairlead", "main",
		"option enabled '1'",
		"list device '"+LAN+"'",
		"option default '"+or(c.Default, "direct")+"'",
		"option on_failure '"+or(c.OnFailure, "open")+"'",
		"option state_dir '"+w.StateDir()+"'",
		"option control '"+w.ControlPath()+"'",
		lines(c.Main))
	section(&b, "dns", "dns",
		"option mode '"+or(c.Mode, "fakeip")+"'",
		"option local_upstream 'isp'",
		"option remote_upstream 'remote'",
		lines(c.DNS))
	isp := w.At.ISP.V4.String()
	if c.ISP.IsValid() {
		isp = c.ISP.String()
	}
	section(&b, "upstream", "isp", "list server '"+isp+"'")
	section(&b, "upstream", "remote",
		"list server '"+w.At.Honest.V4.String()+"'",
		"option outbound 'node'")
	w.nodeSection(&b, c.Node)
	b.WriteString(or(c.Clients, w.clientSections()))
	b.WriteString(or(c.Rules, ruleSections()))
	b.WriteString(c.More)
	return b.String()
}

func (w *World) nodeSection(b *strings.Builder, at netip.AddrPort) {
	password := []string{"option username '" + User + "'", "option password '" + Password + "'"}
	if at.IsValid() {
		password = nil
	} else {
		at = netip.AddrPortFrom(w.At.Node.V4, SOCKSPort)
	}
	section(b, "outbound", "node",
		"option type 'socks5'",
		fmt.Sprintf("option server '%s'", at.Addr()),
		fmt.Sprintf("option port '%d'", at.Port()),
		lines(password))
}

// WriteConfig writes a configuration to a file in the world's directory; the
// daemon sees either all of it or what was there before.
func (w *World) WriteConfig(text string) (path string, err error) {
	path = filepath.Join(w.Dir, "fairlead.conf")
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return "", err
	}
	return path, os.Rename(path+".new", path)
}

func (w *World) clientSections() string {
	tv, ok := w.Clients["tv"]
	if !ok {
		return ""
	}
	var b strings.Builder
	section(&b, "client", "tv", "list mac '"+tv.MAC.String()+"'", "option mode 'realip'")
	return b.String()
}

func ruleSections() string {
	var b strings.Builder
	for _, r := range []struct{ name, outbound string }{{"domestic", "direct"}, {"foreign", "node"}, {"blocked", "reject"}} {
		section(&b, "rule", r.name, "list domain '"+r.name+".example'", "option outbound '"+r.outbound+"'")
	}
	return b.String()
}

func section(b *strings.Builder, kind, name string, body ...string) {
	fmt.Fprintf(b, "config %s '%s'\n", kind, name)
	for _, line := range body {
		if line != "" {
			fmt.Fprintf(b, "\t%s\n", line)
		}
	}
	b.WriteByte('\n')
}

func lines(more []string) string { return strings.Join(more, "\n\t") }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
