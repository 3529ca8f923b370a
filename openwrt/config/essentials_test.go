package config

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func TestEssentialNamesLeaveDirectlyAndAreAnsweredTruly(t *testing.T) {
	const rules = "config rule\n\tlist domain time.apple.com\n\toption outbound node\n"
	for _, tt := range []struct {
		sentence, options, name, rule string
		real                          bool
	}{
		{"a name of the list", "", "www.msftconnecttest.com", "essentials", true},
		{"a gateway of a mobile operator", "", "epdg.epc.mnc001.mcc262.pub.3gppnetwork.org", "essentials", true},
		{"another name goes the default way", "", "www.foreign.example", "default", false},
		{"a rule of the user's comes first", "", "time.apple.com", "@rule[0]", true},
		{"the list can be left out", "\toption essentials 0\n", "www.msftconnecttest.com", "default", false},
		{"and be made longer", "\tlist essential online.example\n", "a.online.example", "essentials", true},
		{"without it, too", "\toption essentials 0\n\tlist essential online.example\n", "a.online.example", "essentials", true},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			cfg, err := parse(strings.Replace(node, "config dns 'dns'\n", "config dns 'dns'\n"+tt.options, 1)+
				rules+"config fairlead\n\toption default node\n", true)
			if err != nil {
				t.Fatal(err)
			}
			p := policy.New(cfg.Policy)
			ways := p.Name(0, tt.name)
			if ways.First.Rule != tt.rule || ways.AllDirect != (tt.rule == "essentials") || p.RealName(tt.name) != tt.real {
				t.Errorf("%s: rule %q, direct: %t, real: %t; want %q and real: %t",
					tt.name, ways.First.Rule, ways.AllDirect, p.RealName(tt.name), tt.rule, tt.real)
			}
		})
	}
}

func TestTheRoutersOwnTimeServersAreEssential(t *testing.T) {
	system := "config timeserver 'ntp'\n\tlist server 'ntp.isp.example'\n\tlist server '192.0.2.123'\n\tlist server 'a b'\n" +
		"config other\n\tlist server 'other.example'\n"
	open := files(map[string]string{"/etc/config/system": system})
	cfg, err := Parse("/etc/config/fairlead", strings.NewReader(node+"config fairlead\n\toption default node\n"), open, true)
	if err != nil {
		t.Fatal(err)
	}
	p := policy.New(cfg.Policy)
	for name, want := range map[string]bool{"ntp.isp.example": true, "pool.ntp.org": true, "other.example": false} {
		if got := p.Name(0, name).AllDirect; got != want {
			t.Errorf("%s leaves directly: %t, want %t", name, got, want)
		}
	}
	if got, want := len(cfg.DNS.TimeServers), len(listed(timeNames))+1; got != want {
		t.Errorf("%d names of time servers, want %d", got, want)
	}
}

func TestTheListOfEssentialNamesIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "### Essential names\n")
	_, list, _ := strings.Cut(section, "```\n")
	if list, _, _ = strings.Cut(list, "```"); list != essentialNames {
		t.Errorf("docs/configuration.md lists\n%s\nwant\n%s", list, essentialNames)
	}
	if !regexp.MustCompile(`^# \d{4}-\d\d-\d\d\n`).MatchString(essentialNames) {
		t.Error("the list does not begin with the date that is its version")
	}
	for line := range strings.Lines(essentialNames) {
		line = strings.TrimSpace(line)
		if _, err := policy.ParsePattern(line); err != nil && line[0] != '#' {
			t.Errorf("%q: %v", line, err)
		}
	}
}
