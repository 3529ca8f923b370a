package doctor

import (
	"fmt"
	"slices"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// Service is what procd runs on OpenWrt.
type Service struct {
	Name    string
	Running bool // one of its programs does; others have done their work and ended
}

// rival services, by what they do to a LAN's traffic. Sing-box, xray and the like
// are not among them: by themselves they divert nothing, and may be the node.
const (
	diverts = "diverts traffic, too"
	answers = "changes whom dnsmasq asks"
	routes  = "chooses among several ways out"
)

// services tells of those that do what fairlead does, or do it to fairlead.
func services(c Case) []Finding {
	if c.Services == nil {
		return nil
	}
	list, err := c.Services()
	if err != nil {
		return nil
	}
	var all []Finding
	for _, s := range list {
		does, lasting := deed(s.Name)
		if does == "" || !s.Running && !lasting {
			continue
		}
		what := fmt.Sprintf("the service %s is started, which %s", s.Name, does)
		switch does {
		case diverts:
			all = append(all, one("rival-service", Error, what, fmt.Sprintf("stop it: service %s stop; service %s disable. Two gateways take each other's packets", s.Name, s.Name))...)
		case answers:
			all = append(all, one("dns-service", Note, what, "nothing to do: it answers the router itself, clients in mode off, and everybody if fairlead stops")...)
		case routes:
			all = append(all, one("route-service", Note, what, "nothing to do: its marks and fairlead's are apart; its rules for devices hold for what leaves directly")...)
		}
	}
	return all
}

// deed is what a service is known to do; lasting tells that it goes on when none
// of its programs runs.
func deed(service string) (does string, lasting bool) {
	switch service {
	case "nikki", "homeproxy", "openclash", "fchomo", "momo", "v2raya", "dae", "daed":
		return diverts, false
	case "podkop", "passwall", "passwall2", "shellcrash":
		return diverts, true
	case "https-dns-proxy", "adguardhome", "smartdns", "mosdns", "dnsproxy", "stubby", "nextdns", "dnscrypt-proxy":
		return answers, false
	case "mwan3", "pbr":
		return routes, true
	}
	return "", false
}

// dnsmasqPort: where dnsmasq is not on port 53, it answers nobody if fairlead
// stops. Whether anybody else does is looked at by resolver.
func dnsmasqPort(c Case) []Finding {
	text, err := uci.Read(c.path("/etc/config/dhcp"))
	if err != nil {
		return nil
	}
	file, _ := uci.Parse(text) // its mistakes are dnsmasq's affair
	var all []Finding
	for i := range file.Sections {
		s := file.Sections[i]
		if s.Type != "dnsmasq" {
			continue
		}
		for _, o := range s.Options {
			if o.Name == "port" && !slices.ContainsFunc(o.Values, func(v uci.Value) bool { return v.Text == "53" }) {
				all = append(all, one("dnsmasq-port", Note, fmt.Sprintf("dnsmasq is not on port 53, but on %s (option port of /etc/config/dhcp)", o.Values[0].Text),
					"see that something else answers on port 53 if fairlead stops, or remove the option")...)
			}
		}
	}
	return all
}
