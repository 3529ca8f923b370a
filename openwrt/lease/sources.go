package lease

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/dnsrouter"
	"github.com/fairlead/fairlead/openwrt/dhcp"
	"github.com/fairlead/fairlead/openwrt/uci"
)

const (
	// systemHosts is the hosts file that dnsmasq's option nohosts is about.
	systemHosts = "/etc/hosts"
	// maxFile bounds what is read of a file, in bytes, and maxFiles the files of
	// a directory.
	maxFile  = 4 << 20
	maxFiles = 256
)

// config is what dnsmasq is told of names.
type config struct{ dhcp.Config }

// readConfig reads OpenWrt's configuration. Where there is none, hosts and
// leases are in the domain that the Book was given.
func (b *Book) readConfig() config {
	c, err := dhcp.Read(b.paths.DHCP)
	if err != nil || c.Instances == 0 {
		c.Domain, c.ExpandHosts = *b.domain.Load(), true
	}
	return config{c}
}

func (c config) rules() dnsrouter.LocalRules {
	return dnsrouter.LocalRules{
		Domains: c.Local, Localise: c.Localise,
		RebindDomains: c.RebindDomains, RebindLoopback: c.RebindLocal,
		KeepsPlain: c.DomainNeeded, KeepsReverse: c.BogusPriv,
	}
}

// sources are the files to be read, directories taken apart.
type sources struct {
	dhcp   string
	leases []string
	hosts  []string // written by whoever runs the router
	guests []string // hosts files by odhcpd: the names are those that devices told
}

func (b *Book) sources(c config) sources {
	s := sources{dhcp: b.paths.DHCP, leases: union(b.paths.Leases, c.LeaseFiles)}
	hosts := b.hostsFiles(c)
	for _, path := range expand(union(hosts, c.GuestFiles)) {
		byGuests := slices.Contains(c.GuestFiles, path) || strings.HasPrefix(filepath.Base(path), "odhcpd")
		switch {
		case byGuests:
			s.guests = append(s.guests, path)
		case !slices.Contains(c.GuestFiles, filepath.Dir(path)) || slices.Contains(hosts, filepath.Dir(path)):
			s.hosts = append(s.hosts, path)
		}
	}
	return s
}

// hostsFiles are in the order in which dnsmasq reads them: the system's own, then
// further ones from the last to the first, the usual directory at the end.
func (b *Book) hostsFiles(c config) (all []string) {
	if slices.Contains(b.paths.Hosts, systemHosts) && !c.NoHosts {
		all = append(all, systemHosts)
	}
	for _, path := range slices.Backward(c.HostsFiles) {
		all = append(all, path)
	}
	return union(all, slices.DeleteFunc(slices.Clone(b.paths.Hosts), func(path string) bool { return path == systemHosts }))
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, path := range b {
		if !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	return all
}

// expand puts the files of directories in the place of those, in order of their
// names, without those that dnsmasq leaves out, too.
func expand(paths []string) (files []string) {
	for _, path := range paths {
		list, err := os.ReadDir(path)
		if err != nil {
			files = append(files, path)
			continue
		}
		for _, entry := range list[:min(len(list), maxFiles)] {
			if name := entry.Name(); name[0] != '.' && name[0] != '#' && !strings.HasSuffix(name, "~") {
				files = append(files, filepath.Join(path, name))
			}
		}
	}
	return files
}

// stampOf changes whenever a file is written, replaced, added or removed, and with
// the domain.
func (b *Book) stampOf(from sources) string {
	var s strings.Builder
	s.WriteString(*b.domain.Load() + "\n")
	for _, path := range slices.Concat([]string{from.dhcp}, from.leases, from.hosts, from.guests) {
		s.WriteString(path + " " + uci.Stamp(path) + "\n")
	}
	return s.String()
}

// eachLine gives the lines of a file; what cannot be read is as good as empty.
func (b *Book) eachLine(path string, each func(line string)) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxFile))
	for lines.Scan() {
		each(lines.Text())
	}
	if err := lines.Err(); err != nil {
		b.log.Warn("reading local names", "file", path, "err", err)
	}
}
