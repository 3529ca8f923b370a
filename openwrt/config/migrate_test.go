package config

import (
	"strings"
	"testing"

	"github.com/fairlead/fairlead/openwrt/uci"
)

// invented are changes as later versions may make them.
func invented() []rename {
	return []rename{
		{section: "dns", option: "answer", to: "mode", since: "1.1"},
		{section: "rule", option: "site", to: "domain", since: "1.1"},
		{section: "dns", option: "mode", value: "real", to: "realip", since: "1.2"},
		{section: "rule", option: "proto", value: "datagram", to: "udp", since: "1.3"},
	}
}

const aged = `config dns 'dns'
	option answer 'real'
config rule
	list site 'a.example'
	list site 'it'\''s'
	list proto 'tcp'
	list proto 'datagram'
config rule 'both'
	option site 'old.example'
	list domain 'new.example'
config client 'tv'
	option site 'is not of a client'
`

// now is what the invented changes make of aged.
const now = `
config 'dns' 'dns'
	option mode 'realip'

config 'rule'
	list domain 'a.example'
	list domain 'it'\''s'
	list proto 'tcp'
	list proto 'udp'

config 'rule' 'both'
	list domain 'new.example'

config 'client' 'tv'
	option site 'is not of a client'
`

func TestWhatOlderVersionsWroteIsReadInThisOnesWords(t *testing.T) {
	b := newBuilder("f", nil, true)
	file, _ := uci.Parse(aged)
	b.migrate(file, invented())
	if got := file.String(); got != now {
		t.Errorf("the file became\n%s\nwant\n%s", got, now)
	}
	want := strings.TrimSpace(`
f:2: dns: answer: since version 1.1 it is called mode; ` + "`fairlead migrate`" + ` rewrites it
f:2: dns: mode: since version 1.2 the value real is called realip; ` + "`fairlead migrate`" + ` rewrites it
f:5: @rule[0]: site: since version 1.1 it is called domain; ` + "`fairlead migrate`" + ` rewrites it
f:7: @rule[0]: proto: since version 1.3 the value datagram is called udp; ` + "`fairlead migrate`" + ` rewrites it
f:9: both: site: since version 1.1 it is called domain, which is there, too: this one is not read`)
	if got := b.warnings.sorted().Error(); got != want || len(b.mistakes) > 0 {
		t.Errorf("the warnings are\n%s\nand the mistakes %v, want\n%s\nand none", got, b.mistakes, want)
	}
}

func TestMigrationSaysItInCommandsOfUCI(t *testing.T) {
	want := `delete fairlead.dns.answer
delete fairlead.@rule[0].site
add_list fairlead.@rule[0].domain='a.example'
add_list fairlead.@rule[0].domain='it'\''s'
delete fairlead.both.site
set fairlead.dns.mode='realip'
delete fairlead.@rule[0].proto
add_list fairlead.@rule[0].proto='tcp'
add_list fairlead.@rule[0].proto='udp'
commit fairlead
`
	if got := migration("/etc/config/fairlead", aged, invented()); got != want {
		t.Errorf("the commands are\n%s\nwant\n%s", got, want)
	}
}

func TestWhatIsNewAlreadyIsLeftAlone(t *testing.T) {
	if got := migration("f", now, invented()); got != "" {
		t.Errorf("the commands are\n%s\nwant none", got)
	}
}

func TestNoOldNameHasAMeaningNow(t *testing.T) {
	options := newBuilder("", nil, true).schema
	has := func(section, name string) bool {
		for _, o := range options[section] {
			if o.name == name {
				return true
			}
		}
		return false
	}
	for _, r := range renames() {
		if r.value == "" && has(r.section, r.option) {
			t.Errorf("%s.%s was renamed in version %s, want no option of that name", r.section, r.option, r.since)
		}
	}
}

func FuzzMigration(f *testing.F) {
	f.Add(aged)
	f.Add(now)
	f.Fuzz(func(t *testing.T, text string) {
		batch := migration("f", text, invented())
		if batch != "" && !strings.HasSuffix(batch, "commit f\n") {
			t.Errorf("the commands end without a commit:\n%s", batch)
		}
		file, _ := uci.Parse(text)
		migrate(file, invented())
		if again := migration("f", file.String(), invented()); again != "" {
			t.Errorf("what was migrated is migrated again by\n%s", again)
		}
	})
}
